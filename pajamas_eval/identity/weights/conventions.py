"""How llama.cpp's converter rearranges the tensors of a folder, by architecture.

From `conversion/*.py` of llama.cpp as of llama-cpp-python 0.3.36, whose source distribution holds
that converter. Of every family in `KNOWN` it converted a random model (transformers 5.24, float32
to F16), and every tensor was found equal.
"""

import re
from collections.abc import Callable, Mapping

from pajamas_eval.api.architecture import ArchitectureFacts, PerLayer
from pajamas_eval.identity.weights.names import layer_of
from pajamas_eval.identity.weights.tensor import Tensor
from pajamas_eval.identity.weights.views import (
    rotary_order,
    separate_order,
    shifted,
    split,
    transposed,
    with_rows,
)

_ROTATED_IN_PAIRS = frozenset({"llama", "granite", "granitemoe", "olmo", "smollm3", "arcee"})
"""Families whose query and key rows are reordered; others that rotate are left as they are."""

_NORMS_PLUS_ONE = frozenset({"gemma", "gemma2", "gemma3", "nemotron"})
"""Families whose norms multiply by 1 + weight, where llama.cpp's multiply by the weight."""

_AS_THEY_ARE = frozenset(
    {
        "cohere2",
        "command-r",
        "ernie4_5",
        "exaone4",
        "lfm2",
        "olmo2",
        "olmoe",
        "phi2",
        "phi3",
        "qwen2",
        "qwen2moe",
        "qwen3",
        "qwen3moe",
        "seed_oss",
        "stablelm",
        "starcoder2",
    }
)
_APART_IN_EACH_HEAD = frozenset({"bloom", "gptneox"})
"""Families with queries, keys and values in one matrix, head by head; llama.cpp has them apart."""

KNOWN = _ROTATED_IN_PAIRS | _NORMS_PLUS_ONE | _AS_THEY_ARE | _APART_IN_EACH_HEAD | {"gpt2"}
"""Families of which every tensor's place and form in a GGUF file is known."""

_CONV1D = re.compile(r"blk\.\d+\.(?:attn_qkv|attn_output|ffn_up|ffn_down)\.weight")
_ROTATED = re.compile(r"blk\.\d+\.attn_(?P<which>[qk])\.(?:weight|bias)")
_GRANITE_EXPERTS = re.compile(r"model\.layers\.(\d+)\.block_sparse_moe\.input_linear\.weight")


def as_computed(format_name: str, family: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A folder's tensors in the arrangement that mlx-lm computes with: matrices `[out, in]`.

    GPT-2's are stored the other way round, and GraniteMoE's gate and up matrices as one.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if family == "gpt2" and format_name != "MLX" and _CONV1D.fullmatch(name):
            found[name] = transposed(tensor)
        elif (fused := _GRANITE_EXPERTS.fullmatch(name)) and len(tensor.shape) == 3:
            half = tensor.shape[1] // 2
            names = [f"blk.{fused[1]}.ffn_{part}_exps.weight" for part in ("gate", "up")]
            found |= {part.name: part for part in split(tensor, names, [half, half])}
        else:
            found[name] = tensor
    return found


def as_in_gguf(
    family: str, facts: ArchitectureFacts, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A folder's tensors as llama.cpp's converter writes them."""
    change = _changes(family, facts)
    return {name: change(name, tensor) for name, tensor in tensors.items()}


def _changes(family: str, facts: ArchitectureFacts) -> Callable[[str, Tensor], Tensor]:
    def change(name: str, tensor: Tensor) -> Tensor:
        rotated = _ROTATED.fullmatch(name)
        if family in _ROTATED_IN_PAIRS and rotated:
            heads = facts.heads if rotated["which"] == "q" else facts.kv_heads
            return _rotated(name, tensor, heads.value if heads else None)
        if family in _NORMS_PLUS_ONE and name.endswith("norm.weight"):
            return shifted(tensor, 1.0)
        if family in _APART_IN_EACH_HEAD and ".attn_qkv." in name and facts.heads:
            count = facts.heads.value
            if isinstance(count, int):
                order = separate_order(tensor.shape[0], count)
                return with_rows(tensor, order, name, tensor.shape)
        return tensor

    return change


def _rotated(name: str, tensor: Tensor, heads: PerLayer | None) -> Tensor:
    if isinstance(heads, tuple):
        heads = heads[layer_of(name) or 0]
    size = tensor.shape[0]
    if not heads or size % heads or size // heads % 2:
        return tensor
    return with_rows(tensor, rotary_order(size, heads), name, tensor.shape)


def unfused(tensors: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values apart where they are together here and apart in the other model."""
    found = dict(tensors)
    for name in tensors:
        stem, is_fused, ending = name.partition("attn_qkv.")
        names = [f"{stem}attn_{which}.{ending}" for which in "qkv"]
        if is_fused and all(n in other and n not in tensors for n in names):
            fused = found.pop(name)
            if len(fused.shape) == 2 and fused.rows == sum(other[n].rows for n in names):
                found |= {p.name: p for p in split(fused, names, [other[n].rows for n in names])}
            else:
                found[name] = fused
    return found
