"""How many questions it takes, before and during a comparison.

The normal approximation n ≈ (z_{1−α} + z_power)²(ψ − Δ²)/(m + Δ)², with discordance ψ, true
difference Δ and margin m, follows J. Nam, "Establishing equivalence of two treatments and sample
size requirements in matched-pairs design", Biometrics 53 (1997), 1422-1430, with the variance under
the alternative for both. It vanishes with the variance, while Tango's test asks for questions even
where no pair is discordant: so never fewer than those whose expected table the test would pass.
"""

import math

from scipy.special import ndtri

from pajamas_eval.statistics.paired import check_table, tango_interval, tango_z
from pajamas_eval.statistics.quantiles import one_sided_z
from pajamas_eval.statistics.verdicts import check_margin


def questions_needed(
    margin: float,
    discordance: float,
    power: float = 0.8,
    confidence: float = 0.95,
    difference: float = 0.0,
) -> int:
    """Number of questions for which `non_inferiority` decides with the wanted power.

    Args:
        margin: Acceptable loss as a proportion, in (0, 1).
        discordance: Share of questions that only one of the models has right (ψ), in [0, 1].
        power: Probability of the verdict, in (0, 1).
        confidence: Of the one-sided test, in (0.5, 1).
        difference: True p(variant) − p(baseline) (Δ), at most ψ in size. Below −margin the verdict
            is "worse", else "no worse".

    Returns:
        The number, at least 1. Without discordance it is the smallest n with z²/(n + z²) ≤ margin.

    Raises:
        ValueError: Also for a difference of exactly −margin, which no number of questions decides.
    """
    check_margin(margin)
    threshold = one_sided_z(confidence)
    _check(discordance, power)
    if not abs(difference) <= discordance:
        raise ValueError(f"difference {difference} exceeds the discordance {discordance}")
    excess = margin + difference
    gains, losses = (discordance + difference) / 2, (discordance - difference) / 2
    z = tango_z(gains, losses, 1, -margin)
    if abs(excess) < 1e-12 or z == 0:
        raise ValueError(f"no number of questions decides on a loss of exactly the margin {margin}")
    variance = discordance - difference**2
    normal = (threshold + float(ndtri(power))) ** 2 * variance / excess**2
    return max(1, _ceil(normal), _ceil((threshold / z) ** 2))


def smallest_margin(
    count: int, discordance: float, power: float = 0.8, confidence: float = 0.95
) -> float:
    """The smallest margin at which a variant without loss would be certified.

    The inverse of `questions_needed` at no difference.

    Args:
        count: Number of questions; none certify nothing, and the margin is 1.
        discordance: Share of questions that only one of the models has right, in [0, 1].
        power: Probability of the verdict "no worse", in (0, 1).
        confidence: Of the one-sided test, in (0.5, 1).

    Returns:
        A proportion, at most 1.
    """
    threshold = one_sided_z(confidence)
    _check(discordance, power)
    if count < 0:
        raise ValueError(f"{count} questions")
    if count == 0:
        return 1.0
    normal = (threshold + float(ndtri(power))) * math.sqrt(discordance / count)
    each = count * discordance / 2
    # The margins that the expected table passes are those below its lower bound.
    return min(1.0, max(normal, -tango_interval(each, each, count, 2 * confidence - 1)[0]))


def further_questions(
    gains: int, losses: int, count: int, margin: float, confidence: float = 0.95
) -> int | None:
    """How many more questions the verdict would take, either way, if the observed rates went on.

    Tango's Z grows with the square root of the questions at given rates, so n · (z/Z)² of them
    reach the normal quantile z. Holds without discordant pairs too.

    Args:
        gains: Questions that only the variant has right.
        losses: Questions that only the baseline has right.
        count: Number of questions so far.
        margin: Acceptable loss as a proportion, in (0, 1).
        confidence: Of the one-sided tests, in (0.5, 1).

    Returns:
        0 where `non_inferiority` has decided. None where no number can be told: no question yet,
        or an observed loss that is the margin itself.
    """
    check_table(gains, losses, count)
    check_margin(margin)
    threshold = one_sided_z(confidence)
    if count == 0:
        return None
    z = abs(tango_z(gains, losses, count, -margin))
    if z >= threshold:
        return 0
    if z < 1e-9:
        return None
    return max(1, _ceil(count * (threshold / z) ** 2) - count)


def check_power(power: float) -> float:
    """Return the power itself, or raise ValueError unless it is a probability in (0, 1)."""
    if not 0 < power < 1:
        raise ValueError(f"power {power} is not in (0, 1)")
    return power


def _ceil(questions: float) -> int:
    # A whole number computed a rounding error too large must not become the next.
    return math.ceil(questions * (1 - 1e-12))


def _check(discordance: float, power: float) -> None:
    if not 0 <= discordance <= 1:
        raise ValueError(f"discordance {discordance} is not in [0, 1]")
    check_power(power)
