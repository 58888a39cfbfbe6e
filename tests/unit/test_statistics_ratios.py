"""Geometric means and log ratios: perplexities of a corpus, and how two of them compare."""

import math

import numpy as np
import pytest
from scipy.stats import gmean
from statsmodels.regression.linear_model import WLS

from pajamas_eval.statistics.clusters import mean_interval
from pajamas_eval.statistics.ratios import geometric_mean_interval, log_ratios

GENERATOR = np.random.default_rng(11)
WORDS = GENERATOR.integers(20, 4000, size=62)
NATS = WORDS * GENERATOR.normal(3.0, 0.4, size=62)
"""Negative log-likelihood of each document."""
PERPLEXITIES = np.exp(NATS / WORDS)


def test_the_perplexity_of_a_corpus_is_that_of_its_words() -> None:
    ours = geometric_mean_interval(PERPLEXITIES, weights=WORDS)
    assert ours.mean == pytest.approx(math.exp(NATS.sum() / WORDS.sum()), rel=1e-12)
    assert ours.mean == pytest.approx(gmean(PERPLEXITIES, weights=WORDS), rel=1e-12)
    assert ours.mean != pytest.approx(gmean(PERPLEXITIES), rel=1e-3)


def test_its_interval_is_that_of_the_logarithm() -> None:
    fit = WLS(np.log(PERPLEXITIES), np.ones(62), weights=WORDS).fit(cov_type="HC1", use_t=True)
    ours = geometric_mean_interval(PERPLEXITIES, confidence=0.9, weights=WORDS)
    theirs = np.exp(fit.conf_int(0.1)[0])
    assert (ours.lower, ours.upper) == pytest.approx(tuple(theirs), rel=1e-12)
    assert ours.standard_error == pytest.approx(ours.mean * float(fit.bse[0]), rel=1e-12)
    assert (ours.count, ours.clusters) == (62, 62)


def test_windows_of_one_document_are_one_cluster() -> None:
    labels = [i // 4 for i in range(62)]
    clustered = geometric_mean_interval(PERPLEXITIES, labels, weights=WORDS)
    expected = mean_interval(np.log(PERPLEXITIES), labels, weights=WORDS)
    assert (clustered.lower, clustered.upper) == (
        math.exp(expected.lower),
        math.exp(expected.upper),
    )
    assert clustered.clusters == 16


def test_what_is_not_known_lies_between_nothing_and_infinity() -> None:
    nothing, single = geometric_mean_interval([]), geometric_mean_interval([7.0])
    infinite = geometric_mean_interval([7.0, math.inf])
    assert math.isnan(nothing.mean)
    assert single.mean == pytest.approx(7)
    assert infinite.mean == math.inf
    for unknown in (nothing, single, infinite):
        assert (unknown.lower, unknown.upper, unknown.standard_error) == (0, math.inf, math.inf)


def test_an_upper_bound_beyond_any_number_is_infinite() -> None:
    two = geometric_mean_interval([math.exp(5), math.exp(9)], confidence=0.999)
    assert (two.lower, two.upper) == (0.0, math.inf)
    assert two.standard_error == pytest.approx(2 * math.exp(7))


@pytest.mark.parametrize("values", [[1.0, 0.0], [1.0, -2.0], [1.0, math.nan]])
def test_a_geometric_mean_refuses_what_has_no_logarithm(values: list[float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        geometric_mean_interval(values)


def test_the_mean_log_ratio_is_the_relative_change_of_the_corpus_perplexity() -> None:
    variant = PERPLEXITIES * np.exp(GENERATOR.normal(0.02, 0.05, size=62))
    change = math.expm1(mean_interval(log_ratios(variant, PERPLEXITIES), weights=WORDS).mean)
    ours, theirs = (geometric_mean_interval(v, weights=WORDS) for v in (variant, PERPLEXITIES))
    assert change == pytest.approx(ours.mean / theirs.mean - 1, rel=1e-9)
    assert change > 0


def test_log_ratios_turn_around() -> None:
    there, back = log_ratios([1.0, 8.0], [2.0, 4.0]), log_ratios([2.0, 4.0], [1.0, 8.0])
    assert there.tolist() == pytest.approx([-math.log(2), math.log(2)])
    assert back.tolist() == (-there).tolist()
    assert log_ratios([], []).shape == (0,)


@pytest.mark.parametrize(
    ("variant", "baseline", "message"),
    [
        ([1.0, 2.0], [1.0], "shapes"),
        ([[1.0]], [[1.0]], "shapes"),
        ([0.0], [1.0], "above 0"),
        ([1.0], [-1.0], "above 0"),
        ([math.inf], [1.0], "finite"),
        ([1.0], [math.nan], "finite"),
    ],
)
def test_log_ratios_refuse_what_has_none(
    variant: list[float], baseline: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        log_ratios(variant, baseline)
