"""One tensor of a model: what it is called, how it is stored, and its values, read in part."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pajamas_eval.identity.weights.arrays import Array
from pajamas_eval.identity.weights.encodings import Encoding

CHUNK_VALUES = 1 << 22
"""Values that are compared at once: 16 MB as float32."""

Read = Callable[[int, int], Array]
"""Rows from one number to another, as float32 `[rows, columns]`."""


@dataclass(frozen=True)
class Tensor:
    """Values in the shape in which they are computed with: `[outputs, inputs]` for a matrix.

    Attributes:
        name: The one both models share; `stored_name` is that in the file.
        shape: Without dimensions of 1; experts come first where there are several in one tensor.
        encoding: How the values are stored; nothing where it is not known here.
        encoding_name: What its makers call it.
        stored_bytes: Scales and offsets included.
        read: Reads rows; all leading dimensions together count as rows.
        refused: Why its values cannot be read, if they cannot.
        faults: What is wrong with it by itself, found without reading values.
    """

    name: str
    stored_name: str
    shape: tuple[int, ...]
    encoding: Encoding | None
    encoding_name: str
    stored_bytes: int
    read: Read = field(repr=False, compare=False)
    refused: str = ""
    faults: tuple[str, ...] = ()

    @property
    def columns(self) -> int:
        """Values of a row; a vector is one row."""
        return self.shape[-1]

    @property
    def rows(self) -> int:
        """See `read`."""
        return math.prod(self.shape[:-1])

    @property
    def experts(self) -> int:
        """Matrices in it, where it holds several."""
        return self.shape[0] if len(self.shape) == 3 else 0

    @property
    def parameters(self) -> int:
        """Values in it."""
        return math.prod(self.shape)

    def chunks(self, rows: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
        """Rows up to a number, in parts of bounded size that end at multiples of another."""
        at_once = max(1, CHUNK_VALUES // self.columns // multiple) * multiple
        for start in range(0, rows, at_once):
            yield start, min(start + at_once, rows)


def stacked(name: str, stored_name: str, parts: Sequence[Tensor]) -> Tensor:
    """Experts that lie in tensors of their own, as one."""
    first = parts[0]
    height = first.rows

    def read(start: int, stop: int) -> Array:
        found = []
        while start < stop:
            part, row = divmod(start, height)
            end = min(height, row + stop - start)
            found.append(parts[part].read(row, end))
            start += end - row
        return np.concatenate(found)

    names = sorted({part.encoding_name for part in parts})
    return Tensor(
        name=name,
        stored_name=stored_name,
        shape=(len(parts), *first.shape),
        encoding=first.encoding if len(names) == 1 else None,
        encoding_name="/".join(names),
        stored_bytes=sum(part.stored_bytes for part in parts),
        read=read,
        refused=next((part.refused for part in parts if part.refused), ""),
        faults=tuple(fault for part in parts for fault in part.faults),
    )
