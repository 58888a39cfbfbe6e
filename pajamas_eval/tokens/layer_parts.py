"""Which of an engine's tensors are a layer's attention and feed-forward, found by trying.

Every architecture and engine has names of its own for them, and norms and factors between them and
what a layer adds to its input. Those two tensors are taken that, times a factor, add up to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

States = NDArray[np.float32]
"""`[rows, width]`."""

TOLERANCE = 0.02
"""Share of what a layer adds that may be missing from the sum: float32 leaves 1e-6 of it, bfloat16
0.005, and two tensors that have nothing to do with it more than half."""

HALF_PRECISION = 2.0**-7
"""Share of what a layer hands on that bfloat16 may round away from the sum of its parts."""

LEAST_SHARE = 1e-3
"""Of what a layer adds: a part below it may be any tensor whose factor came out near zero."""

_FEED_FORWARD = ("ffn", "mlp", "feed_forward", "moe")


@dataclass(frozen=True)
class Part:
    """How a tensor gives what one part of a layer adds.

    Attributes:
        name: The engine's name of the tensor.
        has_input: Whether the layer's input is in it already.
        factor: By which it is multiplied before it is added.
    """

    name: str
    has_input: bool
    factor: float

    def added(self, states: States, before: States) -> States:
        """What the part adds, from the tensor and the layer's input."""
        own = states - before[-len(states) :] if self.has_input else states
        return own if self.factor == 1 else own * np.float32(self.factor)

    def tensor(self, added: States, before: States) -> States:
        """The tensor that would add so much."""
        own = added if self.factor == 1 else added / np.float32(self.factor)
        return own + before[-len(own) :] if self.has_input else own


def find_parts(before: States, after: States, seen: Mapping[str, States]) -> list[Part]:
    """Attention and feed-forward of a layer; nothing if no two tensors add up to what it adds.

    Args:
        before: What the layer is given.
        after: What it hands on.
        seen: Tensors of that shape that it computes in between, in order, by name.
    """
    difference = after.astype(np.float64) - before
    lengths = np.linalg.norm(difference, axis=1, keepdims=True)
    if not np.isfinite(difference).all() or not lengths.all():
        return []
    # Some tokens' states are a thousand times larger than others': each counts alike.
    rows = [(difference / lengths).ravel()]
    candidates: list[tuple[str, bool]] = []
    for name, states in seen.items():
        if states.shape != before.shape or not np.isfinite(states).all():
            continue
        for has_input in (False, True):
            own = states.astype(np.float64) - (before if has_input else 0.0)
            if own.any():
                candidates.append((name, has_input))
                rows.append((own / lengths).ravel())
    products = np.stack(rows) @ np.stack(rows).T
    # The input may be in the first alone: x + (y - input) is the same sum as (x - input) + y.
    for has_input in (False, True):
        best: tuple[float, list[Part]] = TOLERANCE, []
        for i, j in combinations(range(len(candidates)), 2):
            pair = candidates[i], candidates[j]
            if (pair[0][1], pair[1][1]) != (has_input, False) or pair[0][0] == pair[1][0]:
                continue
            missing, factors = _fit(products, i + 1, j + 1)
            if missing < best[0]:
                best = missing, [Part(*c, _exact(f)) for c, f in zip(pair, factors, strict=True)]
        if parts := best[1]:
            if _is_feed_forward(parts[0]) and not _is_feed_forward(parts[1]):
                parts.reverse()  # an engine may compute parallel parts in either order
            return parts
    return []


def add_up(added: Sequence[States], before: States, after: States) -> bool:
    """Whether parts add up to what a layer adds, for most tokens, but for rounding.

    Where the states are large, half precision leaves little of what a layer adds to them.
    """
    rows = len(after)
    difference = after - before[len(before) - rows :]
    missing = np.linalg.norm(difference - sum(part[len(part) - rows :] for part in added), axis=1)
    allowed = np.maximum(
        2 * TOLERANCE * np.linalg.norm(difference, axis=1),
        HALF_PRECISION * np.linalg.norm(after, axis=1),
    )
    return bool(np.median(missing - allowed) <= 0)


def _fit(products: NDArray[np.float64], i: int, j: int) -> tuple[float, tuple[float, float]]:
    """Share of row 0 that rows `i` and `j` leave over by least squares, and their factors."""
    gram, right = products[np.ix_((i, j), (i, j))], products[[i, j], 0]
    determinant = gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2
    if determinant <= 1e-9 * gram[0, 0] * gram[1, 1]:  # the same tensor twice
        return np.inf, (0.0, 0.0)
    factors = np.linalg.solve(gram, right)
    shares = np.abs(factors) * np.sqrt(np.diag(gram) / products[0, 0])
    if shares.min() < LEAST_SHARE:
        return np.inf, (0.0, 0.0)
    left = products[0, 0] - right @ factors
    return float(np.sqrt(max(left, 0.0) / products[0, 0])), (float(factors[0]), float(factors[1]))


def _exact(factor: float) -> float:
    """The factor without the rounding that it was found with."""
    return 1.0 if abs(factor - 1) < TOLERANCE else factor


def _is_feed_forward(part: Part) -> bool:
    return any(word in part.name.lower() for word in _FEED_FORWARD)
