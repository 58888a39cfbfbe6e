"""The table of two models' layers, and what it says."""

from collections.abc import Iterator, Mapping

from rich.console import Console

from pajamas_eval.api.hidden_states import Place
from pajamas_eval.identity.layers import LayerComparison, PlaceRecord
from pajamas_eval.report.terminal.tables import Column, Form, say, show_table
from pajamas_eval.report.wording.layers import conclusions, cosine, figure, title

BY_ITSELF = "by itself"

Records = Mapping[tuple[Place, int | None], PlaceRecord]


def show_layers(found: LayerComparison, console: Console) -> None:
    """Relative errors layer by layer, those that rounding does not explain marked; then words."""
    records: Records = {(r.place, r.layer): r for r in found.places}
    none: list[int | None] = [None]  # the embedding and the logits are of no layer
    parted = {(p.place, n) for p in found.partings for n in p.layers or none}
    layers = [number for number in found.drift if number >= 0]
    rows: list[int | None] = [None, *layers, None]
    labels = ["embedding", *map(str, layers), "logits"]

    def cells(place: Place, form: str) -> list[str]:
        keys: list[tuple[Place, int | None] | None] = [
            None if row is None else (place, row) for row in rows
        ]
        if place is Place.OUTPUT:
            keys[0], keys[-1] = (Place.EMBEDDING, None), (Place.LOGITS, None)
        return [_cell(records.get(key), key in parted, form) if key else "" for key in keys]

    def columns(form: Form) -> Iterator[Column]:
        for place, heading in (
            (Place.ATTENTION, "attention"),
            (Place.FEED_FORWARD, "feed-forward"),
            (Place.OUTPUT, "whole"),
        ):
            if place is Place.OUTPUT or any(r.place is place for r in found.places):
                yield Column(f"{heading}\nerror", cells(place, "error"))
                yield Column("\ncosine", cells(place, "cosine"), Form.FULL)
        drift = [found.drift.get(-1), *(found.drift[n] for n in layers), None]
        yield Column(
            f"{BY_ITSELF}\nerror", ["" if d is None else figure(d) for d in drift], Form.NARROW
        )

    show_table(title(found), "layer", labels, columns, console)
    for line in conclusions(found):
        say(line, console)


def _cell(record: PlaceRecord | None, parted: bool, form: str) -> str:
    if record is None:
        return ""
    text = figure(record.error) if form == "error" else cosine(record.cosine)
    return f"[bold red]{text} ![/]" if parted and form == "error" else text
