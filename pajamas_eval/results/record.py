"""Base of all parts of the result document."""

import msgspec


class Record(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of the document."""
