"""What rounding explains of the difference between two models' states.

Measured with `verify --layers` on honest conversions of SmolLM2-135M, Gemma 3 270M, the demo model
and a random one, in three engines. A relative error is the median over the tokens of a text; every
place is given the baseline's states, so that errors do not add up. The largest at any layer:

    weights             attention  feed-forward  embedding  logits
    float32             0.0000068      0.0000006          0  0.0000007
    float16 (gguf)         0.0009         0.0005     0.0002     0.0006
    computed so (hf)       0.0019         0.0008     0.0002     0.0007
    bfloat16 (mlx)         0.0038         0.0023     0.0015     0.0026
    computed so (hf)        0.014         0.0067     0.0015     0.0048
    8 bits (mlx)            0.032          0.018     0.0066     0.0082
    Q8_0                    0.047          0.031     0.0054     0.0098
    6 bits (mlx)             0.12          0.042      0.024      0.033
    4 bits (mlx)             0.47           0.27       0.11       0.14
    Q4_K_M                   0.23           0.20      0.071      0.019
    3 bits (mlx)             0.66           0.37       0.21       0.30
    2 bits (mlx)              1.3           0.87       0.45       0.69
"""

import math
import re

from pajamas_eval.api.hidden_states import Place
from pajamas_eval.api.identity import Identity

FLOAT32, FLOAT16, BFLOAT16 = 5e-5, 5e-4, 3e-3
"""Relative error of weights or computation in these types. llama.cpp looks GELU up in a table of
float16 whatever the weights, which is 0.00025 in a feed-forward part."""

AMPLIFIED = {
    Place.EMBEDDING: 3.0,
    Place.ATTENTION: 12.0,
    Place.FEED_FORWARD: 8.0,
    Place.OUTPUT: 12.0,
    Place.LOGITS: 4.0,
}
"""How many times the weights' own error a place may be off; in the table at most 1.2, 8.5, 5.3, -
and 1.8 times. Scores of attention are sums that nearly cancel, and go through an exponential."""

LEAST_EMBEDDING = 0.004
"""mlx-lm rounds the factor of Gemma's embeddings to bfloat16, whatever the weights: 0.0019."""

MOST, MOST_BELOW_3_BITS = 0.9, 1.6
"""Rounding is never taken to explain more: 1.4 is what unrelated states are apart."""


def rounding(baseline: Identity, variant: Identity) -> float:
    """Relative error of two models' weights and computation, taken together.

    What the baseline is stored in is no error, unless it was quantized itself.
    """
    parts = [weight_rounding(variant), *map(_computed, (baseline, variant))]
    if (bits := _bits(baseline)) is not None and bits < 16:
        parts.append(_quantized(bits))
    return math.hypot(*parts)


def limit(place: Place, rounding: float) -> float:
    """The largest relative error at a place that such a rounding explains."""
    most = MOST if rounding < _quantized(2.5) else MOST_BELOW_3_BITS
    least = LEAST_EMBEDDING if place is Place.EMBEDDING else 0.0
    return max(least, min(most, AMPLIFIED[place] * rounding))


def weight_rounding(identity: Identity) -> float:
    """Relative error of a model's weights, from what its format calls itself."""
    label, bits = (identity.quantization or "").lower(), _bits(identity)
    if bits is None or "bf16" in label or "bfloat16" in label:
        return BFLOAT16
    if bits < 16:
        return _quantized(bits)
    return FLOAT16 if bits < 32 else FLOAT32


def _computed(identity: Identity) -> float:
    dtype = identity.dtype or ""
    if "bfloat16" in dtype:
        return BFLOAT16
    return FLOAT16 if "float16" in dtype else FLOAT32


def _quantized(bits: float) -> float:
    """Of weights rounded in groups: MLX 8, 6, 5, 4, 3, 2 bits have .0058, .024, .048, .1, .21, .44;
    GGUF Q8_0 .0055, Q4_0 .087, Q3_K .155."""
    return float(1.5 * 2.0**-bits)


def _bits(identity: Identity) -> float | None:
    """The fewest bits that a model's tensors may have: a file named Q4_K_M has many of 6 bits, and
    its average may be 6 where most of them lie in the embedding."""
    label = (identity.quantization or "").lower()
    known = [] if identity.bits_per_weight is None else [identity.bits_per_weight]
    if "fp8" in label or "float8" in label:
        known.append(6.0)  # three bits of mantissa round as six of a grid do
    named = [float(bits) for bits in re.findall(r"(\d+)-bit", label)]
    first = re.search(r"\d+", label.partition("groups of")[0])
    known += [*named, *([float(first[0])] if first else [])]
    return min(known, default=None)
