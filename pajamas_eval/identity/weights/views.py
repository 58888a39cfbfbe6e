"""Tensors seen in another arrangement, read from the same place."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.identity.weights.arrays import Array
from pajamas_eval.identity.weights.tensor import Tensor

Index = NDArray[np.int64]


def with_rows(tensor: Tensor, index: Index, name: str, shape: tuple[int, ...]) -> Tensor:
    """Rows in another order, or some of them; of a vector its values."""

    def read(start: int, stop: int) -> Array:
        if len(tensor.shape) == 1:
            return tensor.read(0, 1)[:, index]
        wanted = index[start:stop]
        first, last = int(wanted.min()), int(wanted.max())
        return tensor.read(first, last + 1)[wanted - first]

    share = len(index) / (tensor.columns if len(tensor.shape) == 1 else tensor.rows)
    stored_bytes = round(tensor.stored_bytes * share)
    return replace(tensor, name=name, shape=shape, stored_bytes=stored_bytes, read=read)


def shifted(tensor: Tensor, by: float) -> Tensor:
    """All values plus a constant, computed in float32."""
    constant = np.float32(by)
    return replace(tensor, read=lambda start, stop: tensor.read(start, stop) + constant)


def transposed(tensor: Tensor) -> Tensor:
    """Rows for columns, of a matrix, which is read in whole."""
    rows, columns = tensor.shape

    def read(start: int, stop: int) -> Array:
        return np.ascontiguousarray(tensor.read(0, rows)[:, start:stop].T)

    return replace(tensor, shape=(columns, rows), read=read)


def split(tensor: Tensor, names: Sequence[str], heights: Sequence[int]) -> list[Tensor]:
    """Matrices that lie below each other in one, in each of its experts where it has several."""
    *experts, _, columns = tensor.shape
    count, total = (experts or [1])[0], sum(heights)
    parts, above = [], 0
    for name, height in zip(names, heights, strict=True):
        starts = np.arange(count, dtype=np.int64) * total + above
        index = (starts[:, None] + np.arange(height)).reshape(-1)
        parts.append(with_rows(tensor, index, name, (*experts, height, columns)))
        above += height
    return parts


def rotary_order(rows: int, heads: int) -> Index:
    """Where each row of llama.cpp's query and key matrices stands in transformers'.

    llama.cpp rotates neighbouring pairs of a head's values, transformers those half a head apart
    (llama.cpp, `LlamaModel.permute` in `conversion/llama.py`).
    """
    index = np.arange(rows, dtype=np.int64).reshape(heads, 2, rows // heads // 2)
    return index.swapaxes(1, 2).reshape(-1)


def separate_order(rows: int, heads: int) -> Index:
    """Rows of a matrix of queries, keys and values with the three apart, not apart in each head.

    GPT-NeoX and BLOOM (llama.cpp, `conversion/gptneox.py`).
    """
    index = np.arange(rows, dtype=np.int64).reshape(heads, 3, rows // heads // 3)
    return index.swapaxes(0, 1).reshape(-1)
