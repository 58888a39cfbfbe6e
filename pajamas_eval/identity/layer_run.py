"""Runs one text through a baseline and its variants, each in a process of its own."""

import tempfile
from collections.abc import Callable, Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.api.hidden_states import HiddenStates, Place
from pajamas_eval.api.identity import Identity
from pajamas_eval.api.requests import LogLikelihoodRolling
from pajamas_eval.errors import UsageError
from pajamas_eval.identity.layers import LayerComparison, PlaceRecord, find_partings, place_record
from pajamas_eval.identity.rounding import rounding
from pajamas_eval.identity.states import States, added, difference
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.workers.local_worker import LocalWorker
from pajamas_eval.workers.messages import Opened
from pajamas_eval.workers.worker import TIMEOUT_SECONDS, Worker

LEAST_TOKENS = 32
"""A text with fewer says nothing of how an error grows."""

SAME_WORDS = 0.8
"""Share of words that end in the same token where the vocabulary is the same."""

Key = tuple[Place, int | None]


def default_text() -> str:
    """About a thousand tokens of prose, with figures, a table, code and some French."""
    return (files("pajamas_eval.identity") / "text.txt").read_text("utf-8")


def compare_layers(
    specs: Sequence[ModelSpec],
    text: str,
    step: Callable[[str], None],
    timeout: float = TIMEOUT_SECONDS,
) -> list[LayerComparison]:
    """Compares every model with the first, each in a process of its own; see `compare_workers`.

    Args:
        specs: The baseline and its variants.
        text: What they read.
        step: Is told what is going on.
        timeout: Seconds that an engine may be silent.
    """
    workers: list[Worker] = []
    try:
        for spec in specs:
            workers.append(LocalWorker(spec, timeout=timeout))
        return compare_workers(workers, text, step)
    finally:
        for worker in workers:
            worker.close()


def compare_workers(
    workers: Sequence[Worker], text: str, step: Callable[[str], None]
) -> list[LayerComparison]:
    """Compares every model with the first; one has its weights loaded at a time.

    Raises:
        UsageError: A model cannot be opened or loaded, reads the text otherwise, has another number
            or width of layers, or its places cannot be found.
        RunError: An engine failed.
    """
    step("opening the models")
    opened = [worker.open() for worker in workers]
    tokens, notes = _tokens(workers, opened, text)
    baseline, *variants = workers
    with _KeptStates(tokens) as kept:
        step(f"loading {baseline.label}")
        identity = baseline.load(None).identity
        step(f"{baseline.label}: {len(tokens)} tokens")
        baseline.hidden_states(tokens, kept.keep)
        baseline.close()
        return [
            _compared(kept, baseline.label, identity, variant, noted, step)
            for variant, noted in zip(variants, notes, strict=True)
        ]


def _tokens(
    workers: Sequence[Worker], opened: Sequence[Opened], text: str
) -> tuple[list[int], list[list[str]]]:
    """The baseline's tokens, no more than every model takes, and notes for each variant."""
    request = LogLikelihoodRolling(text)
    read = [worker.tokenize([request])[0] for worker in workers]
    for worker, ids in zip(workers, read, strict=True):
        if not ids:
            raise UsageError(
                f"{worker.label}: the {worker.spec.runtime} runtime does not say how its model "
                "reads a text, and shows no hidden states"
            )
    tokens = read[0]
    notes: list[list[str]] = []
    for worker, others in zip(workers[1:], read[1:], strict=True):
        if others == tokens:
            notes.append([])
            continue
        _refuse_other_vocabulary(workers[0], worker, text)
        pairs = enumerate(zip(tokens, others, strict=False))
        first = next((i for i, (a, b) in pairs if a != b), min(len(tokens), len(others)))
        note = (
            f"it reads the text as {len(others)} tokens and the baseline as {len(tokens)}, which "
            f"part at token {first}; it was given the baseline's"
        )
        notes.append([note])
    lengths = {
        worker.label: model.settings.context_length
        for worker, model in zip(workers, opened, strict=True)
        if model.settings and model.settings.context_length is not None
    }
    shortest = min(lengths, key=lambda label: lengths[label], default=None)
    if shortest is not None and lengths[shortest] < len(tokens):
        for noted in notes:
            noted.append(
                f"the text was cut from {len(tokens)} to {lengths[shortest]} tokens, "
                f"the context length of {shortest}"
            )
        tokens = tokens[: lengths[shortest]]
    if len(tokens) < LEAST_TOKENS:
        raise UsageError(
            f"the text has {len(tokens)} tokens; to compare layers it takes {LEAST_TOKENS} or "
            "more, and 500 or more to see how errors grow"
        )
    return tokens, notes


