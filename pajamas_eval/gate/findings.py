"""What a gate says: one finding for each requirement of each variant."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pajamas_eval.api.metrics import Metric


class Outcome(StrEnum):
    """What became of a requirement; only the first lets a variant through."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    CANNOT_TELL = "cannot tell"
    NOT_MEASURED = "not measured"


class Unit(StrEnum):
    """What a figure is. Points, percent and changes are proportions until they are shown."""

    POINTS = "points"
    PERCENT = "%"
    NATS = "nats"
    TOKENS_PER_SECOND = "tokens/s"
    BYTES = "bytes"
    RATIO = "× baseline"
    CHANGE = "% change"
    OWN = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One line of a gate.

    Attributes:
        name: Its key in the gate file.
        threshold: A margin, a floor (`min_…`) or a ceiling (`max_…`).
        benchmark: The one that it is about, if it is about one, with the metric that is judged.
        metric: The one that a margin is about; its unit is the figure's where that is its own.
    """

    name: str
    unit: Unit
    threshold: float
    benchmark: str | None = None
    metric: Metric | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one requirement for one variant.

    Attributes:
        figure: What was measured, if anything was.
        lower, upper: Its one-sided bounds, from which the outcome is read, where it was measured
            on questions; they allow for the questions that were not answered.
        confidence: Of each bound and of the outcome, where it was measured on questions.
        reason: Why it is not passed, where the figures do not say it.
    """

    label: str
    requirement: Requirement
    outcome: Outcome = Outcome.NOT_MEASURED
    figure: float | None = None
    lower: float | None = None
    upper: float | None = None
    confidence: float | None = None
    reason: str = ""


def overall(findings: Iterable[Finding]) -> Outcome:
    """Broken if one is proven so, passed if all are, else what stands in the way of that."""
    outcomes = {finding.outcome for finding in findings}
    if Outcome.FAILED in outcomes:
        return Outcome.FAILED
    if outcomes == {Outcome.PASSED}:
        return Outcome.PASSED
    return Outcome.CANNOT_TELL if Outcome.CANNOT_TELL in outcomes else Outcome.UNDECIDED


def by_variant(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """The findings of each variant, in their order."""
    variants: dict[str, list[Finding]] = {}
    for finding in findings:
        variants.setdefault(finding.label, []).append(finding)
    return variants
