"""How far a tensor may be from the original for nothing but its bits: the constants, measured.

A value rounded to a grid of step s is off by s/√12 on average (root mean square) and s/2 at most
(Bennett, 1948, "Spectra of quantized signals"). `Encoding.steps` says what the step of each block
has to be for the values that it holds, so that outliers, which widen it, are allowed for.

Measured, actual over explained error, smallest to largest, of twelve matrices each (normal,
Laplace, Student's t with 4 degrees of freedom, columns of outliers, rows of unequal scale, five of
the demo model, two of SmolLM2-135M), with and without an importance matrix, by llama.cpp's own
quantizer (`ggml_quantize_chunk`, llama-cpp-python 0.3.36) and mlx.core.quantize (0.32.4):

    format                            tensor        worst row   farthest value, in steps
    Q8_0, Q6_K, Q5_K, Q5_1, Q5_0      0.92 … 1.20        3.6    7.6
    Q4_K, Q4_1, Q4_0, IQ4_NL, IQ4_XS  0.66 … 1.00        1.5    3.8
    Q3_K, Q2_K                        0.57 … 1.02        1.4    5.2
    IQ3_S, IQ3_XXS, IQ2_S, _XS, _XXS  0.70 … 1.26        2.1    5.2
    IQ1_S, IQ1_M, TQ1_0, TQ2_0        0.22 … 1.39        1.8    6.9
    MXFP4                             0.93 … 1.38        1.8    2.0
    NVFP4                             0.68 … 1.34       13.7    8.0
    MLX affine, 2 to 8 bits           0.37 … 1.02        1.9    1.9
    MLX affine, bfloat16 scales       0.37 … 1.30        1.6    1.4

Values already on the format's grid, such as SmolLM2's in Q4_1, are off by less. A row far below the
tensor's largest falls under the smallest scale that NVFP4 has, hence its 13.7.

Against that: a tensor that is another one, in another order or random is off by √2 times its own
size; one re-quantized to 4 bits and stored in 8 by 15 times what 8 bits explain.
"""

TENSOR_LIMIT = 2.0
"""Actual over explained error of a tensor, from which on it is worse than its bits."""

LARGEST_ERROR = 1.1
"""Relative error that no format explains, however few its bits: 1 is what zeros have."""

ROW_LIMIT = 6.0
"""Actual over explained error of a single row."""

ROW_ERROR = 1.2
"""Relative error of a single row, which is that of a row of other values."""

VALUE_LIMIT = 16.0
"""Steps that a single value may be off."""

UNEVEN = frozenset({"NVFP4", "nvfp4"})
"""Formats whose smallest scale is so large that small rows may be lost in them."""


def tensor_limit(explained: float) -> float:
    """The relative error from which on a tensor is not what it should be."""
    return min(TENSOR_LIMIT * explained, LARGEST_ERROR)
