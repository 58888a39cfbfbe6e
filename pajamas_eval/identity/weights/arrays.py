"""Views of arrays of weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def in_blocks(values: Array, block: int) -> NDArray[Any]:
    """A view `[rows, blocks, block]` of `[rows, columns]`; whole rows where they do not divide."""
    rows, columns = values.shape
    size = block if block and columns % block == 0 else columns
    return values.reshape(rows, columns // size, size)


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without dimensions of 1, which formats add and drop; never empty."""
    return tuple(n for n in shape if n != 1) or (1,)


def folded(choose: np.ufunc, blocks: Array) -> Array:
    """`choose.reduce` over the last axis, which numpy does slowly where that is short."""
    while blocks.shape[-1] > 1 and blocks.shape[-1] % 2 == 0:
        half = blocks.shape[-1] // 2
        blocks = choose(blocks[..., :half], blocks[..., half:])
    found: Array = choose.reduce(blocks, axis=-1)
    return found
