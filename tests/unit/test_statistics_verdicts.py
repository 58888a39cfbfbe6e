"""Verdicts, their p-values, and the planning of questions, against each other and by definition."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from pajamas_eval.statistics.multiplicity import holm
from pajamas_eval.statistics.paired import tango_interval
from pajamas_eval.statistics.planning import (
    further_questions,
    questions_needed,
    smallest_margin,
)
from pajamas_eval.statistics.verdicts import (
    Verdict,
    equivalence,
    non_inferiority,
    p_no_worse,
    p_worse,
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int]:
    """Gains, losses, questions."""
    count = draw(st.integers(1, 20_000))
    gains = draw(st.integers(0, count))
    return gains, draw(st.integers(0, count - gains)), count


margins = st.floats(0.001, 0.5)
confidences = st.floats(0.55, 0.999)

# -- Verdicts ------------------------------------------------------------------------------


def test_verdict_is_its_words_in_a_document() -> None:
    words = ["no worse", "worse", "undecided", "equivalent", "better", "cannot tell"]
    assert [str(verdict) for verdict in Verdict] == words
    assert msgspec.json.decode(msgspec.json.encode(list(Verdict))) == words
    assert msgspec.json.decode(b'"worse"', type=Verdict) is Verdict.WORSE


@pytest.mark.parametrize(
    ("gains", "losses", "verdict"),
    [
        (200, 200, Verdict.NO_WORSE),
        (260, 140, Verdict.NO_WORSE),
        (150, 280, Verdict.UNDECIDED),
        (100, 320, Verdict.WORSE),
    ],
)
def test_verdicts_on_hellaswag_at_one_point(gains: int, losses: int, verdict: Verdict) -> None:
    assert non_inferiority(gains, losses, 10_042, 0.01) is verdict


def test_seven_questions_decide_nothing_at_one_point() -> None:
    """Not even where one model has all of them right, and the other none."""
    assert non_inferiority(0, 0, 7, 0.01) is Verdict.UNDECIDED
    assert non_inferiority(2, 0, 7, 0.01) is Verdict.UNDECIDED
    assert non_inferiority(0, 2, 7, 0.01) is Verdict.UNDECIDED


def test_no_questions_decide_nothing() -> None:
    assert non_inferiority(0, 0, 0, 0.01) is Verdict.UNDECIDED
    assert not equivalence(0, 0, 0, 0.01)
    assert p_no_worse(0, 0, 0, 0.01) == p_worse(0, 0, 0, 0.01) == 1


def test_without_discordant_pairs_it_takes_as_many_questions_as_the_formula_says() -> None:
    z2 = norm.ppf(0.95) ** 2
    needed = math.ceil(z2 * 0.99 / 0.01)
    assert needed == 268
    assert non_inferiority(0, 0, needed - 1, 0.01) is Verdict.UNDECIDED
    assert non_inferiority(0, 0, needed, 0.01) is Verdict.NO_WORSE


@settings(deadline=None)
@given(tables(), margins, confidences)
def test_the_verdict_is_where_tangos_interval_lies(
    table: tuple[int, int, int], margin: float, confidence: float
) -> None:
    lower, upper = tango_interval(*table, confidence=2 * confidence - 1)
    verdict = non_inferiority(*table, margin, confidence)
    if lower > -margin + 1e-9:
        assert verdict is Verdict.NO_WORSE
    elif upper < -margin - 1e-9:
        assert verdict is Verdict.WORSE
    elif lower < -margin - 1e-9 and upper > -margin + 1e-9:
        assert verdict is Verdict.UNDECIDED


@settings(deadline=None)
@given(tables(), margins, confidences)
def test_the_verdict_is_where_its_p_value_is_small(
    table: tuple[int, int, int], margin: float, confidence: float
) -> None:
    no_worse, worse = p_no_worse(*table, margin), p_worse(*table, margin)
    assert no_worse + worse == pytest.approx(1)
    verdict = non_inferiority(*table, margin, confidence)
    if abs(min(no_worse, worse) - (1 - confidence)) > 1e-9:
        assert (verdict is Verdict.NO_WORSE) == (no_worse < 1 - confidence)
        assert (verdict is Verdict.WORSE) == (worse < 1 - confidence)


@settings(deadline=None)
@given(tables(), margins, confidences)
def test_equivalent_is_no_worse_seen_from_both_sides(
    table: tuple[int, int, int], margin: float, confidence: float
) -> None:
    gains, losses, count = table
    both = [
        non_inferiority(gains, losses, count, margin, confidence),
        non_inferiority(losses, gains, count, margin, confidence),
    ]
    assert equivalence(*table, margin, confidence) == (both == [Verdict.NO_WORSE] * 2)


@pytest.mark.parametrize("function", [non_inferiority, equivalence, p_worse, p_no_worse])
@pytest.mark.parametrize(
    "arguments", [(-1, 0, 5, 0.1), (3, 3, 5, 0.1), (1, 1, 5, 0.0), (1, 1, 5, 1.0), (1, 1, 5, 2)]
)
def test_verdicts_refuse_what_is_no_table_or_margin(function, arguments) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"questions|margin"):
        function(*arguments)


@pytest.mark.parametrize("confidence", [0.5, 0.0, 1.0, 95, math.nan])
def test_verdicts_refuse_what_is_no_confidence(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        non_inferiority(1, 1, 5, 0.1, confidence)
    with pytest.raises(ValueError, match="confidence"):
        equivalence(1, 1, 5, 0.1, confidence)


# -- Many tests ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 10, 57])
def test_holm_agrees_with_statsmodels(count: int) -> None:
    p_values = np.random.default_rng(count).random(count) ** 4
    p_values[count // 2] = p_values[0]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_keeps_the_order_and_lowers_nothing(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert ((adjusted >= p_values) & (adjusted <= 1)).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03, 0.9]).tolist() == pytest.approx([0.09, 0.04, 0.09, 0.9])
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("p_values", [[-0.1], [1.1], [math.nan], 0.5, [[0.5]]])
def test_holm_refuses_what_are_no_p_values(p_values: object) -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm(p_values)  # type: ignore[arg-type]


# -- Planning ------------------------------------------------------------------------------


@pytest.mark.parametrize(("discordance", "questions"), [(0.02, 1237), (0.04, 2474), (0.08, 4947)])
def test_questions_needed_at_one_point(discordance: float, questions: int) -> None:
    assert questions_needed(0.01, discordance) == questions


@pytest.mark.parametrize(
    ("count", "discordance", "points"), [(1319, 0.10, 2.2), (10_042, 0.04, 0.5), (100, 0.05, 5.6)]
)
def test_smallest_margin(count: int, discordance: float, points: float) -> None:
    assert round(100 * smallest_margin(count, discordance), 1) == points


def test_without_discordance_tangos_test_still_asks_for_questions() -> None:
    assert questions_needed(0.01, 0.0) == 268
    assert non_inferiority(0, 0, 268, 0.01) is Verdict.NO_WORSE
    assert smallest_margin(268, 0.0) == pytest.approx(0.01, abs=1e-4)


def test_no_questions_certify_no_margin() -> None:
    assert smallest_margin(0, 0.04) == 1.0
    assert smallest_margin(1, 1.0) == 1.0


@settings(deadline=None)
@given(st.floats(0.002, 0.3), st.floats(0, 0.5))
def test_the_smallest_margin_is_the_one_whose_questions_there_are(
    margin: float, discordance: float
) -> None:
    count = questions_needed(margin, discordance)
    assert smallest_margin(count, discordance) <= margin * (1 + 1e-9)
    if count > 1:
        assert smallest_margin(count - 1, discordance) >= margin * (1 - 1e-9)


def test_a_true_gain_takes_fewer_questions_and_a_true_loss_more() -> None:
    needed = [
        questions_needed(0.01, 0.05, difference=difference)
        for difference in (0.03, 0.0, -0.005, -0.009)
    ]
    assert needed == sorted(needed)
    # Beyond the margin the verdict is "worse", and again the sooner the clearer it is.
    needed = [
        questions_needed(0.01, 0.05, difference=difference)
        for difference in (-0.011, -0.02, -0.03, -0.05)
    ]
    assert needed == sorted(needed, reverse=True)


def test_all_lost_is_worse_after_the_questions_needed() -> None:
    needed = questions_needed(0.01, 1.0, difference=-1.0)
    assert non_inferiority(0, needed, needed, 0.01) is Verdict.WORSE
    assert non_inferiority(0, needed - 1, needed - 1, 0.01) is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.04), "margin"),
        ((0.01, 1.5), "discordance"),
        ((0.01, 0.04, 1.0), "power"),
        ((0.01, 0.04, 0.8, 0.4), "confidence"),
        ((0.01, 0.04, 0.8, 0.95, 0.05), "discordance"),
        ((0.01, 0.04, 0.8, 0.95, -0.01), "exactly the margin"),
    ],
)
def test_questions_needed_refuses_what_has_no_answer(
    arguments: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        questions_needed(*arguments)


def test_further_questions_lead_to_the_verdict() -> None:
    assert further_questions(200, 200, 10_042, 0.01) == 0
    more = further_questions(20, 20, 1000, 0.01)
    assert more is not None
    total = 1000 + more
    each = 20 * total / 1000
    assert tango_interval(each, each, total, 0.9)[0] == pytest.approx(-0.01, abs=1e-5)


def test_further_questions_without_discordant_pairs() -> None:
    assert further_questions(0, 0, 100, 0.01) == 168
    assert further_questions(0, 0, 267, 0.01) == 1
    assert further_questions(0, 0, 268, 0.01) == 0


def test_further_questions_where_no_number_can_be_told() -> None:
    assert further_questions(0, 0, 0, 0.01) is None
    assert further_questions(20, 30, 1000, 0.01) is None
    assert further_questions(1, 4, 300, 0.01) is None


@settings(deadline=None)
@given(tables(), margins, confidences)
def test_further_questions_are_none_left_exactly_when_decided(
    table: tuple[int, int, int], margin: float, confidence: float
) -> None:
    more = further_questions(*table, margin, confidence)
    decided = non_inferiority(*table, margin, confidence) is not Verdict.UNDECIDED
    assert (more == 0) == decided
    assert more is None or more >= 0
    stricter = further_questions(*table, margin, (1 + confidence) / 2)
    assert (more is None) == (stricter is None) or more == 0
    if more is not None and stricter is not None:
        assert stricter >= more
