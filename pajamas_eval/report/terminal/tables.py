"""Tables with as many columns as the terminal has room for, their titles, and sentences."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

from pajamas_eval.report.wording.figures import printable

ANY_WIDTH = 10_000
"""More characters than any table needs."""


class Form(IntEnum):
    """How much of a table is shown."""

    NARROWEST = 0
    NARROW = 1
    FULL = 2


@dataclass(frozen=True)
class Column:
    """One column with a cell for each row, in markup.

    Attributes:
        least: The narrowest form that has it; sentences say most of what is left out.
    """

    heading: str
    cells: Sequence[str]
    least: Form = Form.NARROWEST
    justify: JustifyMethod = "right"


def show_table(
    title: str,
    heading: str,
    labels: Iterable[str],
    columns: Callable[[Form], Iterable[Column]],
    console: Console,
) -> Form:
    """Prints the fullest form that fits, or else the narrowest; returns which.

    Args:
        title: What it is about.
        heading: Of the labels.
        labels: What the rows are about; folded where even the narrowest form has no room.
        columns: Those to the right of the labels, as a form has them.
        console: Where it goes.
    """
    names = [printable(label, markup=True) for label in labels]
    unbounded = console.options.update(width=ANY_WIDTH)
    for form in sorted(Form, reverse=True):
        table = _table(heading, names, [c for c in columns(form) if form >= c.least])
        if console.measure(table, options=unbounded).maximum <= console.width:
            break
    show_title(title, console)
    console.print(table)
    return form


def show_title(title: str, console: Console) -> None:
    """A line of its own: as a part of the table it would be wrapped at the table's width."""
    line = printable(title)
    console.print(line, style="table.title", markup=False, highlight=False, soft_wrap=True)


def say(line: str, console: Console) -> None:
    """A sentence: broken between words on a terminal, and nowhere in a file or a pipe."""
    console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def _table(heading: str, labels: Sequence[str], columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(heading, overflow="fold")
    for column in columns:
        table.add_column(column.heading, justify=column.justify, no_wrap=True)
    for row in zip(labels, *(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table
