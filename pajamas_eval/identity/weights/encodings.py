"""How values are stored, and how coarse that is: the step between neighbouring values.

Formats of GGUF are those of llama.cpp (`ggml-quants.c`); a codebook has the step that a uniform
grid of as many values would have.
"""

from typing import Literal

import msgspec
import numpy as np

from pajamas_eval.identity.weights.arrays import Array, folded, in_blocks


class Encoding(msgspec.Struct, frozen=True):
    """A format of stored values.

    Attributes:
        name: As its makers call it.
        block: Values of a row that share a scale: 1 where each has its own, 0 for whole rows.
        levels: Steps over the span.
        span: `peak`, twice the largest magnitude in a block, or `range`, from the lowest value (or
            0) to the highest (or 0).
    """

    name: str
    block: int
    levels: float
    span: Literal["peak", "range"] = "peak"

    def steps(self, values: Array) -> Array:
        """Step of each block that would hold these values, `[rows, blocks]`."""
        if self.block == 1:
            return np.abs(values) * np.float32(2 / self.levels) + _SMALLEST.get(self.name, 0)
        blocks = in_blocks(values, self.block)
        high, low = folded(np.maximum, blocks), folded(np.minimum, blocks)
        if self.span == "peak":
            return np.maximum(high, -low) * np.float32(2 / self.levels)
        zeros = np.zeros_like(high)
        width: Array = np.maximum(high, zeros) - np.minimum(low, zeros)
        return width / np.float32(self.levels)

    @property
    def is_float(self) -> bool:
        """Whether each value has an exponent of its own."""
        return self.block == 1


_SMALLEST = {"F16": np.float32(2**-24)}
"""Spacing of numbers too small for the format's exponents, where weights may be as small."""

FLOATS = {
    "F64": Encoding("F64", 1, 2**53),
    "F32": Encoding("F32", 1, 2**24),
    "F16": Encoding("F16", 1, 2**11),
    "BF16": Encoding("BF16", 1, 2**8),
    "F8_E4M3": Encoding("F8_E4M3", 1, 2**4),
    "F8_E5M2": Encoding("F8_E5M2", 1, 2**3),
}

_GGUF = {
    "Q4_0": (32, 16, "peak"),
    "Q4_1": (32, 15, "range"),
    "Q5_0": (32, 32, "peak"),
    "Q5_1": (32, 31, "range"),
    "Q8_0": (32, 254, "peak"),
    "Q2_K": (16, 3, "range"),
    "Q3_K": (16, 8, "peak"),
    "Q4_K": (32, 15, "range"),
    "Q5_K": (32, 31, "range"),
    "Q6_K": (16, 64, "peak"),
    "IQ4_NL": (32, 16, "peak"),
    "IQ4_XS": (32, 16, "peak"),
    "IQ3_S": (32, 8, "peak"),
    "IQ3_XXS": (32, 8, "peak"),
    "IQ2_S": (16, 4, "peak"),
    "IQ2_XS": (16, 4, "peak"),
    "IQ2_XXS": (32, 4, "peak"),
    "IQ1_S": (32, 3, "peak"),
    "IQ1_M": (16, 3, "peak"),
    "TQ1_0": (256, 3, "peak"),
    "TQ2_0": (256, 3, "peak"),
    "MXFP4": (32, 16, "peak"),
    "NVFP4": (16, 16, "peak"),
}


def gguf_encoding(name: str) -> Encoding | None:
    """That of one of ggml's types; nothing for one that is not known here."""
    if name in FLOATS:
        return FLOATS[name]
    if name not in _GGUF:
        return None
    block, levels, span = _GGUF[name]
    return Encoding(name, block, levels, span)  # type: ignore[arg-type]


def uniform_encoding(name: str, bits: int, block: int, *, symmetric: bool) -> Encoding:
    """Whole numbers of so many bits with a scale, and where not symmetric an offset, per block."""
    return Encoding(name, block, 2**bits - 1, "peak" if symmetric else "range")
