"""Results on standard output, which may fail or have nobody reading it."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pajamas_eval.errors import RunError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from pajamas_eval.evaluation.session import Places
    from pajamas_eval.results.document import Document
    from pajamas_eval.results.run_config import RunPlan


def write_and_show(document: "Document", json_file: Path | None, show: Callable[[], None]) -> None:
    """Writes the result, if anywhere, and shows it.

    Written first, it is safe whatever the terminal does; where it cannot be written, it is shown
    all the same.
    """
    from pajamas_eval.results.file import write

    try:
        if json_file:
            write(document, json_file)
    finally:
        show()


def output_console() -> "Console":
    """Where results are shown."""
    from io import TextIOWrapper

    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            """What was found stands, exit code included, though nobody reads on."""
            drop_output()

    if isinstance(sys.stdout, TextIOWrapper):  # a terminal without Unicode gets question marks
        sys.stdout.reconfigure(errors="replace")
    # Piped into a file or a pager, a table of 80 columns would break every row.
    return Output(emoji=False, width=None if sys.stdout.isatty() else 200)


def drop_output() -> None:
    """What is still to be printed, or is left in a buffer, goes nowhere."""
    with suppress(OSError, ValueError):  # it may be no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def fail_if_any_failed(document: "Document") -> None:
    """Raises `RunError` where a model did not run to the end.

    It is a `UsageError` where no engine failed, but models were named that cannot be used.
    """
    failed = [model for model in document.models if model.error]
    if failed:
        kind = UsageError if all(model.refused for model in failed) else RunError
        others = "; the others' results stand" if len(failed) < len(document.models) else ""
        raise kind(f"{', '.join(m.label for m in failed)} did not run to the end{others}")


def run_and_show(models: Sequence[str], **options: Any) -> None:
    """Runs models, writes and shows what came out. Raises `RunError` where one failed."""
    plan, places = plan_and_places(models, **options)
    show_run(plan, places)


def show_run(plan: "RunPlan", places: "Places") -> None:
    """The same for a plan."""
    from pajamas_eval.report.terminal.comparison import show

    document = run_plan(plan, places)
    write_and_show(document, places.json_file, lambda: show(document, output_console()))
    fail_if_any_failed(document)


def run_plan(plan: "RunPlan", places: "Places") -> "Document":
    """Runs models with progress on standard error."""
    from rich.console import Console

    from pajamas_eval.evaluation.session import run_models
    from pajamas_eval.report.terminal.progress import progress_for

    return run_models(plan, places, progress_for(Console(stderr=True, emoji=False)))


def plan_and_places(
    models: Sequence[str],
    *,
    benchmarks: str,
    data: Path | None,
    json_file: Path | None = None,
    store: Path | None = None,
    no_store: bool = False,
    **options: Any,
) -> "tuple[RunPlan, Places]":
    """What a command line asks for; `options` are further fields of `RunPlan`."""
    from pajamas_eval.evaluation.session import Places
    from pajamas_eval.results.run_config import RunPlan

    plan = RunPlan(
        models=list(models),
        benchmarks=[name.strip() for name in benchmarks.split(",") if name.strip()],
        data=str(data) if data else None,
        **options,
    )
    return plan, Places(json_file=json_file, store=store, no_store=no_store)
