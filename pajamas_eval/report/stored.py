"""What the store holds, for people."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from pajamas_eval.report.text import plural, printable, size
from pajamas_eval.store import Run
from pajamas_eval.store.maintenance import StoreInfo


def runs_table(runs: Sequence[Run]) -> Table:
    """All runs, the oldest first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", justify="right")
    for heading in ("started (UTC)", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("computed", justify="right", no_wrap=True)
    for heading in ("models", "benchmarks"):
        table.add_column(heading, overflow="fold")
    for run in runs:
        table.add_row(
            str(run.id),
            f"{run.started:%Y-%m-%d %H:%M}",
            run.state,
            f"{run.computed:,}",
            printable(_said(run, "models"), markup=True),
            printable(_said(run, "benchmarks"), markup=True),
        )
    return table


def asked(run: Run, logs: Sequence[Path], how_to_go_on: str) -> Iterator[str]:
    """What a run was asked and how it went."""
    ended = f", ended {run.finished:%Y-%m-%d %H:%M:%S}" if run.finished else ""
    yield f"run {run.id}: {run.state}, started {run.started:%Y-%m-%d %H:%M:%S} UTC{ended}"
    shown = ("models", "benchmarks")
    for name in shown:
        yield f"{name}: {printable(_said(run, name))}"
    others = _asked(run).items()
    given = [f"{k} {v}" for k, v in others if k not in shown and v not in (None, [])]
    yield f"asked with: {printable(', '.join(given))}"
    if isinstance(run.machine, dict):
        machine = [str(run.machine.get(name, "?")) for name in ("processor", "system")]
        yield f"machine: {printable(', '.join(machine))}"
    for label, engine in _engines(run).items():
        versions = ", ".join(f"{package} {v}" for package, v in engine["versions"].items())
        yield f"{printable(label)}: {printable(versions)} on {printable(engine['device'])}"
    yield f"computed {plural(run.computed, 'response')}, {run.duplicates} of them twice"
    for log in logs:
        yield f"log: {printable(str(log))}"
    if run.state in ("interrupted", "failed"):
        yield f"to go on: {printable(how_to_go_on)}"


def _asked(run: Run) -> dict[str, Any]:
    """What a run was asked, whichever version of this program recorded it."""
    return run.asked if isinstance(run.asked, dict) else {}


def _engines(run: Run) -> dict[str, Any]:
    """Engines by the label of their model; none where a run did not get so far."""
    return run.settings.get("engines", {}) if isinstance(run.settings, dict) else {}


def _said(run: Run, name: str) -> str:
    value = _asked(run).get(name, "?")
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def info_lines(info: StoreInfo) -> Iterator[str]:
    """Where the store is and what it holds."""
    yield f"{printable(str(info.path))}: {size(info.size_bytes)}, version {info.schema_version}"
    states = ", ".join(f"{count} {state}" for state, count in sorted(info.runs.items()))
    yield f"{plural(info.responses, 'response')}; runs: {states or 'none'}"
    for model in info.models:
        yield (
            f"  {printable(model.label)}: {plural(model.responses, 'response')} "
            f"({model.identity.runtime}, digest {model.identity.digest[:12]})"
        )
