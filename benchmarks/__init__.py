"""Benchmarks: one file each, saying where its questions come from and how they are scored."""
