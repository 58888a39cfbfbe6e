"""Speed, memory and size against floors and ceilings: measured figures, plainly compared."""

from collections.abc import Iterator
from dataclasses import dataclass

from pajamas_eval.gate.config import Gate
from pajamas_eval.gate.findings import Finding, Outcome, Requirement, Unit
from pajamas_eval.results.document import Document


@dataclass(frozen=True, slots=True)
class _Costs:
    """What one model took; 0 where it was not measured, as all is of a model that failed.

    Attributes:
        speeds: Tokens per second on each benchmark, as the tables show them; none where answers
            were stored before, for what is left may be one question.
        peak_memory_bytes: None either where any answer was.
    """

    speeds: list[float]
    peak_memory_bytes: int
    size_bytes: int


def judge_costs(document: Document, gate: Gate, label: str) -> Iterator[Finding]:
    """The floors and ceilings of one variant."""
    ours, base = _costs(document, label), _costs(document, document.baseline)
    measured: dict[str, tuple[Unit, float]] = {
        "min_tokens_per_second": (Unit.TOKENS_PER_SECOND, min(ours.speeds)),
        "min_speed_ratio": (Unit.RATIO, min(map(_ratio, ours.speeds, base.speeds))),
        "max_peak_memory_gb": (Unit.BYTES, ours.peak_memory_bytes),
        "max_memory_ratio": (Unit.RATIO, _ratio(ours.peak_memory_bytes, base.peak_memory_bytes)),
        "max_size_gb": (Unit.BYTES, ours.size_bytes),
        "max_size_ratio": (Unit.RATIO, _ratio(ours.size_bytes, base.size_bytes)),
    }
    cached_responses = any(
        answers.cached_responses for record in document.benchmarks for answers in record.answer_sets
    )
    why = "the run did not measure it"
    if cached_responses:
        why += " whole, for answers were stored before; measure with --no-store"
    for name, limit in gate.cost_limits().items():
        unit, figure = measured[name]
        requirement = Requirement(
            name=name, unit=unit, threshold=limit * 1e9 if unit is Unit.BYTES else limit
        )
        if figure <= 0:
            yield Finding(label=label, requirement=requirement, reason=why)
            continue
        limit = requirement.threshold
        holds = figure >= limit if name.startswith("min_") else figure <= limit
        outcome = Outcome.PASSED if holds else Outcome.FAILED
        yield Finding(label=label, requirement=requirement, outcome=outcome, figure=figure)


def _costs(document: Document, label: str) -> _Costs:
    model = document.model(label)
    if model.error is not None:
        return _Costs([0.0] * len(document.benchmarks), 0, 0)
    whole = not model.restarts  # what a process had cost before it died is lost
    sets = [
        next((a for a in record.answer_sets if a.label == label), None)
        for record in document.benchmarks
    ]
    speeds = [
        _ratio(a.evaluated_tokens, a.engine_seconds)
        if a and whole and not a.cached_responses
        else 0.0
        for a in sets
    ]
    memory = (
        model.peak_memory_bytes if whole and not any(a.cached_responses for a in sets if a) else 0
    )
    return _Costs(speeds, memory, (model.identity.size_bytes or 0) if model.identity else 0)


def _ratio(of: float, to: float) -> float:
    """0 where either is, for then it was not measured."""
    return of / to if to > 0 else 0.0
