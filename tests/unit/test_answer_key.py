"""A key changes with all that can change an answer, and with nothing else."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from fake_runtime import BOS, FakeRuntime
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from pajamas_eval.api.answer_key import (
    AnswerKey,
    answer_affecting_options,
    answer_key,
    fingerprint,
    request_key,
)
from pajamas_eval.api.media import Image, Prompt
from pajamas_eval.api.options import NO_EFFECT
from pajamas_eval.api.requests import (
    Classify,
    GenerateUntil,
    LogLikelihood,
    LogLikelihoodRolling,
    Request,
    Sampling,
)
from pajamas_eval.api.runtime import token_reading
from pajamas_eval.tokens.options import TokenOptions

IMAGE = Image("d", "a.png")
OPTIONS: dict[str, Any] = {"dtype": "float16", "exact": False, "n_gpu_layers": None}
SETTINGS: dict[str, Any] = {"prefix_tokens": [1]}
KEY = AnswerKey(
    weights="ab" * 32,
    runtime="hf",
    versions={"torch": "2.13.0", "transformers": "5.23.0"},
    build="AVX2",
    device="cpu",
    options=OPTIONS,
    settings=SETTINGS,
)


def changed(**fields: object) -> bytes:
    return msgspec.structs.replace(KEY, **fields).digest()


# -- models --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"weights": "ab" * 31 + "ac"},
        {"weights": None},
        {"runtime": "mlx"},
        {"versions": {"torch": "2.13.1", "transformers": "5.23.0"}},
        {"versions": {"torch": "2.13.0"}},
        {"build": "AVX512"},
        {"device": "cuda"},
        {"options": OPTIONS | {"dtype": "bfloat16"}},
        {"options": OPTIONS | {"exact": True}},
        {"options": OPTIONS | {"exact": 0}},
        {"options": OPTIONS | {"n_gpu_layers": "None"}},
        {"options": OPTIONS | {"more": 1}},
        {"settings": {"prefix_tokens": []}},
        {"settings": SETTINGS | {"more": 1}},
        {"method": 3},
    ],
)
def test_whatever_can_change_an_answer_changes_the_key(fields: dict[str, Any]) -> None:
    assert changed(**fields) != KEY.digest()


def test_the_order_of_settings_and_versions_is_irrelevant() -> None:
    reverse = {name: OPTIONS[name] for name in reversed(OPTIONS)}
    versions = {name: KEY.versions[name] for name in reversed(KEY.versions)}
    assert changed(options=reverse, versions=versions) == KEY.digest()
    assert changed(settings=SETTINGS | {"prefix_tokens": (1,)}) == KEY.digest()


def test_values_cannot_run_into_each_other() -> None:
    keys = {
        changed(settings={"a": "b", "c": "d"}),
        changed(settings={"a": 'b","c":"d'}),
        changed(settings={"a": ["b", "c"], "d": ""}),
        changed(settings={"a": ["b", ["c"]], "d": ""}),
        changed(settings={}, runtime="hf1"),
        changed(settings={}, runtime="hf", weights=f"{KEY.weights}1"),
    }
    assert len(keys) == 6


def test_the_key_of_a_model_is_the_same_tomorrow() -> None:
    """It is on people's disks: a change here makes all that they have stored useless."""
    assert KEY.canonical() == (
        '{"build":"AVX2","device":"cpu","method":2,"options":{"dtype":"float16","exact":false,'
        '"n_gpu_layers":null},"runtime":"hf","settings":{"prefix_tokens":[1]},'
        '"versions":{"torch":"2.13.0","transformers":"5.23.0"},"weights":"' + "ab" * 32 + '"}'
    )
    request = LogLikelihood(Prompt("The capital of France is"), " Paris")
    asked = read(request, [1, 2, 3], [4])
    assert asked.hex() == "389b64c4101e8d6f84be69e7ec26faa0"
    assert request_key(KEY.digest(), asked).hex() == "ef62e78ae825ddb9fbb9082f0bc2ca31"


