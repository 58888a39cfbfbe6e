"""Speed, memory and size against floors and ceilings: measured figures, plainly compared."""

from collections.abc import Iterator
from dataclasses import dataclass

from pajamas_eval.gate.config import Gate
from pajamas_eval.gate.findings import Finding, Outcome, Requirement, Unit
from pajamas_eval.results.document import AnswerSet, BenchmarkRecord, Document

DISTURBED = "other programs had the processors for some of the time; end them and measure again"


@dataclass(frozen=True, slots=True)
class _Speed:
    """Tokens per second on one benchmark, as the tables show them.

    Attributes:
        figure: 0 where it was not measured: where answers were stored before, for what is left may
            be one question, or a process died, for what it had cost is lost.
        disturbed: Whether it could have been faster.
    """

    figure: float = 0.0
    disturbed: bool = False


@dataclass(frozen=True, slots=True)
class _Costs:
    """What one model took; 0 where it was not measured, as all is of a model that failed.

    Attributes:
        reading: On each benchmark.
        generating: On each that generates.
        peak_memory_bytes: 0 as well where any answer was stored before.
    """

    reading: list[_Speed]
    generating: list[_Speed]
    peak_memory_bytes: int
    size_bytes: int


def judge_costs(document: Document, gate: Gate, label: str) -> Iterator[Finding]:
    """The floors and ceilings of one variant."""
    ours, base = _costs(document, label), _costs(document, document.baseline)
    reading, generating = _slowest(ours.reading), _slowest(ours.generating)
    reading_ratio = _slowest_ratio(ours.reading, base.reading)
    generating_ratio = _slowest_ratio(ours.generating, base.generating)
    measured: dict[str, tuple[Unit, float]] = {
        "min_prompt_tokens_per_second": (Unit.TOKENS_PER_SECOND, reading),
        "min_prompt_speed_ratio": (Unit.RATIO, reading_ratio),
        "min_generated_tokens_per_second": (Unit.TOKENS_PER_SECOND, generating),
        "min_generated_speed_ratio": (Unit.RATIO, generating_ratio),
        "max_peak_memory_gb": (Unit.BYTES, ours.peak_memory_bytes),
        "max_memory_ratio": (Unit.RATIO, _ratio(ours.peak_memory_bytes, base.peak_memory_bytes)),
        "max_size_gb": (Unit.BYTES, ours.size_bytes),
        "max_size_ratio": (Unit.RATIO, _ratio(ours.size_bytes, base.size_bytes)),
    }
    for name, limit in gate.cost_limits().items():
        unit, figure = measured[name]
        requirement = Requirement(
            name=name, unit=unit, threshold=limit * 1e9 if unit is Unit.BYTES else limit
        )
        if figure <= 0:
            yield Finding(label=label, requirement=requirement, reason=_why(document))
            continue
        limit = requirement.threshold
        holds = figure >= limit if name.startswith("min_") else figure <= limit
        # What others took from a model makes it slower: a floor that it reaches all the same holds.
        doubted = (base if name.endswith("_ratio") else _NOTHING) if holds else ours
        speeds = {"min_prompt": doubted.reading, "min_generated": doubted.generating}
        kind = "_".join(name.split("_")[:2])
        if any(speed.disturbed for speed in speeds.get(kind, ())):
            yield Finding(label=label, requirement=requirement, reason=DISTURBED)
            continue
        outcome = Outcome.PASSED if holds else Outcome.FAILED
        yield Finding(label=label, requirement=requirement, outcome=outcome, figure=figure)


def _why(document: Document) -> str:
    """Why something was not measured."""
    sets = [answers for record in document.benchmarks for answers in record.answer_sets]
    why = "the run did not measure it"
    if any(answers.cached_responses for answers in sets):
        why += " whole, for answers were stored before; measure with --no-store"
    return why


def _costs(document: Document, label: str) -> _Costs:
    model = document.model(label)
    records = document.benchmarks
    generating = [r for r in records if any(a.is_generated for a in r.answer_sets)]
    if model.error is not None:
        return _Costs([_Speed()] * len(records), [_Speed()] * len(generating), 0, 0)
    whole = not model.restarts  # what a process had cost before it died is lost
    sets = [_answers(record, label) for record in records]
    cached = any(a.cached_responses for a in sets if a)
    return _Costs(
        [_speed(a, a.prompt_tokens_per_second) if a and whole else _Speed() for a in sets],
        [
            _speed(a, a.generated_tokens_per_second) if a and whole else _Speed()
            for a in (_answers(record, label) for record in generating)
        ],
        model.peak_memory_bytes if whole and not cached else 0,
        (model.identity.size_bytes or 0) if model.identity else 0,
    )


def _answers(record: BenchmarkRecord, label: str) -> AnswerSet | None:
    return next((a for a in record.answer_sets if a.label == label), None)


def _speed(answers: AnswerSet, figure: float) -> _Speed:
    return _Speed(0.0 if answers.cached_responses else figure, answers.disturbed)


def _slowest(speeds: list[_Speed]) -> float:
    return min((speed.figure for speed in speeds), default=0.0)


def _slowest_ratio(ours: list[_Speed], base: list[_Speed]) -> float:
    pairs = zip(ours, base, strict=True)
    return min((_ratio(a.figure, b.figure) for a, b in pairs), default=0.0)


def _ratio(of: float, to: float) -> float:
    """0 where either is, for then it was not measured."""
    return of / to if to > 0 else 0.0


_NOTHING = _Costs([], [], 0, 0)
