"""Which tokens to run, in which order and batch, so that each distinct prefix is run once.

Rows (distinct model inputs) are sorted, which lays a prefix tree out flat: a row shares with its
neighbour the longest prefix it shares with any other row. A schedule cuts the rows into steps.
All rows of a step start with the same base, which an engine computes once, keeps in its cache, and
reuses in the steps that follow as far as they share it. An engine that runs a whole subtree in one
batch takes `packed` steps; one that runs rows side by side, padded to equal length, `padded` ones:
those may come in two stages, first what several rows share (a question), then what each adds to it
(its choices).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MIN_BASE = 32
"""Tokens a base must have: setting one up costs a call of its own."""

SMALL_GROUP = 8
"""Rows up to which what they share is a stem, run beside other stems, and no base of its own."""

MIN_STEM = 4
"""Tokens a stem must have below its base."""

STEM_GAIN = 0.2
"""Share of their tokens that rows must save by a stem: two stages make smaller batches."""


@dataclass(slots=True)
class Budget:
    """What one step may hold. A row that is too large by itself is a step of its own.

    Attributes:
        tokens: Tokens run in one step, padding included and the base excluded.
        rows: Rows of one step.
        outputs: Places whose logits are read in one step.
        padding: Padding tokens of one step.
        cells: Tokens of a packed step and its base together.
    """

    tokens: int
    rows: int
    outputs: int
    padding: int = 0
    cells: int = sys.maxsize


@dataclass(frozen=True, slots=True)
class Step:
    """Places in the tree's order, whose rows share their first `base` tokens.

    Attributes:
        stem: Where the stems end, all of the same length, if the step has two stages; else 0.
        parents: The stem of each row, counted from 0, if the step has two stages.
    """

    base: int
    places: Sequence[int]
    stem: int = 0
    parents: Sequence[int] = ()


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
        for base, places in self._runs(range(len(self.order)), 0, MIN_BASE, self.first_reads):
            if len(places) > SMALL_GROUP:
                yield from self._below(base, places, budget)
            else:
                loose += places
        yield from self._below(0, loose, budget)

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
            if self.shared[last] < base or self.first_reads[last] < base:
                return last
            too_many = tokens > budget.tokens or base + tokens > budget.cells
            if too_many or outputs > budget.outputs:
                break
            last += 1
        else:
            if last == len(self.order):
                return last
        halfway = (first + 1 + last) // 2
        return min(range(last, halfway - 1, -1), key=self.shared.__getitem__)

    def _runs(
        self, places: Sequence[int], floor: int, minimum: int, bounds: Sequence[int]
    ) -> Iterator[tuple[int, list[int]]]:
        """Neighbours with what they share; a run ends where going on would save less.

        What is shared is longer than `floor` by `minimum` at least, and within each row's bound.
        """
        run: list[int] = []
        depth = floor
        for place in places:
            if run and place == run[-1] + 1:
                longer = min(
                    self.shared[place],
                    bounds[place],
                    depth if len(run) > 1 else bounds[run[0]],
                )
                saved = (depth - floor) * (len(run) - 1)
                if longer - floor >= minimum and (longer - floor) * len(run) >= saved:
                    run.append(place)
                    depth = longer
                    continue
            if run:
                yield depth, run
            run, depth = [place], floor
        if run:
            yield depth, run

    def _below(self, base: int, places: Sequence[int], budget: Budget) -> Iterator[Step]:
        """Steps of two stages where rows share much beyond the base, and of one for the others."""
        single: list[int] = []
        families: list[tuple[int, list[int]]] = []
        for stem, run in self._runs(places, base, MIN_STEM, self.lengths):
            tokens = sum(self.lengths[i] - base for i in run)
            if (stem - base) * (len(run) - 1) >= max(1, STEM_GAIN * tokens):
                families.append((stem, run))
            else:
                single += run
        yield from self._of_similar_length(base, single, budget)
        families.sort(key=lambda f: (-f[0], -max(self.lengths[i] for i in f[1])))
        yield from self._in_two_stages(base, families, budget)

    def _of_similar_length(
        self, base: int, places: Sequence[int], budget: Budget
    ) -> Iterator[Step]:
        """Cuts rows, the longest first, where a step would grow too large or too ragged."""
        load = _Load()
        batch: list[int] = []
        for place in sorted(places, key=lambda i: -self.lengths[i]):
            grown = load.plus(self.lengths[place] - base, self.reads[place])
            if batch and grown.exceeds(budget):
                yield Step(base, batch)
                batch, grown = [], _Load().plus(self.lengths[place] - base, self.reads[place])
            batch.append(place)
            load = grown
        if batch:
            yield Step(base, batch)

    def _in_two_stages(
        self, base: int, families: Sequence[tuple[int, Sequence[int]]], budget: Budget
    ) -> Iterator[Step]:
        """Families whose stems are of one length, side by side; cut apart only where one is huge.

        Stems of equal length need no padding, which would stand amid what their rows attend to.
        """
        load = _Load()
        batch: list[int] = []
        parents: list[int] = []
        length = 0
        for stem, run in families:
            whole = load
            for place in run:
                whole = whole.plus(self.lengths[place] - stem, self.reads[place])
            stems = (parents[-1] + 1 if parents else 0) + 1
            if batch and (
                stem != length
                or whole.exceeds(budget)
                or stems * (stem - base) > budget.tokens
                or stems > budget.rows
            ):
                yield Step(base, batch, length, parents)
                load, batch, parents = _Load(), [], []
            length = stem
            parent = parents[-1] + 1 if parents else 0
            for place in run:
                grown = load.plus(self.lengths[place] - stem, self.reads[place])
                if batch and (grown.rows > budget.rows or grown.exceeds_memory(budget)):
                    yield Step(base, batch, length, parents)
                    grown = _Load().plus(self.lengths[place] - stem, self.reads[place])
                    batch, parents, parent = [], [], 0
                batch.append(place)
                parents.append(parent)
                load = grown
        if batch:
            yield Step(base, batch, length, parents)


@dataclass(frozen=True, slots=True)
class _Load:
    """What rows side by side take."""

    rows: int = 0
    width: int = 0
    tokens: int = 0
    outputs: int = 0

    def plus(self, length: int, outputs: int) -> "_Load":
        return _Load(
            self.rows + 1,
            max(self.width, length),
            self.tokens + length,
            self.outputs + outputs,
        )

    def exceeds_memory(self, budget: Budget) -> bool:
        return self.rows * self.width > budget.tokens or self.outputs > budget.outputs

    def exceeds(self, budget: Budget) -> bool:
        return (
            self.rows > budget.rows
            or self.exceeds_memory(budget)
            or self.rows * self.width - self.tokens > budget.padding
        )


def common_prefix(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Number of tokens that two rows have in common at their start."""
    n = min(len(a), len(b))
    if not n:
        return 0
    different = a[:n] != b[:n]
    first = int(different.argmax())
    return first if different[first] else n
