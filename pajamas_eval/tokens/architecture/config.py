"""A model's architecture from a configuration as transformers writes it, version 5 or older."""

from collections.abc import Mapping
from typing import Any

from pajamas_eval.api.architecture import ArchitectureFacts, Fact, PerLayer
from pajamas_eval.tokens.architecture.families import (
    DERIVED_HEAD_SIZE,
    GEMMAS,
    LAYER_NORMS,
    ONE_ROTARY_BASE,
    PLAIN,
    WHOLE_ROTATION,
    default_attention_scale,
    family_of,
    gemma_embedding_scale,
    llama3_factors,
    windowed,
)

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
_HEADS = ("num_attention_heads", "n_head", "n_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "n_kv_heads")
_FEED_FORWARD = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
_RMS_EPSILON = "rms_norm_eps"
_EPSILONS = (
    _RMS_EPSILON,
    "layer_norm_eps",
    "layer_norm_epsilon",
    "layernorm_epsilon",
    "norm_eps",
    "norm_epsilon",
)

_SCALINGS = {"default": "none", "su": "longrope"}
_ACTIVATIONS = {
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}


def facts_of_config(
    config: Mapping[str, Any], source: str = "config.json", tokens: int | None = None
) -> ArchitectureFacts:
    """What a configuration says, with transformers' own defaults where a family has but one.

    Args:
        config: Its content; of a model of text and images the part about text is read.
        source: What to call it.
        tokens: How many ids the tokenizer knows, if that is known.
    """
    return _Reader(config, source).facts(tokens)


class _Reader:
    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        text = config.get("text_config")
        self._text: Mapping[str, Any] = text if isinstance(text, Mapping) else {}
        self._config, self._source = config, source
        self.family = family_of(str(self._text.get("model_type") or config.get("model_type") or ""))

    def facts(self, tokens: int | None) -> ArchitectureFacts:
        hidden, heads, layers = self._int(*_HIDDEN), self._layered(*_HEADS), self._int(*_LAYERS)
        head_size = self._head_size(hidden, heads)
        rope = self._rope()
        base = rope.get("rope_theta") or self._float("rotary_emb_base")
        rows = self._int("vocab_size")
        epsilon, norm = self._norm()
        window, window_layers = self._window(layers)
        scaling = self._scaling(rope, base, head_size)
        return ArchitectureFacts(
            family=Fact(self.family, self._named("model_type")) if self.family else None,
            layers=layers,
            hidden_size=hidden,
            heads=heads,
            kv_heads=self._layered(*_KV_HEADS) or self._as_many(heads),
            head_size=head_size,
            feed_forward_size=self._layered(*_FEED_FORWARD),
            vocabulary=Fact(tokens, "tokenizer.json") if tokens else None,
            vocabulary_padding=self._padding(rows, tokens),
            tied_head=self._tied(),
            norm=norm,
            norm_epsilon=epsilon,
            rope_base=base,
            rope_base_local=self._local_base(rope, base, window),
            rotary_share=self._rotary_share(rope),
            sliding_window=window,
            sliding_layers=window_layers,
            attention_soft_cap=self._cap("attn_logit_softcapping"),
            logit_soft_cap=self._cap("final_logit_softcapping"),
            embedding_scale=self._embedding_scale(hidden),
            residual_scale=self._float("residual_multiplier") or self._one(),
            attention_scale=self._attention_scale(head_size),
            logit_scale=self._logit_scale(),
            experts=self._int("num_local_experts", "num_experts", "n_routed_experts")
            or self._zero(),
            experts_used=self._int("num_experts_per_tok", "num_experts_per_token", "moe_topk"),
            experts_shared=self._int("n_shared_experts", "num_shared_experts"),
            activation=self._activation(),
            bos_token_id=self._int("bos_token_id"),
            eos_token_id=self._int("eos_token_id"),
            **scaling,
        )

    # -- looking up -----------------------------------------------------------------------

    def _named(self, key: str) -> str:
        inner = "text_config." if key in self._text else ""
        return f"{self._source}: {inner}{key}"

    def _get(self, *keys: str) -> tuple[str, Any] | None:
        """The first of the keys that has a value; the part about text comes first."""
        for values in (self._text, self._config):
            for key in keys:
                if values.get(key) is not None:
                    return key, values[key]
        return None

    def _int(self, *keys: str) -> Fact[int] | None:
        found = self._get(*keys)
        if found and isinstance(found[1], int) and not isinstance(found[1], bool):
            return Fact(found[1], self._named(found[0]))
        return None

    def _float(self, *keys: str) -> Fact[float] | None:
        found = self._get(*keys)
        if found and isinstance(found[1], int | float) and not isinstance(found[1], bool):
            return Fact(float(found[1]), self._named(found[0]))
        return None

    def _layered(self, *keys: str) -> Fact[PerLayer] | None:
        found = self._get(*keys)
        if found and isinstance(found[1], list) and all(isinstance(n, int) for n in found[1]):
            values = tuple(found[1])
            return Fact(values[0] if len(set(values)) == 1 else values, self._named(found[0]))
        single = self._int(*keys)
        return Fact(single.value, single.source) if single else None

    def _absent(self, key: str) -> bool:
        """Whether a key is left out, where that means none rather than a family's own value."""
        return self._get(key) is None and self.family in PLAIN

    def _one(self) -> Fact[float] | None:
        return Fact(1.0, f"{self.family} has none") if self._is_known else None

    def _zero(self) -> Fact[int] | None:
        return Fact(0, f"{self.family} has none") if self._is_known else None

    @property
    def _is_known(self) -> bool:
        return self.family in PLAIN | GEMMAS

    # -- what follows from it -------------------------------------------------------------

    def _head_size(
        self, hidden: Fact[int] | None, heads: Fact[PerLayer] | None
    ) -> Fact[int] | None:
        if named := self._int("head_dim"):
            return named
        if self.family not in DERIVED_HEAD_SIZE or hidden is None or heads is None:
            return None
        if not isinstance(heads.value, int) or not heads.value:
            return None
        return Fact(hidden.value // heads.value, f"{hidden.source} by heads")

    def _as_many(self, heads: Fact[PerLayer] | None) -> Fact[PerLayer] | None:
        known = self.family in DERIVED_HEAD_SIZE
        return (
            Fact(heads.value, f"{heads.source}, as no other number is given")
            if (heads and known)
            else None
        )

    def _padding(self, rows: Fact[int] | None, tokens: int | None) -> Fact[int] | None:
        if not rows or not tokens:
            return None
        return Fact(max(0, rows.value - tokens), f"{rows.source} less the tokens")

    def _tied(self) -> Fact[bool] | None:
        found = self._get("tie_word_embeddings")
        if found and isinstance(found[1], bool):
            return Fact(found[1], self._named(found[0]))
        return Fact(True, f"{self.family} always ties it") if self.family in GEMMAS else None

    def _norm(self) -> tuple[Fact[float] | None, Fact[str] | None]:
        epsilon = self._float(*_EPSILONS)
        if not epsilon:
            return None, None
        if epsilon.source.endswith(_RMS_EPSILON):
            return epsilon, Fact("rms", epsilon.source)
        layer = Fact("layer", f"{self.family} has no other")
        return epsilon, layer if self.family in LAYER_NORMS else None

    def _rope(self) -> dict[str, Any]:
        """The settings of the rotation, of layers without a window, in either layout.

        `rope_theta` and `local` (the base in layers with one) are facts, the rest as it is.
        """
        top = self._float("rope_theta")
        found: dict[str, Any] = {"rope_theta": top} if top else {}
        named = self._get("rope_parameters", "rope_scaling")
        if not named or not isinstance(named[1], Mapping):
            return found
        where, settings = self._named(named[0]), named[1]
        local = settings.get("sliding_attention")
        if isinstance(local, Mapping) and local.get("rope_theta"):
            source = f"{where}.sliding_attention.rope_theta"
            found["local"] = Fact(float(local["rope_theta"]), source)
        if isinstance(settings.get("full_attention"), Mapping):
            where, settings = f"{where}.full_attention", settings["full_attention"]
        found = {**settings, **found, "where": where}
        if settings.get("rope_theta"):  # transformers lets it win over one outside
            found["rope_theta"] = Fact(float(settings["rope_theta"]), f"{where}.rope_theta")
        return found

    def _local_base(
        self, rope: Mapping[str, Any], base: Fact[float] | None, window: Fact[int] | None
    ) -> Fact[float] | None:
        if named := rope.get("local") or self._float("rope_local_base_freq"):
            return named
        return base if window and window.value and self.family in ONE_ROTARY_BASE else None

    def _scaling(
        self, rope: Mapping[str, Any], base: Fact[float] | None, head_size: Fact[int] | None
    ) -> dict[str, Any]:
        where = rope.get("where")
        kind = rope.get("rope_type") or rope.get("type")
        if where is None or kind is None:
            known = self._is_known
            return {"rope_scaling": Fact("none", f"{self._source} names none")} if known else {}
        kind = _SCALINGS.get(kind, kind)
        facts: dict[str, Any] = {"rope_scaling": Fact(str(kind), f"{where}.rope_type")}
        if kind == "none":
            return facts
        if isinstance(rope.get("factor"), int | float):
            facts["rope_factor"] = Fact(float(rope["factor"]), f"{where}.factor")
        original = rope.get("original_max_position_embeddings")
        key = f"{where}.original_max_position_embeddings"
        if original is None and (outer := self._int("original_max_position_embeddings")):
            original, key = outer.value, outer.source
        if isinstance(original, int):
            facts["rope_original_length"] = Fact(original, key)
        for name, list_key in (("rope_factors", "long"), ("rope_short_factors", "short")):
            listed = rope.get(f"{list_key}_factor")
            if isinstance(listed, list):
                facts[name] = Fact(tuple(map(float, listed)), f"{where}.{list_key}_factor")
        if kind == "llama3" and base and head_size and isinstance(original, int):
            low, high = rope.get("low_freq_factor"), rope.get("high_freq_factor")
            if low and high and "rope_factor" in facts:
                factors = llama3_factors(
                    base.value, head_size.value, rope["factor"], low, high, original
                )
                facts["rope_factors"] = Fact(factors, f"{where}, as Llama 3.1 computes them")
        return facts

    def _rotary_share(self, rope: Mapping[str, Any]) -> Fact[float] | None:
        share = rope.get("partial_rotary_factor")
        if isinstance(share, int | float):
            return Fact(float(share), f"{rope['where']}.partial_rotary_factor")
        if named := self._float("partial_rotary_factor", "rotary_pct", "rope_pct"):
            return named
        whole = self.family in WHOLE_ROTATION
        return Fact(1.0, f"{self.family} rotates whole heads") if whole else None

    def _window(
        self, layers: Fact[int] | None
    ) -> tuple[Fact[int] | None, Fact[tuple[int, ...]] | None]:
        size = self._int("sliding_window")
        used = self._get("use_sliding_window")
        off = used is not None and used[1] is False
        if off and used:
            return Fact(0, self._named(used[0])), Fact((), self._named(used[0]))
        if size is None:
            if not self._absent("sliding_window"):
                return None, None
            source = f"{self._source}: no sliding_window"
            return Fact(0, source), Fact((), source)
        kinds = self._get("layer_types")
        if kinds and isinstance(kinds[1], list):
            numbers = tuple(i for i, kind in enumerate(kinds[1]) if kind == "sliding_attention")
            return size, Fact(numbers, self._named("layer_types"))
        pattern = self._int("sliding_window_pattern", "_sliding_window_pattern")
        if pattern and layers and pattern.value > 0:
            return size, Fact(windowed(pattern.value, layers.value), pattern.source)
        if layers and self.family in ("llama", "phi3", "starcoder2"):
            return size, Fact(tuple(range(layers.value)), f"{self.family} has it in every layer")
        return size, None

    def _cap(self, key: str) -> Fact[float] | None:
        if named := self._float(key):
            return named
        if key in self._text or key in self._config:
            return Fact(0.0, self._named(key))
        return Fact(0.0, f"{self.family} has none") if self.family in PLAIN | {"gemma"} else None

    def _embedding_scale(self, hidden: Fact[int] | None) -> Fact[float] | None:
        if named := self._float("embedding_multiplier", "scale_emb"):
            return named
        if self.family in GEMMAS and hidden:
            scale = gemma_embedding_scale(hidden.value)
            return Fact(scale, f"{self.family}: √hidden size")
        return self._one() if self.family in PLAIN else None

    def _attention_scale(self, head_size: Fact[int] | None) -> Fact[float] | None:
        if named := self._float("attention_multiplier"):
            return named
        if scalar := self._float("query_pre_attn_scalar"):
            return Fact(default_attention_scale(int(scalar.value)), f"{scalar.source}, as 1/√")
        known = self.family in (PLAIN - {"granite", "granitemoe"}) | {"gemma"}
        if known and head_size:
            return Fact(default_attention_scale(head_size.value), "1/√head size")
        return None

    def _logit_scale(self) -> Fact[float] | None:
        if (divisor := self._float("logits_scaling")) and divisor.value:
            return Fact(1 / divisor.value, f"{divisor.source}, as 1/x")
        return self._float("logit_scale") or self._one()

    def _activation(self) -> Fact[str] | None:
        found = self._get("hidden_activation", "hidden_act", "activation_function")
        if not found or not isinstance(found[1], str):
            return None
        if self.family in GEMMAS:  # whatever they name, transformers computes this one
            return Fact("gelu_tanh", f"{self.family} has no other")
        return Fact(_ACTIVATIONS.get(found[1], found[1]), self._named(found[0]))
