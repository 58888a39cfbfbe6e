"""Options of runtimes and runs: each says whether it affects answers."""

from collections.abc import Mapping
from typing import Any

import msgspec

NO_EFFECT = msgspec.Meta(extra={"affects_answers": False})
"""For an option that changes no answer, or only through what else is part of the key."""

AFFECTS_ANSWERS = msgspec.Meta(extra={"affects_answers": True})
"""For an option that changes answers."""


class RuntimeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the options of all runtimes.

    A model is named by the option `path` (a file, a folder or a hub id) or `model` (its name behind
    a server). An option affects answers, and is part of the key that they are stored under, unless
    it is declared as `Annotated[…, NO_EFFECT]`.
    """


def overlaid(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with what it is given; objects that are in both become one."""
    both = dict(config)
    for key, value in given.items():
        inner = both.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            value = overlaid(inner, value)
        both[key] = value
    return both
