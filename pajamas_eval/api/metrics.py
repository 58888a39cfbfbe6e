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
    """

    name: str
    kind: MetricKind = "binary"
    higher_is_better: bool = True
    unit: str = POINTS

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
        value: In the unit: 5 points are 0.05 of a proportion, 5 % are a ratio that is 1.05 times as
            bad.
    """

    value: Annotated[float, Meta(gt=0)]
    unit: str = POINTS

    @property
    def size(self) -> float:
        """On the scale that differences are computed on: proportions, logarithms of ratios."""
        if self.unit == POINTS:
            return self.value / 100
        return math.log1p(self.value / 100) if self.unit == RELATIVE else self.value


DEFAULT_MARGINS = (Margin(1.0), Margin(1.0, RELATIVE))
"""Of points and of ratios; a mean in a unit of its own has none."""


def margin_for(metric: Metric, margins: Iterable[Margin]) -> Margin | None:
    """The margin in the metric's unit: the last that is given, the default one, or nothing."""
    found = None
    for margin in (*DEFAULT_MARGINS, *margins):
        if margin.unit == metric.margin_unit:
            found = margin
    return found


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
