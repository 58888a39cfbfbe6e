"""api.results"""

import math
from operator import attrgetter
from typing import Any, Literal

import msgspec
import numpy as np

from pajamas_eval.api.requests import GenerateUntil, Request


class LogLikelihoodResult(msgspec.Struct, frozen=True):
    """Answer to `LogLikelihood` and `LogLikelihoodRolling`.

    Attributes:
        log_probability: Sum over the scored tokens, natural logarithm.
        is_greedy: Whether every scored token is the most probable one at its place.
        token_count: Number of scored tokens.
        byte_count: UTF-8 length of the scored text.
        prompt_tokens: Tokens in front of the scored ones (windows of a rolling text: 1 each).
        truncated_tokens: Tokens cut from the left because the context was full.
        seconds: This request's share of its batch's time.
    """

    log_probability: float
    is_greedy: bool
    token_count: int
    byte_count: int
    prompt_tokens: int
    truncated_tokens: int = 0
    seconds: float = 0.0


FinishReason = Literal["stop", "end", "length"]


class GenerationResult(msgspec.Struct, frozen=True):
    """Answer to `GenerateUntil`.

    Attributes:
        text: The generated text, without the stop string and what follows it.
        finish_reason: `stop` (a stop string), `end` (an end token) or `length` (token limit).
        token_count: Number of generated tokens.
        prompt_tokens: Number of tokens of the prompt that the model saw.
        truncated_tokens: Tokens cut from the left of the prompt because the context was full.
        seconds: Time since the text that was finished before this one: they run together.
    """

    text: str
    finish_reason: FinishReason
    token_count: int
    prompt_tokens: int
    truncated_tokens: int = 0
    seconds: float = 0.0


class Failure(msgspec.Struct, frozen=True):
    """A request that could not be answered: an error in the report, never a wrong answer."""

    error: str


Response = LogLikelihoodResult | GenerationResult
"""An answer. It can be stored, which a failure is not: that is worth another try."""


Result = Response | Failure

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


def validate_result(request: Request, result: object) -> Result:
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
        except (msgspec.ValidationError, UnicodeError) as error:
            return Failure(f"the runtime gave an invalid answer: {error}"[:LONGEST_ERROR])
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
