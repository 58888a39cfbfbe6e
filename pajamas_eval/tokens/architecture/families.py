"""Families of language models: their names, and what their configurations leave unsaid.

From transformers 5.24's configuration classes and llama.cpp as of llama-cpp-python 0.3.36
(`conversion/*.py`, `src/models/*.cpp`).
"""

import math

_ALIASES = {
    "cohere": "command-r",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "ernie4_5_moe": "ernie4_5-moe",
    "falcon_h1": "falcon-h1",
    "gpt_bigcode": "starcoder",
    "gpt_neox": "gptneox",
    "gpt_oss": "gpt-oss",
    "granitemoehybrid": "granitehybrid",
    "hunyuan_v1_dense": "hunyuan-dense",
    "hunyuan_v1_moe": "hunyuan-moe",
    "ministral3": "mistral3",
    "mistral": "llama",
    "mixtral": "llama",
    "nemotron_h": "nemotron_h",
    "phi": "phi2",
    "qwen3_5": "qwen35",
    "qwen3_5_moe": "qwen35moe",
    "seed_oss": "seed_oss",
    "ernie4_5": "ernie4_5",
}


def family_of(model_type: str) -> str:
    """llama.cpp's name for transformers' `model_type`; that itself where there is no other.

    llama.cpp writes most names without `_`, and runs Mistral and Mixtral as `llama`.
    """
    name = model_type.removesuffix("_text")
    return _ALIASES.get(name, name.replace("_", ""))


PLAIN = frozenset(
    {
        "arcee",
        "granite",
        "granitemoe",
        "llama",
        "olmo",
        "olmo2",
        "olmoe",
        "phi3",
        "phimoe",
        "qwen2",
        "qwen2moe",
        "qwen3",
        "qwen3moe",
        "smollm3",
        "stablelm",
        "starcoder2",
    }
)
"""Families that scale, cap and window nothing but what their configuration says."""

GEMMAS = frozenset({"gemma", "gemma2", "gemma3"})
"""They multiply embeddings by √hidden, add 1 to the weights of norms, and always tie the head."""

LAYER_NORMS = frozenset({"command-r", "gpt2", "gptneox", "phi2", "stablelm", "starcoder2"})
"""Families that subtract the mean in their norms."""

ONE_ROTARY_BASE = frozenset({"cohere2", "gemma2", "gpt-oss", "olmo2"})
"""Families with windows whose layers all rotate alike."""

GATED_SILU = frozenset(PLAIN - {"arcee", "starcoder2"})

WHOLE_ROTATION = frozenset(PLAIN - {"phi3", "stablelm", "smollm3"}) | GEMMAS
"""Families that rotate whole heads, in every layer."""

DERIVED_HEAD_SIZE = frozenset(PLAIN - {"qwen3", "qwen3moe"}) | {"gpt2", "gptneox", "phi2"}
"""Families whose heads share the hidden size where the configuration names no head size."""


def gemma_embedding_scale(hidden_size: int) -> float:
    """What Gemma multiplies embeddings by."""
    return math.sqrt(hidden_size)


def default_attention_scale(head_size: int) -> float:
    """1/√d (Vaswani et al., 2017, "Attention is all you need", section 3.2.1)."""
    return 1 / math.sqrt(head_size)


def llama3_factors(
    base: float, head_size: int, factor: float, low: float, high: float, original_length: int
) -> tuple[float, ...]:
    """What Llama 3.1's scaling divides each frequency by.

    Wavelengths above `original_length / low` are stretched by the factor, those below
    `original_length / high` are left alone, and between them it is interpolated (transformers,
    `modeling_rope_utils._compute_llama3_parameters`; llama.cpp, `conversion/llama.py`).
    """
    factors = []
    for i in range(0, head_size, 2):
        wavelength = 2 * math.pi * base ** (i / head_size)
        if wavelength < original_length / high:
            factors.append(1.0)
        elif wavelength > original_length / low:
            factors.append(factor)
        else:
            smooth = (original_length / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return tuple(factors)


def windowed(pattern: int, layers: int) -> tuple[int, ...]:
    """Layers with a window where every `pattern`-th sees the whole text."""
    return tuple(layer for layer in range(layers) if layer % pattern < pattern - 1)
