"""A gate's findings in words and figures."""

from collections.abc import Iterable, Iterator

from pajamas_eval.gate.findings import Finding, Outcome, Requirement, Unit, overall
from pajamas_eval.report.wording.figures import MINUS, outwards, points, rate, signed, size


def subject(requirement: Requirement) -> str:
    """What is required, named as in the gate file."""
    return f"{requirement.benchmark or ''} {requirement.name}".strip()


def measured(finding: Finding) -> str:
    """The figure with its unit and its bounds, one of which may be open."""
    if finding.figure is None:
        return ""
    requirement, unit = finding.requirement, finding.requirement.unit
    text = _with_unit(_rounded(finding.figure, unit), requirement)
    if finding.lower is None or finding.upper is None:
        return text
    # A divergence is never negative, though Student's bound of its mean may be.
    known = max(finding.lower, 0.0) if unit is Unit.NATS else finding.lower
    in_hundredths = unit not in (Unit.OWN, Unit.NATS)
    limit = (100 if in_hundredths else 1) * requirement.threshold
    bounds = known, finding.upper
    lower, upper, digits = outwards(bounds, limit, 2 if in_hundredths else None)
    return f"{text} [{_rounded(lower, unit, digits)}, {_rounded(upper, unit, digits)}]"


def legend(findings: Iterable[Finding]) -> Iterator[str]:
    """What stands in brackets, where anything does."""
    places: dict[float, list[str]] = {}
    for finding in findings:
        if finding.lower is not None and finding.confidence is not None:
            at = places.setdefault(finding.confidence, [])
            at += [name] if (name := subject(finding.requirement)) not in at else []
    said = [f"{100 * confidence:g} %" for confidence in places]
    if len(said) > 1:
        said = [f"{c} ({', '.join(names)})" for c, names in zip(said, places.values(), strict=True)]
    if said:
        yield (
            f"In brackets: one-sided bounds, each at {', '.join(said)} confidence; the verdict is "
            "read from them."
        )


def required(requirement: Requirement) -> str:
    """The threshold as it was given, and how the figure is compared with it."""
    unit, threshold = requirement.unit, requirement.threshold
    if requirement.name == "margin":
        worse = f"≥ {MINUS}" if requirement.metric is None else _WORSE[requirement.metric.sign]
        return worse + _with_unit(f"{_in_unit(requirement):.12g}", requirement)
    if requirement.name == "equivalence":
        return f"within ±{_with_unit(f'{_in_unit(requirement):.12g}', requirement)}"
    if requirement.name == "control":
        return f"worse by more than {_with_unit(f'{_in_unit(requirement):.12g}', requirement)}"
    relation = "≥" if requirement.name.startswith("min_") else "≤"
    given = size(threshold) if unit is Unit.BYTES else f"{threshold:g}"
    if unit is Unit.PERCENT:
        given = f"{100 * threshold:g}"
    return f"{relation} {_with_unit(given, requirement)}"


def sentence(finding: Finding) -> str:
    """One finding in words, for where there is no table."""
    figure = measured(finding)
    if finding.lower is not None and finding.confidence is not None:
        figure += f" (bounds at {100 * finding.confidence:g} % confidence)"
    shown = f"{figure}, required {required(finding.requirement)}".removeprefix(", ")
    return f"{subject(finding.requirement)} {finding.outcome}: {shown}" + (
        f"; {finding.reason}" if finding.reason else ""
    )


def conclusion(label: str, findings: list[Finding]) -> str:
    """The one line that matters."""
    counts = {outcome: sum(f.outcome is outcome for f in findings) for outcome in Outcome}
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    return f"{label}: {overall(findings)} ({said})"


_WORSE = {1: f"≥ {MINUS}", -1: "≤ +"}
"""How the difference is to compare with the margin: where more is better, where less is."""


def _in_unit(requirement: Requirement) -> float:
    """A margin as it was given."""
    return requirement.threshold * (1 if requirement.unit is Unit.OWN else 100)


def _with_unit(number: str, requirement: Requirement) -> str:
    unit: str = requirement.unit
    if requirement.unit is Unit.OWN and requirement.metric:
        unit = requirement.metric.unit
    return number if requirement.unit is Unit.BYTES else f"{number} {unit}"


def _rounded(value: float, unit: Unit, digits: int | None = None) -> str:
    match unit:
        case Unit.POINTS | Unit.CHANGE:
            return points(value, digits or 2)
        case Unit.OWN:
            return signed(value, digits or 3)
        case Unit.PERCENT:
            return f"{100 * value:.{digits or 2}f}"
        case Unit.TOKENS_PER_SECOND:
            return rate(value)
        case Unit.BYTES:
            return size(value)
        case Unit.NATS | Unit.RATIO:
            return f"{value:.{digits or 3}g}".replace("-", MINUS).replace("inf", "∞")
