"""Requests as the rows that an engine runs, and rows back into results."""

import math
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pajamas_eval.api.requests import AnyResult, LogLikelihood, LogLikelihoodResult
from pajamas_eval.api.results import Failure
from pajamas_eval.tokens.prefix_tree import Segment


@dataclass(slots=True)
class Row:
    """One distinct model input, with every place where a log-probability is read.

    Attributes:
        tokens: The input.
        positions: `[n]` places in `tokens` whose logits predict the targets.
        targets: `[n]` the tokens predicted.
        log_probabilities: `[n]`, written by the adapter.
        is_greedy: `[n]`, written by the adapter.
        seconds: Share of the batch's time.
    """

    tokens: NDArray[np.int32]
    positions: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    log_probabilities: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    is_greedy: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ScoringBatch:
    """What an engine runs at once.

    Attributes:
        base: Tokens that all rows start with; the engine keeps them in its cache from one batch to
            the next, as far as the next one shares them. Empty where nothing is shared.
        rows: Whole rows, base included.
        segments: The rows' tokens below the base, each distinct prefix once; only for engines
            that run subtrees.
        stem: Where the stems end, if the batch has two stages; else 0.
        parents: The stem of each row, counted from 0, if the batch has two stages.
    """

    base: NDArray[np.int32]
    rows: Sequence[Row]
    segments: Sequence[Segment] = ()
    stem: int = 0
    parents: Sequence[int] = ()

    @property
    def targets(self) -> NDArray[np.int32]:
        """`[n]`, the tokens predicted, row after row."""
        return np.concatenate([np.asarray(row.targets, np.int32) for row in self.rows])

    def stages(self) -> "list[SideBySide]":
        """The batch for an engine without prefix trees: its rows, or their stems and the rest."""
        base = len(self.base)
        counts = [len(row.positions) for row in self.rows]
        row_of = np.repeat(np.arange(len(self.rows)), counts)
        places = np.concatenate([row.positions for row in self.rows])
        targets = self.targets
        if not self.stem:
            parts = [row.tokens[base:] for row in self.rows]
            whole = np.arange(len(places))
            return [SideBySide(parts, [0] * len(parts), row_of, places - base, targets, whole)]
        parents = np.asarray(self.parents)
        _, first = np.unique(parents, return_index=True)
        stems = [self.rows[i].tokens[base : self.stem] for i in first]
        early = np.flatnonzero(places < self.stem)
        stages = [
            SideBySide(
                stems,
                [0] * len(stems),
                parents[row_of[early]],
                places[early] - base,
                targets[early],
                early,
            )
        ]
        longer = [i for i, row in enumerate(self.rows) if len(row.tokens) > self.stem]
        if longer:
            late = np.flatnonzero(places >= self.stem)
            rests = [self.rows[i].tokens[self.stem :] for i in longer]
            part_of = np.searchsorted(longer, row_of[late])
            stages.append(
                SideBySide(
                    rests, parents[longer], part_of, places[late] - self.stem, targets[late], late
                )
            )
        return stages

    def write(self, log_probabilities: NDArray[np.float64], is_greedy: NDArray[np.bool_]) -> None:
        """Hands the results of all targets, row after row, to their rows."""
        start = 0
        for row in self.rows:
            end = start + len(row.targets)
            row.log_probabilities, row.is_greedy = (
                log_probabilities[start:end],
                is_greedy[start:end],
            )
            start = end


class SideBySide:
    """One stage of a batch: parts of rows below each other, padded on the right.

    Attributes:
        tokens: `[parts, width]`, zeros where a part has ended.
        lengths: Tokens of each part.
        parents: Which part of the stage before each one continues; zeros where that is the base.
        rows, columns: `[k]`, the distinct places whose logits are read.
        reads: `[n]`, which of these places each target is read at.
        targets: `[n]`, the tokens predicted.
        slots: `[n]`, where each target stands among all targets of the batch.
    """

    def __init__(
        self,
        parts: Sequence[NDArray[np.int32]],
        parents: Sequence[int] | NDArray[np.int64],
        part_of: NDArray[np.int64],
        columns: NDArray[np.int64],
        targets: NDArray[np.int32],
        slots: NDArray[np.int64],
    ) -> None:
        """Takes part and column of each target besides."""
        self.lengths = [len(part) for part in parts]
        self.parents = [int(parent) for parent in parents]
        width = max(self.lengths)
        self.tokens = np.zeros((len(parts), width), np.int32)
        for i, part in enumerate(parts):
            self.tokens[i, : len(part)] = part
        distinct, self.reads = np.unique(part_of * width + columns, return_inverse=True)
        self.rows, self.columns = np.divmod(distinct, width)
        self.targets, self.slots = targets, slots

    def parts(self, width: int) -> "Iterator[SideBySide]":
        """The stage in runs of so many columns, for an engine to be heard of between them."""
        for start in range(0, self.tokens.shape[1], width):
            here = (self.columns >= start) & (self.columns < start + width)
            wanted = np.flatnonzero(here[self.reads])
            part = copy(self)
            part.tokens = self.tokens[:, start : start + width]
            part.rows, part.columns = self.rows[here], self.columns[here] - start
            part.reads = (np.cumsum(here) - 1)[self.reads[wanted]]
            part.targets, part.slots = self.targets[wanted], self.slots[wanted]
            yield part


