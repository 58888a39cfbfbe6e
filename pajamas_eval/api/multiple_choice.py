"""Benchmarks whose questions have several answers, one of them right."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pajamas_eval.api.benchmark import Benchmark, Doc, Score
from pajamas_eval.api.media import Prompt
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.requests import LogLikelihood, LogLikelihoodResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceDoc(Doc):
    """A question with several answers, one of them right."""

    question: str
    choices: tuple[str, ...]
    gold: int
    subject: str = field(default="")


class MultipleChoice(Benchmark[ChoiceDoc]):
    """Scored by the log-likelihood of each choice after the question."""

    metrics: ClassVar[tuple[Metric, ...]] = (Metric("acc"),)
    request_types = (LogLikelihood,)
    has_choices = True

    def continuations(self, doc: ChoiceDoc) -> Sequence[str]:
        """The text of each choice whose log-likelihood is compared."""
        return doc.choices

    def question(self, doc: ChoiceDoc) -> str:
        """The bare question."""
        return doc.question

    def answer(self, doc: ChoiceDoc) -> str:
        """The right choice."""
        return self.continuations(doc)[doc.gold]

    def requests(self, doc: ChoiceDoc, prompt: Prompt, delimiter: str) -> list[LogLikelihood]:
        """One log-likelihood for each choice."""
        return [LogLikelihood(prompt, delimiter + text) for text in self.continuations(doc)]

    def score(self, doc: ChoiceDoc, results: Sequence[LogLikelihoodResult]) -> Score:
        """`acc`: the most probable choice is right; `acc_norm`: most probable per character.

        The first of equals wins; the length is the choice's own, without the delimiter.
        """
        sums = [result.log_probability for result in results]
        lengths = [max(len(text), 1) for text in self.continuations(doc)]
        by_metric = {
            "acc": sums,
            "acc_norm": [s / n for s, n in zip(sums, lengths, strict=True)],
        }
        names = [metric.name for metric in self.metrics]
        picks = {name: by_metric[name].index(max(by_metric[name])) for name in names}
        return Score(
            metrics={name: float(pick == doc.gold) for name, pick in picks.items()},
            prediction=str(picks[names[0]]),
            predictions={name: str(picks[name]) for name in names[1:]},
        )

    def gold(self, doc: ChoiceDoc) -> str:
        """The index of the right choice."""
        return str(doc.gold)
