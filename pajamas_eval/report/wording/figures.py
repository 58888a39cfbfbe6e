"""Figures and foreign text in the form people read them."""

import unicodedata

from rich.markup import escape

from pajamas_eval.api.metrics import Margin, Metric

MINUS = "−"


def printable(text: str, *, markup: bool = False) -> str:
    """One line without control characters, which could steer a terminal; optionally as markup.

    Line ends are among them: foreign text must not look like lines of a report.
    """
    shown = "".join(
        "�" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char
        for char in text
    )
    return escape(shown) if markup else shown


def printable_lines(text: str) -> str:
    """The same for an error that quotes an engine's last words: what it quotes is indented."""
    return "\n    ".join(printable(line) for line in text.split("\n"))


def percent(value: float) -> str:
    """A proportion as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def points(value: float, decimals: int = 1) -> str:
    """A difference of proportions in percentage points, signed."""
    rounded = round(100 * value, decimals)
    sign = "+" if rounded > 0 else MINUS if rounded < 0 else "±"
    return f"{sign}{abs(rounded):.{decimals}f}"


def signed(value: float, digits: int = 3) -> str:
    """A signed number with so many significant digits."""
    sign = "+" if value > 0 else MINUS if value < 0 else "±"
    return f"{sign}{abs(value):.{digits}g}".replace("inf", "∞")


def value_of(metric: Metric, value: float) -> str:
    """A score: a proportion as a percentage, anything else with four significant digits."""
    return percent(value) if metric.is_proportion else f"{value:,.4g}".replace("-", MINUS)


def change_of(metric: Metric, difference: float) -> str:
    """A difference as a result document has it, without its unit."""
    if metric.kind == "ratio" or metric.is_proportion:
        return points(difference)
    return signed(difference)


def margin_text(margin: Margin) -> str:
    """A margin with its unit: `5 points`, `2 %`."""
    unit = margin.unit.removesuffix("s") if margin.value == 1 else margin.unit
    return f"{margin.value:.12g} {unit}"


def size(count: float) -> str:
    """Bytes in decimal units, as file sizes are sold."""
    for unit in ("B", "kB", "MB"):
        if count < 999.95:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def rate(value: float) -> str:
    """A rate with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, else hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plural(count: int, noun: str) -> str:
    """`1 question`, `2,000 questions`."""
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def device(name: str) -> str:
    """Where an engine runs; some write `CPU`, others `cpu`."""
    return name.upper() if name in ("cpu", "cuda", "mps") else name
