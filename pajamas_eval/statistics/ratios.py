"""Figures of which ratios matter, such as perplexities: their logarithms are averaged."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pajamas_eval.statistics.clusters import MeanInterval, mean_interval


def geometric_mean_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    weights: ArrayLike | None = None,
) -> MeanInterval:
    """The geometric mean exp(Σ w_i ln v_i / Σ w_i), and the t interval of its logarithm.

    The perplexity of a corpus is the geometric mean of its documents' exp(nll/words), with their
    words for weights: exp(Σ nll / Σ words). With bytes for words it is the perplexity per byte.

    Source: as `mean_interval`, of the logarithms. The standard error is carried over by the delta
    method: the mean times that of the logarithm.

    Args:
        values: Shape (n,), above 0, any unit.
        clusters, confidence, weights: As for `mean_interval`.

    Returns:
        As `mean_interval`, in the unit of the values; what is not known at all has the interval
        (0, ∞).

    Raises:
        ValueError: As `mean_interval`, and for values that are not above 0.
    """
    positive = np.asarray(values, dtype=np.float64)
    if not (positive > 0).all():
        raise ValueError("a geometric mean of values that are not all above 0, or are NaN")
    logs = mean_interval(np.log(positive), clusters, confidence, weights)
    with np.errstate(over="ignore"):  # with few clusters, the upper bound may exceed any float
        mean, lower, upper = np.exp([logs.mean, logs.lower, logs.upper]).tolist()
    known = math.isfinite(logs.standard_error)
    error = mean * logs.standard_error if known else math.inf
    return MeanInterval(mean, error, lower, upper, logs.count, logs.clusters)


def log_ratios(variant: ArrayLike, baseline: ArrayLike) -> NDArray[np.float64]:
    """ln(variant) − ln(baseline) for each document, above 0 where the variant's figure is larger.

    Their mean m, weighted by words for word perplexities, is the logarithm of the ratio of both
    corpus perplexities, so expm1(m) is the relative change, and a margin of a relative growth r is
    one of log1p(r). Where less is better, the tests take minus these.

    Args:
        variant, baseline: Shape (n,) each, in one unit, above 0 and finite.

    Raises:
        ValueError: For other shapes or values.
    """
    ours, theirs = np.asarray(variant, np.float64), np.asarray(baseline, np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape:
        raise ValueError(f"not two rows of as many values: shapes {ours.shape}, {theirs.shape}")
    if not all(((row > 0) & np.isfinite(row)).all() for row in (ours, theirs)):
        raise ValueError("ratios of values that are not all above 0 and finite")
    return np.log(ours) - np.log(theirs)
