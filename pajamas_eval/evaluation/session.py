"""Runs models as the command line asks for them."""

import gc
from contextlib import chdir
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pajamas_eval.api.data import DataSource
from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.evaluation.evaluate import evaluate
from pajamas_eval.evaluation.recording import Recording
from pajamas_eval.evaluation.run_config import RunConfig
from pajamas_eval.files import check_outputs
from pajamas_eval.models.spec import ModelSpec, parse_specs
from pajamas_eval.questions.registry import benchmark
from pajamas_eval.report.terminal.progress import progress_for
from pajamas_eval.results.document import Document
from pajamas_eval.store import Store, default_path


def run_models(
    models: tuple[str, ...],
    baseline: str | None = None,
    *,
    benchmarks: str,
    data: Path | None,
    json_file: Path | None,
    store: Path | None = None,
    no_store: bool = False,
    folder: Path = Path(),
    **asked: Any,
) -> Document:
    """Runs models; `asked` are the fields of `RunConfig`.

    Args:
        models: As they are typed.
        baseline: Label of the one to compare with.
        benchmarks: Names, separated by commas.
        data: Folder with data sets.
        json_file: Where the result will go.
        store: Where responses are kept; the default store if nothing.
        no_store: Keep nothing, and find nothing.
        folder: Where the models' paths start; the others start here.

    Raises:
        UsageError: Anything that is typed is wrong; nothing has been scored then.
        RunError: A model's process died before anything was scored.
    """
    gc.set_threshold(100_000)  # requests by the hundred thousand are no cycles to look for
    if store and no_store:
        raise UsageError("--store and --no-store contradict each other")
    specs = _specs(models, folder)
    if baseline is not None:
        labels = [spec.label for spec in specs]
        if baseline not in labels:
            raise UsageError(
                f"no model has the label {baseline!r}{suggestion(baseline, labels)} "
                f"(labels: {', '.join(labels)})"
            )
        specs.sort(key=lambda spec: spec.label != baseline)
    names = list(dict.fromkeys(name.strip() for name in benchmarks.split(",") if name.strip()))
    if not names:
        raise UsageError("no benchmark is named")
    source = DataSource(data)
    chosen = [benchmark(name) for name in names]
    path = None if no_store else store or default_path()
    files = {Path(str(spec.options["path"])): f"the model {spec.label}" for spec in specs}
    check_outputs([json_file], {**files, **(files_of_store(path) if path else {})})
    settled = RunConfig(**asked)

    def evaluated(recording: Recording | None) -> Document:
        progress = progress_for(Console(stderr=True, emoji=False))
        return evaluate(specs, chosen, source, progress, settled, recording)

    if path is None:
        document = evaluated(None)
    else:
        with Store.open(path) as opened:
            recording = Recording(
                opened,
                {
                    "models": list(models),
                    "baseline": baseline,
                    "benchmarks": benchmarks,
                    "data": str(source.folder.absolute()) if source.folder else None,
                    "folder": str(folder.absolute()),
                    "json_file": str(json_file.absolute()) if json_file else None,
                    **asdict(settled),
                },
            )
            try:
                with recording.ending() as ending:
                    document = ending.document = evaluated(recording)
            except KeyboardInterrupt as interrupt:
                how = f"give the same command again, or: {recording.resume_command}"
                kept = f"what was computed is kept; to go on, {how}"
                interrupt.add_note(kept)
                raise
    return document


def resumed(run: int, store: Path | None) -> dict[str, Any]:
    """What an earlier run was asked, as arguments of `run_models`.

    Raises:
        UsageError: There is no such run, or its models were elsewhere and are gone.
    """
    with Store.open(store or default_path(), create=False) as opened:
        asked = opened.runs.get(run).asked
    known = {"models", "baseline", "benchmarks", "data", "folder", "json_file"}
    if not isinstance(asked, dict) or set(asked) != known | {f.name for f in fields(RunConfig)}:
        raise UsageError(
            f"run {run} was recorded by another version of this program; ask its models anew, "
            "and what is stored is found"
        )
    folder = Path(asked["folder"])
    if not folder.is_dir():
        raise UsageError(f"run {run} was started in {folder}, which is no longer there")
    return {
        **asked,
        "models": tuple(asked["models"]),
        "data": Path(asked["data"]) if asked["data"] else None,
        "json_file": Path(asked["json_file"]) if asked["json_file"] else None,
        "same_weights": tuple(asked["same_weights"]),
        "folder": folder,
    }


def _specs(models: tuple[str, ...], folder: Path) -> list[ModelSpec]:
    """The models, whose paths start in the folder."""
    try:
        here = folder.resolve() == Path.cwd()
        with chdir(folder):
            specs = parse_specs(models)
            return specs if here else [_named_from(folder, spec) for spec in specs]
    except OSError as error:
        raise UsageError(f"cannot work in the folder {folder}: {error.strerror}") from None


def _named_from(folder: Path, spec: ModelSpec) -> ModelSpec:
    path = str(spec.options["path"])
    if not Path(path).exists():  # it is on the hub
        return spec
    return replace(spec, options={**spec.options, "path": str(folder / path)})


def files_of_store(store: Path) -> dict[Path, str]:
    """The store's file and those that SQLite has beside it, for `check_outputs`."""
    return {Path(f"{store.resolve()}{end}"): "the response store" for end in ("", "-wal", "-shm")}
