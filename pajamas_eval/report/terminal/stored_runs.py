"""What the store holds, for people."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.table import Table

from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.api.metrics import POINTS
from pajamas_eval.report.wording.figures import device, plural, printable, printable_lines, size
from pajamas_eval.store import Run
from pajamas_eval.store.maintenance import StoreInfo


def runs_table(runs: Sequence[Run]) -> Table | str:
    """All runs, the oldest first; words where there are none."""
    if not runs:
        return "no runs"
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


def asked(run: Run, logs: Sequence[Path], resume_command: str) -> Iterator[str]:
    """What a run was asked and how it went."""
    ended = f", ended {run.finished:%Y-%m-%d %H:%M:%S}" if run.finished else ""
    yield f"run {run.id}: {run.state}, started {run.started:%Y-%m-%d %H:%M:%S} UTC{ended}"
    for name in ("models", "benchmarks"):
        yield f"{name}: {printable(_said(run, name))}"
    if options := " ".join(_options(run)):
        yield f"asked with: {printable(options)}"
    if folder := _asked(run).get("folder"):
        yield f"in the folder: {printable(str(folder))}"
    if isinstance(run.machine, dict):
        machine = [str(run.machine.get(name, "?")) for name in ("processor", "system")]
        yield f"machine: {printable(', '.join(machine))}"
    for label, engine in _engines(run).items():
        versions = ", ".join(f"{package} {v}" for package, v in engine["versions"].items())
        yield f"{printable(label)}: {printable(versions)} on {printable(device(engine['device']))}"
    yield f"computed {plural(run.computed, 'response')}, {run.duplicates:,} of them twice"
    if run.error:
        yield f"failed: {printable_lines(run.error)}"
    for log in logs:
        yield f"log: {printable(str(log))}"
    if run.state in ("interrupted", "failed"):
        yield f"to resume: {printable(resume_command)}"


def _asked(run: Run) -> dict[str, Any]:
    """What a run was asked, whichever version of this program recorded it."""
    return run.asked if isinstance(run.asked, dict) else {}


def _options(run: Run) -> Iterator[str]:
    """The options of a run as they are typed, those at their defaults left out."""
    # Slow to import, and `store info` needs none.
    from pajamas_eval.results.run_config import RunConfig, of_former_versions

    asked, defaults = of_former_versions(_asked(run)), msgspec.to_builtins(RunConfig())
    models = asked.get("models")
    single = isinstance(models, list) and len(models) == 1
    for name, value in asked.items():
        if name in ("models", "benchmarks", "folder"):
            continue
        if value in (None, [], (), defaults.get(name)) or (name == "margins" and single):
            continue
        option = _OPTIONS.get(name) or f"--{name.replace('_', '-')}"
        if value is True:
            yield option
        elif value is not False:
            for one in value if isinstance(value, list) else [value]:
                yield f"{option} {_typed(name, one)}"


_OPTIONS = {"json_file": "--json", "margins": "--margin"}
"""Options that are called otherwise than the fields of a plan."""


def _typed(name: str, value: object) -> str:
    if name == "margins" and isinstance(value, dict):
        unit = value.get("unit", POINTS)
        return f"{value.get('value'):.12g}{'' if unit == POINTS else unit}"
    if isinstance(value, float):
        return f"{value:.12g}"
    return shlex.quote(str(value))


def _engines(run: Run) -> dict[str, Any]:
    """Engines by the label of their model; none where a run did not get so far."""
    return run.settings.get("engines", {}) if isinstance(run.settings, dict) else {}


def _said(run: Run, name: str) -> str:
    value = _asked(run).get(name, "?")
    between = "," if name == "benchmarks" else " "
    return between.join(map(str, value)) if isinstance(value, list) else str(value)


def info_lines(info: StoreInfo) -> Iterator[str]:
    """Where the store is and what it holds."""
    yield f"{printable(str(info.path))}: {size(info.size_bytes)}, version {info.schema_version}"
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(info.runs.items()))
    yield f"{plural(info.responses, 'response')}; runs: {states or 'none'}"
    for model in info.models:
        yield (
            f"  {printable(model.label)}: {plural(model.responses, 'response')} "
            f"({model.key.runtime}, {_weights(model.key)})"
        )


def _weights(key: AnswerKey) -> str:
    return f"digest {key.weights[:12]}" if key.weights else "weights unknown"
