"""The betting test, step by step; its error rates are in the simulations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pajamas_eval.statistics.sequential import (
    SEQUENTIAL_SHARE,
    final_verdict,
    log_wealths,
    sequential_verdict,
)
from pajamas_eval.statistics.verdicts import Verdict, non_inferiority

rows = st.integers(0, 60).flatmap(lambda n: arrays(np.float64, n, elements=st.floats(-1, 1)))
margins = st.floats(0.001, 0.9)


@settings(deadline=None)
@given(rows, margins)
def test_a_bet_depends_on_earlier_differences_only(differences, margin) -> None:  # type: ignore[no-untyped-def]
    whole = np.stack(log_wealths(differences, margin))
    for end in range(len(differences)):
        assert np.array_equal(np.stack(log_wealths(differences[:end], margin)), whole[:, :end])


@settings(deadline=None)
@given(rows, margins)
def test_no_bet_stakes_the_whole_wealth(differences, margin) -> None:  # type: ignore[no-untyped-def]
    assert np.isfinite(log_wealths(differences, margin)).all()


@settings(deadline=None)
@given(rows, margins)
def test_no_bet_gains_on_average_at_a_loss_of_the_margin(differences, margin) -> None:  # type: ignore[no-untyped-def]
    """Of any two differences that average to −margin, no bet profits: it is linear in them."""
    if len(differences) == 0:
        return
    up = np.append(differences, 1.0)
    down = np.append(differences, -1.0)
    chance = (1 - margin) / 2
    for high, low in zip(log_wealths(up, margin), log_wealths(down, margin), strict=True):
        mean = chance * math.exp(high[-1] - high[-2]) + (1 - chance) * math.exp(low[-1] - low[-2])
        assert mean == pytest.approx(1)


def test_wealths_of_many_rows_are_those_of_each() -> None:
    rows = np.random.default_rng(1).integers(-1, 2, size=(2, 3, 40))
    no_worse, worse = log_wealths(rows, 0.05)
    assert no_worse.shape == worse.shape == rows.shape
    for place in np.ndindex(2, 3):
        assert np.array_equal(no_worse[place], log_wealths(rows[place], 0.05)[0])
        assert np.array_equal(worse[place], log_wealths(rows[place], 0.05)[1])


def test_identical_answers_are_soon_proven_no_worse() -> None:
    verdict, questions = sequential_verdict(np.zeros(1000), 0.05)
    assert verdict is Verdict.NO_WORSE
    # No bet could do it in fewer than ln(1 / 0.03) / ln 1.05 = 72, even if it knew.
    assert 72 <= questions <= 90


@pytest.mark.parametrize("margin", [0.005, 0.01, 0.05, 0.2])
def test_a_broken_variant_is_soon_proven_worse(margin: float) -> None:
    verdict, questions = sequential_verdict(np.full(1000, -1), margin)
    assert verdict is Verdict.WORSE
    assert questions <= 40


def test_fractions_of_a_point_count_too() -> None:
    verdict, questions = sequential_verdict(np.full(1000, -0.2), 0.05)
    assert (verdict, questions < 150) == (Verdict.WORSE, True)


def test_the_verdict_falls_at_the_first_crossing_and_stays() -> None:
    differences = np.zeros(200)
    _, questions = sequential_verdict(differences, 0.05)
    differences[questions:] = -1
    assert sequential_verdict(differences, 0.05) == (Verdict.NO_WORSE, questions)
    assert sequential_verdict(differences[:questions], 0.05) == (Verdict.NO_WORSE, questions)
    assert sequential_verdict(differences[: questions - 1], 0.05)[0] is Verdict.UNDECIDED


def test_more_confidence_takes_more_questions() -> None:
    needed = [sequential_verdict(np.zeros(1000), 0.05, c)[1] for c in (0.8, 0.9, 0.95, 0.99)]
    assert needed == sorted(set(needed))


def test_no_questions_and_too_few_are_undecided() -> None:
    assert sequential_verdict([], 0.01) == (Verdict.UNDECIDED, 0)
    assert sequential_verdict([0, 0, -1], 0.01) == (Verdict.UNDECIDED, 3)


def test_the_final_test_has_the_error_rate_that_is_left() -> None:
    for gains in range(0, 200, 5):
        assert final_verdict(gains, 150, 5000, 0.01) is non_inferiority(
            gains, 150, 5000, 0.01, 1 - (1 - SEQUENTIAL_SHARE) * 0.05
        )
    assert final_verdict(0, 0, 0, 0.01) is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("differences", "margin", "confidence", "message"),
    [
        ([0.0, 1.1], 0.01, 0.95, "differences"),
        ([0.0, math.nan], 0.01, 0.95, "differences"),
        (0.0, 0.01, 0.95, "differences"),
        ([[0.0]], 0.01, 0.95, "one row"),
        ([0.0], 0.0, 0.95, "margin"),
        ([0.0], 1.0, 0.95, "margin"),
        ([0.0], 0.01, 0.5, "confidence"),
    ],
)
def test_what_is_no_sequence_of_differences_is_refused(
    differences: object, margin: float, confidence: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sequential_verdict(differences, margin, confidence)  # type: ignore[arg-type]
