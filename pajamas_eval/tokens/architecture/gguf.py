"""A model's architecture from GGUF metadata, and what llama.cpp takes where they say nothing.

Keys are those of the GGUF specification (ggml, `docs/gguf.md`); defaults are read from llama.cpp as
of llama-cpp-python 0.3.36: `llama_model_base::load_hparams`, `load_arch_hparams` in
`src/models/*.cpp`, and `llama_vocab::impl::load`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pajamas_eval.api.architecture import ArchitectureFacts, Fact, PerLayer
from pajamas_eval.tokens.architecture.families import (
    GATED_SILU,
    GEMMAS,
    ONE_ROTARY_BASE,
    PLAIN,
    default_attention_scale,
    gemma_embedding_scale,
    windowed,
)

_WINDOW_PATTERNS = {"gemma2": 2, "gemma3": 6, "cohere2": 4, "olmo2": 4, "gpt-oss": 2}
"""Every so many layers one sees the whole text, in families in which the others have a window."""

_WINDOWLESS = frozenset(PLAIN - {"olmo2"}) | {"gemma", "gpt2", "gptneox", "phi2", "command-r"}
"""Families that llama.cpp runs without a window, whatever the metadata say."""

_GEMMA2_WINDOW = 4096
_SOFT_CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
"""Those of Gemma 2; other families cap what a key names, or nothing."""

_27B_LAYERS = {"gemma2": 46, "gemma3": 62}
"""By their number of layers llama.cpp knows the models whose attention is scaled otherwise."""

_BOS_BY_DEFAULT = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"}
    | {"tekken", "chameleon", "jina-v5-nano"}
)
"""Pre-tokenizers of byte-pair vocabularies that begin a text with BOS unless told otherwise."""

UNUSED = 5
"""Type of a token that no text uses: a row of padding (llama.cpp, `llama_token_attr`)."""


def facts_of_gguf(
    metadata: Mapping[str, Any],
    *,
    has_head: bool | None = None,
    rope_factors: Sequence[float] | None = None,
    rope_short_factors: Sequence[float] | None = None,
) -> ArchitectureFacts:
    """What GGUF metadata say, with llama.cpp's defaults.

    Args:
        metadata: Values by key.
        has_head: Whether there is an output head apart from the embedding.
        rope_factors: The tensor `rope_freqs.weight` or `rope_factors_long.weight`, if it is there.
        rope_short_factors: `rope_factors_short.weight`.
    """
    reader = _Reader(metadata)
    facts = reader.facts()
    scaling = reader.scaling(rope_factors, rope_short_factors)
    # A head of its own may hold the same values: only the weights can tell.
    tied = Fact(True, "no output.weight") if has_head is False else None
    values = {name: getattr(facts, name) for name in facts.__struct_fields__}
    return ArchitectureFacts(**{**values, **scaling, "tied_head": tied})


class _Reader:
    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self.family = str(metadata.get("general.architecture", ""))

    def facts(self) -> ArchitectureFacts:
        hidden, layers = self._int("embedding_length"), self._int("block_count")
        heads = self._layered("attention.head_count")
        head_size = self._int("attention.key_length") or _share(hidden, heads)
        vocabulary, padding = self._vocabulary()
        rms = self._float("attention.layer_norm_rms_epsilon")
        layer = self._float("attention.layer_norm_epsilon")
        epsilon = rms or layer
        window, window_layers = self._window(layers)
        base = self._float("rope.freq_base") or self._default("rope.freq_base", 10000.0)
        latent = self._get("attention.kv_lora_rank")[1] is not None  # run as one wide KV head
        return ArchitectureFacts(
            family=Fact(self.family, "general.architecture") if self.family else None,
            layers=layers,
            hidden_size=hidden,
            heads=heads,
            kv_heads=None if latent else self._layered("attention.head_count_kv") or heads,
            head_size=None if latent else head_size,
            feed_forward_size=self._layered("feed_forward_length"),
            vocabulary=vocabulary,
            vocabulary_padding=padding,
            norm=Fact("rms" if rms else "layer", epsilon.source) if epsilon else None,
            norm_epsilon=epsilon,
            rope_base=base,
            rope_base_local=self._local_base(base, window),
            rotary_share=self._rotary_share(head_size),
            sliding_window=window,
            sliding_layers=window_layers,
            attention_soft_cap=self._cap("attn_logit_softcapping"),
            logit_soft_cap=self._cap("final_logit_softcapping"),
            embedding_scale=self._embedding_scale(hidden),
            residual_scale=self._scale("residual_scale"),
            attention_scale=self._attention_scale(hidden, heads, head_size, layers),
            logit_scale=self._logit_scale(),
            experts=self._int("expert_count") or self._default("expert_count", 0),
            experts_used=self._int("expert_used_count"),
            experts_shared=self._int("expert_shared_count"),
            activation=self._activation(),
            bos_token_id=self._int("bos_token_id", "tokenizer.ggml"),
            eos_token_id=self._int("eos_token_id", "tokenizer.ggml"),
            prefix=self._prefix(),
        )

    def _get(self, name: str, section: str = "") -> tuple[str, Any]:
        key = f"{section or self.family}.{name}"
        return key, self._metadata.get(key)

    def _int(self, name: str, section: str = "") -> Fact[int] | None:
        key, value = self._get(name, section)
        known = isinstance(value, int) and not isinstance(value, bool)
        return Fact(int(value), key) if known else None

    def _float(self, name: str) -> Fact[float] | None:
        key, value = self._get(name)
        known = isinstance(value, int | float) and not isinstance(value, bool)
        return Fact(float(value), key) if known else None

    def _layered(self, name: str) -> Fact[PerLayer] | None:
        key, value = self._get(name)
        if isinstance(value, list):
            numbers = tuple(int(n) for n in value if n)  # layers of another kind have 0
            if not numbers:
                return None
            return Fact(numbers[0] if len(set(numbers)) == 1 else numbers, key)
        found = self._int(name)
        return Fact(found.value, key) if found and found.value else None

    def _default(self, name: str, value: Any) -> Fact[Any]:
        return Fact(value, f"llama.cpp's default, as there is no {self._get(name)[0]}")

    def scaling(
        self, factors: Sequence[float] | None, short_factors: Sequence[float] | None
    ) -> dict[str, Fact[Any]]:
        """How positions are scaled; by metadata, by the factors of each frequency, or not."""
        key, kind = self._get("rope.scaling.type")
        factor = self._float("rope.scaling.factor") or self._float("rope.scale_linear")
        facts: dict[str, Fact[Any]] = {}
        if factors is not None:
            name = "rope_freqs.weight" if short_factors is None else "rope_factors_long.weight"
            facts["rope_factors"] = Fact(tuple(map(float, factors)), name)
        if short_factors is not None:
            source = "rope_factors_short.weight"
            facts["rope_short_factors"] = Fact(tuple(map(float, short_factors)), source)
        if kind is None and factors is not None:
            by = "llama3" if short_factors is None else "longrope"
            return facts | {"rope_scaling": Fact(by, facts["rope_factors"].source)}
        if kind in (None, "linear") and (factor is None or factor.value in (0.0, 1.0)):
            return facts | {"rope_scaling": self._default("rope.scaling.factor", "none")}
        facts["rope_scaling"] = Fact(str(kind or "linear"), key)
        if factor is not None:
            facts["rope_factor"] = factor
        length = self._int("rope.scaling.original_context_length")
        return facts | ({"rope_original_length": length} if length else {})

    def _window(
        self, layers: Fact[int] | None
    ) -> tuple[Fact[int] | None, Fact[tuple[int, ...]] | None]:
        if self.family in _WINDOWLESS:
            source = f"llama.cpp runs {self.family} without a window"
            return Fact(0, source), Fact((), source)
        pattern = _WINDOW_PATTERNS.get(self.family)
        if pattern is None:
            return None, None
        name = "attention.sliding_window"
        size = self._int(name)
        if size is None:
            size = self._default(name, _GEMMA2_WINDOW if self.family == "gemma2" else 0)
        if not size.value:
            return size, Fact((), size.source)
        key, given = self._get("attention.sliding_window_pattern")
        if isinstance(given, list):
            return size, Fact(tuple(i for i, has_it in enumerate(given) if has_it), key)
        if layers is None:
            return size, None
        if isinstance(given, int) and given > 0:
            return size, Fact(windowed(given, layers.value), key)
        numbers = windowed(pattern, layers.value)
        return size, self._default("attention.sliding_window_pattern", numbers)

    def _local_base(self, base: Fact[float] | None, window: Fact[int] | None) -> Fact[float] | None:
        if not window or not window.value:
            return None
        if named := self._float("rope.freq_base_swa"):
            return named
        if self.family == "gemma3":
            return self._default("rope.freq_base_swa", 10000.0)
        return base if self.family in ONE_ROTARY_BASE else None

    def _rotary_share(self, head_size: Fact[int] | None) -> Fact[float] | None:
        if self.family == "gpt2" or not head_size or not head_size.value:
            return None
        name = "rope.dimension_count"
        rotated = self._int(name)
        if rotated is None:
            return self._default(name, 1.0)
        return Fact(rotated.value / head_size.value, rotated.source)

    def _cap(self, name: str) -> Fact[float] | None:
        if self.family == "gemma2" or (self.family == "gemma3" and name.startswith("final")):
            default = _SOFT_CAPS[name] if self.family == "gemma2" else 0.0
            return self._float(name) or self._default(name, default)
        none = Fact(0.0, f"llama.cpp caps nothing in {self.family}")
        return none if self.family in PLAIN | GEMMAS else None

    def _embedding_scale(self, hidden: Fact[int] | None) -> Fact[float] | None:
        if self.family in GEMMAS and hidden:
            scale = gemma_embedding_scale(hidden.value)
            return Fact(scale, f"llama.cpp: √hidden size in {self.family}")
        return self._scale("embedding_scale")

    def _scale(self, name: str) -> Fact[float] | None:
        """A factor that only Granite's families read; 0 stands for none."""
        if self.family in ("granite", "granitemoe", "granitehybrid"):
            found = self._float(name)
            return found if found and found.value else self._default(name, 1.0)
        known = self.family in PLAIN | GEMMAS
        return Fact(1.0, f"llama.cpp scales nothing in {self.family}") if known else None

    def _attention_scale(
        self,
        hidden: Fact[int] | None,
        heads: Fact[PerLayer] | None,
        head_size: Fact[int] | None,
        layers: Fact[int] | None,
    ) -> Fact[float] | None:
        if self.family.startswith("granite") and (named := self._float("attention.scale")):
            return named
        if self.family not in PLAIN | GEMMAS or not head_size or not head_size.value:
            return None
        if layers and layers.value == _27B_LAYERS.get(self.family):
            head_size = _share(hidden, heads)
        if not head_size:
            return None
        return Fact(default_attention_scale(head_size.value), "llama.cpp: 1/√head size")

    def _logit_scale(self) -> Fact[float] | None:
        found = self._float("logit_scale")
        if self.family.startswith("granite"):
            given = found and found.value
            return Fact(1 / found.value, f"{found.source}, as 1/x") if found and given else None
        if self.family in ("command-r", "cohere2"):
            return found
        return self._scale("logit_scale")

    def _activation(self) -> Fact[str] | None:
        if self.family in GEMMAS:
            return Fact("gelu_tanh", f"llama.cpp has no other in {self.family}")
        if self.family in GATED_SILU:
            return Fact("silu", f"llama.cpp has no other in {self.family}")
        return None

    def _vocabulary(self) -> tuple[Fact[int] | None, Fact[int] | None]:
        key, tokens = self._get("tokens", "tokenizer.ggml")
        types = self._metadata.get("tokenizer.ggml.token_type")
        if not isinstance(tokens, list):
            return None, None
        count = len(tokens)
        while isinstance(types, list) and count and types[count - 1 : count] == [UNUSED]:
            count -= 1
        return Fact(count, key), Fact(len(tokens) - count, "tokenizer.ggml.token_type")

    def _prefix(self) -> Fact[tuple[int, ...]] | None:
        key, adds = self._get("add_bos_token", "tokenizer.ggml")
        bos = self._int("bos_token_id", "tokenizer.ggml")
        if adds is None:
            model = self._metadata.get("tokenizer.ggml.model")
            if model not in ("llama", "gpt2"):
                return None
            key = f"llama.cpp's default, as there is no {key}"
            before = self._metadata.get("tokenizer.ggml.pre")
            adds = model == "llama" or before in _BOS_BY_DEFAULT
        if not adds:
            return Fact((), key)
        return Fact((bos.value,), key) if bos else None


def _share(hidden: Fact[int] | None, heads: Fact[PerLayer] | None) -> Fact[int] | None:
    """The head size where no other is named."""
    if not hidden or not heads or not isinstance(heads.value, int) or not heads.value:
        return None
    return Fact(hidden.value // heads.value, f"{hidden.source} by heads")
