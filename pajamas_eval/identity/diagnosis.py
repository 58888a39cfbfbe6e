"""What became of a tensor that its bits do not explain: the likeliest single fault.

Read in whole, up to a bound, and only where something is wrong.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pajamas_eval.api.architecture import ArchitectureFacts, Fact, PerLayer
from pajamas_eval.identity.explained_error import LARGEST_ERROR
from pajamas_eval.identity.measure import Measured
from pajamas_eval.identity.weights.arrays import Array
from pajamas_eval.identity.weights.names import layer_of
from pajamas_eval.identity.weights.tensor import Tensor
from pajamas_eval.identity.weights.views import rotary_order

MOST_VALUES = 1 << 25
"""Of a tensor, that are looked at: 128 MB as float32."""

_SAMPLE = 4096
"""Values by which a tensor is known again among others of its shape."""

_ALIKE = 0.75
"""Correlation from which on two are taken for the same values; at 2 bits it is 0.85 and more."""

_RELATED = 0.3
"""Correlation below which two have nothing to do with each other."""

_PROBED_ROWS = 256
_MOST_ROWS = 1 << 17


class FaultKind(StrEnum):
    """What is wrong with a tensor."""

    MISSING = "missing"
    EXTRA = "extra"
    SHAPE = "another shape"
    NOT_NUMBERS = "not numbers"
    ZEROS = "zeros"
    SHIFTED = "shifted"
    SCALED = "scaled"
    TRANSPOSED = "transposed"
    ROTATED = "permuted for another rotation"
    HEADS = "heads permuted"
    ROWS = "rows permuted"
    SWAPPED = "swapped"
    ANOTHER = "another tensor's values"
    UNRELATED = "unrelated values"
    PART = "some rows differ"
    WORSE = "worse than its bits"
    PACKING = "packed otherwise than stated"
    UNREADABLE = "not readable"


class Fault(msgspec.Struct, frozen=True):
    """A fault and what is known of it, in a few words."""

    kind: FaultKind
    detail: str


@dataclass(frozen=True)
class Models:
    """Both models' tensors by their shared names, arranged alike."""

    base: Mapping[str, Tensor]
    variant: Mapping[str, Tensor]
    facts: ArchitectureFacts


def diagnose(name: str, models: Models, measured: Measured) -> Fault:
    """The likeliest fault of a tensor that `measured` finds not the same."""
    if simple := _simple(measured):
        return simple
    base, variant = models.base[name], models.variant[name]
    rows = max(1, min(base.rows, variant.rows, MOST_VALUES // base.columns))
    x, y = _numbers(base.read(0, rows)), _numbers(variant.read(0, rows))
    tries: list[Callable[[], Fault | None]] = [
        lambda: _transposed(base, x, y),
        lambda: _rotated(name, models, x, y, measured),
        lambda: _experts(base, variant, measured),
        lambda: _heads(name, models, x, y, measured),
        lambda: _another(name, models),
        lambda: _rows(x, y, measured),
    ]
    for attempt in tries:
        if found := attempt():
            return found
    return _unexplained(measured)


def diagnose_shapes(base: Tensor, variant: Tensor) -> Fault:
    """What is wrong with a tensor of another shape."""
    shapes = f"{_shape(base)} in the base, {_shape(variant)} here"
    small = base.parameters <= MOST_VALUES and len(base.shape) == len(variant.shape) == 2
    if small and base.shape == variant.shape[::-1]:
        x, y = base.read(0, base.rows), variant.read(0, variant.rows)
        if _correlation(x.T, y) > _ALIKE:
            return Fault(FaultKind.TRANSPOSED, f"rows for columns: {shapes}")
    return Fault(FaultKind.SHAPE, shapes)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))


def _simple(measured: Measured) -> Fault | None:
    """What the sums over the whole tensor tell."""
    here, there = measured.not_numbers
    if here or there:
        where = f"{here:,} here" + (f", {there:,} in the base" if there else "")
        return Fault(FaultKind.NOT_NUMBERS, f"NaN or infinite values: {where}")
    if measured.is_zero:
        return Fault(FaultKind.ZEROS, "nothing but zeros")
    if measured.error <= measured.limit:
        return None
    mean, slope = measured.mean_difference, measured.slope
    if measured.error_after_shift <= measured.limit and mean:
        return Fault(FaultKind.SHIFTED, f"every value is {mean:+.4g} off")
    related = measured.correlation > _RELATED or measured.correlation < -_RELATED
    if related and measured.error_after_scale <= measured.limit:
        return Fault(FaultKind.SCALED, f"{slope:.3g} times the base")
    return None


