"""The difference of two models on the same questions."""

import math

from scipy.optimize import brentq
from scipy.special import ndtri


def tango_z(gains: int, losses: int, count: int, difference: float) -> float:
    """Tango's score statistic for a hypothetical paired difference; falls as the latter grows.

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design", Statistics in Medicine 17 (1998), 891-908.

    Args:
        gains: Questions that only the second model has right (c).
        losses: Questions that only the first model has right (b).
        count: Number of questions (n), at least 1.
        difference: Hypothetical p(second) − p(first), in [−1, 1].

    Returns:
        Z = (c − b − nδ) / √(n(2q̃ + δ(1 − δ))), with q̃ the restricted maximum-likelihood estimate
        of the probability of a loss. Without discordant pairs and at δ = 0 it is 0; where the
        variance vanishes otherwise it is infinite, with the numerator's sign.
    """
    numerator = gains - losses - count * difference
    a = 2 * count
    b = -(gains + losses) + difference * (2 * count + losses - gains)
    c = -losses * difference * (1 - difference)
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    # The larger root, in the form that does not cancel.
    q = (root - b) / (2 * a) if b <= 0 else (-2 * c / (b + root) if b + root else 0.0)
    variance = count * (2 * q + difference * (1 - difference))
    if variance <= 1e-12 * count:
        return math.copysign(math.inf, numerator) if abs(numerator) > 1e-9 else 0.0
    return numerator / math.sqrt(variance)


def tango_interval(
    gains: int, losses: int, count: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval for the paired difference of two proportions.

    Source: as `tango_z`; the interval holds every difference whose |Z| is at most the normal
    quantile.

    Args:
        gains: Questions that only the second model has right.
        losses: Questions that only the first model has right.
        count: Number of questions; with none, nothing is known and the interval is (−1, 1).
        confidence: Coverage, in (0, 1).

    Returns:
        Lower and upper bound of p(second) − p(first), as proportions.
    """
    if min(gains, losses) < 0 or gains + losses > count:
        raise ValueError(f"{gains} gains and {losses} losses in {count} questions")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not in (0, 1)")
    if count == 0:
        return -1.0, 1.0
    z = float(ndtri((1 + confidence) / 2))
    estimate = (gains - losses) / count

    def bound(end: float, target: float) -> float:
        def excess(difference: float) -> float:
            # A root-finder needs finite values; beyond 1e6 only the sign matters.
            value = tango_z(gains, losses, count, difference)
            return max(min(value, 1e6), -1e6) - target

        # Z is 0 at the estimate and decreasing, so the end either brackets the root or is it.
        if estimate == end or (excess(end) > 0) == (excess(estimate) > 0):
            return end
        return float(brentq(excess, end, estimate, xtol=1e-12))

    return bound(-1.0, z), bound(1.0, -z)
