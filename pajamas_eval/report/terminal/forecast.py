"""The tables and the sentences of a plan."""

from collections.abc import Iterator, Sequence

from rich.console import Console

from pajamas_eval.analysis.forecast import Forecast
from pajamas_eval.report.terminal.tables import Column, Form, say, show_table, show_title
from pajamas_eval.report.wording.figures import duration, percent, plural, printable


def show_plan(
    forecasts: Sequence[Forecast],
    console: Console,
    margin: float,
    power: float,
    confidence: float,
) -> None:
    """What it takes to certify the margin, benchmark by benchmark."""
    show_title("Questions that prove a variant without loss no worse:", console)
    show_title(
        f"margin {100 * margin:g}, power {100 * power:g} %, confidence {100 * confidence:g} %",
        console,
    )
    for benchmark in dict.fromkeys(f.benchmark for f in forecasts):
        console.print()
        _show_benchmark([f for f in forecasts if f.benchmark == benchmark], console, confidence)
    for line in _sentences(forecasts, margin):
        say(line, console)


def _show_benchmark(forecasts: Sequence[Forecast], console: Console, confidence: float) -> None:
    interval = f"{100 * confidence:g} %"
    columns = [
        Column("pilot", [f"{f.pilot:,}" for f in forecasts], Form.FULL),
        Column(
            f"discordance\n\\[{interval}]",
            [
                rf"{percent(f.discordance)} \[{percent(f.discordance_lower)}, "
                f"{percent(f.discordance_upper)}]"
                for f in forecasts
            ],
            Form.FULL,
            "left",
        ),
        Column("questions\nneeded", [f"{f.needed:,}" for f in forecasts]),
        Column("at most", [f"{f.needed_at_most:,}" for f in forecasts]),
        Column(
            "expected\ntime",
            [duration(f.seconds) if f.possible else "not enough" for f in forecasts],
        ),
    ]
    title = f"{forecasts[0].benchmark}: {plural(forecasts[0].available, 'question')} available"
    labels = [f.label for f in forecasts]
    if show_table(title, "variant", labels, lambda _: columns, console) < Form.FULL:
        for f in forecasts:
            say(
                f"{printable(f.label)}: discordance {percent(f.discordance)} %, {interval} "
                f"interval {percent(f.discordance_lower)} to {percent(f.discordance_upper)}, "
                f"in a pilot of {plural(f.pilot, 'question')}",
                console,
            )


def _sentences(forecasts: Sequence[Forecast], margin: float) -> Iterator[str]:
    points = "point" if margin == 0.01 else "points"
    for f in forecasts:
        if f.possible:
            continue
        yield (
            f"{printable(f.benchmark)} cannot certify {100 * margin:g} {points} for "
            f"{printable(f.label)}; its smallest margin is {100 * f.smallest_margin:.1f} "
            f"({plural(f.available, 'question')}, {duration(f.seconds)})."
        )
    yield (
        "Times are for the variant and the baseline together, on this machine, at the pilot's "
        "speed; more questions share more of their examples and are rather faster. "
        '"At most" is at the upper end of the discordance.'
    )
