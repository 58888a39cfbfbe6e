"""The contract of a benchmark: where its docs come from, how they are asked and scored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pajamas_eval.api import shots
from pajamas_eval.api.data import Dataset, DataSource
from pajamas_eval.api.media import Image, Prompt
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.requests import Request, Sampling
from pajamas_eval.api.shots import ShotChoice

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
        weights: Weight of the doc in metrics of kind `ratio`, such as its words; 1 by default.
        predictions: By the name of a further metric, where the model's answer is another by it.
    """

    metrics: Mapping[str, float]
    prediction: str
    parsed: bool = True
    weights: Mapping[str, float] = field(default_factory=dict)
    predictions: Mapping[str, str] = field(default_factory=dict)


class Conversation(Protocol):
    """What was said about a doc before a later round."""

    def prompt(self, *turns: tuple[str, str]) -> Prompt:
        """The first prompt, then for each turn the model's answer and the next question."""


AnyDoc = TypeVar("AnyDoc", bound=Doc)


class Benchmark(ABC, Generic[AnyDoc]):
    """A named set of questions. One class may serve a family of names, such as MMLU's subjects."""

    family: ClassVar[str]
    """The name, or the first of them; that of its entry point."""
    summary: ClassVar[str]
    """One line for the list of benchmarks."""
    metrics: ClassVar[tuple[Metric, ...]]
    """The headline metric first."""
    dataset: ClassVar[Dataset]
    default_shots: ClassVar[int] = 0
    max_shots: ClassVar[int | None] = None
    shot_choice: ClassVar[ShotChoice] = staticmethod(shots.drawn)
    """How few-shot examples are chosen: a function like those of `pajamas_eval.api.shots`."""
    request_types: ClassVar[tuple[type[Request], ...]]
    """Every kind of request that it may ask, in any round."""
    modalities: ClassVar[frozenset[str]] = frozenset({"text"})
    """What its prompts may hold."""
    has_choices: ClassVar[bool] = False
    """Whether the results of a doc are the log-probabilities of its choices."""
    sampling: ClassVar[Sampling | None] = None
    """How generated texts are drawn; greedily if nothing."""
    repeats: ClassVar[int] = 1
    """Samples of each generated text."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def cloze(self) -> str:
        """Name of a benchmark that asks the same in a form that weaker models understand."""
        return ""

    @classmethod
    def names(cls) -> list[str]:
        """Every benchmark of this family."""
        return [cls.family]

    def read(self, data: DataSource, split: str) -> list[AnyDoc]:
        """All docs of a split, in the data set's order; none where they come from elsewhere.

        Raises:
            UsageError: The data is at fault.
        """
        return []

    def docs(self, data: DataSource) -> list[AnyDoc]:
        """The docs that are asked. Raises `UsageError` for bad data."""
        return self.read(data, self.dataset.test_split)

    def shot_pool(self, data: DataSource) -> Sequence[AnyDoc]:
        """The docs that few-shot examples are chosen from."""
        return self.read(data, self.dataset.shot_split)

    def choose_shots(
        self, data: DataSource, docs: Sequence[AnyDoc], count: int, seed: int
    ) -> list[list[AnyDoc]]:
        """Few-shot examples of each doc. Raises `UsageError` where there are too few."""
        if not count:
            return [[] for _ in docs]
        return type(self).shot_choice(self.name, list(self.shot_pool(data)), docs, count, seed)

    def description(self, doc: AnyDoc) -> str:
        """What stands in front of the first example."""
        return ""

    def question(self, doc: AnyDoc) -> str:
        """The doc as a question, up to where the answer begins; empty where requests say it all."""
        return ""

    def images(self, doc: AnyDoc) -> tuple[Image, ...]:
        """The images of the question, in the order of their marks."""
        return ()

    def answer(self, doc: AnyDoc) -> str:
        """The right answer, as a few-shot example shows it."""
        return self.gold(doc)

    @abstractmethod
    def requests(self, doc: AnyDoc, prompt: Prompt, delimiter: str) -> Sequence[Request]:
        """What to ask: `delimiter` stands between the prompt and an answer."""

    def rounds(
        self, doc: AnyDoc, results: Sequence[Any], conversation: Conversation
    ) -> Sequence[Request]:
        """What to ask next, given the results of all requests so far; nothing ends the dialogue.

        Called once all requests of the round before are answered.
        """
        return ()

    @abstractmethod
    def score(self, doc: AnyDoc, results: Sequence[Any]) -> Score:
        """Judges the results of all requests, in their order.

        They are of the types that the requests state: round after round and, where texts are
        sampled several times, sample after sample.
        """

    def chance(self, doc: AnyDoc) -> float:
        """Expected value of the headline metric for a blind guess."""
        return 0.0

    @abstractmethod
    def gold(self, doc: AnyDoc) -> str:
        """The right answer, in the form of `Score.prediction`."""

    def notes(self, docs: Sequence[AnyDoc]) -> list[str]:
        """What a reader should know about these docs, such as missing subjects."""
        return []
