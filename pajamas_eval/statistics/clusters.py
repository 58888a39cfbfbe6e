"""Intervals for the mean of scores, some of which may depend on each other."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pajamas_eval.statistics.quantiles import two_sided_t


@dataclass(frozen=True)
class MeanInterval:
    """A mean and what is known of it; all but the counts in the unit of the values."""

    mean: float
    standard_error: float
    lower: float
    upper: float
    count: int
    clusters: int


def group_by(clusters: Sequence[Hashable]) -> list[NDArray[np.intp]]:
    """Partition positions by equal labels.

    The one place that decides what a cluster or a stratum is.

    Args:
        clusters: A label for each value.

    Returns:
        For each distinct label, in order of first appearance, the ascending positions that bear it.
    """
    members: dict[Hashable, list[int]] = {}
    for position, label in enumerate(clusters):
        members.setdefault(label, []).append(position)
    return [np.array(positions, dtype=np.intp) for positions in members.values()]


def mean_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    weights: ArrayLike | None = None,
) -> MeanInterval:
    """Student's t interval for a mean, with clustered standard errors where values share a cluster.

    The mean is x̄ = Σ w_i x_i / Σ w_i, and SE² = G/(G − 1) · Σ_g (Σ_{i∈g} w_i (x_i − x̄))² / (Σ w_i)²
    over G clusters, with t of G − 1 degrees of freedom. With equal weights, and every value its own
    cluster, this is the ordinary standard error of a mean.

    Source: E. Miller, "Adding Error Bars to Evals", arXiv:2411.00640, section 2.2; with weights it
    is the linearised variance of a ratio of two sums, Σ w x to Σ w (W. G. Cochran, "Sampling
    Techniques", 3rd edition, Wiley 1977, chapter 6), so that the weights count as observed along
    with the values; the factor G/(G − 1) and the degrees of freedom are those usual for few
    clusters (A. C. Cameron, D. L. Miller, "A Practitioner's Guide to Cluster-Robust Inference",
    Journal of Human Resources 50, 2015).

    For two models on the same questions, pass the differences of their scores. Where these are
    right or wrong, `tango_interval` is the better: it does not take few flips for none.

    Args:
        values: Shape (n,), any unit. Infinite values are allowed, NaN is not.
        clusters: A label for each value, equal for values that depend on each other (questions on
            one passage, windows of one document); None where all are independent.
        confidence: Coverage, in (0, 1).
        weights: Shape (n,), above 0 and finite, any unit: how much of the whole each value stands
            for (words of a document, say). None where all count the same.

    Returns:
        The mean over values (large clusters weigh more) and its interval. A mean of no values is
        NaN. Its error is unknown, and the interval everything, for fewer than two clusters and for
        a mean that is not finite. Values that are all equal show no spread, and the interval is
        that point.

    Raises:
        ValueError: For NaN, another shape, labels or weights that are not as many as the values,
            or a weight that is not a positive number.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or np.isnan(scores).any():
        raise ValueError(f"not a row of numbers: shape {scores.shape}, or NaN among the values")
    count = len(scores)
    if clusters is not None and len(clusters) != count:
        raise ValueError(f"{len(clusters)} cluster labels for {count} values")
    shares = _weights(weights, count)
    total = float(shares.sum())
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is NaN
        mean = float((shares * scores).sum()) / total if count else math.nan
        sums = shares * (scores - mean)
    if clusters is not None:
        sums = np.array([sums[group].sum() for group in group_by(clusters)])
    independent = len(sums)
    t = two_sided_t(confidence, max(independent - 1, 1))
    if independent < 2 or not math.isfinite(mean):
        return MeanInterval(mean, math.inf, -math.inf, math.inf, count, independent)
    error = math.sqrt(independent / (independent - 1) * float(sums @ sums)) / total
    return MeanInterval(mean, error, mean - t * error, mean + t * error, count, independent)


def _weights(weights: ArrayLike | None, count: int) -> NDArray[np.float64]:
    if weights is None:
        return np.ones(count)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (count,):
        raise ValueError(f"weights of shape {given.shape} for {count} values")
    if not ((given > 0) & np.isfinite(given)).all():
        raise ValueError("weights must be positive numbers")
    return given