def _transposed(base: Tensor, x: Array, y: Array) -> Fault | None:
    square = len(base.shape) == 2 and base.shape[0] == base.shape[1] == len(x)
    if square and _correlation(x.T, y) > _ALIKE:
        return Fault(FaultKind.TRANSPOSED, "rows for columns")
    return None


def _rotated(name: str, models: Models, x: Array, y: Array, measured: Measured) -> Fault | None:
    """Query or key rows in the order of an engine that rotates other pairs."""
    heads = _heads_of(name, models.facts)
    size = x.shape[1] if len(models.base[name].shape) == 1 else models.base[name].rows
    if ".attn_q." not in name and ".attn_k." not in name:
        return None
    if not heads or size % heads or size // heads % 2 or (x.shape[0] > 1 and size != len(x)):
        return None
    order = rotary_order(size, heads)
    for index, words in ((np.argsort(order), "half a head apart"), (order, "side by side")):
        moved = x[:, index] if len(models.base[name].shape) == 1 else x[index]
        if _error(moved, y) <= measured.limit:
            return Fault(
                FaultKind.ROTATED,
                f"rows of each of {heads} heads stand as for an engine that rotates pairs {words}",
            )
    return None


def _experts(base: Tensor, variant: Tensor, measured: Measured) -> Fault | None:
    """Experts that hold another expert's values."""
    if not base.experts or base.experts != variant.experts:
        return None
    height = base.rows // base.experts
    bad = sorted({int(row) // height for row in measured.bad_rows})
    if not bad:
        return None
    few = min(height, max(1, _SAMPLE // base.columns))
    known = [base.read(e * height, e * height + few) for e in range(base.experts)]
    said = []
    for expert in bad:
        y = variant.read(expert * height, expert * height + few)
        alike = [e for e in range(base.experts) if _correlation(known[e], y) > _ALIKE]
        if alike and alike[0] != expert:
            said.append(f"expert {expert} holds expert {alike[0]}'s")
    if not said:
        return None
    return Fault(FaultKind.ANOTHER, _listed(said))


def _heads(name: str, models: Models, x: Array, y: Array, measured: Measured) -> Fault | None:
    """Whole heads in another order: rows of queries, keys and values, columns of the output."""
    heads, base = _heads_of(name, models.facts), models.base[name]
    if not heads or len(base.shape) != 2 or len(x) < base.rows:
        return None
    if ".attn_output." in name:
        x, y = x.T, y.T
    if len(x) % heads or heads < 2:
        return None
    alike = _cosines(x.reshape(heads, -1), y.reshape(heads, -1))
    found = alike.argmax(1)  # of each head here, the base's
    moved = [i for i in range(heads) if found[i] != i and alike[i, found[i]] > _ALIKE]
    rest = [i for i in range(heads) if i not in moved and alike[i, i] <= _ALIKE]
    if not moved or rest:
        return None
    said = [f"head {i} holds head {found[i]}'s" for i in moved]
    return Fault(FaultKind.HEADS, _listed(said))


def _heads_of(name: str, facts: ArchitectureFacts) -> int | None:
    """The heads that a matrix of the attention is cut into."""
    which: Fact[PerLayer] | None = None
    if ".attn_q." in name or ".attn_output." in name:
        which = facts.heads
    elif ".attn_k." in name or ".attn_v." in name:
        which = facts.kv_heads
    if which is None:
        return None
    return which.value[layer_of(name) or 0] if isinstance(which.value, tuple) else which.value


def _another(name: str, models: Models) -> Fault | None:
    """The base's tensor that this one holds instead."""
    other = _holder(name, models)
    if other is None:
        return None
    back = other in models.variant and _alike(models.base[name], models.variant[other])
    if back:
        return Fault(FaultKind.SWAPPED, f"with {other}")
    here, there = layer_of(name), layer_of(other)
    same_part = name.replace(f".{here}.", ".") == other.replace(f".{there}.", ".")
    layers = {1: ", the next layer's", -1: ", the layer's before"}
    which = layers.get((there or 0) - (here or 0), "") if same_part and here is not None else ""
    return Fault(FaultKind.ANOTHER, f"holds {other}{which}")


def _holder(name: str, models: Models) -> str | None:
    variant = models.variant[name]
    for other, tensor in models.base.items():
        comparable = other != name and tensor.shape == variant.shape and not tensor.refused
        if comparable and _alike(tensor, variant):
            return other
    return None


def _alike(tensor: Tensor, other: Tensor) -> bool:
    """By a sample of their first rows; vectors, which are often nearly constant, by their error."""
    rows = min(tensor.rows, max(1, _SAMPLE // tensor.columns))
    x, y = tensor.read(0, rows), other.read(0, rows)
    if tensor.rows == 1:
        return _error(x, y) < 1e-2
    return _correlation(x, y) > _ALIKE


def _rows(x: Array, y: Array, measured: Measured) -> Fault | None:
    """Rows in another order, or some that differ."""
    bad = measured.bad_rows[measured.bad_rows < len(x)]
    count = len(measured.row_errors)
    if len(bad) < 2 or not 2 < len(x) <= _MOST_ROWS:
        return _part(measured, bad, count)
    probed = bad[:: max(1, len(bad) // _PROBED_ROWS)][:_PROBED_ROWS]
    alike = _cosines(y[probed], x)
    found = alike.argmax(1)
    sure = (alike.max(1) > _ALIKE) & (found != probed)
    if sure.mean() > 0.8:
        by = set((found[sure] - probed[sure]).tolist())
        shift = f", each the base's {by.pop():+d}" if len(by) == 1 else ""
        moved = f"{len(bad):,} of {count:,} rows"
        return Fault(FaultKind.ROWS, f"{moved} hold another row's values{shift}")
    return _part(measured, bad, count)


def _part(measured: Measured, bad: NDArray[np.int64], count: int) -> Fault | None:
    if not 0 < len(bad) < 0.9 * count:
        return None
    errors = measured.row_errors[bad]
    return Fault(
        FaultKind.PART,
        f"{len(bad):,} of {count:,} rows: {_listed(list(_runs(bad)))}; "
        f"relative error up to {errors.max():.2g}",
    )


def _runs(numbers: NDArray[np.int64]) -> Iterator[str]:
    breaks = np.flatnonzero(np.diff(numbers) > 1) + 1
    for run in np.split(numbers, breaks):
        yield f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}"


def _unexplained(measured: Measured) -> Fault:
    error = f"relative error {measured.error:.2g}, explained {measured.explained:.2g}"
    if abs(measured.correlation) < _RELATED or measured.error > LARGEST_ERROR:
        return Fault(FaultKind.UNRELATED, f"{error}, correlation {measured.correlation:.2f}")
    if measured.error <= measured.limit:
        steps = f"a value is {measured.largest_steps:.0f} steps off"
        return Fault(FaultKind.WORSE, f"{error}; {steps}")
    return Fault(FaultKind.WORSE, error)


# -- arithmetic ----------------------------------------------------------------------------


def _numbers(values: Array) -> Array:
    return values if np.isfinite(values).all() else np.nan_to_num(values, posinf=0, neginf=0)


def _error(x: Array, y: Array) -> float:
    return float(np.linalg.norm(y - x) / max(float(np.linalg.norm(x)), 1e-30))


def _correlation(x: Any, y: Any) -> float:
    if x.shape != y.shape:
        return 0.0
    sizes = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    return float(np.vdot(x, y)) / max(sizes, 1e-30)


def _cosines(x: Array, y: Array) -> Array:
    """Of each row of one with each of the other."""
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    y = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-30)
    cosines: Array = (x @ y.T).astype(np.float32)
    return cosines


def _listed(items: list[str]) -> str:
    """The first few."""
    return ", ".join(items[:4]) + (f" and {len(items) - 4:,} more" if len(items) > 4 else "")
