"""Intervals and tests against scipy and statsmodels, against published values, by definition."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm, sem, ttest_1samp
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from pajamas_eval.statistics.clusters import group_by, mean_interval
from pajamas_eval.statistics.paired import mcnemar_p, tango_interval, tango_z
from pajamas_eval.statistics.proportions import wilson_interval

confidences = st.floats(0.01, 0.999)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int]:
    """Gains, losses, questions."""
    count = draw(st.integers(1, 20_000))
    gains = draw(st.integers(0, count))
    return gains, draw(st.integers(0, count - gains)), count


# -- Wilson --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 7, 50, 200, 1319, 14042])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_agrees_with_scipy_and_statsmodels(count: int, confidence: float) -> None:
    for successes in {0, 1, count // 3, count // 2, count - 1, count}:
        theirs = binomtest(successes, count).proportion_ci(confidence, method="wilson")
        ours = wilson_interval(successes, count, confidence)
        assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)
        theirs = proportion_confint(successes, count, 1 - confidence, method="wilson")
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_wilson_is_exact_at_the_ends() -> None:
    for count in range(1, 60):
        assert wilson_interval(0, count)[0] == 0.0
        assert wilson_interval(count, count)[1] == 1.0
        assert 0 < wilson_interval(0, count)[1] < 1


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    "arguments", [(-1, 5), (6, 5), (1, 0), (1, 5, 0.0), (1, 5, 1.0), (1, 5, 95)]
)
def test_wilson_refuses_what_is_no_proportion(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"trials|confidence"):
        wilson_interval(*arguments)


# -- Tango ---------------------------------------------------------------------------------

TABLES = [
    (0, 0, 1),
    (1, 0, 1),
    (0, 1, 1),
    (0, 0, 50),
    (3, 0, 50),
    (0, 3, 50),
    (7, 5, 50),
    (50, 0, 50),
    (0, 50, 50),
    (25, 25, 50),
    (1, 1, 14042),
    (140, 260, 14042),
    (0, 14042, 14042),
]
"""Gains, losses, questions."""


@pytest.mark.parametrize(("gains", "losses", "count"), TABLES)
def test_tango_z_vanishes_at_the_estimate(gains: int, losses: int, count: int) -> None:
    assert tango_z(gains, losses, count, (gains - losses) / count) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("gains", "losses", "count"), TABLES)
def test_tango_z_falls_as_the_difference_grows(gains: int, losses: int, count: int) -> None:
    values = [tango_z(gains, losses, count, d) for d in np.linspace(-1, 1, 801)]
    assert all(a > b or a == b == math.inf or a == b == -math.inf for a, b in pairwise(values))
    assert values[0] >= 0 >= values[-1]


def score_statistic(gains: int, losses: int, count: int, difference: float) -> float:
    """Z from the restricted likelihood itself, maximised numerically."""

    def minus_log_likelihood(q: float) -> float:
        same = 1 - 2 * q - difference
        terms = [(losses, q), (gains, q + difference), (count - gains - losses, same)]
        return -sum(n * math.log(p) for n, p in terms if n)

    lowest, highest = max(0.0, -difference), (1 - difference) / 2
    q = minimize_scalar(
        minus_log_likelihood,
        bounds=(lowest + 1e-12, highest - 1e-12),
        method="bounded",
        options={"xatol": 1e-12},
    ).x
    variance = count * (2 * q + difference - difference**2)
    return (gains - losses - count * difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("gains", "losses", "count"), [(3, 1, 50), (7, 5, 50), (2, 9, 21), (60, 80, 1000), (20, 20, 50)]
)
def test_tango_z_is_the_score_statistic_of_the_restricted_likelihood(
    gains: int, losses: int, count: int
) -> None:
    for difference in (-0.6, -0.2, -0.05, -0.01, 0.01, 0.05, 0.3):
        assert tango_z(gains, losses, count, difference) == pytest.approx(
            score_statistic(gains, losses, count, difference), rel=1e-4
        )


def test_tango_z_at_no_difference_is_mcnemars_statistic() -> None:
    assert tango_z(14, 5, 200, 0.0) == pytest.approx((14 - 5) / math.sqrt(14 + 5))


def test_tango_interval_of_a_published_example() -> None:
    """Airway hyper-responsiveness before and after a transplantation.

    M. W. Fagerland, S. Lydersen, P. Laake, "Recommended tests and confidence intervals for paired
    binomial proportions", Statistics in Medicine 33 (2014), 2850-2875: 21 children, 1 discordant
    pair one way and 7 the other; Tango's interval is −0.517 to −0.026.
    """
    assert tango_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("gains", "losses", "count"), TABLES)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_tango_interval_ends_where_z_is_the_normal_quantile(
    gains: int, losses: int, count: int, confidence: float
) -> None:
    z = norm.ppf((1 + confidence) / 2)
    lower, upper = tango_interval(gains, losses, count, confidence)
    assert -1 <= lower <= (gains - losses) / count <= upper <= 1
    assert lower < upper
    for bound, target in ((lower, z), (upper, -z)):
        if -1 < bound < 1:
            assert tango_z(gains, losses, count, bound) == pytest.approx(target, abs=1e-6)
        else:
            assert abs(tango_z(gains, losses, count, bound)) <= z


@pytest.mark.parametrize(("gains", "losses", "count"), TABLES)
def test_tango_interval_turns_around_with_gains_and_losses(
    gains: int, losses: int, count: int
) -> None:
    lower, upper = tango_interval(gains, losses, count)
    assert tango_interval(losses, gains, count) == pytest.approx((-upper, -lower), abs=1e-9)


def test_tango_interval_without_discordant_pairs_still_has_a_width() -> None:
    widths = [tango_interval(0, 0, n)[1] for n in (1, 10, 100, 1000)]
    assert widths == sorted(widths, reverse=True)
    z2 = norm.ppf(0.975) ** 2
    assert widths == pytest.approx([z2 / (n + z2) for n in (1, 10, 100, 1000)])


def test_tango_interval_of_nothing_is_everything() -> None:
    assert tango_interval(0, 0, 0) == (-1.0, 1.0)


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (1, 0, 0), (1, 0, 5, 0.0), (1, 0, 5, 1.0)]
)
def test_tango_interval_refuses_what_is_no_table(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"questions|confidence"):
        tango_interval(*arguments)


@pytest.mark.parametrize(("gains", "losses", "count"), [(3, 1, 50), (2, 9, 21), (60, 80, 1000)])
def test_tango_interval_holds_what_a_grid_search_over_the_likelihood_holds(
    gains: int, losses: int, count: int
) -> None:
    z = norm.ppf(0.975)
    lower, upper = tango_interval(gains, losses, count)
    grid = np.linspace(lower - 0.02, upper + 0.02, 101)
    held = [d for d in grid if abs(score_statistic(gains, losses, count, float(d))) <= z]
    step = float(grid[1] - grid[0])
    assert held[0] - step <= lower <= held[0]
    assert held[-1] <= upper <= held[-1] + step


@settings(deadline=None)
@given(tables(), confidences)
def test_tango_interval_brackets_its_estimate_and_turns_around(
    table: tuple[int, int, int], confidence: float
) -> None:
    gains, losses, count = table
    lower, upper = tango_interval(gains, losses, count, confidence)
    assert -1 <= lower <= (gains - losses) / count <= upper <= 1
    assert tango_interval(losses, gains, count, confidence) == pytest.approx((-upper, -lower))


@settings(deadline=None)
@given(tables(), confidences)
def test_intervals_widen_with_confidence(table: tuple[int, int, int], confidence: float) -> None:
    wider = (1 + confidence) / 2
    for interval, arguments in ((tango_interval, table), (wilson_interval, (table[0], table[2]))):
        inner, outer = interval(*arguments, confidence), interval(*arguments, wider)
        assert outer[0] <= inner[0] < inner[1] <= outer[1]


@settings(deadline=None)
@given(tables(), confidences)
def test_wilson_brackets_its_estimate_and_turns_around(
    table: tuple[int, int, int], confidence: float
) -> None:
    successes, _, count = table
    lower, upper = wilson_interval(successes, count, confidence)
    assert 0 <= lower <= successes / count <= upper <= 1
    assert wilson_interval(count - successes, count, confidence) == pytest.approx(
        (1 - upper, 1 - lower), abs=1e-12
    )


# -- McNemar -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gains", "losses"), [(0, 1), (1, 0), (5, 5), (3, 9), (1, 7), (140, 260), (5000, 5200)]
)
def test_mcnemar_agrees_with_scipy_and_statsmodels(gains: int, losses: int) -> None:
    p = mcnemar_p(gains, losses)
    assert p == pytest.approx(binomtest(gains, gains + losses).pvalue)
    assert p == pytest.approx(mcnemar([[10, losses], [gains, 10]], exact=True).pvalue)


def test_mcnemar_without_discordant_pairs_is_one() -> None:
    assert mcnemar_p(0, 0) == 1.0


@pytest.mark.parametrize("arguments", [(-1, 3), (3, -1)])
def test_mcnemar_refuses_negative_counts(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="gains"):
        mcnemar_p(*arguments)


# -- Means ---------------------------------------------------------------------------------

SCORES = np.random.default_rng(7).gamma(2.0, size=60)
PASSAGES = [f"passage {i % 7 if i < 40 else i}" for i in range(60)]


def test_groups_come_in_order_of_first_appearance() -> None:
    assert [group.tolist() for group in group_by(["b", "a", "b", 3, "a"])] == [[0, 2], [1, 4], [3]]
    assert group_by([]) == []


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_mean_interval_agrees_with_scipy(confidence: float) -> None:
    ours = mean_interval(SCORES, confidence=confidence)
    theirs = ttest_1samp(SCORES, 0).confidence_interval(confidence)
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high))
    assert ours.standard_error == pytest.approx(sem(SCORES))
    assert (ours.mean, ours.count, ours.clusters) == (pytest.approx(SCORES.mean()), 60, 60)


def test_clustered_interval_agrees_with_statsmodels() -> None:
    labels = np.unique(PASSAGES, return_inverse=True)[1]
    fit = OLS(SCORES, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": labels}, use_t=True)
    ours = mean_interval(SCORES, PASSAGES)
    assert ours.standard_error == pytest.approx(float(fit.bse[0]))
    assert (ours.lower, ours.upper) == pytest.approx(tuple(fit.conf_int()[0]))
    assert (ours.count, ours.clusters) == (60, 27)


def test_values_in_clusters_of_their_own_are_independent() -> None:
    assert mean_interval(SCORES, range(60)) == mean_interval(SCORES)


def test_repeating_every_question_proves_nothing_more() -> None:
    once = mean_interval(SCORES)
    twice = mean_interval(np.tile(SCORES, 2), [*range(60)] * 2)
    assert (twice.lower, twice.upper) == pytest.approx((once.lower, once.upper))
    assert mean_interval(np.tile(SCORES, 2)).standard_error < 0.75 * once.standard_error


def test_what_cannot_be_estimated_has_an_infinite_interval() -> None:
    nothing = mean_interval([])
    assert math.isnan(nothing.mean)
    assert (nothing.count, nothing.clusters) == (0, 0)
    infinite = mean_interval([1.0, math.inf])
    assert infinite.mean == math.inf
    for unknown in (nothing, infinite, mean_interval([3.0]), mean_interval([1, 2], ["a", "a"])):
        assert (unknown.lower, unknown.upper) == (-math.inf, math.inf)
        assert unknown.standard_error == math.inf
    assert mean_interval([1, 2], ["a", "a"]).mean == 1.5


def test_equal_values_have_no_spread() -> None:
    point = mean_interval([0.0] * 20)
    assert (point.mean, point.standard_error, point.lower, point.upper) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("values", "clusters", "confidence", "message"),
    [
        ([1.0, math.nan], None, 0.95, "NaN"),
        ([[1.0]], None, 0.95, "shape"),
        ([1.0, 2.0], ["a"], 0.95, "labels"),
        ([1.0, 2.0], None, 1.0, "confidence"),
        ([], None, 0.0, "confidence"),
    ],
)
def test_mean_interval_refuses_what_is_no_row_of_numbers(
    values: list[float], clusters: list[str] | None, confidence: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mean_interval(values, clusters, confidence)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), confidences, st.data())
def test_mean_interval_brackets_its_mean_turns_around_and_widens(
    values: list[float], confidence: float, data: st.DataObject
) -> None:
    clusters = data.draw(st.lists(st.integers(0, 5), min_size=len(values), max_size=len(values)))
    ours = mean_interval(values, clusters, confidence)
    assert ours.lower <= ours.mean <= ours.upper
    negated = mean_interval([-value for value in values], clusters, confidence)
    assert (negated.lower, negated.upper) == (-ours.upper, -ours.lower)
    wider = mean_interval(values, clusters, (1 + confidence) / 2)
    assert wider.lower <= ours.lower <= ours.upper <= wider.upper
