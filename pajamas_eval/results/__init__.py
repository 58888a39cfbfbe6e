"""The result document: typed records and their file format."""
