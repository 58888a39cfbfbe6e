"""Looks at a whole store, and tidies it."""

import math
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.store.schema import schema_version
from pajamas_eval.store.store import Store, printable

DIGEST_DIGITS = 8
"""The least part of a digest that names a model."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model with responses in the store; `label` is what it was last called."""

    number: int
    label: str
    key: AnswerKey
    responses: int


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store holds.

    Attributes:
        size_bytes: On disk, with the log.
        models: Those with responses, in the order in which they came.
        runs: Number of runs in each state.
    """

    path: Path
    size_bytes: int
    schema_version: int
    responses: int
    models: list[ModelInfo]
    runs: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed."""

    responses: int
    runs: int
    freed_bytes: int


def info(store: Store) -> StoreInfo:
    """Counts what a store holds."""
    with store.database.reading() as connection:
        rows = connection.execute(
            "SELECT id, label, identity, count FROM models "
            "JOIN (SELECT model, count(*) AS count FROM responses GROUP BY model) ON model = id "
            "ORDER BY id"
        ).fetchall()
        version = schema_version(connection)
    with store.intact("a model"):
        models = [
            ModelInfo(number, label, msgspec.json.decode(identity, type=AnswerKey), count)
            for number, label, identity, count in rows
        ]
    return StoreInfo(
        path=store.database.path,
        size_bytes=store.database.size_bytes(),
        schema_version=version,
        responses=sum(model.responses for model in models),
        models=models,
        runs=dict(Counter(run.state for run in store.runs.all())),
    )


def prune(store: Store, *, older_than: timedelta | None = None, model: str | None = None) -> Pruned:
    """Removes responses and gives their space back to the disk.

    Args:
        store: What to prune.
        older_than: Only responses stored longer ago; without `model`, runs that began longer ago
            and are over go too.
        model: Only responses of models of this label, or whose digest starts so (8 digits or more).

    Raises:
        UsageError: Neither is given, or there is no such model.
    """
    if older_than is None and model is None:
        raise UsageError("say what to remove: responses of some age, or those of a model")
    before = store.database.size_bytes()
    until = math.inf if older_than is None else time.time() - older_than.total_seconds()
    numbers = None if model is None else _models(store, model)
    over = [run.id for run in store.runs.all() if run.state != "running"]
    with store.database.writing() as connection:
        if numbers is None:
            responses = connection.execute(
                "DELETE FROM responses WHERE created < ?", (until,)
            ).rowcount
            runs = connection.executemany(
                "DELETE FROM runs WHERE started < ? AND id = ?", [(until, run) for run in over]
            ).rowcount
        else:
            responses = connection.executemany(
                "DELETE FROM responses WHERE created < ? AND model = ?",
                [(until, number) for number in numbers],
            ).rowcount
            runs = 0
    if responses or runs:
        store.database.shrink()
    return Pruned(responses, runs, before - store.database.size_bytes())


def _models(store: Store, name: str) -> list[int]:
    models, name = info(store).models, printable(name)
    chosen = [
        model.number
        for model in models
        if model.label == name
        or (len(name) >= DIGEST_DIGITS and (model.key.weights or "").startswith(name))
    ]
    if not chosen:
        hint = suggestion(name, [model.label for model in models])
        raise UsageError(f"the store has no responses of a model {name!r}{hint}")
    return chosen