def test_text_that_is_no_unicode_has_a_key() -> None:
    assert changed(settings={"a": "\ud800"}) != changed(settings={"a": "\\ud800"})


def within(length: int, request: Request, context: ArrayLike, continuation: ArrayLike) -> bytes:
    """The fingerprint where the context has so much room."""
    return fingerprint(request, token_reading(request, context, continuation, length))


def read(request: Request, context: ArrayLike, continuation: ArrayLike) -> bytes:
    """The fingerprint where the context has room for everything."""
    return within(2048, request, context, continuation)


# -- requests ------------------------------------------------------------------------------


def test_a_request_is_its_tokens_whatever_holds_them() -> None:
    request = LogLikelihood(Prompt("c"), " x")
    expected = read(request, [1, 2], [3])
    assert len(expected) == 16
    for kind in (np.int32, np.int64):
        assert read(request, np.array([1, 2], kind), np.array([3], kind)) == expected
    assert read(request, np.arange(5)[1:3], (3,)) == expected, "a view of a longer text"
    assert read(LogLikelihood(Prompt("other text"), "!y"), [1, 2], [3]) == expected


def test_every_part_of_a_request_counts() -> None:
    def until(*stops: str, tokens: int = 8) -> GenerateUntil:
        return GenerateUntil(Prompt("p"), stops, tokens)

    asked: list[tuple[Request, Sequence[int], Sequence[int]]] = [
        (LogLikelihood(Prompt("c"), "x"), [1, 2], [3]),
        (LogLikelihood(Prompt("c"), "x"), [1], [2, 3]),
        (LogLikelihood(Prompt("c"), "x"), [1, 2, 3], []),
        (LogLikelihood(Prompt("c"), "x"), [], [1, 2, 3]),
        (LogLikelihood(Prompt("c"), "xy"), [1, 2], [3]),
        (LogLikelihood(Prompt("c"), "x"), [1, 2], [4]),
        (LogLikelihood(Prompt("c"), "x"), [1, 2], [3 + 2**16]),
        (LogLikelihoodRolling("x"), [], [1, 2, 3]),
        (LogLikelihoodRolling("xy"), [], [1, 2, 3]),
        (LogLikelihoodRolling("é"), [], [1, 2]),
        (until(), [1, 2, 3], []),
        (until(tokens=9), [1, 2, 3], []),
        (until(""), [1, 2, 3], []),
        (until("ab"), [1, 2, 3], []),
        (until("a", "b"), [1, 2, 3], []),
        (until("b", "a"), [1, 2, 3], []),
        (until("a", "b", ""), [1, 2, 3], []),
        (until("a\0b"), [1, 2, 3], []),
        (until("\ud800"), [1, 2, 3], []),
        (until("\ufffd"), [1, 2, 3], []),
        (until("?"), [1, 2, 3], []),
    ]
    assert len({read(*parts) for parts in asked}) == len(asked)


tokens = st.lists(st.integers(0, 2**31 - 1), max_size=5)
texts = st.text(st.characters(categories=None), max_size=3)
generations = st.builds(
    GenerateUntil, st.just(Prompt("")), st.lists(texts, max_size=3).map(tuple), st.integers(1, 9)
)
scorings = st.builds(LogLikelihood, st.just(Prompt("")), texts)


@given(*2 * (st.tuples(generations | scorings, tokens, tokens),))
def test_only_equal_requests_share_a_read(
    one: tuple[Request, list[int], list[int]], other: tuple[Request, list[int], list[int]]
) -> None:
    def parts(asked: tuple[Request, list[int], list[int]]) -> tuple[object, ...]:
        request, context, continuation = asked
        if isinstance(request, LogLikelihood):
            size = len(request.continuation.encode("utf-8", "replace"))
            return (size, context, continuation)
        return (request, context, continuation)

    assert (read(*one) == read(*other)) == (parts(one) == parts(other))


