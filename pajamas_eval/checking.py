"""What a runtime hands over, made sure of: a plugin or a broken engine may give anything."""

import math
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from pajamas_eval.requests import (
    Failure,
    GenerateUntil,
    GenerationResult,
    LogLikelihoodResult,
    Request,
    Result,
)

LONGEST_ERROR = 2000
"""Characters of an error that are kept."""

_MOST = 2**40
"""Tokens or bytes that nobody has."""

_Kind = type[LogLikelihoodResult] | type[GenerationResult]
_TYPES: dict[_Kind, tuple[type, ...]] = {
    LogLikelihoodResult: (float, bool, int, int, int, int, float),
    GenerationResult: (str, str, int, int, int, float),
}
_FIELDS = {kind: kind.__struct_fields__ for kind in _TYPES}
_VALUES = {kind: attrgetter(*names) for kind, names in _FIELDS.items()}


def checked(request: Request, result: object) -> Result:
    """The result in plain Python values; a failure where it answers the request in no way."""
    if isinstance(result, Failure):
        return Failure(str(result.error)[:LONGEST_ERROR])
    kind: _Kind = GenerationResult if isinstance(request, GenerateUntil) else LogLikelihoodResult
    if not isinstance(result, kind):
        return Failure(f"the runtime gave a {type(result).__name__} for an answer")
    values = _VALUES[kind](result)
    # Conversion costs more than a look at the types, which nearly always fit.
    if tuple(map(type, values)) != _TYPES[kind] or kind is GenerationResult:
        try:
            result = msgspec.convert(
                {name: _plain(v) for name, v in zip(_FIELDS[kind], values, strict=True)}, kind
            )
        except msgspec.ValidationError as error:
            return Failure(f"the runtime gave an answer that is none: {error}"[:LONGEST_ERROR])
    counts = [result.token_count, result.prompt_tokens, result.truncated_tokens]
    if isinstance(result, LogLikelihoodResult):
        counts.append(result.byte_count)
        if not math.isfinite(result.log_probability):
            return Failure(f"the runtime gave a log-probability of {result.log_probability}")
    if min(counts) < 0 or max(counts) > _MOST:
        return Failure(f"the runtime gave impossible counts of tokens or bytes: {counts}")
    if not math.isfinite(result.seconds):
        return Failure(f"the runtime gave an answer that took {result.seconds} seconds")
    return result


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
