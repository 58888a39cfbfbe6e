"""How far one tensor is from another, read side by side in parts of bounded size."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.identity.explained_error import (
    ROW_ERROR,
    ROW_LIMIT,
    TENSOR_LIMIT,
    UNEVEN,
    VALUE_LIMIT,
    tensor_limit,
)
from pajamas_eval.identity.weights.arrays import Array, in_blocks
from pajamas_eval.identity.weights.tensor import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """Two tensors of as many columns, compared over the rows that both have.

    Attributes:
        values: Compared.
        error: Relative root mean square error, |variant − base| / |base|.
        explained: What the encodings of both explain of it.
        slope: The factor f for which f·base is closest to the variant.
        mean_difference: Of variant and base.
        correlation: Uncentred, 1 where one is a multiple of the other.
        largest: Largest error of a single value, over the base's root mean square.
        largest_steps: The same in steps of the coarser encoding.
        not_numbers: NaN and infinite values of the variant and of the base; left out of the rest.
        row_errors: Relative error of each row, `[rows]`.
        row_ratios: Actual over explained error of each row.
        is_zero: Whether the variant holds nothing but zeros, and the base does not.
        error_after_shift, error_after_scale: What is left of the error once the mean difference is
            taken off, or the variant divided by the slope.
        uneven: Whether an encoding loses rows that are small beside others.
    """

    values: int
    error: float
    explained: float
    slope: float
    mean_difference: float
    correlation: float
    largest: float
    largest_steps: float
    not_numbers: tuple[int, int]
    row_errors: Floats
    row_ratios: Floats
    is_zero: bool
    error_after_shift: float
    error_after_scale: float
    uneven: bool

    @property
    def limit(self) -> float:
        """Relative error from which on the encodings do not explain it."""
        return tensor_limit(self.explained)

    @property
    def bad_rows(self) -> NDArray[np.int64]:
        """Rows that are farther off than their bits explain."""
        ratios = np.zeros_like(self.row_ratios) if self.uneven else self.row_ratios
        other = (self.row_errors > ROW_ERROR) & (self.row_ratios > TENSOR_LIMIT)
        return np.flatnonzero((ratios > ROW_LIMIT) | other)

    @property
    def is_same(self) -> bool:
        """Whether everything is explained."""
        return not (
            any(self.not_numbers)
            or self.is_zero
            or self.error > self.limit
            or self.largest_steps > VALUE_LIMIT
            or len(self.bad_rows)
        )


def measure(base: Tensor, variant: Tensor) -> Measured:
    """Compares all rows that both have."""
    sums = _Sums()
    for start, stop in base.chunks(min(base.rows, variant.rows)):
        with np.errstate(invalid="ignore"):  # infinity less infinity, which is counted
            sums.add(base, variant, base.read(start, stop), variant.read(start, stop))
    return sums.result(bool({base.encoding_name, variant.encoding_name} & UNEVEN))


class _Sums:
    def __init__(self) -> None:
        self.values, self.difference = 0, 0.0
        self.base = self.variant = self.both = 0.0
        self.largest = self.largest_steps = 0.0
        self.not_numbers = [0, 0]
        self.rows: list[tuple[Array, Array, Array]] = []

    def add(self, base: Tensor, variant: Tensor, x: Array, y: Array) -> None:
        """One part of both, `[rows, columns]`."""
        d = y - x
        if not math.isfinite(float(d.sum())):
            x, y = self._numbers(x, y)
            d = y - x
        self.values += d.size
        squares = np.einsum("ij,ij->i", d, d)
        sizes = np.einsum("ij,ij->i", x, x)
        self.difference += float(d.sum())
        self.base += float(sizes.sum(dtype=np.float64))
        self.variant += float(np.einsum("ij,ij->i", y, y).sum(dtype=np.float64))
        self.both += float(np.einsum("ij,ij->i", x, y).sum(dtype=np.float64))
        explained = np.zeros(len(d), np.float32)
        encodings = [e for e in (base.encoding, variant.encoding) if e]
        # Beside whole numbers the rounding of floating-point ones is nothing, and slow to add up.
        coarse = [e for e in encodings if not e.is_float] or encodings
        steps = []
        for encoding in coarse:
            found = encoding.steps(x)
            explained += np.einsum("ij,ij->i", found, found) * (d.shape[1] / found.shape[1])
            steps += [] if encoding.is_float else [found]
        self.rows.append((squares, sizes, explained / np.float32(12)))
        if squares.any():
            self.largest = max(self.largest, float(max(d.max(), -d.min())))
            self._count_steps(d, steps)

    def _numbers(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Zeros in the place of what is no number in one of them; it is counted."""
        bad_x, bad_y = ~np.isfinite(x), ~np.isfinite(y)
        self.not_numbers[0] += int(bad_y.sum())
        self.not_numbers[1] += int(bad_x.sum())
        bad = bad_x | bad_y
        zero = np.float32(0)
        return np.where(bad, zero, x), np.where(bad, zero, y)

    def _count_steps(self, d: Array, steps: list[Array]) -> None:
        if not steps:
            return
        finest = max(found.shape[1] for found in steps)
        errors = np.abs(in_blocks(d, d.shape[1] // finest)).max(-1)
        total = np.zeros_like(errors)
        for found in steps:
            total += np.repeat(found, finest // found.shape[1], axis=1)
        known = total > 0
        if known.any():
            self.largest_steps = max(
                self.largest_steps, float((errors[known] / total[known]).max())
            )

    def result(self, uneven: bool) -> Measured:
        """What was added, taken together."""
        squares, sizes, explained = (
            np.concatenate(parts).astype(np.float64) for parts in zip(*self.rows, strict=True)
        )
        size = max(self.base, 1e-300)
        rms = math.sqrt(size / max(self.values, 1))
        floor = 1e-30
        slope, mean = self.both / size, self.difference / max(self.values, 1)
        return Measured(
            values=self.values,
            error=math.sqrt(squares.sum() / size),
            explained=math.sqrt(explained.sum() / size),
            slope=slope,
            mean_difference=mean,
            correlation=self.both / math.sqrt(size * max(self.variant, 1e-300)),
            largest=self.largest / rms,
            largest_steps=self.largest_steps,
            not_numbers=(self.not_numbers[0], self.not_numbers[1]),
            row_errors=np.sqrt(squares / np.maximum(sizes, floor)),
            row_ratios=np.sqrt(squares / np.maximum(explained, floor)),
            is_zero=self.variant == 0 and self.base > 0,
            error_after_shift=_root((squares.sum() - self.values * mean * mean) / size),
            error_after_scale=_root(self.variant / size / slope**2 - 1) if slope else math.inf,
            uneven=uneven,
        )


def _root(value: float) -> float:
    """Of a difference that rounding may have made negative."""
    return math.sqrt(max(value, 0.0))
