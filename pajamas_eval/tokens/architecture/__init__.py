"""Reads a language model's architecture from a configuration or from GGUF metadata."""
