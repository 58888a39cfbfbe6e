"""A gate's findings in words and figures."""

import math

from pajamas_eval.gate.findings import Finding, Outcome, Requirement, Unit, overall
from pajamas_eval.report.wording.figures import MINUS, points, rate, signed, size


def subject(requirement: Requirement) -> str:
    """What is required, named as in the gate file."""
    return f"{requirement.benchmark or ''} {requirement.name}".strip()


def measured(finding: Finding) -> str:
    """The figure with its unit and its bounds, one of which may be open."""
    if finding.figure is None:
        return ""
    unit = finding.requirement.unit
    text = _with_unit(_rounded(finding.figure, unit), finding.requirement)
    if finding.lower is None or finding.upper is None:
        return text
    # A divergence is never negative, though Student's bound of its mean may be.
    lower = max(finding.lower, 0.0) if unit is Unit.NATS else finding.lower
    return f"{text} [{_rounded(lower, unit)}, {_rounded(finding.upper, unit)}]"


def required(requirement: Requirement) -> str:
    """The threshold as it was given, and how the figure is compared with it."""
    unit, threshold = requirement.unit, requirement.threshold
    if requirement.name == "margin":
        worse = f"> {MINUS}" if requirement.metric is None else _WORSE[requirement.metric.sign]
        number = threshold if unit is Unit.OWN else 100 * threshold
        return worse + _with_unit(f"{number:.12g}", requirement)
    relation = "≥" if requirement.name.startswith("min_") else "≤"
    given = size(threshold) if unit is Unit.BYTES else f"{threshold:g}"
    if unit is Unit.PERCENT:
        given = f"{100 * threshold:g}"
    return f"{relation} {_with_unit(given, requirement)}"


def sentence(finding: Finding) -> str:
    """One finding in words, for where there is no table."""
    shown = f"{measured(finding)}, required {required(finding.requirement)}".removeprefix(", ")
    return f"{subject(finding.requirement)} {finding.outcome}: {shown}" + (
        f"; {finding.reason}" if finding.reason else ""
    )


def conclusion(label: str, findings: list[Finding]) -> str:
    """The one line that matters."""
    counts = {outcome: sum(f.outcome is outcome for f in findings) for outcome in Outcome}
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    return f"{label}: {overall(findings)} ({said})"


_WORSE = {1: f"> {MINUS}", -1: "< +"}
"""How the difference is to compare with the margin: where more is better, where less is."""


def _with_unit(number: str, requirement: Requirement) -> str:
    unit: str = requirement.unit
    if requirement.unit is Unit.OWN and requirement.metric:
        unit = requirement.metric.unit
    return number if requirement.unit is Unit.BYTES else f"{number} {unit}"


def _rounded(value: float, unit: Unit) -> str:
    match unit:
        case Unit.POINTS | Unit.CHANGE:
            return points(value, 2) if math.isfinite(value) else f"{value}".replace("inf", "∞")
        case Unit.OWN:
            return signed(value)
        case Unit.PERCENT:
            return f"{100 * value:.2f}"
        case Unit.TOKENS_PER_SECOND:
            return rate(value)
        case Unit.BYTES:
            return size(value)
        case Unit.NATS | Unit.RATIO:
            return f"{value:.3g}".replace("-", MINUS).replace("inf", "∞")
