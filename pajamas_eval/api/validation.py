"""Validates results from runtimes and plugins."""

import math
from operator import attrgetter
from typing import Any, TypeVar, cast

import msgspec
import numpy as np

from pajamas_eval.api.requests import AnyResult, Request, Response
from pajamas_eval.api.results import Failure, Result

LONGEST_ERROR = 2000
"""Characters of an error that are kept."""

_MOST = 2**40
"""Tokens or bytes that nobody has."""

AnyKind = TypeVar("AnyKind", bound=Result)


def validate_result(request: Request, result: object) -> AnyResult:
    """The result in plain Python values; a failure where it does not answer the request."""
    if isinstance(result, Failure):
        return Failure(str(result.error)[:LONGEST_ERROR])
    kind = request.result_type
    if not isinstance(result, kind):
        return Failure(f"the runtime gave a {type(result).__name__} for an answer")
    try:
        checked = cast("Response", _plain(kind, result))
    except (msgspec.ValidationError, UnicodeError) as error:
        return Failure(f"the runtime gave an invalid answer: {error}"[:LONGEST_ERROR])
    counts = [getattr(checked, name) for name in kind.counts]
    if min(counts) < 0 or max(counts) > _MOST:
        return Failure(f"the runtime gave impossible counts of tokens or bytes: {counts}")
    if not math.isfinite(checked.seconds):
        return Failure(f"the runtime gave an answer that took {checked.seconds} seconds")
    problem = checked.problem()
    return Failure(f"the runtime gave {problem}"[:LONGEST_ERROR]) if problem else checked


def _plain(kind: type[AnyKind], result: AnyKind) -> AnyKind:
    """The result with every field of its declared type. Raises `ValidationError`."""
    values = attrgetter(*kind.__struct_fields__)(result)
    # Conversion costs more than a look at the types, which nearly always fit.
    if tuple(map(type, values)) == _simple_types(kind):
        return result
    fields = dict(zip(kind.__struct_fields__, map(_scalar, values), strict=True))
    return msgspec.convert(fields | {"kind": kind.__struct_config__.tag}, kind)


def _simple_types(kind: type[Result]) -> tuple[type, ...] | None:
    """The types of a kind's fields, where all are numbers and flags."""
    if kind not in _SIMPLE:
        types = tuple(field.type for field in msgspec.structs.fields(kind))
        _SIMPLE[kind] = types if set(types) <= {float, bool, int} else None
    return _SIMPLE[kind]


_SIMPLE: dict[type[Result], tuple[type, ...] | None] = {}


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
