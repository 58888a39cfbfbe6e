"""Margin, flips and KL divergence on one benchmark: what its questions prove, or do not."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pajamas_eval.analysis.divergence import choice_kl_values
from pajamas_eval.analysis.pairs import (
    Pairs,
    paired_differences,
    until_decided,
    verdict_with_unanswered,
)
from pajamas_eval.gate.config import BenchmarkGate, Gate
from pajamas_eval.gate.findings import Finding, Outcome, Requirement, Unit
from pajamas_eval.results.document import BenchmarkRecord, Document
from pajamas_eval.statistics.clusters import mean_interval
from pajamas_eval.statistics.paired import tango_interval
from pajamas_eval.statistics.planning import further_questions
from pajamas_eval.statistics.proportions import wilson_interval
from pajamas_eval.statistics.sequential import final_confidence
from pajamas_eval.statistics.verdicts import Verdict

_OUTCOMES = {
    Verdict.NO_WORSE: Outcome.PASSED,
    Verdict.WORSE: Outcome.FAILED,
    Verdict.UNDECIDED: Outcome.UNDECIDED,
}


@dataclass(frozen=True, kw_only=True)
class _Sample(Pairs):
    """What a variant and the baseline answered on one benchmark.

    Attributes:
        divergences: KL divergence over the choices of each question that has one, in nats.
        clusters: What the questions of `divergences` share with others.
        available: Questions that the benchmark has.
        sequential: Whether questions were asked only until a verdict was in.
    """

    divergences: list[float]
    clusters: list[str]
    available: int
    sequential: bool

    @property
    def stopped_early(self) -> bool:
        """What decided when to stop also moves other figures: their bounds hold no more."""
        return self.sequential and len(self.differences) < self.planned

    def answered(self) -> "_Sample":
        """The same as if the questions that were not answered did not exist."""
        known = self.differences[~np.isnan(self.differences)]
        return replace(self, differences=known, planned=self.planned - self.unanswered)


@dataclass(frozen=True, slots=True)
class _Decision:
    """What a sample says of a requirement, with one-sided bounds of the figure.

    Attributes:
        further: About how many more questions would decide it, if any number would.
    """

    outcome: Outcome
    figure: float
    lower: float | None
    upper: float | None
    further: int | None


def judge_benchmark(document: Document, gate: Gate, name: str, label: str) -> Iterator[Finding]:
    """What the gate requires on one benchmark."""
    table = gate.benchmarks.get(name, BenchmarkGate())
    confidence = table.confidence or gate.confidence
    record = next((r for r in document.benchmarks if r.name == name), None)
    metric = table.metric or (record.metrics[0] if record else "")
    sample = _sample(document, record, metric, label)
    for key, unit, limit, decide in (
        ("margin", Unit.POINTS, table.margin or gate.margin, _margin),
        ("max_flips", Unit.PERCENT, table.max_flips, _flips),
        ("max_mean_kl", Unit.NATS, table.max_mean_kl, _mean_kl),
    ):
        if limit is None:
            continue
        threshold = limit if unit is Unit.NATS else limit / 100
        of_metric = name if unit is Unit.NATS else f"{name} {metric}".strip()
        requirement = Requirement(name=key, unit=unit, threshold=threshold, benchmark=of_metric)
        finding = Finding(label=label, requirement=requirement)
        if isinstance(sample, str):
            yield replace(finding, reason=sample)
            continue
        decision = decide(sample, threshold, confidence)
        if decision is None:
            yield replace(finding, reason="no question has choices to compare")
            continue
        outcome, reason = decision.outcome, ""
        if sample.count < (least := table.min_questions or gate.min_questions):
            outcome = Outcome.UNDECIDED
            reason = f"both answered {sample.count} questions, of at least {least}"
        elif outcome is Outcome.UNDECIDED:
            without = decide(sample.answered(), threshold, confidence) or decision
            reason = _why_undecided(sample, without, decide is not _margin)
        yield replace(
            finding,
            outcome=outcome,
            figure=decision.figure,
            lower=decision.lower,
            upper=decision.upper,
            reason=reason,
        )


def _why_undecided(sample: _Sample, without: _Decision, fixed: bool) -> str:
    """`without`: the decision if the unanswered questions did not exist."""
    if fixed and sample.stopped_early:
        return "its bounds need a run that does not stop at the margin's verdict"
    if without.outcome is not Outcome.UNDECIDED:
        return f"unanswered questions could change it: {sample.unanswered}"
    if not without.further:
        return "no number of further questions can be told that would decide it"
    left = sample.available - len(sample.differences)
    more = f"; the benchmark has {left or 'no'} more" if left < without.further else ""
    return f"about {without.further:,} further questions would decide it{more}"


def _sample(
    document: Document, record: BenchmarkRecord | None, metric: str, label: str
) -> _Sample | str:
    """What both answered, or why there is nothing."""
    if record is None:
        return "the benchmark was not run"
    sets = {answers.label: answers for answers in record.answer_sets}
    if metric not in record.metrics or not {label, document.baseline} <= sets.keys():
        return f"the run has no {metric} of both models"
    base, ours = sets[document.baseline], sets[label]
    differences = paired_differences(base, ours, metric)
    sequential = document.settings.until_decided
    if not sequential:  # a question without any record is as unanswered as one with an error
        absent = len(record.questions) - len(differences)
        differences = np.append(differences, np.full(max(absent, 0), np.nan))
    if np.isnan(differences).all():
        return "no question was answered by both"
    divergences = choice_kl_values(base, ours)
    clusters = record.clusters()
    return _Sample(
        differences=differences,
        divergences=list(divergences.values()),
        clusters=[clusters[doc_id] for doc_id in divergences],
        planned=len(record.questions),
        available=record.available,
        sequential=sequential,
    )


def _margin(sample: _Sample, margin: float, confidence: float) -> _Decision:
    gains, losses, unanswered, count = sample.gains, sample.losses, sample.unanswered, sample.count
    lower = upper = None  # no interval of a fixed number of questions holds for an early stop
    if sample.sequential:
        verdict = until_decided(sample.differences, sample.planned, margin, confidence)
    else:
        verdict = verdict_with_unanswered(gains, losses, unanswered, count, margin, confidence)
        both_sides = 2 * confidence - 1
        lower, _ = tango_interval(gains, losses + unanswered, count + unanswered, both_sides)
        _, upper = tango_interval(gains + unanswered, losses, count + unanswered, both_sides)
    fixed = final_confidence(confidence) if sample.sequential else confidence
    further = further_questions(gains, losses, count, margin, fixed)
    return _Decision(_OUTCOMES[verdict], (gains - losses) / count, lower, upper, further)


def _flips(sample: _Sample, ceiling: float, confidence: float) -> _Decision:
    flips, unanswered, total = (
        sample.gains + sample.losses,
        sample.unanswered,
        len(sample.differences),
    )
    both_sides = 2 * confidence - 1
    lower, _ = wilson_interval(flips, total, both_sides)
    _, upper = wilson_interval(flips + unanswered, total, both_sides)
    return _below(sample, ceiling, flips / sample.count, lower, upper)


def _mean_kl(sample: _Sample, ceiling: float, confidence: float) -> _Decision | None:
    if not sample.divergences:
        return None
    both_sides = 2 * confidence - 1
    known = mean_interval(sample.divergences, sample.clusters, both_sides)
    unanswered = len(sample.differences) - len(sample.divergences)
    if unanswered <= 0:
        return _below(sample, ceiling, known.mean, known.lower, known.upper)
    # What was not answered may not diverge at all, or by any amount.
    filled = [*sample.divergences, *[0.0] * unanswered]
    separate = [f"unanswered {number}" for number in range(unanswered)]
    least = mean_interval(filled, [*sample.clusters, *separate], both_sides)
    return _below(sample, ceiling, known.mean, least.lower, math.inf)


def _below(sample: _Sample, ceiling: float, figure: float, lower: float, upper: float) -> _Decision:
    """Passed if the upper bound is within the ceiling, failed if the lower is beyond it."""
    if sample.stopped_early:
        return _Decision(Outcome.UNDECIDED, figure, None, None, None)
    outcome = Outcome.UNDECIDED
    if upper <= ceiling:
        outcome = Outcome.PASSED
    elif lower > ceiling:
        outcome = Outcome.FAILED
    # A bound comes closer to the figure with the square root of the questions.
    count, distance = sample.count, abs(ceiling - figure)
    half_width = upper - figure if figure < ceiling else figure - lower
    needed = count * (half_width / distance) ** 2 if distance else math.inf
    further = max(1, math.ceil(needed) - count) if math.isfinite(needed) else None
    return _Decision(outcome, figure, lower, upper, further)
