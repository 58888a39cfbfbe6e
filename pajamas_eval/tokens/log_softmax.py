"""Log-probabilities from a block of logits, for engines that hand over plain memory."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray


def log_probabilities(
    logits: NDArray[np.float32], rows: NDArray[np.int64], targets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Log-softmax at chosen places, and whether each target is its row's maximum.

    Args:
        logits: `[n, vocabulary]`, any finite values; read, not changed.
        rows: `[k]`, the row of each target.
        targets: `[k]`, the token whose log-probability is wanted.

    Returns:
        `[k]` log-probabilities (natural logarithm) and `[k]` greedy flags; among equal maxima
        the first one is the greedy token.
    """
    log_normalizer = np.empty(len(logits), np.float64)
    greedy = np.empty(len(logits), np.int64)

    @np.errstate(invalid="ignore")  # what is no number is the caller's to find
    def normalize(chosen: NDArray[np.int64]) -> None:
        scratch = np.empty(logits.shape[1], np.float32)
        for i in chosen:  # one row at a time: a block of exponentials would double the memory
            row = logits[i]
            greedy[i] = row.argmax()
            maximum = row[greedy[i]]
            np.subtract(row, maximum, out=scratch)
            np.exp(scratch, out=scratch)
            # NumPy adds pairwise: over 150,000 tokens this is 1e-7 off.
            log_normalizer[i] = float(maximum) + np.log(float(scratch.sum()))

    list(_threads().map(normalize, np.array_split(np.unique(rows), os.cpu_count() or 1)))
    picked = logits[rows, targets].astype(np.float64)
    return picked - log_normalizer[rows], greedy[rows] == targets


def most_probable(logits: NDArray[np.float32]) -> list[tuple[int | None, float]]:
    """The greedy token and its logit, of each row of `[n, vocabulary]`.

    There is no token where a logit is not a number.
    """
    picked = logits.argmax(axis=1)  # of NaN, the first one
    largest = logits[np.arange(len(logits)), picked]
    return [
        (token if math.isfinite(logit) else None, logit)
        for token, logit in zip(picked.tolist(), largest.tolist(), strict=True)
    ]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count())  # NumPy lets go of Python's lock
