"""Live progress: a bar on a terminal, plain lines elsewhere."""

import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from pajamas_eval.report.wording.figures import plural, printable, printable_lines

PLAIN_EVERY_SECONDS = 15.0
"""How often a long benchmark says where it is, where lines cannot be overwritten."""


class BarProgress:
    """A bar per benchmark, replaced by a line once it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: Any = None
        self._title = ""
        self._started = 0.0
        self._done = 0

    def step(self, text: str) -> None:
        """Something that takes a while has begun."""
        self._console.print(f"[dim]{printable(text, markup=True)}…[/dim]", highlight=False)

    def start(self, label: str, benchmark: str, total: int) -> None:
        """A model begins a benchmark of `total` questions."""
        self._title, self._started, self._done = f"{label} · {benchmark}", time.monotonic(), 0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(printable(self._title, markup=True), total=total)

    def advance(self, questions: int) -> None:
        """So many more of them are answered."""
        self._done += questions
        if self._bar and questions:
            self._bar.advance(self._task, questions)

    def finish(self) -> None:
        """The model is through with the benchmark."""
        if self._bar:
            self._bar.stop()
            self._bar = None
        seconds = time.monotonic() - self._started
        title = printable(self._title, markup=True)
        self._console.print(
            f"  {title}: {plural(self._done, 'question')} in {seconds:.1f} s", highlight=False
        )


class PlainProgress:
    """A line when something begins, now and then while it lasts, and when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._total = self._done = 0
        self._started = self._spoke = 0.0

    def step(self, text: str) -> None:
        """Something that takes a while has begun."""
        self._say(text)

    def start(self, label: str, benchmark: str, total: int) -> None:
        """A model begins a benchmark of `total` questions."""
        self._title, self._total, self._done = f"{label} · {benchmark}", total, 0
        self._started = self._spoke = time.monotonic()

    def advance(self, questions: int) -> None:
        """So many more of them are answered."""
        self._done += questions
        if time.monotonic() - self._spoke > PLAIN_EVERY_SECONDS:
            self._spoke = time.monotonic()
            self._say(f"  {self._title}: {self._done:,} of {self._total:,}")

    def finish(self) -> None:
        """The model is through with the benchmark."""
        seconds = time.monotonic() - self._started
        self._say(f"  {self._title}: {plural(self._done, 'question')} in {seconds:.1f} s")

    def _say(self, text: str) -> None:
        self._console.print(printable_lines(text), markup=False, highlight=False, soft_wrap=True)


def progress_for(console: Console) -> BarProgress | PlainProgress:
    """The kind that suits where the console writes."""
    return BarProgress(console) if console.is_terminal else PlainProgress(console)
