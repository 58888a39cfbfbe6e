"""What every result of a request has, and how results from runtimes and plugins are validated."""

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import msgspec
import numpy as np

if TYPE_CHECKING:
    from pajamas_eval.api.requests import AnyResult, Request, Response

LONGEST_ERROR = 2000
"""Characters of an error that are kept."""

_MOST = 2**40
"""Tokens or bytes that nobody has."""


class Result(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True):
    """Base of all results. A kind has these fields, in any order, and fields of its own.

    Fields:
        token_count: Tokens that were scored or generated.
        prompt_tokens: Tokens that the model saw in front of them.
        truncated_tokens: Tokens cut from the left because the context was full.
        seconds: This request's share of its batch's time.
    """

    counts: ClassVar[tuple[str, ...]] = ("token_count", "prompt_tokens", "truncated_tokens")
    """Fields that count something."""

    def problem(self) -> str | None:
        """What is wrong with a result whose fields have the right types, if anything."""
        return None

    @property
    def log_probabilities(self) -> tuple[float, ...]:
        """Log-probabilities of the choices that it is about, if it is about any."""
        return ()


class Failure(msgspec.Struct, frozen=True):
    """A request that could not be answered: an error in the report, never a wrong answer.

    It is not stored: it is worth another try.
    """

    error: str


AnyKind = TypeVar("AnyKind", bound=Result)


def validate_result(request: "Request", result: object) -> "AnyResult":
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
