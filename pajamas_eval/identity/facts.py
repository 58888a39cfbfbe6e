"""Where two architectures differ, and what that may mean."""

import math
from dataclasses import dataclass

import numpy as np

from pajamas_eval.api.architecture import ArchitectureFacts, Fact, FactDifference

_SHAPES = "these are other weights, or weights read in another shape"
_LENGTH = "the longer the text, the more it changes the answers"
_MEANINGS = {
    "family": "another computation with the same names: another model, or one that was converted "
    "as if it were another",
    "layers": _SHAPES,
    "hidden_size": _SHAPES,
    "heads": "the same matrices are cut into other heads",
    "kv_heads": "the same matrices are cut into other heads",
    "head_size": "the same matrices are cut into other heads",
    "feed_forward_size": "some families round it up where they build the model: harmless if the "
    "matrices have one size, which the weights tell",
    "vocabulary": "a token was lost or added, or rows of padding are read as tokens",
    "vocabulary_padding": "rows that no text uses were cut off or added, which is harmless",
    "tied_head": "the output head is the embedding in one and a matrix of its own in the other: "
    "harmless if it holds the same values, which the weights tell",
    "norm": "activations are scaled by another rule",
    "norm_epsilon": "activations are scaled otherwise where they are small: mostly in the first "
    "layers; a default was taken where the converter lost the value",
    "rope_base": f"positions are rotated otherwise: {_LENGTH}; a program that looks for rope_theta "
    "does not find it in the rope_parameters that transformers 5 writes, and takes its default",
    "rope_base_local": f"positions are rotated otherwise in layers with a window: {_LENGTH}",
    "rotary_share": "another part of each head is rotated by position",
    "rope_scaling": "positions are scaled in one and not in the other: "
    "answers to long texts change most",
    "rope_factor": "positions are scaled by another factor: answers to long texts change most",
    "rope_original_length": "positions are scaled from another length on",
    "rope_factors": "frequencies of the rotation are scaled otherwise, or not at all in one",
    "rope_short_factors": "frequencies of the rotation are scaled otherwise",
    "sliding_window": "texts longer than the window are read otherwise; shorter ones are not",
    "sliding_layers": "other layers are kept from seeing the whole text",
    "attention_soft_cap": "large attention scores are capped in one and not in the other, or "
    "otherwise",
    "logit_soft_cap": "large logits are capped in one and not in the other, or otherwise: "
    "probabilities change, their order does not",
    "embedding_scale": "the input is larger or smaller against everything added to it",
    "residual_scale": "each layer counts for more or less",
    "attention_scale": "attention is sharper or flatter",
    "logit_scale": "probabilities are sharper or flatter; their order is the same",
    "experts": "experts were lost or added",
    "experts_used": "another number of experts is asked for each token",
    "experts_shared": "another number of experts is asked for every token",
    "activation": "the feed-forward layers compute another function",
    "bos_token_id": "texts begin with another token",
    "eos_token_id": "generation ends at another token",
    "prefix": "texts begin with other tokens: BOS is missing, or there twice",
}
_HARMLESS = frozenset({"feed_forward_size", "vocabulary_padding", "tied_head"})
_FACTOR_TOLERANCE = 1e-4
"""Relative: programs compute the factors of frequencies in float32, each in its own order."""


@dataclass(frozen=True)
class FactComparison:
    """What two models' facts say of each other.

    Attributes:
        differences: Values known of both that are not equal.
        unknown: Fields that are known of one model only; those known of neither are left out.
        compared: Values known of both.
    """

    differences: tuple[FactDifference, ...]
    unknown: tuple[str, ...]
    compared: int


def compare_facts(base: ArchitectureFacts, variant: ArchitectureFacts) -> FactComparison:
    """Compares what is known of both, numbers as float32."""
    differences, unknown = [], []
    known, other = base.known(), variant.known()
    for name in ArchitectureFacts.__struct_fields__:
        if name in known and name in other:
            if not _equal(name, known[name], other[name]):
                differences.append(
                    FactDifference(
                        name=name,
                        base=known[name],
                        variant=other[name],
                        meaning=_MEANINGS[name],
                        affects_answers=name not in _HARMLESS,
                    )
                )
        elif name in known or name in other:
            unknown.append(name)
    compared = len(known.keys() & other.keys())
    return FactComparison(tuple(differences), tuple(unknown), compared)


def _equal(name: str, base: Fact[object], variant: Fact[object]) -> bool:
    a, b = base.value, variant.value
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.float32(a) == np.float32(b))
    if isinstance(a, tuple) and isinstance(b, tuple) and name.endswith("_factors"):
        return len(a) == len(b) and all(
            math.isclose(x, y, rel_tol=_FACTOR_TOLERANCE) for x, y in zip(a, b, strict=True)
        )
    return a == b