def test_the_context_length_counts_where_it_cuts() -> None:
    scored = LogLikelihood(Prompt("c"), "x")
    assert within(3, scored, [1, 2], [3]) == within(4, scored, [1, 2], [3])
    assert within(2, scored, [1, 2], [3]) != within(3, scored, [1, 2], [3])
    written = GenerateUntil(Prompt("p"), (), 8)
    assert within(10, written, [1, 2], []) == within(99, written, [1, 2], [])
    assert within(9, written, [1, 2], []) != within(10, written, [1, 2], [])
    assert within(9, written, [1, 2], []) != within(8, written, [1, 2], [])


def test_the_same_request_to_another_model_is_another() -> None:
    asked = read(LogLikelihood(Prompt("c"), "x"), [1], [2])
    keys = {request_key(KEY.digest(), asked), request_key(changed(runtime="mlx"), asked)}
    assert {len(key) for key in keys} == {16}
    assert len(keys) == 2


def test_token_ids_beyond_32_bits_are_refused() -> None:
    with pytest.raises(OverflowError):
        read(LogLikelihood(Prompt("c"), "x"), [2**31], [1])


# -- what a runtime states -----------------------------------------------------------------


def test_a_request_that_nobody_can_read_is_known_by_its_text() -> None:
    asked = [
        LogLikelihood(Prompt("c"), "x"),
        LogLikelihood(Prompt("cx"), ""),
        LogLikelihood(Prompt("c", (Image("d", "a.png"),)), "x"),
        LogLikelihood(Prompt("c", (Image("e", "a.png"),)), "x"),
        LogLikelihoodRolling("cx"),
        GenerateUntil(Prompt("c"), ("x",), 8),
        Classify(Image("d", "a.png")),
    ]
    assert len({fingerprint(request, None) for request in asked}) == len(asked)
    moved = LogLikelihood(Prompt("c", (Image("d", "elsewhere/b.png"),)), "x")
    assert fingerprint(moved, None) == fingerprint(asked[2], None)


def test_an_image_counts_beside_the_tokens() -> None:
    plain, shown = LogLikelihood(Prompt("c"), "x"), LogLikelihood(Prompt("c", (IMAGE,)), "x")
    assert read(plain, [1], [2]) != read(shown, [1], [2])


def test_every_sample_of_a_text_is_another_request() -> None:
    prompt, sampling = Prompt("p"), Sampling(temperature=0.8, seed=7)
    asked = [GenerateUntil(prompt, (), 8)]
    asked += [GenerateUntil(prompt, (), 8, sampling, sample) for sample in range(5)]
    asked += [GenerateUntil(prompt, (), 8, Sampling(temperature=0.8, seed=8))]
    asked += [GenerateUntil(prompt, (), 8, Sampling(temperature=0.8, seed=7, top_k=40))]
    asked += [GenerateUntil(prompt, (), 8, Sampling(temperature=0.8, seed=7, top_p=0.9))]
    assert len({read(request, [1], []) for request in asked}) == len(asked)


def test_only_options_that_affect_answers_are_part_of_the_key() -> None:
    class Options(TokenOptions, frozen=True, kw_only=True):
        dtype: str = "auto"
        threads: Annotated[int, NO_EFFECT] = 2

    found = answer_affecting_options(Options(path="m", n_ctx=512, add_bos=True, threads=3))
    assert found == {
        "trust_remote_code": False,
        "exact": False,
        "batch_tokens": None,
        "batch_sequences": None,
        "dtype": "auto",
    }


def test_a_key_is_built_from_what_a_runtime_states() -> None:
    key = answer_key(FakeRuntime(exact=True))
    assert (key.weights, key.runtime, key.versions) == ("0" * 64, "fake", {"fake": "1"})
    assert key.options["exact"] is True
    assert key.settings["prefix_tokens"] == [BOS]
    bare = answer_key(FakeRuntime(adds_bos=False))
    assert bare.settings["prefix_tokens"] == []
    assert bare.settings["vocabulary"] == key.settings["vocabulary"]
    assert bare.digest() != key.digest()
