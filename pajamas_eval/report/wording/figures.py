"""Figures and foreign text in the form people read them."""

import math
import unicodedata
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

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
    return f"{sign}{abs(rounded):.{decimals}f}".replace("inf", "∞")


def signed(value: float, digits: int = 3) -> str:
    """A signed number with so many significant digits."""
    sign = "+" if value > 0 else MINUS if value < 0 else "±"
    return f"{sign}{abs(value):.{digits}g}".replace("inf", "∞")


def outwards(
    bounds: tuple[float, float], limit: float | None, decimals: int | None = None
) -> tuple[float, float, int]:
    """Bounds so rounded that they lie to either side of a limit just as they do unrounded.

    Rounded outwards, and to as many digits as the limit has.

    Args:
        bounds: Lower and upper.
        limit: What they are compared with, if anything; as it is shown.
        decimals: Of bounds that are shown as hundredths, at least; of others three digits count.

    Returns:
        Both, and the decimals or digits that they are to be shown with.
    """
    exact = Decimal(f"{limit:.12g}").normalize().as_tuple() if limit else Decimal().as_tuple()
    least = -int(exact.exponent) if decimals is not None else len(exact.digits)
    count = max(3 if decimals is None else decimals, least)

    def rounded(value: float, how: str) -> float:
        if not math.isfinite(value):
            return value
        written = Decimal(repr(value))  # 0.07 is no more than 7 points
        if decimals is None:
            return float(Context(count, how).create_decimal(written))
        return float(written.quantize(Decimal(1).scaleb(-count - 2), how))

    return rounded(bounds[0], ROUND_FLOOR), rounded(bounds[1], ROUND_CEILING), count


def bounds_of(
    metric: Metric, bounds: tuple[float, float], margin: Margin | None
) -> tuple[str, str]:
    """The ends of a difference's interval, which lie to the margin as the verdict says."""
    in_hundredths = metric.kind == "ratio" or metric.is_proportion
    lower, upper, digits = outwards(
        bounds, margin.value if margin else None, 1 if in_hundredths else None
    )
    form = points if in_hundredths else signed
    return form(lower, digits), form(upper, digits)


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


def margins_text(named: Iterable[tuple[str, Margin, bool]]) -> list[str]:
    """Different margins, each with where it holds; one alone that the user named has no need of it.

    Args:
        named: A benchmark, its margin, and whether that is the default.
    """
    places: dict[tuple[str, bool], list[str]] = {}
    for name, margin, is_default in named:
        at = places.setdefault((margin_text(margin), is_default), [])
        at += [name] if name not in at else []
    return [
        text
        if len(places) == 1 and not default
        else f"{text} ({'default of ' if default else ''}{', '.join(names)})"
        for (text, default), names in places.items()
    ]


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
