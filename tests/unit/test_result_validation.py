"""What a runtime hands over: plain values pass, whatever else is a failure and never an answer."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, astuple

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import (
    GenerateUntil,
    GenerationResult,
    LogLikelihood,
    LogLikelihoodResult,
    LogLikelihoodRolling,
    Request,
)
from pajamas_eval.api.results import Failure
from pajamas_eval.api.validation import LONGEST_ERROR, validate_result
from pajamas_eval.store.codec import decode, encode

SCORED = LogLikelihood(Prompt("a"), "b")
PROMPT = GenerateUntil(Prompt("a"), (), 8)
LIKELY = LogLikelihoodResult(-1.5, True, 1, 2, 3, 4, 0.5)
TEXT = GenerationResult("a\udcff", "length", 1, 2, 3, 0.5)


@pytest.mark.parametrize("request_", [SCORED, LogLikelihoodRolling("a")])
def test_a_log_probability_passes(request_: Request) -> None:
    assert validate_result(request_, LIKELY) == LIKELY


def test_a_text_passes() -> None:
    assert validate_result(PROMPT, TEXT) == TEXT


@pytest.mark.parametrize(
    ("request_", "result"),
    [(SCORED, TEXT), (PROMPT, LIKELY), (LogLikelihoodRolling("a"), TEXT), (SCORED, -1.5)],
)
def test_an_answer_to_another_question_is_none(request_: Request, result: object) -> None:
    found = validate_result(request_, result)
    assert isinstance(found, Failure)
    assert type(result).__name__ in found.error


def test_numbers_of_numpy_become_numbers() -> None:
    found = validate_result(
        SCORED,
        LogLikelihoodResult(
            np.float32(-1.5),  # type: ignore[arg-type]
            np.bool_(True),  # type: ignore[arg-type]
            np.int64(1),  # type: ignore[arg-type]
            np.int32(2),  # type: ignore[arg-type]
            3,
            4,
            np.float64(0.5),
        ),
    )
    assert found == LIKELY
    assert isinstance(found, LogLikelihoodResult)
    assert type(found.log_probability) is type(found.seconds) is float
    assert type(found.is_greedy) is bool
    assert type(found.token_count) is int


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), np.float32("nan")])
def test_what_is_no_number_is_no_answer(value: Any) -> None:
    for result in (
        LogLikelihoodResult(value, True, 1, 1, 1),
        LogLikelihoodResult(-1.0, True, 1, 1, 1, 0, value),
    ):
        assert isinstance(validate_result(SCORED, result), Failure)
    assert isinstance(
        validate_result(PROMPT, GenerationResult("", "stop", 1, 1, 0, value)), Failure
    )


@pytest.mark.parametrize("count", [-1, 2**63, 10**30, True, 1.5, "1"])
@pytest.mark.parametrize("place", [2, 3, 4, 5])
def test_what_cannot_be_a_count_is_no_answer(count: Any, place: int) -> None:
    values: list[Any] = [*astuple(LIKELY)]
    values[place] = count
    assert isinstance(validate_result(SCORED, LogLikelihoodResult(*values)), Failure)


def test_an_error_is_cut() -> None:
    assert validate_result(SCORED, Failure("x" * 10_000_000)) == Failure("x" * LONGEST_ERROR)
    assert validate_result(SCORED, Failure(ValueError("no"))) == Failure("no")  # type: ignore[arg-type]


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 2**63, -(2**63), 2**64, 10**30, -(10**30)]),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.binary(),
    st.lists(st.integers()),
    st.floats(width=32).map(np.float32),
    st.integers(0, 100).map(np.int64),
)


@given(st.dictionaries(st.integers(0, 6), ANYTHING, max_size=2), st.booleans())
def test_whatever_passes_can_be_stored_and_written(changed: dict[int, Any], prompted: bool) -> None:
    """A result that broke the store or the document would lose more than itself."""
    kind = GenerationResult if prompted else LogLikelihoodResult
    values: list[Any] = [*astuple(TEXT if prompted else LIKELY)]
    for place, value in changed.items():
        values[place % len(values)] = value
    found = validate_result(PROMPT if prompted else SCORED, kind(*values))
    assert changed or not isinstance(found, Failure)
    if not isinstance(found, Failure):
        assert decode(encode(found)) == found
        assert not changed or json.loads(json.dumps(asdict(found), allow_nan=False))
