"""A gate's findings in words and figures."""

from pajamas_eval.gate.findings import Finding, Outcome, Requirement, Unit, overall
from pajamas_eval.report.text import MINUS, rate, size


def subject(requirement: Requirement) -> str:
    """What is required, named as in the gate file."""
    return f"{requirement.benchmark or ''} {requirement.name}".strip()


def measured(finding: Finding) -> str:
    """The figure with its unit and its bounds, one of which may be open."""
    if finding.figure is None:
        return ""
    unit = finding.requirement.unit
    text = _figure(finding.figure, unit, signed=True)
    if finding.lower is None or finding.upper is None:
        return text
    bounds = (_number(bound, unit, signed=True) for bound in (finding.lower, finding.upper))
    return f"{text} [{', '.join(bounds)}]"


def required(requirement: Requirement) -> str:
    """The threshold, as the figure is compared with it."""
    if requirement.unit is Unit.POINTS:
        return f"> {MINUS}{_figure(requirement.threshold, requirement.unit)}"
    relation = "≥" if requirement.name.startswith("min_") else "≤"
    return f"{relation} {_figure(requirement.threshold, requirement.unit)}"


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


def _figure(value: float, unit: Unit, *, signed: bool = False) -> str:
    number = _number(value, unit, signed=signed)
    return number if unit is Unit.BYTES else f"{number} {unit}"


def _number(value: float, unit: Unit, *, signed: bool = False) -> str:
    match unit:
        case Unit.POINTS:
            text = f"{100 * value:+.2f}" if signed else f"{100 * value:g}"
            return text.replace("-", MINUS)
        case Unit.PERCENT:
            return f"{100 * value:.2f}" if signed else f"{100 * value:g}"
        case Unit.NATS:
            return f"{value:.3g}".replace("-", MINUS).replace("inf", "∞")
        case Unit.TOKENS_PER_SECOND:
            return rate(value)
        case Unit.BYTES:
            return size(value)
        case Unit.RATIO:
            return f"{value:.3g}"
