"""Metrics, what their values may be, and margins in their units."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pajamas_eval.errors import UsageError

POINTS = "points"
"""Unit of proportions, of which a hundredth is a point."""

RELATIVE = "%"
"""Unit of the margins of ratios: a hundredth of the value itself."""

MetricKind = Literal["binary", "mean", "ratio"]


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a benchmark measures on each doc, and how that adds up.

    Attributes:
        kind: `binary` is 0 or 1 on each doc. `mean` is any finite number, with the docs' mean as
            the result. `ratio` is above 0, with the docs' weighted geometric mean as the result, as
            for perplexity: a doc's value is exp(−log-likelihood / words), its weight the words.
        unit: `points` for proportions; of any other name for means and ratios.
        default_margin: Loss that is still no worse where the user names no margin, in
            `margin_unit`. By default 1 in points and in percent, and in a unit of its own none:
            the user must name one.
    """

    name: str
    kind: MetricKind = "binary"
    higher_is_better: bool = True
    unit: str = POINTS
    default_margin: float | None = None

    @property
    def is_proportion(self) -> bool:
        """Whether every value is in [0, 1], and is shown in points."""
        return self.kind != "ratio" and self.unit == POINTS

    @property
    def margin_unit(self) -> str:
        """What a margin of this metric is given in."""
        return RELATIVE if self.kind == "ratio" else self.unit

    @property
    def sign(self) -> int:
        """1 where more is better, −1 where less is."""
        return 1 if self.higher_is_better else -1

    def margin_size(self, margin: "Margin") -> float:
        """A margin on the scale of differences: proportions, logarithms of ratios.

        Raises:
            UsageError: It is none of this metric: not above 0, or the whole of what may be lost.
        """
        # A ratio where less is better has no end; of any other share, all is lost at 100.
        shares = margin.unit == POINTS or (margin.unit == RELATIVE and self.higher_is_better)
        if not 0 < margin.value < (100 if shares else math.inf):
            raise UsageError(
                f"{self.name}: a margin of {margin.value:g} {margin.unit} is not above 0"
                + (" and below 100" if shares else "")
            )
        if margin.unit == RELATIVE:
            return self.sign * -math.log1p(-self.sign * margin.value / 100)
        return margin.value / 100 if margin.unit == POINTS else margin.value

    def problem(self, value: object) -> str | None:
        """What is wrong with a doc's value, if anything."""
        if not isinstance(value, int | float) or not math.isfinite(value):
            return "is not a finite number"
        if self.kind == "binary" and value not in (0, 1):
            return "is neither 0 nor 1, as a binary metric is; declare it with kind='mean'"
        if self.kind == "ratio" and value <= 0:
            return "is not above 0, as a ratio is"
        if self.is_proportion and not 0 <= value <= 1:
            return "is not in [0, 1], as a metric in points is; give the metric a unit of its own"
        return None


class Margin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Loss that a variant may have and still be no worse.

    Attributes:
        value: In the unit: 5 points are 0.05 of a proportion; 5 % are a ratio that is 5 % higher
            where less is better, and 5 % lower where more is.
    """

    value: Annotated[float, Meta(gt=0)]
    unit: str = POINTS


def margin_for(metric: Metric, margins: Iterable[Margin]) -> tuple[Margin | None, bool]:
    """The margin of a metric, and whether it is the default; the one place that decides it.

    Args:
        metric: What is measured.
        margins: Those that the user names, each in its unit; the last in the metric's unit counts.

    Returns:
        Nothing for a metric in a unit of its own for which neither it nor the user names one.
    """
    unit = metric.margin_unit
    if given := [margin for margin in margins if margin.unit == unit]:
        return given[-1], False
    default = metric.default_margin
    if default is None and unit in (POINTS, RELATIVE):
        default = 1.0
    return (None if default is None else Margin(default, unit)), True


def parse_margin(text: str) -> Margin:
    """`5`, `5points`, `2%` or `0.1nats` as a margin. Raises `UsageError`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-zµ%][A-Za-zµ%/ ]*)?", text)
    if not match:
        raise UsageError(f"cannot read the margin {text!r}; write 5, 2% or 0.1nats")
    value, unit = float(match[1]), (match[2] or POINTS).strip()
    if not 0 < value < (100 if unit == POINTS else math.inf):
        bounds = " and below 100" if unit == POINTS else ""
        raise UsageError(f"the margin {text!r} must be above 0{bounds}")
    return Margin(value, unit)


def check_values(where: str, metrics: Sequence[Metric], values: Mapping[str, object]) -> None:
    """Raises `UsageError` where values are not those of just these metrics."""
    names = [metric.name for metric in metrics]
    if sorted(values) != sorted(names):
        raise UsageError(
            f"{where}: scored {', '.join(values) or 'nothing'}, not {', '.join(names)}"
        )
    for metric in metrics:
        if problem := metric.problem(values[metric.name]):
            raise UsageError(f"{where}: {metric.name} = {values[metric.name]!r} {problem}")
