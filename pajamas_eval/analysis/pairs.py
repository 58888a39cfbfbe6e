"""Two models' values of one metric on the same questions."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.results.document import AnswerRecord, AnswerSet
from pajamas_eval.statistics.sequential import final_confidence
from pajamas_eval.statistics.verdicts import (
    Verdict,
    equivalence_of_bounds,
    verdict_of_bounds,
)

Bounds = tuple[float, float]
"""Lower and upper, one-sided each; −∞ and ∞ where nothing holds."""


@dataclass(frozen=True, kw_only=True)
class Pairs(ABC):
    """What two models scored on the same questions, in the order asked, and what it proves.

    Attributes:
        differences: Shape (n,): variant minus baseline, above 0 where the variant is better; of
            ratios those of their logarithms. NaN where one of the two could not answer.
        clusters: What each question shares with others.
        weights: Shape (n,): how much each question counts; 1 save for ratios.
        planned: Questions that a full run asks.
    """

    metric: Metric
    differences: NDArray[np.float64]
    clusters: Sequence[str]
    weights: NDArray[np.float64]
    planned: int

    @property
    def gains(self) -> int:
        """Questions on which the variant is better: those that only it has right."""
        return int((self.differences > 0).sum())

    @property
    def losses(self) -> int:
        """Questions on which the baseline is better."""
        return int((self.differences < 0).sum())

    @property
    def unanswered(self) -> int:
        """Questions that one of the two could not answer."""
        return int(np.isnan(self.differences).sum())

    @property
    def count(self) -> int:
        """Questions that both answered."""
        return len(self.differences) - self.unanswered

    @abstractmethod
    def estimate(self) -> float:
        """The difference as a report shows it, variant minus baseline."""

    @abstractmethod
    def bounds(self, margin: Margin | None, confidence: float) -> Bounds:
        """Of the difference, a gain being positive, on the scale of `differences`.

        They hold whatever the unanswered questions would have shown.
        """

    def interval(
        self, margin: Margin | None, confidence: float, *, until_decided: bool
    ) -> Bounds | None:
        """The bounds that the verdict is read from, as a report shows them.

        Nothing where questions were asked until the verdict was in: no bound of a fixed number of
        questions holds then.
        """
        if until_decided:
            return None
        lower, upper = sorted(map(self._shown, self.bounds(margin, confidence)))
        return lower, upper

    def _shown(self, difference: float) -> float:
        """A difference on the scale of `differences` as a report shows it."""
        return self.metric.sign * difference

    def answered(self) -> Self:
        """The same as if the questions that were not answered did not exist."""
        known = ~np.isnan(self.differences)
        return replace(
            self,
            differences=self.differences[known],
            clusters=[c for c, is_known in zip(self.clusters, known, strict=True) if is_known],
            weights=self.weights[known],
            planned=self.planned - self.unanswered,
        )

    def with_absent(self, count: int) -> Self:
        """The same with so many more questions that were not answered."""
        return replace(
            self,
            differences=np.append(self.differences, np.full(count, np.nan)),
            clusters=[*self.clusters, *(f"absent {number}" for number in range(count))],
            weights=np.append(self.weights, np.ones(count)),
        )

    @abstractmethod
    def p_different(self) -> float:
        """Two-sided test of no difference."""

    def verdict(
        self,
        margin: Margin,
        confidence: float,
        *,
        until_decided: bool,
        equivalence: bool = False,
    ) -> Verdict:
        """Whether the variant is no worse, worse, or neither is proven.

        It holds whatever the unanswered questions would have shown.

        Args:
            margin: In the metric's unit.
            confidence: Of each one-sided test, in (0.5, 1).
            until_decided: Whether questions were asked one after the other until this was known.
            equivalence: Whether it must not be better by the margin either; of all questions.
        """
        if until_decided:
            return self.verdict_until_decided(margin, confidence)
        of_bounds = equivalence_of_bounds if equivalence else verdict_of_bounds
        return of_bounds(*self.bounds(margin, confidence), self.size(margin))

    @abstractmethod
    def verdict_until_decided(self, margin: Margin, confidence: float) -> Verdict:
        """By bets on the questions in their order; once all are asked, by the fixed test too."""

    def size(self, margin: Margin) -> float:
        """A margin on the scale of `differences`."""
        return self.metric.margin_size(margin)

    @abstractmethod
    def p_worse(self, margin: Margin, *, until_decided: bool) -> float:
        """P-value of "the loss is at most the margin", with unanswered questions as gains."""

    @abstractmethod
    def margin_of(self, count: int, power: float, confidence: float) -> float | None:
        """The smallest margin that so many questions can certify, in the unit of `estimate`."""

    @abstractmethod
    def further_questions(
        self, margin: Margin, confidence: float, *, until_decided: bool
    ) -> int | None:
        """How many more would decide at what was seen; 0 if decided, nothing if no number would."""

    @abstractmethod
    def questions_needed(self, margin: Margin, power: float, confidence: float) -> tuple[int, int]:
        """Questions that prove a variant without loss no worse: at the spread seen, and at most."""


def fixed_confidence(confidence: float, until_decided: bool) -> float:
    """Of the test over all questions; where one may stop early, it has a share of the error."""
    return final_confidence(confidence) if until_decided else confidence


def both_asked(
    baseline: AnswerSet, variant: AnswerSet
) -> Iterator[tuple[AnswerRecord, AnswerRecord]]:
    """The baseline's and the variant's answer to each question that both were asked."""
    theirs = {a.doc_id: a for a in baseline.answers}
    for ours in variant.answers:
        if ours.doc_id in theirs:
            yield theirs[ours.doc_id], ours


def metric_values(answers: AnswerSet, metric: str) -> dict[str, float]:
    """Each question's value, errors left out."""
    return {a.doc_id: a.scores[metric] for a in answers.answers if a.error is None}


def metric_weights(answers: AnswerSet, metric: str) -> dict[str, float]:
    """Each question's weight, errors left out."""
    return {a.doc_id: a.weights.get(metric, 1.0) for a in answers.answers if a.error is None}


def paired_differences(
    metric: Metric, baseline: AnswerSet, variant: AnswerSet
) -> NDArray[np.float64]:
    """See `Pairs.differences`."""
    values = np.array(
        [
            [theirs.scores[metric.name], ours.scores[metric.name]]
            if ours.error is None and theirs.error is None
            else [np.nan, np.nan]
            for theirs, ours in both_asked(baseline, variant)
        ],
        np.float64,
    ).reshape(-1, 2)
    if metric.kind == "ratio":
        values = np.log(values)
    differences: NDArray[np.float64] = metric.sign * (values[:, 1] - values[:, 0])
    return differences
