"""How far two models' states of one text are apart at one place: pure arithmetic."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.api.hidden_states import HiddenStates, Place

RANGES = 16
"""Parts of a text whose errors are kept apart."""

EARLY_TOKENS = slice(1, 4)
"""Tokens that rotary embeddings of different bases turn nearly alike; the first one is not turned
at all, and attends to itself alone."""

States = NDArray[np.float32]
"""`[rows, width]`; row `-k` belongs to the text's token `-k`."""


@dataclass(frozen=True)
class Difference:
    """How far a variant's states are from the baseline's, relative to the length of those.

    Attributes:
        error: Median over the tokens.
        rms: Of all states together, as one vector: tokens with large states weigh most.
        cosine: Of all states together.
        factor: By which the baseline's are to be multiplied to come nearest to the variant's.
        scaled_error: Median over the tokens after that.
        first_token: Error of the text's first token; nothing where it was not computed.
        early: Median over the three tokens after it; nothing where they were not computed.
        growth: Median over the last quarter of the text, over that; nothing where it is zero.
        ranges: Medians over equal parts of the text.
        per_token: `[rows]`.
    """

    error: float
    rms: float
    cosine: float
    factor: float
    scaled_error: float
    first_token: float | None
    early: float | None
    growth: float | None
    ranges: list[float]
    per_token: NDArray[np.float64]


def difference(baseline: States, variant: States, tokens: int) -> Difference:
    """Compares the last rows that both have, of a text of so many tokens.

    States that are no numbers are infinitely far away. Vocabularies may be padded: the columns that
    both have are compared.
    """
    rows = min(len(baseline), len(variant))
    width = min(baseline.shape[1], variant.shape[1])
    ours = baseline[len(baseline) - rows :, :width]
    theirs = variant[len(variant) - rows :, :width]
    if not np.isfinite(theirs).all():
        bad = ~np.isfinite(theirs).all(1)
        return _not_numbers(np.where(bad, np.inf, 0.0))
    lengths = np.sqrt(np.maximum(_dot(ours, ours), np.finfo(np.float64).tiny))
    square, product = float((lengths**2).sum()), float(_dot(ours, theirs).sum())
    factor = product / square
    apart, unscaled = theirs - ours, theirs - np.float32(factor) * ours
    squares = _dot(apart, apart)
    errors = np.sqrt(squares) / lengths
    scaled = np.sqrt(_dot(unscaled, unscaled)) / lengths / (abs(factor) or 1.0)
    both = float(np.sqrt(square * _dot(theirs, theirs).sum()))
    whole = rows == tokens
    early = float(np.median(errors[EARLY_TOKENS])) if whole else None
    return Difference(
        error=float(np.median(errors)),
        rms=float(np.sqrt(squares.sum() / square)),
        cosine=product / both if both else 0.0,
        factor=factor,
        scaled_error=float(np.median(scaled)),
        first_token=float(errors[0]) if whole else None,
        early=early,
        growth=float(np.median(errors[-(rows // 4) :]) / early) if early else None,
        ranges=[float(np.median(part)) for part in np.array_split(errors, min(RANGES, rows))],
        per_token=errors,
    )


def _dot(a: States, b: States) -> NDArray[np.float64]:
    """Row by row."""
    products: NDArray[np.float64] = np.einsum("ij,ij->i", a, b, dtype=np.float64)
    return products


def _not_numbers(errors: NDArray[np.float64]) -> Difference:
    inf = float("inf")
    return Difference(inf, inf, 0.0, 1.0, inf, None, None, None, [], errors)


def added(states: HiddenStates, before: States) -> States:
    """What a whole layer adds to what it was given."""
    assert states.place is Place.OUTPUT
    return states.array - before[len(before) - len(states.array) :]
