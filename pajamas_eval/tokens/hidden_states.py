"""Shows an observer what a model computes, from what an adapter sees of its engine."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pajamas_eval.api.hidden_states import HiddenStates, Observer, Place
from pajamas_eval.errors import UsageError
from pajamas_eval.tokens.layer_parts import Part, States, add_up, find_parts

PROBE_TOKENS = 24
"""Tokens of the run that finds out which tensor is what."""

LOGIT_ROWS = 64
"""Last tokens of a text whose logits are computed: a vocabulary is wide."""

BEFORE_LAYERS = -1
"""Stands for the layer of tensors that are computed before the first one."""

OUTPUT = "output"
"""Name of what a layer hands on, in every engine."""


class Watch(Protocol):
    """Is told of the tensors `[rows, width]` of a forward pass in the order they are computed."""

    def wants(self, layer: int, name: str) -> bool:
        """Whether it is to be shown a tensor."""

    def show(self, layer: int, name: str, states: States) -> States | None:
        """Takes a tensor's content; what it returns, if anything, is to take its place."""


class Tracer(Protocol):
    """An adapter that lets its engine be watched."""

    def trace(self, tokens: Sequence[int], watch: Watch) -> States:
        """Runs a text; returns the logits of its last `LOGIT_ROWS` tokens.

        Told to `watch` are the embedding (the last tensor before the first layer), each layer's
        tensors of the hidden states' width, and then the layer's output.
        """


def show_hidden_states(tracer: Tracer, path: str, tokens: Sequence[int], observe: Observer) -> None:
    """Finds the places with a few tokens, then runs them all.

    Args:
        tracer: Has the model.
        path: Names it in errors.
        tokens: The text.
        observe: Is shown the states.

    Raises:
        UsageError: The places cannot be found.
    """
    probe = _Probe()
    tracer.trace(tokens[:PROBE_TOKENS], probe)
    guide = _Guide(path, *probe.places(path), observe)
    logits = tracer.trace(tokens, guide)
    observe(HiddenStates(Place.LOGITS, None, logits))


class _Probe:
    """Takes everything, save names that a layer has twice."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[str, States]] = {}
        self._twice: set[tuple[int, str]] = set()

    def wants(self, layer: int, name: str) -> bool:
        return layer != BEFORE_LAYERS or 0 not in self._seen

    def show(self, layer: int, name: str, states: States) -> None:
        seen = self._seen.setdefault(layer, {})
        if name in seen:
            self._twice.add((layer, name))
        seen[name] = states.copy()

    def places(self, path: str) -> tuple[str, list[list[Part]]]:
        """The embedding's name, and the parts of each layer."""
        before = self._seen.get(BEFORE_LAYERS)
        layers = [layer for layer, seen in self._seen.items() if OUTPUT in seen]
        count = max(layers, default=BEFORE_LAYERS) + 1
        lacking = [i for i in range(count) if OUTPUT not in self._seen.get(i, {})]
        if not before or not count or lacking:
            what = "the embedding" if count and not lacking else "every layer's output"
            raise UsageError(f"{path}: {what} cannot be found in what its engine computes")
        embedding, states = list(before.items())[-1]
        parts = []
        for layer in range(count):
            output = self._seen[layer][OUTPUT]
            tensors = {
                name: tensor
                for name, tensor in self._seen[layer].items()
                if name != OUTPUT and (layer, name) not in self._twice
            }
            if output.shape != states.shape:
                raise UsageError(
                    f"{path}: its layers do not hand on one state for each token "
                    f"({states.shape} before layer {layer}, {output.shape} after it)"
                )
            parts.append(find_parts(states, output, tensors))
            states = output
        known = next((pair for pair in parts if pair), [])
        parts = [pair or self._alike(layer, known) for layer, pair in enumerate(parts)]
        if known and not parts[0]:
            raise UsageError(
                f"{path}: what its engine gives the first layer cannot be found: "
                f"{embedding} and the layer's parts do not add up to its output"
            )
        return embedding, parts

    def _alike(self, layer: int, known: list[Part]) -> list[Part]:
        """Another layer's parts, by name, where this one's own prove nothing or nothing else.

        So it is where a layer overflows, and where half precision rounds away what it adds.
        """
        seen, output = self._seen[layer], self._seen[layer][OUTPUT]
        if not known or any(part.name not in seen for part in known):
            return []
        if not np.isfinite(output).all():
            return known
        before = list(self._seen[layer - 1].values())[-1]  # a layer's output is its last
        added = [part.added(seen[part.name], before) for part in known]
        return known if add_up(added, before, output) else []


class _Guide:
    """Shows an observer the places, and has the model go on with what that returns."""

    def __init__(
        self, path: str, embedding: str, parts: Sequence[Sequence[Part]], observe: Observer
    ) -> None:
        self._path, self._embedding = path, embedding
        self._observe = observe
        places = (Place.ATTENTION, Place.FEED_FORWARD)
        self._parts = [
            {part.name: (part, place) for part, place in zip(pair, places, strict=False)}
            for pair in parts
        ]
        self._before = np.empty((0, 0), np.float32)
        self._added: list[States] = []

    def wants(self, layer: int, name: str) -> bool:
        if layer == BEFORE_LAYERS:
            return name == self._embedding
        return layer < len(self._parts) and (name == OUTPUT or name in self._parts[layer])

    def show(self, layer: int, name: str, states: States) -> States | None:
        if layer == BEFORE_LAYERS:
            return self._hand_on(Place.EMBEDDING, None, states)
        if name == OUTPUT:
            self._refuse_other_sums(layer, states)
            return self._hand_on(Place.OUTPUT, layer, states)
        part, place = self._parts[layer][name]
        added = part.added(states, self._before)
        instead = self._observe(HiddenStates(place, layer, added))
        self._added.append(added if instead is None else instead)
        return None if instead is None else part.tensor(instead, self._before)

    def _hand_on(self, place: Place, layer: int | None, states: States) -> States | None:
        instead = self._observe(HiddenStates(place, layer, states))
        self._before = states if instead is None else instead
        self._added.clear()
        return instead

    def _refuse_other_sums(self, layer: int, output: States) -> None:
        """Raises `UsageError` where a layer's parts are not those that the probe found."""
        if not self._parts[layer]:
            return
        whole = len(self._added) == len(self._parts[layer])
        if whole and not np.isfinite(output).all():
            return
        if not (whole and add_up(self._added, self._before, output)):
            raise UsageError(
                f"{self._path}: what attention and feed-forward of layer {layer} add is not found "
                "again in a longer text"
            )
