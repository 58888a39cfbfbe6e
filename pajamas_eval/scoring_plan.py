"""Which tokens to run, in which order and batch, so that each distinct prefix is run once.

Rows (distinct model inputs) are sorted, which lays a prefix tree out flat: a row shares with its
neighbour the longest prefix it shares with any other row. A schedule cuts the rows into steps.
All rows of a step start with the same base, which an engine computes once, keeps in its cache, and
reuses in the steps that follow as far as they share it. An engine that runs a whole subtree in one
batch takes `packed` steps; one that runs rows side by side, padded to equal length, `padded` ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MIN_BASE = 32
"""Tokens a base must have: setting one up costs a call of its own."""


@dataclass(slots=True)
class Budget:
    """What one step may hold. A row that is too large by itself is a step of its own.

    Attributes:
        tokens: Tokens run in one step, padding included and the base excluded.
        rows: Rows of one step.
        outputs: Places whose logits are read in one step.
        padding: Padding tokens of one step.
    """

    tokens: int
    rows: int
    outputs: int
    padding: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Places in the tree's order, whose rows share their first `base` tokens."""

    base: int
    places: Sequence[int]


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens `begin` to `end` of a step's rows `first` to `last` (excluded), which all share."""

    first: int
    last: int
    begin: int
    end: int


class PrefixTree:
    """Rows in token order.

    Attributes:
        order: `[n]`, the caller's index of each row.
        lengths: `[n]`, tokens of each row.
        shared: `[n]`, tokens that each row has in common with the one before it; 0 for the first.
        first_reads: `[n]`, the first place of each row whose logits are read.
        reads: `[n]`, the number of places of each row whose logits are read.
    """

    def __init__(
        self,
        rows: Sequence[NDArray[np.int32]],
        first_reads: Sequence[int],
        reads: Sequence[int],
        *,
        sharing: bool = True,
    ) -> None:
        """Sorts the rows, which must be distinct.

        Args:
            rows: Token ids, none empty and none negative.
            first_reads: The first place of each row whose logits are read.
            reads: The number of places of each row whose logits are read.
            sharing: Whether the engine can share prefixes at all; if not, every row stands alone.
        """
        # Big-endian bytes of non-negative integers compare as the integers do.
        keys = [row.astype(">i4").tobytes() for row in rows]
        self.order = sorted(range(len(rows)), key=keys.__getitem__)
        self.lengths = [len(rows[i]) for i in self.order]
        self.first_reads = [first_reads[i] for i in self.order]
        self.reads = [reads[i] for i in self.order]
        common = [0, *(common_prefix(rows[a], rows[b]) for a, b in pairwise(self.order))]
        self.distinct_tokens = sum(self.lengths) - sum(common)
        """Nodes of the tree: what an ideal engine would run."""
        self.shared = common[: len(rows)] if sharing else [0] * len(rows)

    def packed(self, budget: Budget) -> Iterator[Step]:
        """Steps of neighbouring rows, for an engine that runs a whole subtree as one batch.

        A step starts from the base of the one before it, as far as that still holds: this costs
        nothing. A longer base is set up where the budget cuts rows apart that share it.

        The budget is read anew for each step: it may shrink when memory runs out.
        """
        first = base = 0
        while first < len(self.order):
            base = min(base, self.shared[first], self.first_reads[first])
            base = base if base >= MIN_BASE else 0
            last = self._fill(first, base, budget)
            if last < len(self.order):
                across = range(first + 1, last + 1)
                longer = min(
                    *(self.shared[i] for i in across),
                    *(self.first_reads[i] for i in (first, *across)),
                )
                if longer >= base + MIN_BASE:
                    base = longer
                    last = self._fill(first, base, budget)
            yield Step(base, range(first, last))
            first = last

    def padded(self, budget: Budget) -> Iterator[Step]:
        """Steps of rows of similar length, for an engine that pads rows side by side."""
        loose: list[int] = []
        for base, places in self._groups():
            if base:
                yield from self._of_similar_length(base, places, budget)
            else:
                loose += places
        yield from self._of_similar_length(0, loose, budget)

    def segments(self, step: Step) -> list[Segment]:
        """The subtree of a packed step below its base, each distinct node in just one segment.

        Depth first, parents before their children, as a causal engine needs them. Rows are
        counted from the step's first.
        """
        start = step.places[0]
        segments = []
        stack = [(start, start + len(step.places), step.base)]
        while stack:
            first, last, begin = stack.pop()
            alone = last - first == 1
            end = self.lengths[first] if alone else min(self.shared[first + 1 : last])
            if end > begin:
                segments.append(Segment(first - start, last - start, begin, end))
            if alone:
                continue
            cuts = [first, *(i for i in range(first + 1, last) if self.shared[i] == end), last]
            # A row that ends where the others go on sorts first and has nothing left to run.
            children = [
                (a, b, end) for a, b in pairwise(cuts) if b - a > 1 or self.lengths[a] > end
            ]
            stack.extend(reversed(children))
        return segments

    def _fill(self, first: int, base: int, budget: Budget) -> int:
        """End of the rows from `first` on that share the base and fit into one step.

        The logits of a base are not read, so it ends before the first read of all these rows.
        Where the budget cuts rows apart, the cut is moved back, by half of the rows at most, to
        where least of their common tokens will have to be run again.
        """
        tokens, outputs = self.lengths[first] - base, self.reads[first]
        last = first + 1
        while last < len(self.order) and last - first < budget.rows:
            tokens += self.lengths[last] - self.shared[last]
            outputs += self.reads[last]
            if (
                self.shared[last] < base
                or self.first_reads[last] < base
            ):
                return last
            if tokens > budget.tokens or outputs > budget.outputs:
                break
            last += 1
        else:
            if last == len(self.order):
                return last
        halfway = (first + 1 + last) // 2
        return min(range(last, halfway - 1, -1), key=self.shared.__getitem__)

    def _groups(self) -> Iterator[tuple[int, list[int]]]:
        """Runs of rows with a common base; a run ends where going on would save less."""
        places: list[int] = []
        base = 0
        for place in range(len(self.order)):
            if places:
                longer = min(
                    self.shared[place],
                    self.first_reads[place],
                    base if len(places) > 1 else self.first_reads[places[0]],
                )
                if longer >= MIN_BASE and longer * len(places) >= base * (len(places) - 1):
                    places.append(place)
                    base = longer
                    continue
                yield base, places
            places, base = [place], 0
        if places:
            yield base, places

    def _of_similar_length(
        self, base: int, places: Sequence[int], budget: Budget
    ) -> Iterator[Step]:
        """Cuts rows, the longest first, where a step would grow too large or too ragged."""
        batch: list[int] = []
        width = outputs = padding = 0
        for place in sorted(places, key=lambda i: -self.lengths[i]):
            length = self.lengths[place] - base
            if batch and (
                len(batch) >= budget.rows
                or (len(batch) + 1) * width > budget.tokens
                or outputs + self.reads[place] > budget.outputs
                or padding + width - length > budget.padding
            ):
                yield Step(base, batch)
                batch, outputs, padding = [], 0, 0
            if not batch:
                width = length
            batch.append(place)
            outputs += self.reads[place]
            padding += width - length
        if batch:
            yield Step(base, batch)


def common_prefix(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Number of tokens that two rows have in common at their start."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n
