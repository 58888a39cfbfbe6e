"""A certificate on the terminal."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from rich.console import Console

from pajamas_eval.identity.certificate import Certificate, Comparison, TensorFinding
from pajamas_eval.identity.contents import Contents, Share
from pajamas_eval.identity.weights.names import KIND_ORDER
from pajamas_eval.report.terminal.tables import Column, Form, say, show_table
from pajamas_eval.report.wording import certificate as wording
from pajamas_eval.report.wording.figures import printable, size


def show(certificate: Certificate, console: Console) -> None:
    """What is inside each model; then each variant against the base, the verdicts last."""
    for contents in certificate.models:
        _show_contents(contents, console, in_full=not certificate.comparisons)
    for comparison in certificate.comparisons:
        console.print()
        _say([f"{comparison.variant} against {comparison.base}"], console)
        _say(wording.architecture(comparison), console)
        _say(wording.vocabulary(comparison), console)
        _say(wording.weights(comparison), console)
        console.print()
        _show_errors(comparison, console)
    _say(map(wording.conclusion, certificate.comparisons), console)


def _show_contents(contents: Contents, console: Console, *, in_full: bool) -> None:
    """All three tables of a model alone; the one by type where it is compared."""
    _say([wording.heading(contents)], console)
    _say(wording.origin(contents), console)
    console.print()
    _show_shares("by type", "type", contents.types, console, with_types=False)
    if in_full:
        _show_shares("by kind", "kind", contents.kinds, console, with_types=True)
        _show_shares("by layer", "layers", contents.layers, console, with_types=True)


def _show_shares(
    title: str, heading: str, shares: Sequence[Share], console: Console, *, with_types: bool
) -> None:
    total = max(sum(share.parameters for share in shares), 1)
    columns = [
        Column("tensors", [f"{share.tensors:,}" for share in shares], Form.NARROW),
        Column("parameters", [f"{share.parameters:,}" for share in shares]),
        Column("share", [f"{100 * share.parameters / total:.1f} %" for share in shares]),
        Column("size", [size(share.bytes) for share in shares], Form.NARROW),
        Column("bits per\nweight", [f"{share.bits_per_weight:.2f}" for share in shares]),
    ]
    if with_types:
        words = [printable(wording.types_in_words(share.types), markup=True) for share in shares]
        columns.append(Column("types", words, Form.FULL, "left"))
    show_table(title, heading, [share.name for share in shares], lambda _: columns, console)


def _show_errors(comparison: Comparison, console: Console) -> None:
    measured = [finding for finding in comparison.tensors if finding.error is not None]
    if not measured:
        return
    kinds = _grouped(measured, lambda f: f.kind)
    ordered = sorted(kinds, key=KIND_ORDER.index)
    _show_groups("relative error by kind", "kind", {k: kinds[k] for k in ordered}, console)
    numbers = sorted({f.layer for f in measured if f.layer is not None})
    layers = {str(n): [f for f in measured if f.layer == n] for n in numbers}
    _show_groups("relative error by layer", "layer", layers, console)


def _grouped(
    findings: Iterable[TensorFinding], key: Callable[[TensorFinding], str]
) -> dict[str, list[TensorFinding]]:
    groups: dict[str, list[TensorFinding]] = {}
    for finding in findings:
        groups.setdefault(key(finding), []).append(finding)
    return groups


def _show_groups(
    title: str, heading: str, groups: dict[str, list[TensorFinding]], console: Console
) -> None:
    rows = list(groups.values())
    farthest = [max(row, key=lambda f: f.error or 0.0) for row in rows]
    columns = [
        Column("tensors", [str(len(row)) for row in rows], Form.NARROW),
        Column("types", [printable(_types(row), markup=True) for row in rows], Form.FULL, "left"),
        Column("median", [_error(median(f.error or 0.0 for f in row)) for row in rows]),
        Column("largest", [_error(f.error or 0.0) for f in farthest]),
        Column("its bits\nexplain", [_error(f.explained or 0.0) for f in farthest]),
        Column("worst,\ntimes that", [f"{max(map(_excess, row)):.2f}" for row in rows]),
        Column("faults", [str(sum(f.fault is not None for f in row) or "") for row in rows]),
    ]
    show_table(title, heading, groups, lambda _: columns, console)


def _types(row: Sequence[TensorFinding]) -> str:
    pairs = {(f.base_type, f.variant_type): None for f in row}
    said = [f"{base} → {variant}" if base != variant else f"{base}" for base, variant in pairs]
    return ", ".join(said[:3]) + (" …" if len(said) > 3 else "")


def _excess(finding: TensorFinding) -> float:
    """Actual over explained error; that of nothing is nothing."""
    if not finding.error:
        return 0.0
    return finding.error / max(finding.explained or 0.0, 1e-12)


def _error(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}"


def _say(lines: Iterable[str], console: Console) -> None:
    for line in lines:
        say(printable(line), console)
