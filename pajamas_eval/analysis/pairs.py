"""Two models' answers to the same questions, and the verdict on them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.results.document import AnswerRecord, AnswerSet
from pajamas_eval.statistics.sequential import final_verdict, sequential_verdict
from pajamas_eval.statistics.verdicts import Verdict, non_inferiority


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What two models answered to the same questions, in the order asked.

    Attributes:
        differences: Variant minus baseline where both answered, NaN where one could not.
        planned: Questions that a full run asks.
    """

    differences: NDArray[np.float64]
    planned: int

    @property
    def gains(self) -> int:
        """Questions that only the variant has right."""
        return int((self.differences > 0).sum())

    @property
    def losses(self) -> int:
        """Questions that only the baseline has right."""
        return int((self.differences < 0).sum())

    @property
    def unanswered(self) -> int:
        """Questions that one of the two could not answer."""
        return int(np.isnan(self.differences).sum())

    @property
    def count(self) -> int:
        """Questions that both answered."""
        return len(self.differences) - self.unanswered


def verdict_with_unanswered(
    gains: int, losses: int, unanswered: int, count: int, margin: float, confidence: float
) -> Verdict:
    """The verdict that holds whatever the unanswered questions would have shown.

    Args:
        gains, losses: Among the `count` questions that both answered.
        unanswered: Questions that one could not answer, in addition to `count`.
        margin: As a proportion.
        confidence: In (0, 1).
    """
    total = count + unanswered
    if non_inferiority(gains, losses + unanswered, total, margin, confidence) is Verdict.NO_WORSE:
        return Verdict.NO_WORSE
    if non_inferiority(gains + unanswered, losses, total, margin, confidence) is Verdict.WORSE:
        return Verdict.WORSE
    return Verdict.UNDECIDED


def until_decided(
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


def paired_differences(baseline: AnswerSet, variant: AnswerSet, metric: str) -> NDArray[np.float64]:
    """Variant minus baseline in the order asked; NaN where one of the two could not answer."""
    asked = both_asked(baseline, variant)
    return np.array(
        [
            ours.scores[metric] - theirs.scores[metric]
            if ours.error is None and theirs.error is None
            else np.nan
            for theirs, ours in asked
        ],
        np.float64,
    )


def both_asked(
    baseline: AnswerSet, variant: AnswerSet
) -> Iterator[tuple[AnswerRecord, AnswerRecord]]:
    """The baseline's and the variant's answer to each question that both were asked."""
    theirs = {a.doc_id: a for a in baseline.answers}
    for ours in variant.answers:
        if ours.doc_id in theirs:
            yield theirs[ours.doc_id], ours
