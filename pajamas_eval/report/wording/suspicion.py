"""Alarms: a variant may not be the baseline's model at all."""

from collections.abc import Iterator

from pajamas_eval.report.wording.figures import printable
from pajamas_eval.results.document import Document
from pajamas_eval.results.findings import Suspicion


def suspicions(document: Document) -> Iterator[str]:
    """One line for each, with what to run."""
    for found in document.suspicions:
        label = printable(found.label)
        yield (
            f"ALARM: {label} may not be the same model as {printable(document.baseline)}: "
            f"{_why(document, found)}, KL over the choices of {found.benchmark}. "
            f"Look where it comes from: pajamas-eval verify {_source(document, document.baseline)} "
            f"{_source(document, found.label)}"
        )


def _why(document: Document, found: Suspicion) -> str:
    if found.kind == "same weights":
        return f"the same weights diverge by {found.nats:.2g} nats, and rounding by {found.limit:g}"
    bits = {m.label: m.identity.bits_per_weight for m in document.models if m.identity}
    own = f"{bits[found.label]:.2f} bits per weight diverge by {found.nats:.2g} nats"
    if found.than is None:
        return f"{own}, where {found.limit:g} would be much"
    return f"{own}, {bits[found.than]:.2f} bits of {printable(found.than)} by {found.limit:.2g}"


def _source(document: Document, label: str) -> str:
    model = document.model(label)
    return printable(model.identity.path if model.identity else model.spec)
