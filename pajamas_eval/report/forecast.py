"""The table and the sentences of a plan."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from pajamas_eval.plan import Forecast
from pajamas_eval.report.text import duration, percent, printable


def show_plan(
    forecasts: Sequence[Forecast],
    console: Console,
    margin: float,
    power: float,
    confidence: float,
) -> None:
    """What it takes to certify the margin, benchmark by benchmark."""
    title = (
        f"questions that prove a variant without loss no worse: margin {100 * margin:g}, "
        f"power {100 * power:g} %, confidence {100 * confidence:g} %"
    )
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("benchmark", overflow="fold", min_width=12)
    table.add_column("variant", overflow="fold", min_width=8)
    for heading in ("pilot", f"discordance\n\\[{100 * confidence:g} %]"):
        table.add_column(heading, no_wrap=True)
    for heading in ("questions\nneeded", "at most", "available", "expected\ntime"):
        table.add_column(heading, justify="right", no_wrap=True)
    for f in forecasts:
        table.add_row(
            printable(f.benchmark, markup=True),
            printable(f.label, markup=True),
            str(f.pilot),
            rf"{percent(f.discordance)} \[{percent(f.discordance_lower)}, "
            f"{percent(f.discordance_upper)}]",
            f"{f.needed:,}",
            f"{f.needed_at_most:,}",
            f"{f.available:,}",
            duration(f.seconds) if f.possible else "not enough",
        )
    console.print(table)
    for line in _sentences(forecasts, margin):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _sentences(forecasts: Sequence[Forecast], margin: float) -> Iterator[str]:
    points = "point" if margin == 0.01 else "points"
    for f in forecasts:
        if f.possible:
            continue
        yield (
            f"{printable(f.benchmark)} cannot certify {100 * margin:g} {points} for "
            f"{printable(f.label)}; its smallest margin is {100 * f.smallest_margin:.1f} "
            f"({f.available:,} questions, {duration(f.seconds)})."
        )
    yield (
        "Times are for the variant and the baseline together, on this machine, at the pilot's "
        "speed; more questions share more of their examples and are rather faster. "
        '"At most" is at the upper end of the discordance.'
    )
