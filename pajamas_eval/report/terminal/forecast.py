"""The tables and the sentences of a plan."""

from collections.abc import Iterator, Sequence

from rich.console import Console

from pajamas_eval.analysis.forecast import Forecast
from pajamas_eval.api.metrics import POINTS, RELATIVE
from pajamas_eval.report.terminal.tables import Column, Form, say, show_table, show_title
from pajamas_eval.report.wording.figures import (
    duration,
    margin_text,
    margins_text,
    percent,
    plural,
    printable,
)


def show_plan(
    forecasts: Sequence[Forecast],
    console: Console,
    power: float,
    confidence: float,
) -> None:
    """What it takes to certify the margins, benchmark by benchmark."""
    show_title("Questions that prove a variant without loss no worse:", console)
    margins = margins_text((f.benchmark, f.margin, f.margin_is_default) for f in forecasts)
    said = f"margin{'s' if len(margins) > 1 else ''} {', '.join(margins)}"
    show_title(f"{said}, power {100 * power:g} %, confidence {100 * confidence:g} %", console)
    for benchmark in dict.fromkeys(f.benchmark for f in forecasts):
        console.print()
        _show_benchmark([f for f in forecasts if f.benchmark == benchmark], console, confidence)
    for line in _sentences(forecasts):
        say(line, console)


def _show_benchmark(forecasts: Sequence[Forecast], console: Console, confidence: float) -> None:
    interval = f"{100 * confidence:g} %"
    columns = [
        Column("pilot", [f"{f.pilot:,}" for f in forecasts], Form.FULL),
        Column(
            f"discordance\n\\[{interval}]",
            [_discordance(f, r"{} \[{}, {}]") for f in forecasts],
            Form.FULL,
            "left",
        ),
        Column("questions\nneeded", [f"{f.needed:,}" for f in forecasts]),
        Column("at most", [f"{f.needed_at_most:,}" for f in forecasts]),
        *(
            [Column("by soft\naccuracy", [f"{f.needed_soft:,}" for f in soft])]
            if len(soft := [f for f in forecasts if f.needed_soft is not None]) == len(forecasts)
            else []
        ),
        Column(
            "expected\ntime",
            [duration(f.seconds) if f.possible else "not enough" for f in forecasts],
        ),
    ]
    title = f"{forecasts[0].benchmark}: {plural(forecasts[0].available, 'question')} available"
    labels = [f.label for f in forecasts]
    if show_table(title, "variant", labels, lambda _: columns, console) < Form.FULL:
        for f in forecasts:
            seen = _discordance(f, f"discordance {{}} %, {interval} interval {{}} to {{}}, ")
            pilot = f"in a pilot of {plural(f.pilot, 'question')}"
            say(f"{printable(f.label)}: {seen}{pilot}", console)


def _discordance(forecast: Forecast, form: str) -> str:
    """The discordance and its interval; nothing for a metric that has none."""
    shares = forecast.discordance, forecast.discordance_lower, forecast.discordance_upper
    known = [percent(share) for share in shares if share is not None]
    return form.format(*known) if len(known) == len(shares) else ""


def _sentences(forecasts: Sequence[Forecast]) -> Iterator[str]:
    for f in forecasts:
        if f.possible:
            continue
        what = f"{margin_text(f.margin)} for {printable(f.label)}"
        text = f"{printable(f.benchmark)} cannot certify {what}"
        if f.smallest_margin is not None:
            scale = 1 if f.margin.unit not in (POINTS, RELATIVE) else 100
            text += f"; its smallest margin is {scale * f.smallest_margin:.1f}"
        yield f"{text} ({plural(f.available, 'question')}, {duration(f.seconds)})."
    yield (
        "Times are for the variant and the baseline together, on this machine, at the pilot's "
        "speed; more questions share more of their examples and are rather faster. "
        '"At most" is at the upper end of the discordance.'
    )
