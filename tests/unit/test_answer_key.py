"""A key changes with all that can change an answer, and with nothing else."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from pajamas_eval.api.answer_key import canonical
from pajamas_eval.api.requests import GenerateUntil, LogLikelihood, LogLikelihoodRolling, Request
from pajamas_eval.store import ModelIdentity, fingerprint, model_key, request_key

SETTINGS: dict[str, Any] = {
    "dtype": "float16",
    "prefix_tokens": [1],
    "context_length": 2048,
    "exact": False,
    "n_gpu_layers": None,
}
IDENTITY = ModelIdentity(
    digest="ab" * 32,
    runtime="hf",
    versions={"torch": "2.13.0", "transformers": "5.23.0"},
    settings=SETTINGS,
)


def changed(**fields: object) -> bytes:
    return model_key(msgspec.structs.replace(IDENTITY, **fields))


# -- models --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"digest": "ab" * 31 + "ac"},
        {"runtime": "mlx"},
        {"versions": {"torch": "2.13.1", "transformers": "5.23.0"}},
        {"versions": {"torch": "2.13.0"}},
        {"settings": SETTINGS | {"dtype": "bfloat16"}},
        {"settings": SETTINGS | {"prefix_tokens": []}},
        {"settings": SETTINGS | {"context_length": 1024}},
        {"settings": SETTINGS | {"exact": True}},
        {"settings": SETTINGS | {"exact": 0}},
        {"settings": SETTINGS | {"n_gpu_layers": "None"}},
        {"settings": SETTINGS | {"more": 1}},
        {"method": 2},
    ],
)
def test_whatever_can_change_an_answer_changes_the_key(fields: dict[str, Any]) -> None:
    assert changed(**fields) != model_key(IDENTITY)


def test_the_order_of_settings_and_versions_is_irrelevant() -> None:
    reverse = {name: SETTINGS[name] for name in reversed(SETTINGS)}
    versions = {name: IDENTITY.versions[name] for name in reversed(IDENTITY.versions)}
    assert changed(settings=reverse, versions=versions) == model_key(IDENTITY)
    assert changed(settings=SETTINGS | {"prefix_tokens": (1,)}) == model_key(IDENTITY)


def test_values_cannot_run_into_each_other() -> None:
    keys = {
        changed(settings={"a": "b", "c": "d"}),
        changed(settings={"a": 'b","c":"d'}),
        changed(settings={"a": ["b", "c"], "d": ""}),
        changed(settings={"a": ["b", ["c"]], "d": ""}),
        changed(settings={}, runtime="hf1"),
        changed(settings={}, runtime="hf", digest=IDENTITY.digest + "1"),
    }
    assert len(keys) == 6


def test_the_key_of_a_model_is_the_same_tomorrow() -> None:
    """It is on people's disks: a change here makes all that they have stored useless."""
    assert canonical(IDENTITY) == (
        '{"digest":"' + "ab" * 32 + '","method":1,"runtime":"hf","settings":{"context_length":2048,'
        '"dtype":"float16","exact":false,"n_gpu_layers":null,"prefix_tokens":[1]},'
        '"versions":{"torch":"2.13.0","transformers":"5.23.0"}}'
    )
    request = LogLikelihood("The capital of France is", " Paris")
    asked = read(request, [1, 2, 3], [4])
    assert asked.hex() == "a0b64b2b3aa8a8d5d42aa6d619c115ff"
    assert request_key(model_key(IDENTITY), asked).hex() == "a79d2f537e61d81b15d34c30ce749f69"


def test_text_that_is_no_unicode_has_a_key() -> None:
    assert changed(settings={"a": "\ud800"}) != changed(settings={"a": "\\ud800"})


def read(request: Request, context: ArrayLike, continuation: ArrayLike) -> bytes:
    """The fingerprint where the context has room for everything."""
    return fingerprint(request, context, continuation, 2048)


# -- requests ------------------------------------------------------------------------------


def test_a_request_is_its_tokens_whatever_holds_them() -> None:
    request = LogLikelihood("c", " x")
    expected = read(request, [1, 2], [3])
    assert len(expected) == 16
    for kind in (np.int32, np.int64):
        assert read(request, np.array([1, 2], kind), np.array([3], kind)) == expected
    assert read(request, np.arange(5)[1:3], (3,)) == expected, "a view of a longer text"
    assert read(LogLikelihood("other text", "!y"), [1, 2], [3]) == expected


def test_every_part_of_a_request_counts() -> None:
    def until(*stops: str, tokens: int = 8) -> GenerateUntil:
        return GenerateUntil("p", stops, tokens)

    asked: list[tuple[Request, Sequence[int], Sequence[int]]] = [
        (LogLikelihood("c", "x"), [1, 2], [3]),
        (LogLikelihood("c", "x"), [1], [2, 3]),
        (LogLikelihood("c", "x"), [1, 2, 3], []),
        (LogLikelihood("c", "x"), [], [1, 2, 3]),
        (LogLikelihood("c", "xy"), [1, 2], [3]),
        (LogLikelihood("c", "x"), [1, 2], [4]),
        (LogLikelihood("c", "x"), [1, 2], [3 + 2**16]),
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
    GenerateUntil, st.just(""), st.lists(texts, max_size=3).map(tuple), st.integers(1, 9)
)
scorings = st.builds(LogLikelihood, st.just(""), texts)


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
    scored = LogLikelihood("c", "x")
    assert fingerprint(scored, [1, 2], [3], 3) == fingerprint(scored, [1, 2], [3], 4)
    assert fingerprint(scored, [1, 2], [3], 2) != fingerprint(scored, [1, 2], [3], 3)
    written = GenerateUntil("p", (), 8)
    assert fingerprint(written, [1, 2], [], 10) == fingerprint(written, [1, 2], [], 99)
    assert fingerprint(written, [1, 2], [], 9) != fingerprint(written, [1, 2], [], 10)
    assert fingerprint(written, [1, 2], [], 9) != fingerprint(written, [1, 2], [], 8)


def test_the_same_request_to_another_model_is_another() -> None:
    asked = read(LogLikelihood("c", "x"), [1], [2])
    keys = {request_key(model_key(IDENTITY), asked), request_key(changed(runtime="mlx"), asked)}
    assert {len(key) for key in keys} == {16}
    assert len(keys) == 2


def test_token_ids_beyond_32_bits_are_refused() -> None:
    with pytest.raises(OverflowError):
        read(LogLikelihood("c", "x"), [2**31], [1])
