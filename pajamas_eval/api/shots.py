"""How few-shot examples are chosen: one function for each way that benchmarks do it."""

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pajamas_eval.errors import UsageError

AnyDoc = TypeVar("AnyDoc")

ShotChoice = Callable[[str, list[Any], Sequence[Any], int, int], list[list[Any]]]
"""Takes the benchmark's name, the pool, the docs, the number of examples (above 0) and a seed;
returns the examples of each doc. Raises `UsageError` where the pool is too small."""


def drawn(
    name: str, pool: list[AnyDoc], docs: Sequence[AnyDoc], count: int, seed: int
) -> list[list[AnyDoc]]:
    """One generator draws for every doc in order, as lm-eval does."""
    _check(name, len(pool), count)
    generator = random.Random(seed)
    return [generator.sample(pool, count) for _ in docs]


def drawn_without_itself(
    name: str, pool: list[AnyDoc], docs: Sequence[AnyDoc], count: int, seed: int
) -> list[list[AnyDoc]]:
    """One more than needed is drawn and the doc itself dropped, as lm-eval does for some tasks."""
    if len(pool) <= count:
        raise UsageError(
            f"{name} has only {len(pool)} few-shot examples; {count} shots need one more than that"
        )
    generator = random.Random(seed)
    samples = [generator.sample(pool, count + 1) for _ in docs]
    return [
        [shot for shot in sample if _content(shot) != _content(doc)][:count]
        for sample, doc in zip(samples, docs, strict=True)
    ]


def first(
    name: str, pool: list[AnyDoc], docs: Sequence[AnyDoc], count: int, seed: int
) -> list[list[AnyDoc]]:
    """The first examples of the pool, the same for every doc."""
    _check(name, len(pool), count)
    return [pool[:count] for _ in docs]


def first_of_subject(
    name: str, pool: list[Any], docs: Sequence[Any], count: int, seed: int
) -> list[list[Any]]:
    """The first examples of each doc's `subject`."""
    pools: dict[str, list[Any]] = {doc.subject: [] for doc in docs}
    for shot in pool:
        pools.setdefault(shot.subject, []).append(shot)
    for subject in {doc.subject: None for doc in docs}:
        _check(name, len(pools[subject]), count, f" for {subject}")
    return [pools[doc.subject][:count] for doc in docs]


def _check(name: str, available: int, count: int, what: str = "") -> None:
    if available < count:
        raise UsageError(f"{name} has only {available} few-shot examples{what}, not {count}")


def _content(doc: Any) -> tuple[object, ...]:
    """A doc without its name: the same question may stand in two splits."""
    return tuple(getattr(doc, field) for field in ("question", "choices", "gold"))
