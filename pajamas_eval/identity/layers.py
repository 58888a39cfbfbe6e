"""Where two models part: places compared one by one, and the first that rounding does not explain.

The variant is given the baseline's states at every place, so that each place's error is its own: a
fault in one layer shows there and nowhere else, and rounding does not add up. What it adds up to
when the variant runs by itself is kept beside it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec
import numpy as np

from pajamas_eval.api.hidden_states import Place
from pajamas_eval.identity.rounding import limit
from pajamas_eval.identity.states import Difference

GROWTH = 4.0
"""Median over the layers of how often the error at a text's end is that at its beginning. Honest
variants have at most 2.3 (the demo model at 4 bits); a rope base of a tenth has 9 (SmolLM2 at 8
bits) and 7 (the demo model at 4 bits)."""

ROTATION = 5.0
"""The same where it points to the rotation: a wrong base has 7 and more (4 to 5 at MLX's 4 bits), a
wrong linear scaling 5.6. Rows of queries and keys in the wrong order have 3.7 to 4.2, and 9 on
SmolLM2: the report names both."""

SAME_START = 1.5
"""How many times later one layer may start to be off than another, where both have one window."""

LEAST_GROWN = 3.0
"""How often rounding's relative error one must be for its growth to count: of errors of 1e-6, what
is left of exact arithmetic, anything may be said."""

LAYER_GROWTH = 2.0
"""The same of one layer, where the median of all of them has grown: the first layers' own."""

CLOSE = 0.3
"""Share of an error that may be left where a factor explains it."""

FAR_OFF = 2.0
"""How often its limit a token's error is where that is no rounding: of honest variants, at most one
token in five hundred has so much at any layer."""

SOME_TOKENS = 0.1
"""Share of such tokens that shows a fault though most are right. An expert that is another's is met
by a quarter of them where two of eight are chosen; rounding makes the choice flip for a few."""

UNTOUCHED = 16
"""Tokens at the beginning of a text that must be right for the rest to start late."""

LATE = 0.9
"""Share of the later tokens that must be off for the rest to start there."""


class Cause(StrEnum):
    """What the shape of a difference points to."""

    NOT_NUMBERS = "not numbers"
    FACTOR = "factor"
    SOME_TOKENS = "some tokens"
    LATE = "late"
    GROWS = "grows"
    FIRST_TOKEN_RIGHT = "first token right"
    EVERYWHERE = "everywhere"


class PlaceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How far a variant is from the baseline at one place.

    Attributes:
        place: See `Place`; `output` is what the whole layer adds, where attention and feed-forward
            could not be told apart in one of the models.
        layer: Number of the layer, from 0.
        error: Median over the tokens of the relative error, each place on the baseline's states.
        limit: The largest that rounding explains.
        rms_error: Relative RMS error of all states of the place together.
        cosine: Of all states together.
        factor: By which the variant's are longer.
        scaled_error: The error that is left after that.
        first_token_error: Error of the first token alone.
        early_error: That of the three tokens after it.
        growth: Error of the text's last quarter over that.
        far_off: Share of the tokens whose error is more than twice the limit.
        starts_at: The first token that is off, where all before it are right.
        errors_by_position: Medians over equal parts of the text.
    """

    place: Place
    layer: int | None
    error: float
    limit: float
    rms_error: float
    cosine: float
    factor: float
    scaled_error: float
    first_token_error: float | None
    early_error: float | None
    growth: float | None
    far_off: float
    starts_at: int | None
    errors_by_position: list[float]


class Parting(msgspec.Struct, frozen=True, kw_only=True):
    """A place at which two models part, in one layer or in several.

    Attributes:
        place: Where; see `PlaceRecord`.
        layers: Numbers of the layers; empty for the embedding and the logits.
        of_layers: How many layers have the place.
        cause: What most of them point to.
        first: The first of its records.
        worst: The one with the largest error.
        growth: Median over these layers.
    """

    place: Place
    layers: list[int]
    of_layers: int
    cause: Cause
    first: PlaceRecord
    worst: PlaceRecord
    growth: float | None


class LayerComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two models' states of one text.

    Attributes:
        baseline: Its label.
        variant: Its label.
        tokens: Length of the text, as the baseline reads it.
        notes: What a reader should know, such as other tokens or a text that was cut.
        rounding: Relative error of weights and computation that was reckoned with.
        places: Every place that both models show, in order.
        drift: Error of the embedding (key -1) and of what each layer hands on, where the variant
            runs by itself.
        partings: Where they part, the first one first; empty if nowhere.
    """

    baseline: str
    variant: str
    tokens: int
    notes: list[str]
    rounding: float
    places: list[PlaceRecord]
    drift: dict[int, float]
    partings: list[Parting]


def place_record(
    place: Place, layer: int | None, found: Difference, rounding: float
) -> PlaceRecord:
    """The record of a place where two models differ as found."""
    allowed = limit(place, rounding)
    return PlaceRecord(
        place=place,
        layer=layer,
        error=found.error,
        limit=allowed,
        rms_error=found.rms,
        cosine=found.cosine,
        factor=found.factor,
        scaled_error=found.scaled_error,
        first_token_error=found.first_token,
        early_error=found.early,
        growth=found.growth,
        far_off=float((found.per_token > FAR_OFF * allowed).mean()),
        starts_at=_starts_at(found, allowed),
        errors_by_position=found.ranges,
    )


def find_partings(places: Sequence[PlaceRecord], rounding: float) -> list[Parting]:
    """Where two models part by more than rounding explains, in the order of the model.

    Args:
        places: In the order of the model.
        rounding: Relative error of weights and computation.
    """
    grown = _grown(places, rounding)
    parted: dict[Place, list[PlaceRecord]] = {}
    for record in places:
        if _is_off(record) or (record.place, record.layer) in grown:
            parted.setdefault(record.place, []).append(record)
    order = {id(record): number for number, record in enumerate(places)}
    counts = Counter(record.place for record in places)
    partings = [
        Parting(
            place=place,
            layers=[r.layer for r in records if r.layer is not None],
            of_layers=counts[place],
            cause=_cause(records),
            first=records[0],
            worst=max(records, key=lambda r: r.error),
            growth=_median([r.growth for r in records]),
        )
        for place, records in parted.items()
    ]
    return sorted(partings, key=lambda parting: order[id(parting.first)])


def _is_off(record: PlaceRecord) -> bool:
    """Whether a place by itself is off by more than rounding explains."""
    return record.error > record.limit or _in_part(record) or record.starts_at is not None


def _in_part(record: PlaceRecord) -> bool:
    """Whether more tokens are far off than rounding may throw there.

    What a token is embedded as depends on it alone: one that is far off is a row that differs.
    """
    return record.far_off > (0.0 if record.place is Place.EMBEDDING else SOME_TOKENS)


def _grown(
    places: Sequence[PlaceRecord], rounding: float
) -> Mapping[tuple[Place, int | None], PlaceRecord]:
    """Places whose error grows over the text in most layers, as rounding's does not."""
    seen = [
        r
        for r in places
        if r.place in (Place.ATTENTION, Place.OUTPUT)
        and r.growth is not None
        and r.error > LEAST_GROWN * rounding
    ]
    typical = _median([r.growth for r in seen])
    of_layers = max(Counter(r.place for r in places).values(), default=0)
    if typical is None or typical < GROWTH or 2 * len(seen) < of_layers:
        return {}
    return {(r.place, r.layer): r for r in seen if (r.growth or 0) >= LAYER_GROWTH}


def _cause(records: Sequence[PlaceRecord]) -> Cause:
    """What most of a place's layers point to."""
    cause = Counter(map(_shape, records)).most_common(1)[0][0]
    starts = [r.starts_at for r in records if r.starts_at is not None]
    if cause is Cause.LATE and max(starts) > SAME_START * min(starts):
        cause = Cause.FIRST_TOKEN_RIGHT
    growth = _median([r.growth for r in records])
    if cause is Cause.FIRST_TOKEN_RIGHT and growth is not None and growth >= ROTATION:
        return Cause.GROWS
    return cause


def _shape(record: PlaceRecord) -> Cause:
    if not np.isfinite(record.error):
        return Cause.NOT_NUMBERS
    if record.scaled_error < CLOSE * record.error:
        return Cause.FACTOR
    if record.starts_at is not None:
        return Cause.LATE
    if record.error <= record.limit and _in_part(record):
        return Cause.SOME_TOKENS
    mixes_tokens = record.place in (Place.ATTENTION, Place.OUTPUT)
    first = record.first_token_error
    if mixes_tokens and first is not None and first <= record.limit:
        return Cause.FIRST_TOKEN_RIGHT
    return Cause.EVERYWHERE


def _starts_at(found: Difference, allowed: float) -> int | None:
    """The first token that is off, where all before it are right and nearly all after it are not.

    A quarter of the text at least must be off, and be off by far: a few tokens may be by chance.
    """
    if found.first_token is None or not np.isfinite(found.error):
        return None
    off = found.per_token > allowed
    if not off.any():
        return None
    start = int(np.argmax(off))
    later = off[start:]
    if start < UNTOUCHED or len(later) < len(off) // 8 or later.mean() < LATE:
        return None
    return start


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
