"""A model's architecture as mlx-lm resolved it: its arguments, and the modules made from them.

Arguments say what was read, modules what is computed: an architecture may take an argument and not
use it, or compute what no argument names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.nn as nn
import msgspec
import numpy as np

from pajamas_eval.api.architecture import ArchitectureFacts, Fact
from pajamas_eval.tokens.architecture.config import facts_of_config

_KINDS = {
    "Llama3RoPE": "llama3",
    "YarnRoPE": "yarn",
    "SuScaledRoPE": "longrope",
    "DynamicNTKScalingRoPE": "dynamic",
    "ProportionalRoPE": "proportional",
}
"""Scalings by the classes of mlx-lm that compute them."""


def facts_of_model(
    model: Any, config: Mapping[str, Any], caches: Sequence[Any], tokens: int
) -> ArchitectureFacts:
    """What mlx-lm runs; weights are not needed.

    Args:
        model: As mlx-lm makes it from the configuration.
        config: The content of `config.json`.
        caches: As mlx-lm makes them for the model, one for each layer.
        tokens: How many ids the tokenizer knows.
    """
    arguments = _arguments(model)
    resolved = {**vars(arguments), "model_type": config.get("model_type", "")}
    name = f"mlx_lm.models.{type(model).__module__.rpartition('.')[2]}"
    facts = facts_of_config(resolved, f"{name}.ModelArgs", tokens)
    sizes = [getattr(cache, "max_size", None) or 0 for cache in caches]
    windowed = tuple(i for i, size in enumerate(sizes) if size)
    source = f"{name}: {type(caches[windowed[0]]).__name__}" if windowed else f"{name} has none"
    windows = {
        "sliding_window": Fact(max(sizes, default=0), source),
        "sliding_layers": Fact(windowed, source),
    }
    ropes = _ropes(model, facts, name, windowed)
    return msgspec.structs.replace(facts, **_norms(model, name), **ropes, **windows)


def _arguments(model: Any) -> Any:
    """Those of the language model, which may be a part of one that also sees or hears."""
    found = [module.args for module in model.modules() if hasattr(module, "args")]
    return next((args for args in found if hasattr(args, "num_hidden_layers")), found[0])


def _norms(model: Any, name: str) -> dict[str, Any]:
    """The norms of the layers, where they are all of one kind."""
    kinds = {
        (type(module), module.eps)
        for layer in model.layers
        for module in layer.children().values()
        if isinstance(module, nn.RMSNorm | nn.LayerNorm)
    }
    if len(kinds) != 1:
        return {}
    ((kind, epsilon),) = kinds
    return {
        "norm": Fact("rms" if kind is nn.RMSNorm else "layer", f"{name}: {kind.__name__}"),
        "norm_epsilon": Fact(float(epsilon), f"{name}: {kind.__name__}.eps"),
    }


def _ropes(
    model: Any, facts: ArchitectureFacts, name: str, windowed: Sequence[int]
) -> dict[str, Any]:
    """How layers rotate heads by position: those that see the whole text, and the others."""
    found_in = enumerate(map(_rope, model.layers))
    ropes = {i: rope for i, rope in found_in if rope is not None}
    whole = [rope for i, rope in ropes.items() if i not in windowed]
    local = [rope for i, rope in ropes.items() if i in windowed]
    if not ropes or len({_way(rope) for rope in whole or local}) != 1:
        return {}
    rope = (whole or local)[0]
    source = f"{name}: {type(rope).__name__}"
    found: dict[str, Any] = {}
    if isinstance(rope, nn.RoPE):
        found["rope_base"] = Fact(float(rope.base), f"{source}.base")
    if local and isinstance(local[0], nn.RoPE):
        found["rope_base_local"] = Fact(float(local[0].base), f"{source}.base")
    kind = _KINDS.get(type(rope).__name__, "none")
    if kind == "none" and rope.scale != 1.0:
        kind, found["rope_factor"] = "linear", Fact(1 / rope.scale, f"{source}.scale")
    found["rope_scaling"] = Fact(kind, source)
    if kind == "proportional":
        return found
    dims = rope.dim if kind == "longrope" else rope.dims
    if facts.head_size:
        found["rotary_share"] = Fact(dims / facts.head_size.value, f"{source}.dims")
    if facts.rope_base and kind in ("llama3", "longrope"):
        plain = facts.rope_base.value ** (np.arange(0, dims, 2, np.float32) / dims)
        factors = Fact(tuple((np.array(rope._freqs) / plain).tolist()), f"{source}._freqs")
        found["rope_factors"] = factors
        if kind == "longrope":  # it rotates texts of any length so
            found["rope_short_factors"] = factors
    return found


def _rope(layer: Any) -> Any:
    """The module of a layer that rotates heads; nothing where it has none."""
    modules = (module for _, module in layer.named_modules())
    return next((m for m in modules if isinstance(m, nn.RoPE) or type(m).__name__ in _KINDS), None)


def _way(rope: Any) -> tuple[Any, ...]:
    freqs = getattr(rope, "_freqs", None)
    plain = (getattr(rope, name, None) for name in ("base", "dims", "scale"))
    return type(rope), *plain, None if freqs is None else np.array(freqs).tobytes()
