"""Benchmarks whose questions have several answers, one of them right."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pajamas_eval.api.benchmark import Benchmark, Doc, Score
from pajamas_eval.api.requests import LogLikelihood, Request
from pajamas_eval.api.results import GenerationResult, LogLikelihoodResult


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
