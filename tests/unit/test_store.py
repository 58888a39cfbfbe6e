"""Responses come back exactly as they were stored, and only for the very same key."""

import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.api.requests import FinishReason, GenerationResult, LogLikelihoodResult, Response
from pajamas_eval.api.results import Failure
from pajamas_eval.errors import UsageError
from pajamas_eval.store import Store, info
from pajamas_eval.store.codec import decode, encode

IDENTITY = AnswerKey(
    weights="ab" * 32, runtime="gguf", versions={"llama.cpp": "1"}, settings={"cache_type": "f16"}
)
SCORED = LogLikelihoodResult(-1.25, True, 3, 12, 500, 7, 0.125)
HOSTILE = (
    "\0",
    "\ud800",
    "\udfff\ud800",
    "\x1b[2J\x1b]0;owned\x07",
    "\r",
    "\u202e\u2066",
    "'; DROP TABLE responses; --",
    "<script>alert(1)</script>",
    "\ufeff",
    "\U0010ffff",
)


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def begin(store: Store) -> int:
    return store.runs.begin(["compare"], machine={}, versions={})


def fill(store: Store, numbers: range, identity: AnswerKey = IDENTITY) -> int:
    """Responses that tell their own number, stored one by one; returns the run."""
    run, model = begin(store), store.add_model(identity, "some.gguf")
    for number in numbers:
        store.put(run, model, [(key(number), response(number))])
    return run


def response(number: int) -> Response:
    return replace(SCORED, log_probability=float(-number))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "responses.sqlite") as store:
        yield store


# -- responses -----------------------------------------------------------------------------


def hostile_text() -> st.SearchStrategy[str]:
    anything = st.characters(min_codepoint=0, max_codepoint=sys.maxunicode, categories=None)
    return st.lists(st.text(anything) | st.sampled_from(HOSTILE)).map("".join)


COUNTS = st.integers(0, 2**40)


def generations() -> st.SearchStrategy[GenerationResult]:
    reasons: list[FinishReason] = ["stop", "end", "length"]
    return st.builds(
        GenerationResult,
        hostile_text(),
        st.sampled_from(reasons),
        COUNTS,
        COUNTS,
        COUNTS,
        st.floats(0),
    )


@given(generations())
def test_any_text_comes_back(result: GenerationResult) -> None:
    assert decode(encode(result)) == result


@given(st.floats(), st.booleans(), COUNTS)
def test_any_log_probability_comes_back_to_the_bit(
    log_probability: float, is_greedy: bool, count: int
) -> None:
    result = LogLikelihoodResult(log_probability, is_greedy, count, count, count, count, 0.0)
    back = decode(encode(result))
    assert isinstance(back, LogLikelihoodResult)
    assert replace(back, log_probability=0.0) == replace(result, log_probability=0.0)
    if math.isnan(log_probability):
        assert math.isnan(back.log_probability)
    else:
        assert struct.pack("d", back.log_probability) == struct.pack("d", log_probability)


@pytest.mark.parametrize("text", [*HOSTILE, "", "a" * 10_000_000, "\ud800" * 1_000_000])
def test_hostile_text_comes_back_from_disk(tmp_path: Path, text: str) -> None:
    result = GenerationResult(text, "length", 1, 2)
    with Store.open(tmp_path / "x.sqlite") as store:
        run, model = begin(store), store.add_model(IDENTITY, "m")
        store.put(run, model, [(key(1), result)])
    with Store.open(tmp_path / "x.sqlite") as store:
        assert store.get([key(1)]) == {key(1): result}


def test_numbers_of_numpy_are_numbers(store: Store) -> None:
    result = replace(SCORED, log_probability=np.float64(-0.5), is_greedy=np.bool_(True))  # type: ignore[arg-type]
    store.put(begin(store), store.add_model(IDENTITY, "m"), [(key(1), result)])
    assert store.get([key(1)])[key(1)] == replace(SCORED, log_probability=-0.5)


@given(st.binary(max_size=40))
def test_bytes_that_are_no_result_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(b"\xc1" + content)


def test_only_what_is_there_is_found(store: Store) -> None:
    fill(store, range(3))
    assert store.get([key(2), key(9), key(0), key(2)]) == {key(n): response(n) for n in (0, 2)}
    assert store.get([]) == {}


def test_more_keys_than_one_query_takes_are_found(store: Store) -> None:
    run, model = begin(store), store.add_model(IDENTITY, "m")
    count = 40_000
    assert store.put(run, model, ((key(n), response(n)) for n in range(count))) == count
    found = store.get(key(n) for n in range(2 * count))
    assert found == {key(n): response(n) for n in range(count)}


def test_a_response_is_stored_once(store: Store) -> None:
    first = fill(store, range(4))
    second, model = begin(store), store.add_model(IDENTITY, "m")
    assert store.put(second, model, [(key(3), SCORED), (key(4), SCORED), (key(4), SCORED)]) == 1
    assert store.get([key(3)])[key(3)] == response(3), "what is there stays"
    assert info(store).responses == 5
    assert [(run.id, run.computed, run.duplicates) for run in store.runs.all()] == [
        (first, 4, 0),
        (second, 3, 2),
    ]


def test_responses_are_stored_all_or_none(store: Store) -> None:
    run, model = fill(store, range(1)), 1
    broken = [(key(1), SCORED), ("no bytes at all", SCORED), (None, SCORED)]
    with pytest.raises(Exception, match="NOT NULL"):
        store.put(run, model, broken)  # type: ignore[arg-type]
    assert store.get([key(0), key(1)]) == {key(0): response(0)}
    assert store.runs.get(run).computed == 1
    assert store.put(run, model, [(key(1), SCORED)]) == 1, "the store can still be written"


def test_a_failure_is_not_stored(store: Store) -> None:
    run, model = begin(store), store.add_model(IDENTITY, "m")
    with pytest.raises(TypeError, match="a Failure cannot be stored"):
        store.put(run, model, [(key(1), Failure("it broke"))])  # type: ignore[list-item]
    assert store.get([key(1)]) == {}


def test_a_model_is_known_once_and_by_its_last_label(store: Store) -> None:
    number = store.add_model(IDENTITY, "old\udcff.gguf")
    assert store.add_model(IDENTITY, "new\udcff.gguf") == number
    assert store.add_model(msgspec.structs.replace(IDENTITY, runtime="mlx"), "m") != number
    store.put(begin(store), number, [(key(1), SCORED)])
    (model,) = info(store).models
    assert (model.label, model.key, model.responses) == ("new\\udcff.gguf", IDENTITY, 1)


# -- where it lies -------------------------------------------------------------------------


def test_folders_are_made(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a" / "b" / "x.sqlite") as store:
        assert info(store).responses == 0
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["x.sqlite"], "no log is left"


@pytest.mark.parametrize(
    "name", ["what?.sqlite", "100%.sqlite", "a;b'c\"d.sqlite", "\udcff.sqlite"]
)
def test_names_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path / name) as store:
        fill(store, range(1))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with Store.open(tmp_path / name) as store:
        assert info(store).responses == 1


def test_a_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x.sqlite", tmp_path / "nul\0" / "x", tmp_path / "nul\0"):
        with pytest.raises(UsageError, match="cannot open the response store"):
            Store.open(path)


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot open the response store .*: it is a folder"):
        Store.open(tmp_path)


def test_whoever_only_looks_makes_no_store(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "x.sqlite"
    with pytest.raises(UsageError, match="there is not a response store at "):
        Store.open(path, create=False)
    assert not path.parent.exists()
    Store.open(path).close()
    Store.open(path, create=False).close()
