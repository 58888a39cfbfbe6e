"""Log-probabilities from plain logits, in double precision where it counts."""

import numpy as np
import pytest
from scipy.special import log_softmax

from pajamas_eval.tokens.log_softmax import log_probabilities, most_probable


def test_log_probabilities_agree_with_scipy_and_leave_the_logits_alone() -> None:
    logits = (5 * np.random.default_rng(3).normal(size=(6, 1000))).astype(np.float32)
    before = logits.copy()
    rows, targets = np.array([0, 5, 5, 2, 0]), np.array([7, 0, 999, 12, 7])
    values, greedy = log_probabilities(logits, rows, targets)
    whole = log_softmax(logits.astype(np.float64), axis=1)
    assert values == pytest.approx(whole[rows, targets], abs=1e-5)
    assert greedy.tolist() == (logits.argmax(1)[rows] == targets).tolist()
    assert (logits == before).all()


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_large_logits_neither_overflow_nor_vanish(shift: float) -> None:
    logits = np.array([[0.0, 1.0, 2.0]], np.float32) + np.float32(shift)
    values, _ = log_probabilities(logits, np.array([0, 0, 0]), np.arange(3))
    assert np.exp(values).sum() == pytest.approx(1, abs=1e-6)


def test_among_equal_maxima_the_first_is_greedy() -> None:
    logits = np.array([[1.0, 3.0, 3.0]], np.float32)
    _, greedy = log_probabilities(logits, np.array([0, 0]), np.array([1, 2]))
    assert greedy.tolist() == [True, False]


def test_logits_that_are_not_numbers_give_none() -> None:
    logits = np.array([[0.0, np.nan, 1.0]], np.float32)
    values, _ = log_probabilities(logits, np.array([0]), np.array([0]))
    assert np.isnan(values).all()


def test_no_token_is_the_most_probable_of_what_are_no_numbers() -> None:
    rows = [[0, 1, 2], [0, np.nan, 2], [2, 1, -np.inf], [0, np.inf, 1], [-np.inf] * 3, [1, 1, 0]]
    assert [t for t, _ in most_probable(np.array(rows, np.float32))] == [2, None, 0, None, None, 0]
