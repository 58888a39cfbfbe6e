"""The contract of a benchmark: where its docs come from, how they are asked and scored."""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from pajamas_eval.api.data import DataSource
from pajamas_eval.api.requests import Request
from pajamas_eval.api.results import GenerationResult, LogLikelihoodResult
from pajamas_eval.errors import UsageError

SHOT_SEED = 1234
"""Seed of the few-shot choice where the user gives none; lm-eval's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doc:
    """One question of a benchmark.

    Attributes:
        id: Unique within the benchmark, stable across runs.
        tags: Subsets whose scores are also reported, such as a subject and its group.
        cluster: What it shares with other docs, such as a passage; empty if nothing.
    """

    id: str
    tags: tuple[str, ...] = ()
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """What one doc is worth.

    Attributes:
        metrics: Value of each of the benchmark's metrics.
        prediction: What the model answered: the index of a choice, or the extracted text.
        parsed: Whether an answer could be made out at all.
    """

    metrics: Mapping[str, float]
    prediction: str
    parsed: bool = True


AnyDoc = TypeVar("AnyDoc", bound=Doc)


class Benchmark(ABC, Generic[AnyDoc]):
    """A named set of questions. One class may serve a family of names, such as MMLU's subjects."""

    metrics: ClassVar[tuple[str, ...]]
    """Names of the metrics, the headline first; each is 0 or 1 for every doc."""
    default_shots: ClassVar[int] = 0
    max_shots: ClassVar[int | None] = None
    request_type: ClassVar[type[Request]]

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    @abstractmethod
    def names(cls) -> list[str]:
        """Every benchmark of this family."""

    @classmethod
    @abstractmethod
    def summary(cls) -> str:
        """One line for the list of benchmarks."""

    @abstractmethod
    def docs(self, data: DataSource) -> list[AnyDoc]:
        """All docs, in the data set's order. Raises `UsageError` for bad data."""

    @abstractmethod
    def shot_pool(self, data: DataSource) -> Sequence[AnyDoc]:
        """The docs that few-shot examples are chosen from."""

    def choose_shots(
        self, data: DataSource, docs: Sequence[AnyDoc], count: int, seed: int
    ) -> list[list[AnyDoc]]:
        """Few-shot examples of each doc: one generator draws for every doc in order (lm-eval)."""
        if not count:
            return [[] for _ in docs]
        pool = list(self.shot_pool(data))
        if len(pool) < count:
            raise UsageError(f"{self.name} has only {len(pool)} few-shot examples, not {count}")
        generator = random.Random(seed)
        return [generator.sample(pool, count) for _ in docs]

    def description(self, doc: AnyDoc) -> str:
        """What stands in front of the first example."""
        return ""

    @abstractmethod
    def question(self, doc: AnyDoc) -> str:
        """The doc as a question, up to where the answer begins."""

    @abstractmethod
    def answer(self, doc: AnyDoc) -> str:
        """The right answer, as a few-shot example shows it."""

    @abstractmethod
    def requests(self, doc: AnyDoc, context: str, delimiter: str) -> list[Request]:
        """What to ask: `delimiter` stands between the context and an answer."""

    @abstractmethod
    def score(
        self, doc: AnyDoc, results: Sequence[LogLikelihoodResult | GenerationResult]
    ) -> Score:
        """Judges the results of `requests`, in their order."""

    @abstractmethod
    def gold(self, doc: AnyDoc) -> str:
        """The right answer, in the form of `Score.prediction`."""

    def notes(self, docs: Sequence[AnyDoc]) -> list[str]:
        """What a reader should know about these docs, such as missing subjects."""
        return []
