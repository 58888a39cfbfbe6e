"""How many graded questions it takes: against exact power, and against the tests themselves."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nct
from scipy.stats import t as student
from statsmodels.stats.power import TTestPower

from pajamas_eval.statistics import planning
from pajamas_eval.statistics.clusters import MeanInterval, mean_interval
from pajamas_eval.statistics.means import (
    further_questions,
    non_inferiority,
    p_no_worse,
    questions_needed,
    smallest_margin,
)
from pajamas_eval.statistics.verdicts import Verdict

margins = st.floats(0.001, 0.9)
bounds = st.sampled_from([None, 1.0, 3.0])
confidences = st.floats(0.55, 0.999)


def of(mean: float, deviation: float, count: int, clusters: int | None = None) -> MeanInterval:
    """Differences of which only these are known."""
    groups = clusters or count
    return MeanInterval(mean, deviation / math.sqrt(groups), math.nan, math.nan, count, groups)


# -- Before a comparison -------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("effect", [0.02, 0.1, 0.3, 0.7])
def test_questions_needed_give_the_power_asked_for(
    effect: float, power: float, confidence: float
) -> None:
    """By the noncentral t: of the number found, and not of one in fifty fewer."""
    count = questions_needed(effect, 1.0, power, confidence)
    exact = TTestPower().solve_power(effect, None, 1 - confidence, power, alternative="larger")
    assert count == pytest.approx(exact, rel=0.02, abs=1.5)
    threshold = student.ppf(confidence, count - 1)
    reached = nct.sf(threshold, count - 1, effect * math.sqrt(count))
    assert reached >= power - (0.015 if count >= 12 else 0.05)


def test_of_right_and_wrong_they_are_those_of_the_plan_for_flips() -> None:
    """To within the few that the t quantile asks for."""
    for margin, discordance in ((0.01, 0.04), (0.02, 0.1), (0.05, 0.3)):
        ours = questions_needed(margin, math.sqrt(discordance))
        assert 0 <= ours - planning.questions_needed(margin, discordance) <= 3


def test_without_spread_they_are_those_that_the_test_takes() -> None:
    assert questions_needed(0.01, 0.0) == 27
    assert questions_needed(0.01, 0.0, bound=1.0) == 270
    assert questions_needed(0.01, 0.0, bound=0.5) < 270


@pytest.mark.parametrize(
    ("deviation", "free", "bounded"), [(0.1, 157, 295), (0.2, 620, 750), (0.3, 1393, 1514)]
)
def test_a_bound_costs_questions_where_few_scores_differ(
    deviation: float, free: int, bounded: int
) -> None:
    assert questions_needed(0.02, deviation) == free
    assert questions_needed(0.02, deviation, bound=1.0) == bounded


def test_a_true_gain_takes_fewer_questions_and_a_true_loss_more() -> None:
    needed = [questions_needed(0.01, 0.2, difference=d) for d in (0.03, 0.0, -0.005, -0.009)]
    assert needed == sorted(needed)
    needed = [questions_needed(0.01, 0.2, difference=d) for d in (-0.011, -0.02, -0.03, -0.05)]
    assert needed == sorted(needed, reverse=True)


@settings(deadline=None)
@given(
    margins, st.floats(0.01, 3), st.floats(0.05, 0.99), confidences, st.floats(-0.8, 0.8), bounds
)
def test_what_was_needed_decides_if_all_is_as_expected(
    margin: float,
    deviation: float,
    power: float,
    confidence: float,
    difference: float,
    bound: float | None,
) -> None:
    if abs(difference + margin) < 0.001:
        return
    count = questions_needed(margin, deviation, power, confidence, difference, bound)
    wanted = Verdict.NO_WORSE if difference > -margin else Verdict.WORSE
    expected = of(difference, deviation, count)
    assert non_inferiority(expected, margin, confidence, bound) is wanted
    if power < 0.5 and count > 2:
        fewer = of(difference, deviation, count - 1)
        assert non_inferiority(fewer, margin, confidence, bound) is Verdict.UNDECIDED


@settings(deadline=None)
@given(margins, st.floats(0.01, 3), st.floats(0.05, 0.99), confidences, bounds)
def test_the_smallest_margin_is_the_one_whose_questions_there_are(
    margin: float, deviation: float, power: float, confidence: float, bound: float | None
) -> None:
    def smallest(count: int) -> float:
        error = deviation / math.sqrt(count)
        return smallest_margin(count, error, power, confidence, bound)

    count = questions_needed(margin, deviation, power, confidence, bound=bound)
    assert smallest(count) <= margin * (1 + 1e-9)
    if count > 2:
        assert smallest(count - 1) >= margin * (1 - 1e-9)


@settings(deadline=None)
@given(st.integers(2, 5000), st.floats(0, 0.3), st.floats(0.5, 0.99), confidences, bounds)
def test_at_the_smallest_margin_the_test_just_passes_a_mean_as_unclear_as_the_power_allows(
    count: int, deviation: float, power: float, confidence: float, bound: float | None
) -> None:
    error = deviation / math.sqrt(count)
    margin = smallest_margin(count, error, power, confidence, bound)
    if margin in (0, math.inf, bound):
        return
    unclear = of(-student.ppf(power, count - 1) * error, deviation, count)
    assert p_no_worse(unclear, margin, bound) == pytest.approx(1 - confidence, rel=1e-6)


def test_smallest_margin_by_hand() -> None:
    """Of 100 questions, 99 degrees of freedom: t of 0.95 is 1.6604, of 0.8 it is 0.8453."""
    assert smallest_margin(100, 0.02) == pytest.approx(0.02 * (1.6604 + 0.8453), abs=2e-6)
    assert smallest_margin(100, 0.0, bound=1.0) == pytest.approx(
        1.6604**2 / (100 + 1.6604**2), 1e-4
    )


def test_no_questions_certify_no_margin() -> None:
    for count, error in ((0, math.inf), (0, 0.1), (1, math.inf), (1, 0.1), (1, 0.0), (26, 0.0)):
        assert smallest_margin(count, error) == math.inf
    assert smallest_margin(1, 0.1, bound=0.5) == 0.5
    as_unclear_as_the_bound = 0.25 * student.ppf(0.8, 99)
    assert smallest_margin(100, 0.25, bound=as_unclear_as_the_bound) == as_unclear_as_the_bound
    assert smallest_margin(27, 0.0) == 0
    assert smallest_margin(1, math.inf, bound=0.5) == smallest_margin(9, 4.0, bound=0.5) == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.2), "margin"),
        ((0.01, -1.0), "spread"),
        ((0.01, math.nan), "spread"),
        ((0.01, math.inf), "no plan"),
        ((0.01, 0.2, 1.0), "power"),
        ((0.01, 0.2, 0.8, 0.4), "confidence"),
        ((0.01, 0.2, 0.8, 0.95, -0.01), "exactly the margin"),
        ((0.01, 0.2, 0.8, 0.95, math.nan), "no plan"),
        ((0.01, 0.2, 0.8, 0.95, -2.0, 1.0), "exceeds the bound"),
        ((1.0, 0.2, 0.8, 0.95, 0.0, 1.0), "not below the bound"),
    ],
)
def test_questions_needed_refuses_what_has_no_answer(
    arguments: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        questions_needed(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0.1), "questions"),
        ((5, -0.1), "spread"),
        ((5, math.nan), "spread"),
        ((5, 0.1, 0.0), "power"),
        ((5, 0.1, 0.8, 0.5), "confidence"),
        ((5, 0.1, 0.8, 0.95, 0.0), "bound"),
    ],
)
def test_smallest_margin_refuses_what_has_no_answer(
    arguments: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        smallest_margin(*arguments)  # type: ignore[arg-type]


# -- During a comparison -------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.floats(-0.8, 0.8),
    st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    st.integers(2, 500),
    st.integers(1, 9),
    margins,
    confidences,
    bounds,
)
def test_further_questions_lead_to_the_verdict_and_no_fewer_do(
    mean: float,
    deviation: float,
    clusters: int,
    size: int,
    margin: float,
    confidence: float,
    bound: float | None,
) -> None:
    def after(groups: int) -> Verdict:
        return non_inferiority(of(mean, deviation, 9, groups), margin, confidence, bound)

    differences = of(mean, deviation, clusters * size, clusters)
    more = further_questions(differences, margin, confidence, bound)
    assert (more == 0) == (after(clusters) is not Verdict.UNDECIDED)
    if more:
        assert more % size == 0
        assert after(clusters + more // size) is not Verdict.UNDECIDED
        assert after(clusters + more // size - 1) is Verdict.UNDECIDED


def test_further_questions_of_clusters_of_unequal_size_are_rounded_up() -> None:
    """Of 40 questions on 16 passages, as many passages again are 40 more, and one is 2.5."""
    assert further_questions(of(0.0, 0.0, 40, 16), 0.01) == math.ceil(40 * 27 / 16) - 40 == 28


def test_further_questions_where_no_number_can_be_told() -> None:
    for unknown in (mean_interval([]), mean_interval([0.3]), mean_interval([0.3, 0.4], "aa")):
        assert further_questions(unknown, 0.01) is None
    assert further_questions(mean_interval([0.0, -math.inf]), 0.01) is None
    assert further_questions(mean_interval([-0.02, 0.0] * 5), 0.01) is None
    assert further_questions(mean_interval([0.51 - 0.52] * 40), 0.01) is None


def test_further_questions_are_about_those_of_a_plan_from_what_was_seen() -> None:
    pilot = mean_interval(np.random.default_rng(2).normal(0, 0.3, size=200))
    more = further_questions(pilot, 0.01)
    planned = questions_needed(
        0.01, pilot.standard_error * math.sqrt(200), power=0.5, difference=pilot.mean
    )
    assert more == planned - 200
    assert more > 1000
