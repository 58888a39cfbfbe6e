"""Benchmarks whose questions have several answers, one of them right.

**Soft accuracy** is the probability that a model gives the right choice if it draws one by its
probabilities, p_i = exp(s_i) / Σ_j exp(s_j) with s_i the log-likelihood of choice i. Where the
headline metric compares choices per character, s_i is n̄ · s_i / n_i, with n_i the characters of
choice i and n̄ their mean: the most probable choice is that of the metric, and where all are equally
long nothing changes. It is the expected accuracy of a model that draws its answers, and no proper
scoring rule (T. Gneiting, A. E. Raftery, J. American Statistical Association 102 (2007), 359-378):
a model that becomes surer of the same answers gains by it if it is mostly right, and loses if not.
"""

import math
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


SOFT_ACCURACY = "soft_acc"
"""The name of that metric."""


def choice_metrics(headline: str, *others: str, margin: float | None = None) -> tuple[Metric, ...]:
    """Accuracies by these names, and soft accuracy; all with one default margin, in points."""
    binary = (Metric(name, default_margin=margin) for name in (headline, *others))
    return (*binary, Metric(SOFT_ACCURACY, "mean", default_margin=margin))


class MultipleChoice(Benchmark[ChoiceDoc]):
    """Scored by the log-likelihood of each choice after the question."""

    metrics: ClassVar[tuple[Metric, ...]] = choice_metrics("acc")
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

        The first of equals wins; the length is the choice's own, without the delimiter. For
        `soft_acc` see this module.
        """
        sums = [result.log_probability for result in results]
        lengths = [max(len(text), 1) for text in self.continuations(doc)]
        by_metric = {
            "acc": sums,
            "acc_norm": [s / n for s, n in zip(sums, lengths, strict=True)],
        }
        scale = {"acc": 1.0, "acc_norm": sum(lengths) / len(lengths)}
        headline, *others = (m.name for m in self.metrics if m.name != SOFT_ACCURACY)
        picks = {name: by_metric[name].index(max(by_metric[name])) for name in (headline, *others)}
        values = {name: float(pick == doc.gold) for name, pick in picks.items()}
        return Score(
            metrics={
                **values,
                SOFT_ACCURACY: _share([scale[headline] * s for s in by_metric[headline]], doc.gold),
            },
            prediction=str(picks[headline]),
            predictions={name: str(picks[name]) for name in others},
        )

    def chance(self, doc: ChoiceDoc) -> float:
        """One over the number of choices."""
        return 1 / len(self.continuations(doc))

    def gold(self, doc: ChoiceDoc) -> str:
        """The index of the right choice."""
        return str(doc.gold)


def _share(log_likelihoods: Sequence[float], gold: int) -> float:
    """The probability of one choice among all."""
    most = max(log_likelihoods)
    weights = [math.exp(value - most) for value in log_likelihoods]
    return weights[gold] / sum(weights)
