"""What an adapter tells of its engine becomes places, or is refused; no engine is needed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pajamas_eval.api.hidden_states import HiddenStates, Place
from pajamas_eval.errors import UsageError
from pajamas_eval.tokens.hidden_states import (
    BEFORE_LAYERS,
    OUTPUT,
    PROBE_TOKENS,
    Watch,
    show_hidden_states,
)
from pajamas_eval.tokens.layer_parts import States

TOKENS, LAYERS, WIDTH = [*range(100)], 4, 16


def table(seed: int) -> States:
    return np.random.default_rng(seed).standard_normal((len(TOKENS), WIDTH)).astype(np.float32)


class Engine:
    """Layers that add two tables to what they are given; `change` is told each tensor."""

    def __init__(self, change: Callable[[int, str, States], States] | None = None) -> None:
        self.change = change or (lambda layer, name, states: states)
        self.runs: list[int] = []

    def trace(self, tokens: Sequence[int], watch: Watch) -> States:
        self.runs.append(len(tokens))

        def told(layer: int, name: str, states: States) -> States:
            states = self.change(layer, name, states)
            instead = watch.show(layer, name, states) if watch.wants(layer, name) else None
            return states if instead is None else instead

        states = told(BEFORE_LAYERS, "table", table(99)[: len(tokens)])
        states = told(BEFORE_LAYERS, "scaled", 4 * states)
        for layer in range(LAYERS):
            told(layer, "norm", states / 2)
            attention = told(layer, "attn", table(layer)[: len(tokens)])
            feed_forward = told(layer, "ffn", table(10 + layer)[: len(tokens)])
            states = told(layer, OUTPUT, states + attention + feed_forward)
        return states[-3:]


def shown(engine: Engine, answer: Any = lambda states: None) -> list[HiddenStates]:
    found: list[HiddenStates] = []

    def observe(states: HiddenStates) -> Any:
        found.append(states)
        return answer(states)

    show_hidden_states(engine, "model", TOKENS, observe)
    return found


def test_places_in_order() -> None:
    engine = Engine()
    found = shown(engine)
    assert engine.runs == [PROBE_TOKENS, len(TOKENS)]
    parts = [Place.ATTENTION, Place.FEED_FORWARD, Place.OUTPUT]
    layers = [(part, layer) for layer in range(LAYERS) for part in parts]
    keys = [(s.place, s.layer) for s in found]
    assert keys == [(Place.EMBEDDING, None), *layers, (Place.LOGITS, None)]
    assert np.array_equal(found[0].array, 4 * table(99))  # the last before the first layer
    assert np.array_equal(found[1].array, table(0))
    assert len(found[-1].array) == 3


def test_the_model_goes_on_from_what_is_returned() -> None:
    def answer(states: HiddenStates) -> Any:
        return table(50) if (states.place, states.layer) == (Place.ATTENTION, 1) else None

    before, after = shown(Engine()), shown(Engine(), answer)
    change = table(50) - table(1)
    assert np.allclose(after[-2].array - before[-2].array, change, atol=1e-5)


def test_a_layer_without_two_parts_shows_its_output_alone() -> None:
    def change(layer: int, name: str, states: States) -> States:
        return states + table(77)[: len(states)] if (layer, name) == (2, OUTPUT) else states

    found = shown(Engine(change))
    assert [s.place for s in found if s.layer == 2] == [Place.OUTPUT]
    assert len([s for s in found if s.layer == 1]) == 3


def test_half_precision_rounds_a_layers_parts_away() -> None:
    """What is proven in the layers with small states is taken for those with large ones."""

    def change(layer: int, name: str, states: States) -> States:
        grown = states + 5000 if (layer, name) == (1, "ffn") else states
        return (np.ascontiguousarray(grown).view(np.uint32) & 0xFFFF0000).view(np.float32)

    found = shown(Engine(change))
    assert [len([s for s in found if s.layer == layer]) for layer in range(LAYERS)] == [3] * 4


def test_a_layer_that_overflows_has_the_parts_of_the_others() -> None:
    found = shown(Engine(lambda n, name, s: s * np.inf if (n, name) == (2, "ffn") else s))
    assert [len([s for s in found if s.layer == layer]) for layer in range(LAYERS)] == [3] * 4


REFUSALS: dict[str, tuple[Callable[[int, str, States], States], str]] = {
    "other widths": (
        lambda layer, name, s: s[:, :8] if (layer, name) == (3, OUTPUT) else s,
        r"do not hand on one state for each token \(\(24, 16\) before layer 3, \(24, 8\) after",
    ),
    "another embedding": (
        lambda layer, name, s: s + table(77)[: len(s)] if (layer, name) == (0, OUTPUT) else s,
        "what its engine gives the first layer cannot be found: scaled and",
    ),
    "other sums later": (
        lambda layer, name, s: (
            s * 2 if len(s) > PROBE_TOKENS and (layer, name) == (1, OUTPUT) else s
        ),
        "what attention and feed-forward of layer 1 add is not found again in a longer text",
    ),
}


@pytest.mark.parametrize("change", REFUSALS)
def test_what_cannot_be_proven_is_refused(change: str) -> None:
    edit, message = REFUSALS[change]
    with pytest.raises(UsageError, match=f"model: .*{message}"):
        shown(Engine(edit))


@pytest.mark.parametrize(
    ("told", "message"),
    [([], "every layer's output"), ([0, 2], "every layer's output"), ([0, 1], "the embedding")],
)
def test_what_is_not_told_is_refused(told: list[int], message: str) -> None:
    class Silent:
        def trace(self, tokens: Sequence[int], watch: Watch) -> States:
            for layer in told:
                watch.show(layer, OUTPUT, table(0)[: len(tokens)])
            return table(0)[-3:]

    with pytest.raises(UsageError, match=f"model: {message} cannot be found"):
        show_hidden_states(Silent(), "model", TOKENS, lambda states: None)
