"""The difference of two models on the same questions."""

import math

from scipy.special import bdtr

from pajamas_eval.statistics.quantiles import two_sided_z


def tango_z(gains: float, losses: float, count: float, difference: float) -> float:
    """Tango's score statistic for a hypothetical paired difference; falls as the latter grows.

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design", Statistics in Medicine 17 (1998), 891-908.

    Args:
        gains: Questions that only the second model has right (c); expected counts may be fractions.
        losses: Questions that only the first model has right (b).
        count: Number of questions (n), above 0.
        difference: Hypothetical p(second) − p(first), in [−1, 1].

    Returns:
        Z = (c − b − nδ) / √(n(2q̃ + δ(1 − δ))), with q̃ the restricted maximum-likelihood estimate
        of the probability of a loss. Without discordant pairs and at δ = 0 it is 0; where the
        variance vanishes otherwise it is infinite, with the numerator's sign. Counts k times as
        large make Z √k times as large.
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
    gains: float, losses: float, count: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval for the paired difference of two proportions.

    Source: as `tango_z`; the interval holds every difference whose |Z| is at most the normal
    quantile.

    Args:
        gains: Questions that only the second model has right; expected counts may be fractions.
        losses: Questions that only the first model has right.
        count: Number of questions; with none, nothing is known and the interval is (−1, 1).
        confidence: Coverage, in (0, 1).

    Returns:
        Lower and upper bound of p(second) − p(first), as proportions.
    """
    check_table(gains, losses, count)
    z = two_sided_z(confidence)
    if count == 0:
        return -1.0, 1.0
    estimate = (gains - losses) / count

    def bound(end: float) -> float:
        # Z is 0 at the estimate and monotone from there to the end. Halving asks for no change of
        # sign, so an interval that reaches the end, or an infinite Z, needs no case of its own.
        outside, inside = end, estimate
        while (middle := (outside + inside) / 2) not in (outside, inside):
            if abs(tango_z(gains, losses, count, middle)) > z:
                outside = middle
            else:
                inside = middle
        return outside

    return bound(-1.0), bound(1.0)


def mcnemar_p(gains: int, losses: int) -> float:
    """McNemar's exact test that gains and losses are equally likely.

    Source: Q. McNemar, Psychometrika 12 (1947), 153-157, in its exact form: the two-sided binomial
    test of the gains among gains + losses at one half.

    Args:
        gains: Questions that only the second model has right.
        losses: Questions that only the first model has right.

    Returns:
        The two-sided p-value. Without discordant pairs nothing speaks against equality: it is 1.
    """
    check_table(gains, losses, gains + losses)
    # At one half the distribution is symmetric, so both tails weigh the same.
    return min(1.0, 2 * float(bdtr(min(gains, losses), gains + losses, 0.5)))


def check_table(gains: float, losses: float, count: float) -> None:
    """Raise ValueError unless `gains` and `losses` can be those of `count` questions."""
    if not (gains >= 0 and losses >= 0 and gains + losses <= count):
        raise ValueError(f"{gains} gains and {losses} losses in {count} questions")
