"""Two models right or wrong on the same questions: flips, Tango's interval, McNemar's test."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.analysis.pairs import Bounds, Pairs, fixed_confidence
from pajamas_eval.api.metrics import Margin
from pajamas_eval.statistics.paired import mcnemar_p, tango_interval
from pajamas_eval.statistics.planning import further_questions, questions_needed, smallest_margin
from pajamas_eval.statistics.proportions import wilson_interval
from pajamas_eval.statistics.quantiles import two_sided
from pajamas_eval.statistics.sequential import (
    SEQUENTIAL_SHARE,
    final_verdict,
    log_wealths,
    sequential_verdict,
)
from pajamas_eval.statistics.verdicts import Verdict, p_worse


@dataclass(frozen=True, kw_only=True)
class PairedBinary(Pairs):
    """Pairs of a metric that is 0 or 1."""

    @property
    def flip_rate(self) -> float:
        """Questions that only one of the two has right, as a proportion."""
        return (self.gains + self.losses) / self.count if self.count else 0.0

    def flip_interval(self, confidence: float) -> tuple[float, float]:
        """Wilson's interval of the flip rate."""
        return wilson_interval(self.gains + self.losses, self.count, confidence)

    def estimate(self) -> float:
        """The difference of two proportions."""
        return self._shown((self.gains - self.losses) / self.count) if self.count else 0.0

    def bounds(self, margin: Margin | None, confidence: float) -> Bounds:
        """Tango's, with unanswered questions as losses and as gains."""
        gains, losses, unanswered = self.gains, self.losses, self.unanswered
        total, both_sides = self.count + unanswered, two_sided(confidence)
        lower, _ = tango_interval(gains, losses + unanswered, total, both_sides)
        _, upper = tango_interval(gains + unanswered, losses, total, both_sides)
        return lower, upper

    def p_different(self) -> float:
        """McNemar's exact test."""
        return mcnemar_p(self.gains, self.losses)

    def verdict_until_decided(self, margin: Margin, confidence: float) -> Verdict:
        """By bets, and Tango's test."""
        return verdict_until_decided(self.differences, self.planned, self.size(margin), confidence)

    def p_worse(self, margin: Margin, *, until_decided: bool) -> float:
        """Tango's, or what is left of it where one may have stopped asking at any question.

        The inverse of the largest wealth of a bet on it (Ville's inequality), and the fixed test's
        once all questions were asked, each at its share of the error. What could not be answered
        counts as a gain, as it does for the verdict: a loss that is not proven must be no step of
        Holm's correction either.
        """
        gains, count = self.gains + self.unanswered, self.count + self.unanswered
        fixed = p_worse(gains, self.losses, count, self.size(margin))
        if not until_decided:
            return fixed
        return sequential_p_worse(self.differences, self.planned, self.size(margin), fixed)

    def margin_of(self, count: int, power: float, confidence: float) -> float | None:
        """At the flip rate seen."""
        return smallest_margin(count, self.flip_rate, power, confidence)

    def further_questions(
        self, margin: Margin, confidence: float, *, until_decided: bool
    ) -> int | None:
        """At the rates of gains and losses seen."""
        fixed = fixed_confidence(confidence, until_decided)
        return further_questions(self.gains, self.losses, self.count, self.size(margin), fixed)

    def questions_needed(self, margin: Margin, power: float, confidence: float) -> tuple[int, int]:
        """At the flip rate seen, and at the upper end of its interval."""
        _, upper = self.flip_interval(confidence)
        rates = self.flip_rate, upper
        needed, at_most = (questions_needed(self.size(margin), r, power, confidence) for r in rates)
        return needed, at_most


def verdict_until_decided(
    differences: NDArray[np.float64],
    planned: int,
    margin: float,
    confidence: float,
) -> Verdict:
    """The verdict of questions asked one after the other; NaN where one could not be answered.

    What could not be answered counts as a loss against "no worse" and as a gain against "worse".
    Once all planned questions are asked, the fixed test has the last word, at its own share of
    the error.
    """
    for imputed, wanted in ((-1.0, Verdict.NO_WORSE), (1.0, Verdict.WORSE)):
        filled = np.nan_to_num(differences, nan=imputed)
        verdict, _ = sequential_verdict(filled, margin, confidence)
        if verdict is Verdict.UNDECIDED and len(filled) >= planned:
            gains, losses = int((filled > 0).sum()), int((filled < 0).sum())
            verdict = final_verdict(gains, losses, len(filled), margin, confidence)
        if verdict is wanted:
            return verdict
    return Verdict.UNDECIDED


def sequential_p_worse(
    differences: NDArray[np.float64], planned: int, margin: float, fixed: float
) -> float:
    """P-value whenever one stopped asking; `fixed` is that of the test over all questions."""
    _, wealths = log_wealths(np.nan_to_num(differences, nan=1.0), margin)
    p = math.exp(-max(0.0, wealths.max(initial=0.0))) / SEQUENTIAL_SHARE
    if len(differences) >= planned:
        p = min(p, fixed / (1 - SEQUENTIAL_SHARE))
    return min(p, 1.0)
