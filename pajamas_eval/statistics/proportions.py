"""Intervals for one proportion."""

import math

from pajamas_eval.statistics.quantiles import two_sided_z


def wilson_interval(successes: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a binomial proportion.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927): the proportions p with |p̂ − p| ≤ z √(p(1 − p)/n).

    Args:
        successes: Number of successes, 0 to `count`.
        count: Number of trials; with none, nothing is known and the interval is (0, 1).
        confidence: Coverage, in (0, 1).

    Returns:
        Lower and upper bound, as proportions.
    """
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} successes in {count} trials")
    z = two_sided_z(confidence)
    if count == 0:
        return 0.0, 1.0
    p = successes / count
    scale = 1 + z * z / count
    center = (p + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    # At the ends the bound is the end itself; rounding must not leave a trace there.
    lower = 0.0 if successes == 0 else center - half
    upper = 1.0 if successes == count else center + half
    return lower, upper
