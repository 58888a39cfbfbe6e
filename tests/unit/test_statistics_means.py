"""Paired t tests: against scipy and statsmodels, and by definition.

Their error rates are in the simulations.
"""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t as student
from scipy.stats import ttest_1samp, ttest_rel
from statsmodels.regression.linear_model import WLS

from pajamas_eval.statistics.clusters import MeanInterval, mean_interval
from pajamas_eval.statistics.means import non_inferiority, p_no_worse, p_worse, paired_t_p
from pajamas_eval.statistics.paired import tango_z
from pajamas_eval.statistics.verdicts import Verdict

COUNT = 60
GENERATOR = np.random.default_rng(5)
BASELINE = GENERATOR.beta(2.0, 1.0, size=COUNT)
VARIANT = np.clip(BASELINE + GENERATOR.normal(-0.02, 0.1, size=COUNT), 0, 1)
DIFFERENCES = VARIANT - BASELINE
WORDS = GENERATOR.integers(20, 4000, size=COUNT).astype(float)
PASSAGES = np.array([i % 7 if i < 40 else i for i in range(COUNT)])
MARGINS = (0.001, 0.02, 0.05, 0.3)

Rows = tuple[NDArray[np.float64], list[int], NDArray[np.float64]]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Differences in [−1, 1] that are not all equal, their clusters, and their weights."""
    count = draw(st.integers(3, 30))
    seed = draw(st.integers(0, 10_000))
    generator = np.random.default_rng(seed)
    graded = generator.random(count) if draw(st.booleans()) else np.ones(count)
    differences = generator.choice([-1, 0, 1], size=count) * graded
    clusters = generator.integers(0, draw(st.integers(2, count)), size=count).tolist()
    weights = generator.lognormal(size=count)
    assume(mean_interval(differences, clusters, weights=weights).standard_error > 1e-6)
    assume(len(set(clusters)) > 1)
    return differences, clusters, weights


margins = st.floats(0.001, 0.9)
confidences = st.floats(0.55, 0.999)
bounds = st.sampled_from([None, 1.0, 3.0])

# -- P-values ------------------------------------------------------------------------------


def test_p_values_agree_with_scipy() -> None:
    paired = mean_interval(DIFFERENCES)
    assert paired_t_p(paired) == pytest.approx(ttest_rel(VARIANT, BASELINE).pvalue, rel=1e-12)
    for margin in MARGINS:
        for ours, side in ((p_no_worse, "greater"), (p_worse, "less")):
            theirs = ttest_1samp(DIFFERENCES, -margin, alternative=side).pvalue
            assert ours(paired, margin) == pytest.approx(theirs, rel=1e-11), (margin, side)


@pytest.mark.parametrize("weights", [np.ones(COUNT), WORDS])
def test_clustered_weighted_p_values_agree_with_statsmodels(weights: NDArray[np.float64]) -> None:
    """With its default correction for clusters, whose second factor is 1 for one column."""
    fit = WLS(DIFFERENCES, np.ones(COUNT), weights=weights).fit(
        cov_type="cluster", cov_kwds={"groups": PASSAGES}, use_t=True
    )
    paired = mean_interval(DIFFERENCES, PASSAGES.tolist(), weights=weights)
    assert paired_t_p(paired) == pytest.approx(float(fit.pvalues[0]), rel=1e-12)
    for margin in MARGINS:
        two_sided = float(fit.t_test(([[1.0]], [-margin])).pvalue)
        above = paired.mean > -margin
        least, most = (p_no_worse, p_worse) if above else (p_worse, p_no_worse)
        assert 2 * least(paired, margin) == pytest.approx(two_sided, rel=1e-11)
        assert most(paired, margin) == pytest.approx(1 - two_sided / 2, rel=1e-12)


@settings(deadline=None)
@given(rows(), margins, confidences, bounds)
def test_the_verdict_is_where_its_p_value_is_small(
    row: Rows, margin: float, confidence: float, bound: float | None
) -> None:
    values, clusters, weights = row
    paired = mean_interval(values, clusters, weights=weights)
    no_worse, worse = p_no_worse(paired, margin, bound), p_worse(paired, margin, bound)
    assert no_worse + worse == pytest.approx(1)
    verdict = non_inferiority(paired, margin, confidence, bound)
    if abs(min(no_worse, worse) - (1 - confidence)) > 1e-9:
        assert (verdict is Verdict.NO_WORSE) == (no_worse < 1 - confidence)
        assert (verdict is Verdict.WORSE) == (worse < 1 - confidence)


@settings(deadline=None)
@given(rows(), margins, confidences)
def test_the_verdict_is_where_the_interval_lies(
    row: Rows, margin: float, confidence: float
) -> None:
    paired = mean_interval(row[0], row[1], 2 * confidence - 1, row[2])
    verdict = non_inferiority(paired, margin, confidence)
    if paired.lower > -margin + 1e-9:
        assert verdict is Verdict.NO_WORSE
    elif paired.upper < -margin - 1e-9:
        assert verdict is Verdict.WORSE
    elif paired.lower < -margin - 1e-9 and paired.upper > -margin + 1e-9:
        assert verdict is Verdict.UNDECIDED


@settings(deadline=None)
@given(rows(), margins, st.floats(0.01, 100), bounds)
def test_p_values_know_no_unit(
    row: Rows, margin: float, factor: float, bound: float | None
) -> None:
    values, clusters, weights = row
    paired = mean_interval(values, clusters, weights=weights)
    scaled = mean_interval(values * factor, clusters, weights=weights / factor)
    limit = None if bound is None else bound * factor
    assert paired_t_p(scaled) == pytest.approx(paired_t_p(paired), rel=1e-6)
    for p in (p_no_worse, p_worse):
        assert p(scaled, margin * factor, limit) == pytest.approx(
            p(paired, margin, bound), rel=1e-6
        )


@settings(deadline=None)
@given(rows(), margins, st.floats(0.001, 0.09), bounds)
def test_a_wider_margin_is_easier_to_keep(
    row: Rows, margin: float, wider: float, bound: float | None
) -> None:
    paired = mean_interval(row[0], row[1], weights=row[2])
    assert p_no_worse(paired, margin + wider, bound) <= p_no_worse(paired, margin, bound)
    assert p_worse(paired, margin + wider, bound) >= p_worse(paired, margin, bound)


@settings(deadline=None)
@given(rows(), margins, st.floats(0.001, 1))
def test_without_a_bound_a_gain_is_as_good_as_a_margin(
    row: Rows, margin: float, gain: float
) -> None:
    values, clusters, weights = row
    gained = mean_interval(values + gain, clusters, weights=weights)
    paired = mean_interval(values, clusters, weights=weights)
    for p in (p_no_worse, p_worse):
        assert p(gained, margin) == pytest.approx(p(paired, margin + gain), rel=1e-6)


@settings(deadline=None)
@given(rows(), margins)
def test_to_swap_the_models_changes_nothing_but_the_sign(row: Rows, margin: float) -> None:
    values, clusters, weights = row
    there, back = (mean_interval(x, clusters, weights=weights) for x in (values, -values))
    assert paired_t_p(back) == paired_t_p(there)
    # No worse by less than nothing is better: beyond the margin, either way round.
    better = mean_interval(-values - 2 * margin, clusters, weights=weights)
    assert p_worse(better, margin) == pytest.approx(p_no_worse(there, margin), rel=1e-6)


# -- What decides nothing ------------------------------------------------------------------

NOTHING = mean_interval([])
ONE = mean_interval([0.5])
ONE_PASSAGE = mean_interval([0.5, -0.5, 0.25], ["a"] * 3)
INFINITE = mean_interval([0.5, -math.inf])


@pytest.mark.parametrize("unknown", [NOTHING, ONE, ONE_PASSAGE, INFINITE])
@pytest.mark.parametrize("bound", [None, 1.0])
def test_fewer_than_two_clusters_and_infinite_means_decide_nothing(
    unknown: MeanInterval, bound: float | None
) -> None:
    if unknown is INFINITE and bound:
        with pytest.raises(ValueError, match="exceeds the bound"):
            non_inferiority(unknown, 0.01, bound=bound)
        return
    assert non_inferiority(unknown, 0.01, bound=bound) is Verdict.UNDECIDED
    assert p_no_worse(unknown, 0.01, bound) == p_worse(unknown, 0.01, bound) == 1
    assert paired_t_p(unknown) == 1


@pytest.mark.parametrize(("each", "verdict"), [(0.1, Verdict.NO_WORSE), (-0.1, Verdict.WORSE)])
def test_equal_differences_decide_from_the_27th_on(each: float, verdict: Verdict) -> None:
    assert non_inferiority(mean_interval([each] * 26), 0.01) is Verdict.UNDECIDED
    assert non_inferiority(mean_interval([each] * 27), 0.01) is verdict
    assert non_inferiority(mean_interval([each] * 50), 0.01, 0.99) is Verdict.UNDECIDED
    assert non_inferiority(mean_interval([each] * 54), 0.01, 0.99) is verdict


def test_equal_differences_decide_no_sooner_for_rounding() -> None:
    """0.1 + 0.2 − 0.2 is not 0.1; a spread of 1e-17 is no more of a proof than none."""
    nearly = [0.1, 0.1 + 0.2 - 0.2] * 13
    assert len(set(nearly)) == 2
    assert non_inferiority(mean_interval(nearly), 0.01) is Verdict.UNDECIDED
    assert non_inferiority(mean_interval([0.0, 1e-17] * 13), 0.01) is Verdict.UNDECIDED
    assert paired_t_p(mean_interval(nearly)) == 2 / 2**26
    assert non_inferiority(mean_interval([0.1, 0.1 + 1e-9] * 3), 0.01) is Verdict.NO_WORSE


def test_equal_losses_of_the_margin_speak_for_neither_side() -> None:
    """0.51 − 0.52 is a little less than −0.01, which is no loss beyond it."""
    assert 0.51 - 0.52 < -0.01
    losses = mean_interval([0.51 - 0.52] * 100)
    assert non_inferiority(losses, 0.01) is Verdict.UNDECIDED
    assert p_no_worse(losses, 0.01) == p_worse(losses, 0.01) == 0.5


def test_without_spread_the_test_of_no_difference_is_the_sign_test() -> None:
    assert paired_t_p(mean_interval([0.0] * 100)) == 1
    assert paired_t_p(mean_interval([0.1] * 2)) == 0.5
    assert paired_t_p(mean_interval([-0.1] * 6)) == 2 / 2**6
    assert paired_t_p(mean_interval([0.1] * 6, "aabbcc")) == 2 / 2**3


def test_clusters_whose_differences_cancel_out_are_equal_too() -> None:
    """Each passage has a gain and a loss of as much: no spread between them, whatever within."""
    paired = mean_interval([0.5, -0.5] * 10, [i // 2 for i in range(20)])
    assert paired.standard_error == 0
    assert non_inferiority(paired, 0.01) is Verdict.UNDECIDED


# -- A bound on the differences ------------------------------------------------------------


@pytest.mark.parametrize(("margin", "needed"), [(0.01, 270), (0.05, 54), (0.2, 13)])
def test_without_a_difference_a_bound_asks_for_what_tangos_test_asks_for(
    margin: float, needed: int
) -> None:
    """t²(1 − m)/m questions; at one point 270, for 268 with the normal quantile."""
    assert needed == math.ceil(student.ppf(0.95, needed - 1) ** 2 * (1 - margin) / margin)
    enough, fewer = (mean_interval([0.0] * count) for count in (needed, needed - 1))
    assert non_inferiority(enough, margin, bound=1.0) is Verdict.NO_WORSE
    assert non_inferiority(fewer, margin, bound=1.0) is Verdict.UNDECIDED


@pytest.mark.parametrize(("losses", "count"), [(0, 50), (1, 50), (3, 200), (5, 1319), (30, 500)])
def test_of_nothing_but_whole_losses_the_statistic_is_tangos(losses: int, count: int) -> None:
    margin = 0.1
    paired = mean_interval([-1.0] * losses + [0.0] * (count - losses))
    z = tango_z(0, losses, count, -margin)
    assert p_no_worse(paired, margin, 1.0) == pytest.approx(student.sf(z, count - 1), rel=1e-9)


@pytest.mark.parametrize(("gains", "losses"), [(60, 60), (40, 45), (20, 55), (50, 90)])
def test_with_gains_too_the_statistic_is_less_than_tangos_and_near_it(
    gains: int, losses: int
) -> None:
    paired = mean_interval([1.0] * gains + [-1.0] * losses + [0.0] * (1000 - gains - losses))
    bounded, free = p_no_worse(paired, 0.02, 1.0), p_no_worse(paired, 0.02)
    z, t = tango_z(gains, losses, 1000, -0.02), student.isf(bounded, 999)
    assert abs(t) <= min(abs(z), abs(student.isf(free, 999)))
    assert t == pytest.approx(z, rel=0.15)


@settings(deadline=None)
@given(rows(), margins)
def test_a_bound_delays_a_verdict_and_a_wider_one_more(row: Rows, margin: float) -> None:
    paired = mean_interval(row[0], row[1], weights=row[2])
    chances = [
        min(p_no_worse(paired, margin, bound), p_worse(paired, margin, bound))
        for bound in (None, 1.0, 3.0, 100.0)
    ]
    assert chances == sorted(chances)
    assert non_inferiority(paired, margin, bound=1e6) is Verdict.UNDECIDED


def test_one_small_difference_among_many_equal_ones_is_no_proof_within_a_bound() -> None:
    paired = mean_interval([0.0] * 99 + [0.001])
    assert non_inferiority(paired, 0.01) is Verdict.NO_WORSE
    assert non_inferiority(paired, 0.01, bound=1.0) is Verdict.UNDECIDED


# -- Refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("margin", "bound", "message"),
    [
        (0.0, None, "margin"),
        (-0.1, None, "margin"),
        (math.nan, None, "margin"),
        (math.inf, None, "margin"),
        (1.0, 1.0, "not below the bound"),
        (0.1, 0.0, "bound"),
        (0.1, math.nan, "bound"),
        (0.1, math.inf, "bound"),
        (0.1, 0.3, "exceeds the bound"),
    ],
)
@pytest.mark.parametrize("function", [non_inferiority, p_worse, p_no_worse])
def test_tests_refuse_what_is_no_margin_or_bound(function, margin, bound, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        function(mean_interval([0.4, 0.5, 0.6]), margin, bound=bound)


@pytest.mark.parametrize("confidence", [0.5, 0.0, 1.0, 95, math.nan])
def test_verdicts_refuse_what_is_no_confidence(confidence: float) -> None:
    for differences in (NOTHING, mean_interval(DIFFERENCES)):
        with pytest.raises(ValueError, match="confidence"):
            non_inferiority(differences, 0.1, confidence)
