"""Validates what runtimes and plugins say and answer."""

import math
from operator import attrgetter, index
from typing import Any, TypeVar, cast

import msgspec
import numpy as np

from pajamas_eval.api.requests import AnyResult, Request, Response
from pajamas_eval.api.results import Failure, Result
from pajamas_eval.errors import LONGEST_ERROR, RunError

_MOST = 2**40
"""Tokens or bytes that nobody has."""

AnyKind = TypeVar("AnyKind", bound=Result)
AnyStatement = TypeVar("AnyStatement")


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


def validate_place(answer: object, count: int, runtime: str) -> tuple[int, Any]:
    """A result with the index of its request. Raises `RunError` where it is none of `count`."""
    try:
        said, result = cast("tuple[Any, Any]", answer)
        place = index(said)
    except (TypeError, ValueError):
        kind = type(answer).__name__
        raise RunError(
            f"the {runtime} runtime gave a {kind} where an index and a result belong"
        ) from None
    if not 0 <= place < count:
        raise RunError(
            f"the {runtime} runtime answered request {place} of {count}, which it was not asked"
        )
    return place, result


def validate_statement(kind: type[AnyStatement], said: object, what: str) -> AnyStatement:
    """What a plugin says, such as of itself, in plain values of the declared types.

    Lone surrogates, which neither JSON nor a database holds, are spelled out.

    Raises:
        RunError: It is something else, or a number is NaN or infinite.
    """
    try:
        if not isinstance(said, kind):
            raise TypeError(of_type(said))
        return msgspec.convert(_sound(msgspec.to_builtins(said, enc_hook=_item)), kind)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RunError(f"{what}: {error}"[:LONGEST_ERROR]) from None


def _item(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"something in it is of type {type(value).__name__}")


def _sound(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} where a number belongs")
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_sound(key): _sound(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_sound(inner) for inner in value]
    return value


def of_type(value: object) -> str:
    """What is wrong with a value of another type; its own form may be long, or fail."""
    return f"it is of type {type(value).__name__}"


def _plain(kind: type[AnyKind], result: AnyKind) -> AnyKind:
    """The result with every field of its declared type. Raises `ValidationError`."""
    values = attrgetter(*kind.__struct_fields__)(result)
    # Conversion costs more than a look at the types, which nearly always fit.
    if type(result) is kind and tuple(map(type, values)) == _simple_types(kind):
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
