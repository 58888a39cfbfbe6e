"""Weights in files, tensor by tensor: one reader for each file format.

They know formats, not engines: a model is neither built nor run. De-quantization is left to the
libraries that define the formats, which are imported only for files that need them.
"""
