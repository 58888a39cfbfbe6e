"""Two models' scores on the same questions, or their ratios: Student's paired t, clustered."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from pajamas_eval.analysis.paired_binary import sequential_p_worse
from pajamas_eval.analysis.pairs import Bounds, Pairs, fixed_confidence
from pajamas_eval.api.metrics import Margin
from pajamas_eval.statistics import means
from pajamas_eval.statistics.clusters import MeanInterval, mean_interval
from pajamas_eval.statistics.sequential import final_confidence, sequential_verdict
from pajamas_eval.statistics.verdicts import Verdict


@dataclass(frozen=True, kw_only=True)
class PairedMeans(Pairs):
    """Pairs of a metric of kind `mean` or `ratio`; the latter's differences are of logarithms."""

    @property
    def can_be_filled(self) -> bool:
        """Whether a difference has a largest size, which an unanswered question may have had."""
        return self.metric.is_proportion or not self.unanswered

    def mean(self) -> MeanInterval:
        """The mean difference over the questions that both answered, better above 0."""
        known = ~np.isnan(self.differences)
        clusters = [c for c, answered in zip(self.clusters, known, strict=True) if answered]
        return mean_interval(self.differences[known], clusters, weights=self.weights[known])

    def estimate(self) -> float:
        """The mean difference in the metric's unit, or the relative change of a ratio."""
        found = self.mean()
        return self._shown(found.mean) if found.count else 0.0

    def bounds(self, margin: Margin | None, confidence: float) -> Bounds:
        """Student's, with unanswered questions as the largest losses and gains there can be.

        Nothing is known where no size is the largest.
        """
        if not self.can_be_filled:
            return -math.inf, math.inf
        scale = self.size(margin) if margin else 0.0
        (lower, _), (_, upper) = (
            means.one_sided_bounds(self._filled(imputed), confidence, scale)
            for imputed in (-1.0, 1.0)
        )
        return lower, upper

    def p_different(self) -> float:
        """Student's paired t test."""
        return means.paired_t_p(self.mean())

    def verdict_until_decided(self, margin: Margin, confidence: float) -> Verdict:
        """By bets, and Student's test; of proportions, whose differences are at most 1."""
        for imputed, wanted in ((-1.0, Verdict.NO_WORSE), (1.0, Verdict.WORSE)):
            filled = np.nan_to_num(self.differences, nan=imputed)
            found, _ = sequential_verdict(filled, self.size(margin), confidence)
            if found is wanted:
                return found
        if len(self.differences) < self.planned:
            return Verdict.UNDECIDED
        return self.verdict(margin, final_confidence(confidence), until_decided=False)

    def p_worse(self, margin: Margin, *, until_decided: bool) -> float:
        """Student's, or what is left of it where one may have stopped asking at any question."""
        if not self.can_be_filled:
            return 1.0
        fixed = means.p_worse(self._filled(1.0), self.size(margin))
        if not until_decided:
            return fixed
        return sequential_p_worse(self.differences, self.planned, self.size(margin), fixed)

    def margin_of(self, count: int, power: float, confidence: float) -> float | None:
        """At the spread seen; nothing where none was, or where no margin would be certified."""
        found = self.mean()
        if not math.isfinite(found.standard_error):
            return None
        share = count / found.count
        clusters = max(2, round(found.clusters * share))
        error = found.standard_error / math.sqrt(share)
        size = means.smallest_margin(clusters, error, power, confidence)
        if not math.isfinite(size):
            return None
        return abs(self._shown(-size))

    def further_questions(
        self, margin: Margin, confidence: float, *, until_decided: bool
    ) -> int | None:
        """At the mean and the spread seen."""
        fixed = fixed_confidence(confidence, until_decided)
        return means.further_questions(self.mean(), self.size(margin), fixed)

    def questions_needed(self, margin: Margin, power: float, confidence: float) -> tuple[int, int]:
        """At the standard deviation seen, and at the upper end of its chi-squared interval."""
        found = self.mean()
        degrees = max(found.clusters - 1, 1)
        deviation = found.standard_error * math.sqrt(found.clusters)
        if not math.isfinite(deviation):
            raise ValueError("one question or passage says nothing of the spread")
        most = deviation * math.sqrt(degrees / float(chdtri(degrees, (1 + confidence) / 2)))
        needed, at_most = (
            means.questions_needed(self.size(margin), d, power, confidence)
            for d in (deviation, most)
        )
        share = found.count / found.clusters  # those tests count clusters
        return math.ceil(needed * share), math.ceil(at_most * share)

    def _filled(self, imputed: float) -> MeanInterval:
        """The mean difference, had all unanswered questions this one."""
        filled = np.nan_to_num(self.differences, nan=imputed)
        return mean_interval(filled, self.clusters, weights=self.weights)

    def _shown(self, difference: float) -> float:
        signed = super()._shown(difference)
        if self.metric.kind != "ratio":
            return signed
        with np.errstate(over="ignore"):  # of few clusters, a bound may exceed any float
            return float(np.expm1(signed))