@dataclass(slots=True)
class Scoring:
    """One request on its way through the rows: which slice of which rows is its own."""

    token_count: int
    byte_count: int
    prompt_tokens: int
    truncated_tokens: int
    reads: list[tuple[int, slice]]


class Rows:
    """Distinct inputs: requests with the same input share a row."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._index: dict[bytes, int] = {}

    def add(self, inputs: ArrayLike, first: int, targets: list[int]) -> tuple[int, slice]:
        """Reads `targets` at `inputs[first:]`; returns the row and the slice of its reads."""
        tokens = np.asarray(inputs, np.int32)
        i = self._index.setdefault(tokens.tobytes(), len(self.rows))
        if i == len(self.rows):
            self.rows.append(Row(tokens))
        row = self.rows[i]
        start = len(row.targets)
        row.positions.extend(range(first, first + len(targets)))
        row.targets.extend(targets)
        return i, slice(start, start + len(targets))


def place(
    rows: Rows,
    request: LogLikelihood,
    context: NDArray[np.int32],
    continuation: NDArray[np.int32],
    limit: int,
) -> Scoring | Failure:
    """A request's row among the others, cut from the left to `limit` tokens."""
    if request.continuation and not continuation.size:
        return Failure("the continuation has text but no tokens of its own")
    if continuation.size and not context.size:
        return Failure("the context is empty and the model has neither a BOS nor an EOS token")
    if len(continuation) > limit:
        return Failure(
            f"the continuation has {len(continuation)} tokens, "
            f"more than the context length of {limit}"
        )
    truncated = max(0, len(context) + len(continuation) - 1 - limit)
    tokens = np.concatenate([context, continuation])[truncated:]
    scoring = Scoring(
        token_count=len(continuation),
        byte_count=len(request.continuation.encode("utf-8", "replace")),
        prompt_tokens=len(tokens) - len(continuation),
        truncated_tokens=truncated,
        reads=[],
    )
    if continuation.size:
        first = len(tokens) - len(continuation) - 1
        scoring.reads.append(rows.add(tokens[:-1], first, continuation.tolist()))
    return scoring


def move_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Trailing spaces of the context belong to the continuation."""
    stripped = context.rstrip()
    return stripped, context[len(stripped) :] + continuation


def scored(scoring: Scoring, rows: Sequence[Row]) -> AnyResult:
    """The result of a request whose rows have all been run."""
    values: list[float] = []
    is_greedy, seconds = True, 0.0
    for i, part in scoring.reads:
        row = rows[i]
        values += row.log_probabilities[part].tolist()
        is_greedy = is_greedy and bool(row.is_greedy[part].all())
        seconds += row.seconds
    return LogLikelihoodResult(
        log_probability=math.fsum(values),
        is_greedy=is_greedy,
        token_count=scoring.token_count,
        byte_count=scoring.byte_count,
        prompt_tokens=scoring.prompt_tokens,
        truncated_tokens=scoring.truncated_tokens,
        seconds=seconds,
    )


def windows(
    prefix: list[int], tokens: list[int], context_length: int
) -> Iterator[tuple[list[int], int, list[int]]]:
    """Inputs, first reading position and targets of each window of a rolling text."""
    sequence = prefix[-1:] + tokens  # one token in front of the text, whatever the prefix
    done = 0
    while done < len(tokens):
        count = min(len(tokens) - done, context_length)
        end = done + count
        begin = max(0, end - context_length)
        yield sequence[begin:end], done - begin, tokens[done:end]
        done = end
