"""Means of values that stand for unequal parts of the whole: against statsmodels, by definition."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.regression.linear_model import WLS

from pajamas_eval.statistics.clusters import MeanInterval, mean_interval

COUNT = 60
GENERATOR = np.random.default_rng(5)
DIFFERENCES = GENERATOR.normal(-0.02, 0.1, size=COUNT)
WORDS = GENERATOR.integers(20, 4000, size=COUNT).astype(float)
PASSAGES = np.array([i % 7 if i < 40 else i for i in range(COUNT)])


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_weighted_interval_agrees_with_statsmodels(confidence: float) -> None:
    """HC1 multiplies by n/(n − 1) for the one column fitted, as we do, with n − 1 degrees."""
    fit = WLS(DIFFERENCES, np.ones(COUNT), weights=WORDS).fit(cov_type="HC1", use_t=True)
    ours = mean_interval(DIFFERENCES, confidence=confidence, weights=WORDS)
    assert ours.mean == pytest.approx(float(fit.params[0]), rel=1e-12)
    assert ours.standard_error == pytest.approx(float(fit.bse[0]), rel=1e-12)
    theirs = tuple(fit.conf_int(1 - confidence)[0])
    assert (ours.lower, ours.upper) == pytest.approx(theirs, rel=1e-12)


def test_weighted_clustered_interval_agrees_with_statsmodels() -> None:
    """Its default correction for clusters is G/(G − 1) · (n − 1)/(n − k) for k columns. With k = 1
    the second factor is 1, and the degrees of freedom are G − 1, as ours."""
    for weights in (np.ones(COUNT), WORDS):
        fit = WLS(DIFFERENCES, np.ones(COUNT), weights=weights).fit(
            cov_type="cluster", cov_kwds={"groups": PASSAGES}, use_t=True
        )
        ours = mean_interval(DIFFERENCES, PASSAGES.tolist(), weights=weights)
        assert ours.standard_error == pytest.approx(float(fit.bse[0]), rel=1e-12)
        assert (ours.lower, ours.upper) == pytest.approx(tuple(fit.conf_int()[0]), rel=1e-12)


def test_words_are_no_precision() -> None:
    """Least squares would trust a document of many words more; its error is another one."""
    fit = WLS(DIFFERENCES, np.ones(COUNT), weights=WORDS).fit()
    ours = mean_interval(DIFFERENCES, weights=WORDS)
    assert ours.mean == pytest.approx(float(fit.params[0]))
    assert ours.standard_error != pytest.approx(float(fit.bse[0]), rel=0.01)


def test_equal_weights_are_none() -> None:
    assert mean_interval(DIFFERENCES, weights=np.ones(COUNT)) == mean_interval(DIFFERENCES)


def test_a_weight_of_three_is_three_equal_values_in_one_cluster() -> None:
    times = GENERATOR.integers(1, 4, size=COUNT)
    weighted = mean_interval(DIFFERENCES, weights=times)
    repeated = mean_interval(np.repeat(DIFFERENCES, times), np.repeat(range(COUNT), times).tolist())
    assert repeated.count == times.sum()
    assert replace(repeated, count=COUNT) == approx(weighted)


def test_a_cluster_is_its_weighted_mean_with_all_its_weight() -> None:
    groups = [np.flatnonzero(label == PASSAGES) for label in np.unique(PASSAGES)]
    whole = mean_interval(DIFFERENCES, PASSAGES.tolist(), weights=WORDS)
    merged = mean_interval(
        [np.average(DIFFERENCES[g], weights=WORDS[g]) for g in groups],
        weights=[WORDS[g].sum() for g in groups],
    )
    assert replace(whole, count=len(groups)) == approx(merged)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "shape"),
        ([[1.0, 2.0]], "shape"),
        ([1.0, 0.0], "positive"),
        ([1.0, -1.0], "positive"),
        ([1.0, math.nan], "positive"),
        ([1.0, math.inf], "positive"),
    ],
)
def test_weights_must_be_positive_and_as_many_as_the_values(
    weights: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mean_interval([0.1, 0.2], weights=weights)


@settings(deadline=None)
@given(
    st.integers(3, 30),
    st.integers(2, 30),
    st.integers(0, 10_000),
    st.floats(-5, 5),
    st.floats(0.01, 100),
)
def test_an_interval_moves_stretches_and_forgets_order_and_unit(
    count: int, groups: int, seed: int, shift: float, factor: float
) -> None:
    generator = np.random.default_rng(seed)
    values, weights = generator.normal(size=count), generator.lognormal(size=count)
    clusters = generator.integers(0, groups, size=count)
    assume(len(set(clusters)) > 1)
    ours = mean_interval(values, clusters.tolist(), weights=weights)
    moved = mean_interval(values * factor + shift, clusters.tolist(), weights=weights * 7)
    expected = [shift + factor * x for x in (ours.mean, ours.lower, ours.upper)]
    assert [moved.mean, moved.lower, moved.upper] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert moved.standard_error == pytest.approx(factor * ours.standard_error, rel=1e-9, abs=1e-12)
    order = generator.permutation(count)
    shuffled = mean_interval(values[order], clusters[order].tolist(), weights=weights[order])
    assert shuffled == approx(ours)


def approx(interval: MeanInterval) -> MeanInterval:
    """To compare with: equal to within rounding."""
    figures = {
        name: pytest.approx(getattr(interval, name), rel=1e-9, abs=1e-12)
        for name in ("mean", "standard_error", "lower", "upper")
    }
    return replace(interval, **figures)
