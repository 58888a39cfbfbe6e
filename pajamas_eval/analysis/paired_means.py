"""Two models' scores on the same questions, or their ratios: Student's paired t, clustered."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from pajamas_eval.analysis.paired_binary import sequential_p_worse
from pajamas_eval.analysis.pairs import Estimate, Pairs, fixed_confidence
from pajamas_eval.api.metrics import Margin
from pajamas_eval.statistics import means
from pajamas_eval.statistics.clusters import MeanInterval, mean_interval
from pajamas_eval.statistics.sequential import sequential_verdict
from pajamas_eval.statistics.verdicts import Verdict


@dataclass(frozen=True, kw_only=True)
class PairedMeans(Pairs):
    """Pairs of a metric of kind `mean` or `ratio`; the latter's differences are of logarithms."""

    @property
    def can_be_filled(self) -> bool:
        """Whether a difference has a largest size, which an unanswered question may have had."""
        return self.metric.is_proportion or not self.unanswered

    def interval(self, confidence: float) -> MeanInterval:
        """The mean difference over the questions that both answered, better above 0."""
        known = ~np.isnan(self.differences)
        clusters = [c for c, answered in zip(self.clusters, known, strict=True) if answered]
        return mean_interval(self.differences[known], clusters, confidence, self.weights[known])

    def estimate(self, confidence: float) -> Estimate:
        """The mean difference in the metric's unit, or the relative change of a ratio."""
        found = self.interval(confidence)
        if not found.count:
            return 0.0, None, None
        known = math.isfinite(found.lower) and math.isfinite(found.upper)
        bounds = sorted(map(self._shown, (found.lower, found.upper))) if known else (None, None)
        return self._shown(found.mean), bounds[0], bounds[1]

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Student's, with unanswered questions as the largest losses and gains there can be."""
        if not self.can_be_filled:
            return -math.inf, math.inf
        least, most = (
            self._filled(np.nan_to_num(self.differences, nan=imputed), 2 * confidence - 1)
            for imputed in (-1.0, 1.0)
        )
        lower, upper = sorted(map(self._shown, (least.lower, most.upper)))
        return lower, upper

    def p_different(self) -> float:
        """Student's paired t test."""
        return means.paired_t_p(self.interval(0.95))

    def verdict(self, margin: Margin, confidence: float, *, until_decided: bool) -> Verdict:
        """Student's test, or bets and Student's test where questions were asked until it was known.

        Questions that were not answered count as the largest loss against "no worse", and as the
        largest gain against "worse"; where no size is the largest, nothing is decided.
        """
        if not self.can_be_filled:
            return Verdict.UNDECIDED
        fixed = fixed_confidence(confidence, until_decided)
        for imputed, wanted in ((-1.0, Verdict.NO_WORSE), (1.0, Verdict.WORSE)):
            filled = np.nan_to_num(self.differences, nan=imputed)
            found = Verdict.UNDECIDED
            if until_decided:
                found, _ = sequential_verdict(filled, margin.size, confidence)
            if found is Verdict.UNDECIDED and (not until_decided or len(filled) >= self.planned):
                interval = self._filled(filled)
                found = means.non_inferiority(interval, margin.size, fixed)
            if found is wanted:
                return found
        return Verdict.UNDECIDED

    def p_worse(self, margin: Margin, *, until_decided: bool) -> float:
        """Student's, or what is left of it where one may have stopped asking at any question."""
        if not self.can_be_filled:
            return 1.0
        interval = self._filled(np.nan_to_num(self.differences, nan=1.0))
        fixed = means.p_worse(interval, margin.size)
        if not until_decided:
            return fixed
        return sequential_p_worse(self.differences, self.planned, margin.size, fixed)

    def margin_of(self, count: int, power: float, confidence: float) -> float | None:
        """At the spread seen; nothing where none was, or where no margin would be certified."""
        found = self.interval(confidence)
        if not math.isfinite(found.standard_error):
            return None
        share = count / found.count
        clusters = max(2, round(found.clusters * share))
        error = found.standard_error / math.sqrt(share)
        size = means.smallest_margin(clusters, error, power, confidence)
        if not math.isfinite(size):
            return None
        return math.expm1(size) if self.metric.kind == "ratio" else size

    def further_questions(
        self, margin: Margin, confidence: float, *, until_decided: bool
    ) -> int | None:
        """At the mean and the spread seen."""
        fixed = fixed_confidence(confidence, until_decided)
        return means.further_questions(self.interval(confidence), margin.size, fixed)

    def questions_needed(self, margin: Margin, power: float, confidence: float) -> tuple[int, int]:
        """At the standard deviation seen, and at the upper end of its chi-squared interval."""
        found = self.interval(confidence)
        degrees = max(found.clusters - 1, 1)
        deviation = found.standard_error * math.sqrt(found.clusters)
        if not math.isfinite(deviation):
            raise ValueError("one question or passage says nothing of the spread")
        most = deviation * math.sqrt(degrees / float(chdtri(degrees, (1 + confidence) / 2)))
        needed, at_most = (
            means.questions_needed(margin.size, d, power, confidence) for d in (deviation, most)
        )
        share = found.count / found.clusters  # those tests count clusters
        return math.ceil(needed * share), math.ceil(at_most * share)

    def _filled(self, filled: NDArray[np.float64], confidence: float = 0.95) -> MeanInterval:
        return mean_interval(filled, self.clusters, confidence, self.weights)

    def _shown(self, difference: float) -> float:
        signed = self.metric.sign * difference
        return math.expm1(signed) if self.metric.kind == "ratio" else signed
