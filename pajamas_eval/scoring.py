"""Requests as the rows that an engine runs, and rows back into results."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.requests import LogLikelihoodResult, Result
from pajamas_eval.scoring_plan import Segment


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
    """

    base: NDArray[np.int32]
    rows: Sequence[Row]
    segments: Sequence[Segment]

    def write(self, log_probabilities: NDArray[np.float64], is_greedy: NDArray[np.bool_]) -> None:
        """Hands the results of all targets, row after row, to their rows."""
        ends = np.cumsum([len(row.targets) for row in self.rows])[:-1]
        for row, values, flags in zip(
            self.rows, np.split(log_probabilities, ends), np.split(is_greedy, ends), strict=True
        ):
            row.log_probabilities, row.is_greedy = values, flags


class SideBySide:
    """A batch as engines without prefix trees take it: rows below their base, padded on the right.

    Attributes:
        tokens: `[rows, width]`, zeros where a row has ended.
        mask: `[rows, width]`, 1 where there is a token.
        lengths: Tokens of each row.
        rows, columns: `[k]`, the distinct places whose logits are read.
        reads: `[n]`, which of these places each target is read at.
        targets: `[n]`, the tokens predicted.
    """

    def __init__(self, batch: ScoringBatch) -> None:
        base = len(batch.base)
        self.lengths = [len(row.tokens) - base for row in batch.rows]
        shape = (len(batch.rows), max(self.lengths))
        self.tokens, self.mask = np.zeros(shape, np.int32), np.zeros(shape, np.int64)
        for i, row in enumerate(batch.rows):
            self.tokens[i, : self.lengths[i]] = row.tokens[base:]
            self.mask[i, : self.lengths[i]] = 1
        places = np.concatenate(
            [i * shape[1] + np.asarray(row.positions) - base for i, row in enumerate(batch.rows)]
        )
        distinct, self.reads = np.unique(places, return_inverse=True)
        self.rows, self.columns = np.divmod(distinct, shape[1])
        self.targets = np.concatenate([row.targets for row in batch.rows])


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

    def add(self, inputs: list[int], first: int, targets: list[int]) -> tuple[int, slice]:
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


def scored(scoring: Scoring, rows: Sequence[Row]) -> Result:
    """The result of a request whose rows have all been run."""
    return LogLikelihoodResult(
        log_probability=math.fsum(
            chain.from_iterable(rows[i].log_probabilities[part] for i, part in scoring.reads)
        ),
        is_greedy=all(bool(rows[i].is_greedy[part].all()) for i, part in scoring.reads),
        token_count=scoring.token_count,
        byte_count=scoring.byte_count,
        prompt_tokens=scoring.prompt_tokens,
        truncated_tokens=scoring.truncated_tokens,
        seconds=sum(rows[i].seconds for i, _ in scoring.reads),
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
