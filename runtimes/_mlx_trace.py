"""Watches an mlx-lm model by wrapping the calls of its layers and of their parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pajamas_eval.errors import UsageError
from pajamas_eval.tokens.hidden_states import BEFORE_LAYERS, OUTPUT, Watch


@contextmanager
def watched(model: Any, watch: Watch) -> Iterator[None]:
    """Has every forward pass told to a watch. Raises `UsageError` if there are no layers."""
    layers = getattr(model, "layers", None)
    if not layers or not all(isinstance(layer, nn.Module) for layer in layers):
        raise UsageError(f"no list of layers is found in mlx-lm's {type(model).__module__}")
    originals: list[tuple[Any, type]] = []
    try:
        for number, layer in enumerate(layers):
            for name, part in [*layer.children().items(), (OUTPUT, layer)]:
                if isinstance(part, nn.Module):
                    originals.append((part, type(part)))
                    _wrap(part, watch, number, name)
        yield
    finally:
        for module, original in reversed(originals):
            module.__class__ = original


def _wrap(module: Any, watch: Watch, layer: int, name: str) -> None:
    original = type(module)

    def call(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        if layer == 0 and name == OUTPUT:
            x = _shown(watch, BEFORE_LAYERS, "input", x)
        out = original.__call__(self, x, *args, **kwargs)
        if isinstance(out, tuple):
            return (_shown(watch, layer, name, out[0]), *out[1:])
        return _shown(watch, layer, name, out)

    module.__class__ = type(original.__name__, (original,), {"__call__": call})


def _shown(watch: Watch, layer: int, name: str, states: Any) -> Any:
    """The states, or what is to take their place."""
    is_states = isinstance(states, mx.array) and mx.issubdtype(states.dtype, mx.floating)
    if not is_states or states.ndim < 2 or not watch.wants(layer, name):
        return states
    rows = states.reshape(-1, states.shape[-1]).astype(mx.float32)
    instead = watch.show(layer, name, np.array(rows))
    if instead is None:
        return states
    return mx.array(instead).astype(states.dtype).reshape(states.shape)
