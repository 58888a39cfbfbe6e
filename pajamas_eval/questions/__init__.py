"""Benchmarks made ready to be asked."""
