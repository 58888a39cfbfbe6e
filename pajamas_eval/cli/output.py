"""Results on standard output, which may fail or have nobody reading it."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pajamas_eval.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console

    from pajamas_eval.results.document import Document


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
    """Raises `RunError` where a model did not run to the end."""
    failed = [model.label for model in document.models if model.error]
    if failed:
        others = "; the others' results stand" if len(failed) < len(document.models) else ""
        raise RunError(f"{', '.join(failed)} did not run to the end{others}")


def run_and_show(models: tuple[str, ...], **options: Any) -> None:
    """Runs models, writes and shows what came out. Raises `RunError` where one failed."""
    from pajamas_eval.evaluation.session import run_models
    from pajamas_eval.report.terminal.comparison import show

    document = run_models(models, **options)
    write_and_show(document, options["json_file"], lambda: show(document, output_console()))
    fail_if_any_failed(document)
