"""Scores quantized variants of one model on identical questions, whatever engine runs them."""

from importlib.metadata import version

__version__ = version("pajamas-eval")
