"""Where two models part, in words."""

from collections.abc import Iterator, Sequence

from pajamas_eval.api.hidden_states import Place
from pajamas_eval.identity.layers import Cause, LayerComparison, Parting
from pajamas_eval.report.wording.figures import plural, printable

COARSE = 0.04
"""Relative error of weights of five bits; with fewer, faults hide in the rounding."""

_PLACES = {
    Place.EMBEDDING: "the embedding",
    Place.ATTENTION: "the attention",
    Place.FEED_FORWARD: "the feed-forward part",
    Place.OUTPUT: "what the whole layer adds",
    Place.LOGITS: "the logits",
}

_EVERYWHERE = {
    Place.EMBEDDING: "the table of embeddings, or what is done to its rows, is another",
    Place.ATTENTION: "values, the output projection, or the norm in front of them differ",
    Place.FEED_FORWARD: "its matrices, its norm, its activation, or its choice of experts differ",
    Place.OUTPUT: "something in the layer differs",
    Place.LOGITS: "the last norm, the output layer (tied or not), or a soft-cap of logits differs",
}


def figure(value: float) -> str:
    """A relative error with four decimals, or one digit where that leaves nothing."""
    if value == float("inf"):
        return "∞"
    return f"{value:.4f}" if value >= 0.0001 or not value else f"{value:.0e}"


def cosine(value: float) -> str:
    """Five digits: what two of 16 bits differ by."""
    return f"{value:.5f}"


def title(found: LayerComparison) -> str:
    """What the table is about."""
    return (
        f"Layers of {printable(found.variant)} on the states of {printable(found.baseline)}: "
        f"a text of {plural(found.tokens, 'token')}"
    )


def conclusions(found: LayerComparison) -> Iterator[str]:
    """What was found, the first place first; and what could not have been."""
    variant, baseline = printable(found.variant), printable(found.baseline)
    for note in found.notes:
        yield f"{variant}: {printable(note)}."
    if not found.partings:
        yield (
            f"{variant} and {baseline} part nowhere by more than a relative error of "
            f"{figure(found.rounding)} in weights and arithmetic explains."
        )
    for number, parting in enumerate(found.partings):
        begin = f"{variant} and {baseline} part first at" if number == 0 else "They part also at"
        yield f"{begin} {_where(parting)}. {_size(parting, found.rounding)} {_points_to(parting)}"
    yield (
        f"What begins after token {found.tokens:,}, such as a sliding window of more, cannot show: "
        "--text takes a longer text."
    )
    if not found.partings and found.rounding > COARSE:
        yield (
            "Weights of so few bits hide a wrong rope base and other faults of that size: verify a "
            "variant of 8 bits or more that was made the same way."
        )


def _where(parting: Parting) -> str:
    place = _PLACES[parting.place]
    if not parting.layers:
        return place
    where = f"{place} of layer {parting.layers[0]}"
    if len(parting.layers) == 1:
        return f"{where} of {parting.of_layers}"
    count = f"{len(parting.layers)} of {parting.of_layers} layers"
    return f"{where}, and of {count} in all ({ranges(parting.layers)})"


def ranges(numbers: Sequence[int]) -> str:
    """`0 to 3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in runs)


def _size(parting: Parting, rounding: float) -> str:
    worst = parting.worst
    at = "" if worst.layer is None or len(parting.layers) == 1 else f" in layer {worst.layer}"
    return (
        f"The relative error is {figure(worst.error)}{at}, and rounding explains at most "
        f"{figure(worst.limit)} (cosine {cosine(worst.cosine)})."
    )


def _points_to(parting: Parting) -> str:
    worst = parting.worst
    text = ""
    match parting.cause:
        case Cause.NOT_NUMBERS:
            text = "It is NaN or infinite: a number overflowed, as in float16 beyond 65,504."
        case Cause.FACTOR:
            text = (
                f"It is {worst.factor:.4g} times the baseline's and otherwise the same: a factor "
                "was forgotten or added, such as that of embeddings (the root of the hidden size)."
            )
        case Cause.SOME_TOKENS:
            text = (
                f"Most tokens are right, and {100 * worst.far_off:.1f} % are far off: an expert of "
                "several, a row of the embeddings, or whatever else only some tokens meet."
            )
        case Cause.LATE:
            start = parting.first.starts_at
            text = (
                f"All is right before token {start} and wrong from there: a sliding window of "
                f"about {start} tokens was left out or added, or a rope scaling begins there."
            )
        case Cause.GROWS:
            text = (
                f"The first tokens are right, and the error grows with the distance, "
                f"{parting.growth:.0f}-fold over the text: rotary embeddings of another base, "
                "scaling, or share of each head (rope_theta, rope_scaling), or rows of queries and "
                "keys in another order."
            )
        case Cause.FIRST_TOKEN_RIGHT:
            text = (
                "The first token, which attends to itself alone, is right, and those after it are "
                "not: queries or keys differ (their matrices, norms, or order of rows), their "
                "rotation, a soft-cap or scale of their scores, or the mask."
            )
        case Cause.EVERYWHERE:
            text = f"It is off from the first token on: {_EVERYWHERE[parting.place]}."
    return f"{text} {_extent(parting)}".strip()


def _extent(parting: Parting) -> str:
    if parting.of_layers > 2 and len(parting.layers) == 1:
        return "In one layer alone it is a tensor rather than a setting, or another layer's tensor."
    if parting.of_layers > 2 and len(parting.layers) == parting.of_layers:
        return "In all layers alike it is a setting rather than a tensor."
    return ""