def _refuse_other_vocabulary(baseline: Worker, variant: Worker, text: str) -> None:
    """Raises `UsageError` unless nearly all words of a text are the same tokens to both.

    One vocabulary may be put together otherwise, such as with BOS in front of a text; two have
    hardly a number in common.
    """
    words = [LogLikelihoodRolling(word) for word in dict.fromkeys(text.split())]
    pairs = zip(baseline.tokenize(words), variant.tokenize(words), strict=True)
    same = [bool(a) and bool(b) and (a[-1] == b[-1]) for a, b in pairs]
    if sum(same) < SAME_WORDS * len(same):
        raise UsageError(
            f"{variant.label} has another vocabulary than {baseline.label}: what they compute from "
            "one text cannot be compared"
        )


def _compared(
    kept: "_KeptStates",
    label: str,
    identity: Identity,
    variant: Worker,
    notes: list[str],
    step: Callable[[str], None],
) -> LayerComparison:
    step(f"loading {variant.label}")
    error = rounding(identity, variant.load(None).identity)
    step(f"{variant.label}: place by place, on {label}'s states")
    guided = _Guided(kept, label, variant.label, error)
    variant.hidden_states(kept.tokens, guided.show)
    places = guided.places()
    step(f"{variant.label}: by itself")
    drift: dict[int, float] = {}

    def drifts(states: HiddenStates) -> None:
        if states.place in (Place.EMBEDDING, Place.OUTPUT):
            ours = kept.find(states.place, states.layer)
            number = -1 if states.layer is None else states.layer
            drift[number] = difference(ours, states.array, len(kept.tokens)).error

    variant.hidden_states(kept.tokens, drifts)
    variant.close()
    return LayerComparison(
        baseline=label,
        variant=variant.label,
        tokens=len(kept.tokens),
        notes=notes,
        rounding=error,
        places=places,
        drift=drift,
        partings=find_partings(places, error),
    )


class _Guided:
    """Compares a variant's states with the baseline's, and has it go on from those."""

    def __init__(self, kept: "_KeptStates", baseline: str, variant: str, rounding: float) -> None:
        self._kept, self._rounding = kept, rounding
        self._labels = baseline, variant
        self._records: dict[Key, PlaceRecord] = {}
        self._before = np.empty((0, 0), np.float32)

    def show(self, states: HiddenStates) -> NDArray[np.float32] | None:
        """See `Observer`."""
        place, layer = states.place, states.layer
        if (place, layer) not in self._kept.keys:
            if place in (Place.ATTENTION, Place.FEED_FORWARD):
                return None  # the baseline does not tell them apart
            raise UsageError(
                f"{self._labels[1]} has more layers than {self._labels[0]}: different models"
            )
        ours = self._kept.find(place, layer)
        if place is not Place.LOGITS and ours.shape[1] != states.array.shape[1]:
            raise UsageError(
                f"{self._labels[0]}'s hidden states are {ours.shape[1]} wide and "
                f"{self._labels[1]}'s {states.array.shape[1]}: different models"
            )
        theirs = states.array
        if place is Place.OUTPUT:
            compared = (
                added(HiddenStates(place, layer, ours), self._before),
                added(states, self._before),
            )
        else:
            compared = ours, theirs
        found = difference(*compared, len(self._kept.tokens))
        self._records[place, layer] = place_record(place, layer, found, self._rounding)
        instead = theirs.copy()
        if place is not Place.LOGITS:
            rows = min(len(ours), len(theirs))
            instead[len(theirs) - rows :] = ours[len(ours) - rows :]
        if place in (Place.EMBEDDING, Place.OUTPUT):
            self._before = instead
        return None if place is Place.LOGITS else instead

    def places(self) -> list[PlaceRecord]:
        """What was compared, in order; whole layers only where their parts were not."""
        lacking = [key for key in self._kept.keys if key not in self._records]
        if any(place in (Place.OUTPUT, Place.LOGITS) for place, _ in lacking):
            raise UsageError(
                f"{self._labels[1]} has fewer layers than {self._labels[0]}: different models"
            )
        return [
            record
            for (place, layer), record in self._records.items()
            if place is not Place.OUTPUT
            or (Place.ATTENTION, layer) not in self._records
            or (Place.FEED_FORWARD, layer) not in self._records
        ]


class _KeptStates:
    """The baseline's states in a file that is gone afterwards: they may be larger than memory."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.keys: dict[Key, tuple[int, tuple[int, ...]]] = {}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._end = 0

    def __enter__(self) -> "_KeptStates":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, states: HiddenStates) -> None:
        """See `Observer`; the model goes on as it is."""
        content = np.ascontiguousarray(states.array, np.float32)
        if not np.isfinite(content).all():
            where = (
                states.place if states.layer is None else f"{states.place} of layer {states.layer}"
            )
            raise UsageError(
                f"the baseline's {where} holds NaN or infinity: nothing to compare with"
            )
        self._file.seek(self._end)
        self._file.write(content.tobytes())
        self.keys[states.place, states.layer] = self._end, content.shape
        self._end += content.nbytes

    def find(self, place: Place, layer: int | None) -> States:
        """What was kept for a place."""
        start, shape = self.keys[place, layer]
        self._file.seek(start)
        content = self._file.read(4 * int(np.prod(shape)))
        return np.frombuffer(content, np.float32).reshape(shape)
