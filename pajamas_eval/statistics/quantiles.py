"""Quantiles by confidence, which is checked here and nowhere else."""

from scipy.special import ndtri, stdtrit


def two_sided_z(confidence: float) -> float:
    """The z with P(|N| ≤ z) = confidence, in (0, 1), of a standard normal N."""
    return float(ndtri(_tail(confidence)))


def two_sided_t(confidence: float, degrees_of_freedom: int) -> float:
    """The t with P(|T| ≤ t) = confidence, in (0, 1), of Student's T; at least one degree."""
    return float(stdtrit(degrees_of_freedom, _tail(confidence)))


def one_sided_z(confidence: float) -> float:
    """The z with P(N ≤ z) = confidence, in (0.5, 1), of a standard normal N."""
    return -float(ndtri(error_rate(confidence)))


def one_sided_t(confidence: float, degrees_of_freedom: int) -> float:
    """The t with P(T ≤ t) = confidence, in (0.5, 1), of Student's T; at least one degree."""
    return -float(stdtrit(degrees_of_freedom, error_rate(confidence)))


def two_sided(confidence: float) -> float:
    """Of the interval whose ends are one-sided bounds at this confidence: 90 % of 95 %."""
    return round(2 * confidence - 1, 12)


def error_rate(confidence: float) -> float:
    """The α = 1 − confidence of a one-sided test; at a half both sides would be proven at once."""
    if not 0.5 < confidence < 1:
        raise ValueError(f"confidence {confidence} of a one-sided test is not in (0.5, 1)")
    return 1 - confidence


def _tail(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not in (0, 1)")
    return (1 + confidence) / 2
