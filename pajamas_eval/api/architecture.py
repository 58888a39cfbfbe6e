"""What a model's architecture is, and how two of them differ: each value with where it was read."""

from typing import Generic, TypeVar

import msgspec

_Value = TypeVar("_Value")


class Fact(msgspec.Struct, Generic[_Value], frozen=True):
    """A value and where it was read, such as `config.json: rope_theta`."""

    value: _Value
    source: str


PerLayer = int | tuple[int, ...]
"""One number for all layers, or one for each where they differ."""


class ArchitectureFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A language model's architecture, as a file states it or an engine resolved it.

    Nothing where it is not known, which is never equal to anything. What is known to be absent has
    the value that has no effect: 0 for a window, a cap or a number of experts, 1 for a scale.

    Attributes:
        family: llama.cpp's name of the architecture where it has one, else transformers' own.
        head_size: Of queries and keys.
        vocabulary: Tokens that a text may hold: ids from 0 on, without padding.
        vocabulary_padding: Rows of the embedding behind those, which no text uses.
        tied_head: Whether the embedding is also the output head.
        norm: `rms` or `layer`.
        rope_base: Of layers that see the whole text; `rope_base_local` of those with a window.
        rotary_share: Part of each head that is rotated, 0 … 1.
        rope_scaling: `none`, `linear`, `yarn`, `llama3`, `longrope`, `dynamic`.
        rope_original_length: Tokens of context before the scaling.
        rope_factors: What each frequency is divided by, where each has a factor of its own; those
            for long texts where there are two sets, `rope_short_factors` for short ones.
        sliding_window: Tokens that a layer with a window sees; `sliding_layers` names those layers.
        attention_soft_cap, logit_soft_cap: c in c·tanh(x/c).
        embedding_scale, residual_scale, logit_scale: What embeddings, each layer's output and the
            logits are multiplied by.
        attention_scale: What the product of query and key is multiplied by.
        experts, experts_used, experts_shared: In a layer that has them; used for each token.
        prefix: Tokens that the tokenizer puts in front of a text.
    """

    family: Fact[str] | None = None
    layers: Fact[int] | None = None
    hidden_size: Fact[int] | None = None
    heads: Fact[PerLayer] | None = None
    kv_heads: Fact[PerLayer] | None = None
    head_size: Fact[int] | None = None
    feed_forward_size: Fact[PerLayer] | None = None
    vocabulary: Fact[int] | None = None
    vocabulary_padding: Fact[int] | None = None
    tied_head: Fact[bool] | None = None
    norm: Fact[str] | None = None
    norm_epsilon: Fact[float] | None = None
    rope_base: Fact[float] | None = None
    rope_base_local: Fact[float] | None = None
    rotary_share: Fact[float] | None = None
    rope_scaling: Fact[str] | None = None
    rope_factor: Fact[float] | None = None
    rope_original_length: Fact[int] | None = None
    rope_factors: Fact[tuple[float, ...]] | None = None
    rope_short_factors: Fact[tuple[float, ...]] | None = None
    sliding_window: Fact[int] | None = None
    sliding_layers: Fact[tuple[int, ...]] | None = None
    attention_soft_cap: Fact[float] | None = None
    logit_soft_cap: Fact[float] | None = None
    embedding_scale: Fact[float] | None = None
    residual_scale: Fact[float] | None = None
    attention_scale: Fact[float] | None = None
    logit_scale: Fact[float] | None = None
    experts: Fact[int] | None = None
    experts_used: Fact[int] | None = None
    experts_shared: Fact[int] | None = None
    activation: Fact[str] | None = None
    bos_token_id: Fact[int] | None = None
    eos_token_id: Fact[int] | None = None
    prefix: Fact[tuple[int, ...]] | None = None

    def known(self) -> dict[str, Fact[object]]:
        """What is known, by name, in the order of the fields."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: fact for name, fact in values if fact is not None}


class FactDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A value that two models do not share.

    Attributes:
        name: The field of `ArchitectureFacts`.
        meaning: What it may mean for the answers, and how it usually comes about.
        affects_answers: Whether answers differ for it; where not, it is to be known.
    """

    name: str
    base: Fact[object]
    variant: Fact[object]
    meaning: str
    affects_answers: bool
