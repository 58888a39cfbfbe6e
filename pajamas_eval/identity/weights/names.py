"""One name for a tensor whatever file it lies in: llama.cpp's, by the gguf library's own map.

What mlx-lm renames (its models' `sanitize`) is named as transformers does before it is looked up.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache

from pajamas_eval.identity.weights.libraries import library

_WRAPPERS = re.compile(r"^(?:model\.)?language_model\.(?:model\.)?|^text_model\.")
"""What models of text and images put in front of the names of their language model."""

_OTHER_PARTS = re.compile(
    r"^(?:model\.)?(?:vision|visual|audio|multi_modal|multimodal|mm_|image|connector|embed_vision"
    r"|embed_audio|vit|mlp1)[\w]*\."
)
_UNUSED = re.compile(
    r"rotary_emb\.inv_freq$|\.attn\.(?:bias|masked_bias)$|\.attention\.(?:bias|masked_bias)$"
    r"|(?:^|\.)mtp\."
)
"""Tensors that no engine computes answers with."""

_RENAMED = (
    (re.compile(r"\.switch_mlp\."), ".experts."),
    (re.compile(r"\.(?:switch_glu)\."), "."),
    (re.compile(r"^model\.h\.(\d+)\.(attention|mlp\.dense)"), r"gpt_neox.layers.\1.\2"),
    (re.compile(r"^model\.h\.(\d+)\.(input_layernorm|post_attention_layernorm)"), None),
    (
        re.compile(
            r"^(?:transformer|model)\.(h\.\d+\.|wte\.|wpe\.|ln_f\.|word_embeddings_layernorm\.)"
        ),
        r"\1",
    ),
    (re.compile(r"^model\.(embed_in|final_layer_norm)\."), r"gpt_neox.\1."),
)
_NEOX_NORMS = r"gpt_neox.layers.\1.\2"
_MIXTRAL = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
_EXPERT = re.compile(r"^(?P<before>.*\.experts)\.(?P<number>\d+)\.(?P<after>.+)$")
_BLOCK = re.compile(r"(?:^|\.)(?:blk|layers|h|blocks)\.(\d+)\.")

_KINDS = {
    "token_embd": "embedding",
    "position_embd": "embedding",
    "token_types": "embedding",
    "output": "output head",
    "attn_q": "attention q",
    "attn_k": "attention k",
    "attn_v": "attention v",
    "attn_qkv": "attention qkv",
    "attn_output": "attention o",
    "ffn_gate": "feed-forward gate",
    "ffn_up": "feed-forward up",
    "ffn_down": "feed-forward down",
    "ffn_gate_exps": "experts gate",
    "ffn_up_exps": "experts up",
    "ffn_gate_up_exps": "experts gate, up",
    "ffn_down_exps": "experts down",
    "ffn_gate_shexp": "shared experts gate",
    "ffn_up_shexp": "shared experts up",
    "ffn_down_shexp": "shared experts down",
    "ffn_gate_inp": "router",
    "ffn_gate_inp_shexp": "router",
    "rope_freqs": "rotary factors",
    "rope_factors_long": "rotary factors",
    "rope_factors_short": "rotary factors",
}
KIND_ORDER = [*dict.fromkeys(_KINDS.values()), "norms", "biases", "state space", "other"]
"""Kinds of tensors, as they stand in tables."""


def is_unused(name: str) -> bool:
    """Whether no engine computes answers with it, such as frequencies that follow from others."""
    return bool(_UNUSED.search(name))


def is_other_part(name: str) -> bool:
    """Whether it belongs to an encoder of images or sound."""
    return bool(_OTHER_PARTS.match(name))


def expert_of(name: str) -> tuple[str, int] | None:
    """The name that all experts' tensors share and the number of this one; nothing for others."""
    found = _EXPERT.match(name)
    if not found:
        return None
    return f"{found['before']}.{found['after']}", int(found["number"])


def layer_of(name: str) -> int | None:
    """The layer that a tensor belongs to; nothing for those outside all layers."""
    found = _BLOCK.search(name)
    return int(found[1]) if found else None


def kind_of(name: str) -> str:
    """What a tensor is for, by its shared name."""
    stem, _, ending = name.rpartition(".")
    part = re.sub(r"^blk\.\d+\.", "", stem or name)
    if part.endswith("norm") or re.search(r"_norm_?\d*$", part):
        return "norms"
    if ending == "bias":
        return "biases"
    if part.startswith(("ssm_", "shortconv")):
        return "state space"
    return _KINDS.get(part, "other")


def shared_names(family: str, stored: Iterable[str]) -> Callable[[str], str]:
    """A function from a folder's names to the shared ones; those without one stay as they are.

    Args:
        family: Architecture, as llama.cpp calls it.
        stored: All names in the folder, which tell how many layers there are.
    """
    layers = [layer for name in stored if (layer := layer_of(name)) is not None]
    names = _map(family, max(layers, default=-1) + 1)

    def shared(name: str) -> str:
        named = _as_transformers(name)
        found = names(named)
        return found or named

    return shared


@cache
def _map(family: str, layers: int) -> Callable[[str], str | None]:
    gguf = library("gguf", "names of tensors")
    known = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    if family not in known:
        return lambda name: None
    table = gguf.get_tensor_name_map(known[family], layers)
    suffixes = (".weight", ".bias")
    return lambda name: table.get_name(name, try_suffixes=suffixes)


def _as_transformers(name: str) -> str:
    name = _WRAPPERS.sub("model.", name) if _WRAPPERS.match(name) else name
    if name.startswith("model.lm_head."):
        name = name.removeprefix("model.")
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement or _NEOX_NORMS, name)
    if ".block_sparse_moe.experts." in name:
        for mlx, hf in _MIXTRAL.items():
            name = name.replace(f".experts.{mlx}.", f".experts.{hf}.")
    return name
