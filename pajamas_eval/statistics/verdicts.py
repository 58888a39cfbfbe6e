"""Is a variant no worse than its baseline, within a margin? Tests on one table of pairs.

Both one-sided tests are Tango's score test at the difference −margin: T. Tango, Statistics in
Medicine 17 (1998), 891-908. A verdict is wrong with a probability of at most about 1 − confidence.
"""

from enum import StrEnum

from scipy.special import ndtr

from pajamas_eval.statistics.paired import check_table, tango_z
from pajamas_eval.statistics.quantiles import one_sided_z


class Verdict(StrEnum):
    """What the questions prove about a variant, at a margin and a confidence."""

    NO_WORSE = "no worse"
    """It loses less than the margin."""
    WORSE = "worse"
    """It loses more than the margin."""
    UNDECIDED = "undecided"
    """Neither is proven."""
    EQUIVALENT = "equivalent"
    """It loses and gains less than the margin; told only where equivalence is asked for."""
    BETTER = "better"
    """It gains more than the margin, so that it is not equivalent; told likewise."""
    CANNOT_TELL = "cannot tell"
    """The baseline is not proven better than guessing by more than the margin, so that a model that
    lost as much could not be told from it."""


def non_inferiority(
    gains: int, losses: int, count: int, margin: float, confidence: float = 0.95
) -> Verdict:
    """Decide whether the loss is below the margin, above it, or cannot be told.

    No worse if Z(−margin) ≥ z, worse if Z(−margin) ≤ −z, with z the one-sided normal quantile.

    Args:
        gains: Questions that only the variant has right.
        losses: Questions that only the baseline has right.
        count: Number of questions; none decide nothing.
        margin: Acceptable loss as a proportion (one point is 0.01), in (0, 1).
        confidence: Of each one-sided test, in (0.5, 1).
    """
    z, threshold = _z(gains, losses, count, -check_margin(margin)), one_sided_z(confidence)
    if z >= threshold:
        return Verdict.NO_WORSE
    return Verdict.WORSE if z <= -threshold else Verdict.UNDECIDED


def verdict_of_bounds(lower: float, upper: float, margin: float) -> Verdict:
    """The verdict that is read from one-sided bounds of a difference, a gain being positive.

    Of Tango's interval at `two_sided(confidence)` it is that of `non_inferiority`, which inverts
    the same test.

    Args:
        lower, upper: In the margin's unit.
        margin: Acceptable loss, above 0.
    """
    if lower >= -margin:
        return Verdict.NO_WORSE
    return Verdict.WORSE if upper <= -margin else Verdict.UNDECIDED


def equivalence_of_bounds(lower: float, upper: float, margin: float) -> Verdict:
    """The verdict on equivalence that is read from one-sided bounds of a difference.

    Two one-sided tests, of which each holds at the bounds' confidence, as in `equivalence`.
    Arguments as for `verdict_of_bounds`.
    """
    if -margin <= lower and upper <= margin:
        return Verdict.EQUIVALENT
    if lower >= margin:
        return Verdict.BETTER
    return Verdict.WORSE if upper <= -margin else Verdict.UNDECIDED


def p_no_worse(gains: int, losses: int, count: int, margin: float) -> float:
    """P-value against "the loss is the margin or more": small where the variant is no worse.

    Arguments as for `non_inferiority`; without questions it is 1.
    """
    z = _z(gains, losses, count, -check_margin(margin))
    return float(ndtr(-z)) if count else 1.0


def p_worse(gains: int, losses: int, count: int, margin: float) -> float:
    """P-value against "the loss is the margin or less": small where the variant is worse.

    This is what to correct by `holm` to say which of many tasks regressed. Arguments as for
    `non_inferiority`; without questions it is 1.
    """
    z = _z(gains, losses, count, -check_margin(margin))
    return float(ndtr(z)) if count else 1.0


def equivalence(
    gains: int, losses: int, count: int, margin: float, confidence: float = 0.95
) -> bool:
    """Whether the difference is proven to lie within ±margin.

    Two one-sided tests, both of which must reject at 1 − confidence; no correction is needed
    (D. J. Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987), 657-680).

    Arguments as for `non_inferiority`. False means "not proven", not "different".
    """
    threshold = one_sided_z(confidence)
    check_margin(margin)
    return (
        _z(gains, losses, count, -margin) >= threshold
        and _z(gains, losses, count, margin) <= -threshold
    )


def check_margin(margin: float) -> float:
    """Return the margin itself, or raise ValueError unless it is a proportion in (0, 1)."""
    if not 0 < margin < 1:
        raise ValueError(f"margin {margin} is not a proportion in (0, 1); one point is 0.01")
    return margin


def _z(gains: int, losses: int, count: int, difference: float) -> float:
    check_table(gains, losses, count)
    # Without questions nothing speaks for either side.
    return tango_z(gains, losses, count, difference) if count else 0.0
