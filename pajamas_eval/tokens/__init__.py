"""The base of in-process language models: tokens in, log-probabilities and texts out."""
