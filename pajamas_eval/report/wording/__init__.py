"""Sentences and figures: text without layout."""
