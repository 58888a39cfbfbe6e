"""Results on standard output, which may fail or have nobody reading it."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from pajamas_eval.document import Document


def deliver(document: "Document", json_file: Path | None, show: Callable[[], None]) -> None:
    """Writes the result, if anywhere, and shows it.

    Written first, it is safe whatever the terminal does; where it cannot be written, it is shown
    all the same.
    """
    from pajamas_eval.document import write

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
