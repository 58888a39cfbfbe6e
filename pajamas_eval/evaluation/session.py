"""Runs models as a plan says: opened, recorded, evaluated."""

import gc
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import msgspec

from pajamas_eval.api.data import DataSource
from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.evaluation.benchmark_choice import AUTO, candidates
from pajamas_eval.evaluation.evaluate import evaluate
from pajamas_eval.evaluation.model_runner import Progress
from pajamas_eval.evaluation.recording import Recording
from pajamas_eval.evaluation.stored_runs import files_of_store, recorded_plan, resume_command
from pajamas_eval.files import check_outputs
from pajamas_eval.models.spec import ModelSpec, parse_specs
from pajamas_eval.questions.registry import benchmark
from pajamas_eval.results.document import Document
from pajamas_eval.results.run_config import RunPlan
from pajamas_eval.store import Store, default_path


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a run reads and writes.

    Attributes:
        json_file: Where the result will go.
        store: Where responses are kept; the default store if nothing.
        no_store: Keep nothing, and find nothing.
        folder: Where the models' paths start; the others start here.
    """

    json_file: Path | None = None
    store: Path | None = None
    no_store: bool = False
    folder: Path = Path()

    @property
    def store_file(self) -> Path | None:
        """The store's file; nothing where nothing is kept."""
        return None if self.no_store else self.store or default_path()


def run_models(plan: RunPlan, places: Places, progress: Progress) -> Document:
    """Runs models.

    Raises:
        UsageError: Anything that is typed is wrong; nothing has been scored then.
        RunError: A model's process died before anything was scored.
    """
    gc.set_threshold(100_000)  # hundreds of thousands of requests hold no cycles to look for
    if places.store and places.no_store:
        raise UsageError("--store and --no-store contradict each other")
    if plan.apply_chat_template and plan.template_date is None:
        # A run that is resumed on another day keeps it.
        plan = msgspec.structs.replace(plan, template_date=date.today())
    specs = _baseline_first(_specs(plan.models, places.folder), plan.baseline)
    names = list(dict.fromkeys(name.strip() for name in plan.benchmarks if name.strip()))
    if not names:
        raise UsageError("no benchmark is named")
    source = DataSource(Path(plan.data) if plan.data else None)
    choosing = any(name.partition(":")[0] == AUTO for name in names)
    benchmarks = candidates(names) if choosing else [benchmark(name) for name in names]
    path = places.store_file
    files = {spec.path: f"the model {spec.label}" for spec in specs if spec.path}
    check_outputs([places.json_file], {**files, **(files_of_store(path) if path else {})})
    if path is None:
        return evaluate(specs, benchmarks, source, progress, plan, choosing=choosing)
    with Store.open(path) as store:
        asked = recorded_plan(plan, source.folder, places.folder, places.json_file)
        try:
            recording = Recording(store, asked)
            with recording.ending() as ending:
                ending.document = evaluate(
                    specs, benchmarks, source, progress, plan, recording, choosing=choosing
                )
                return ending.document
        except KeyboardInterrupt as interrupt:
            # It may come when the run is recorded already, but not yet known here.
            if (run := store.runs.begun) is not None and store.runs.exists(run):
                how = f"give the same command again, or: {resume_command(store, run)}"
                interrupt.add_note(f"what was computed is kept; to resume, {how}")
            raise


def _baseline_first(specs: list[ModelSpec], baseline: str | None) -> list[ModelSpec]:
    labels = [spec.label for spec in specs]
    if baseline is not None and baseline not in labels:
        raise UsageError(
            f"no model has the label {baseline!r}{suggestion(baseline, labels)} "
            f"(labels: {', '.join(labels)})"
        )
    return sorted(specs, key=lambda spec: baseline is not None and spec.label != baseline)


def _specs(models: Sequence[str], folder: Path) -> list[ModelSpec]:
    """The models, whose paths start in the folder."""
    try:
        here = folder.resolve() == Path.cwd()
        with chdir(folder):
            specs = parse_specs(models)
            return specs if here else [_named_from(folder, spec) for spec in specs]
    except OSError as error:
        raise UsageError(f"cannot work in the folder {folder}: {error.strerror}") from None


def _named_from(folder: Path, spec: ModelSpec) -> ModelSpec:
    if spec.path is None or not spec.path.exists():  # it is on the hub, or behind a server
        return spec
    return replace(spec, options={**spec.options, "path": str(folder / spec.path)})
