"""The contract of a benchmark: where its docs come from, how they are asked and scored."""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from pajamas_eval.data import DataSource
from pajamas_eval.errors import UsageError
from pajamas_eval.requests import GenerationResult, LogLikelihood, LogLikelihoodResult, Request

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceDoc(Doc):
    """A question with several answers, one of them right."""

    question: str
    choices: tuple[str, ...]
    gold: int
    subject: str = field(default="")


class MultipleChoice(Benchmark[ChoiceDoc]):
    """Scored by the log-likelihood of each choice after the question."""

    metrics: ClassVar[tuple[str, ...]] = ("acc",)
    request_type: ClassVar[type[Request]] = LogLikelihood

    def continuations(self, doc: ChoiceDoc) -> Sequence[str]:
        """The text of each choice whose log-likelihood is compared."""
        return doc.choices

    def question(self, doc: ChoiceDoc) -> str:
        """The bare question."""
        return doc.question

    def answer(self, doc: ChoiceDoc) -> str:
        """The right choice."""
        return self.continuations(doc)[doc.gold]

    def requests(self, doc: ChoiceDoc, context: str, delimiter: str) -> list[Request]:
        """One log-likelihood for each choice."""
        return [LogLikelihood(context, delimiter + text) for text in self.continuations(doc)]

    def score(
        self, doc: ChoiceDoc, results: Sequence[LogLikelihoodResult | GenerationResult]
    ) -> Score:
        """`acc`: the most probable choice is right; `acc_norm`: most probable per character.

        The first of equals wins; the length is the choice's own, without the delimiter.
        """
        sums = [r.log_probability for r in results if isinstance(r, LogLikelihoodResult)]
        lengths = [max(len(text), 1) for text in self.continuations(doc)]
        by_metric = {
            "acc": sums,
            "acc_norm": [s / n for s, n in zip(sums, lengths, strict=True)],
        }
        picks = {name: values.index(max(values)) for name, values in by_metric.items()}
        return Score(
            metrics={name: float(picks[name] == doc.gold) for name in self.metrics},
            prediction=str(picks[self.metrics[0]]),
        )

    def gold(self, doc: ChoiceDoc) -> str:
        """The index of the right choice."""
        return str(doc.gold)
