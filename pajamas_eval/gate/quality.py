"""Margin, flips and KL divergence on one benchmark: what its questions prove, or do not."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from pajamas_eval.analysis.divergence import choice_kl_values
from pajamas_eval.analysis.paired import paired
from pajamas_eval.analysis.pairs import Pairs
from pajamas_eval.analysis.sensitivity import sensitivity, told
from pajamas_eval.api.metrics import POINTS, RELATIVE, Margin, Metric
from pajamas_eval.gate.config import BenchmarkGate, Gate
from pajamas_eval.gate.findings import Finding, Outcome, Requirement, Unit
from pajamas_eval.results.document import BenchmarkRecord, Document
from pajamas_eval.results.findings import Sensitivity
from pajamas_eval.statistics.clusters import mean_interval
from pajamas_eval.statistics.proportions import wilson_interval
from pajamas_eval.statistics.quantiles import two_sided
from pajamas_eval.statistics.verdicts import Verdict

_OUTCOMES = {
    Verdict.NO_WORSE: Outcome.PASSED,
    Verdict.EQUIVALENT: Outcome.PASSED,
    Verdict.WORSE: Outcome.FAILED,
    Verdict.BETTER: Outcome.FAILED,
    Verdict.UNDECIDED: Outcome.UNDECIDED,
    Verdict.CANNOT_TELL: Outcome.CANNOT_TELL,
}


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """What a variant and the baseline answered on one benchmark.

    Attributes:
        divergences: KL divergence over the choices of each question that has one, in nats.
        clusters: What the questions of `divergences` share with others.
        available: Questions that the benchmark has.
        until_decided: Whether questions were asked only until a verdict was in.
        above_chance: How far the baseline is, given a margin and a confidence.
        control: The baseline and what was damaged of it, if the run has that.
        are_different: Whether the two do not even claim to be one model.
    """

    pairs: Pairs
    divergences: list[float]
    clusters: list[str]
    available: int
    until_decided: bool
    above_chance: Callable[[Margin, float], Sensitivity | None]
    control: Pairs | None
    are_different: bool

    @property
    def stopped_early(self) -> bool:
        """What decided when to stop also moves other figures: their bounds hold no more."""
        return self.until_decided and len(self.pairs.differences) < self.pairs.planned

    def answered(self) -> "_Sample":
        """The same as if the questions that were not answered did not exist."""
        return replace(self, pairs=self.pairs.answered())


@dataclass(frozen=True, slots=True)
class _Decision:
    """What a sample says of a requirement, with one-sided bounds of the figure.

    Attributes:
        further: About how many more questions would decide it, if any number would.
        reason: Why it is not passed, where the figures do not say it.
    """

    outcome: Outcome
    figure: float
    lower: float | None
    upper: float | None
    further: int | None
    reason: str = ""


def judge_benchmark(document: Document, gate: Gate, name: str, label: str) -> Iterator[Finding]:
    """What the gate requires on one benchmark."""
    table = gate.benchmarks.get(name, BenchmarkGate())
    confidence = table.confidence or gate.confidence
    record = next((r for r in document.benchmarks if r.name == name), None)
    metric = _metric(record, table)
    sample = _sample(document, record, metric, table.wanted or "headline metric", label)
    least = table.min_questions or gate.min_questions
    for requirement, decide in _requirements(gate, table, name, metric):
        finding = Finding(label=label, requirement=requirement)
        if isinstance(sample, str):
            yield replace(finding, reason=sample)
            continue
        decision = decide(sample, confidence)
        if isinstance(decision, str):
            yield replace(finding, reason=decision)
            continue
        outcome, reason = decision.outcome, decision.reason
        if sample.pairs.count < least:
            outcome = Outcome.UNDECIDED
            reason = f"both answered {sample.pairs.count} questions, of at least {least}"
        elif outcome is Outcome.UNDECIDED:
            without = decide(sample.answered(), confidence)
            without = decision if isinstance(without, str) else without
            reason = _why_undecided(
                sample, without, requirement.name not in ("margin", "equivalence")
            )
        yield replace(
            finding,
            outcome=outcome,
            figure=decision.figure,
            lower=decision.lower,
            upper=decision.upper,
            confidence=confidence,
            reason=reason,
        )


_Decide = Callable[[_Sample, float], "_Decision | str"]
"""What a sample says at a confidence, or why it says nothing."""


def _requirements(
    gate: Gate, table: BenchmarkGate, name: str, metric: Metric | None
) -> Iterator[tuple[Requirement, _Decide]]:
    of_metric = f"{name} {metric.name if metric else table.wanted or ''}".strip()
    unit = metric.margin_unit if metric else POINTS
    own = table.margin if table.margin is not None else gate.margin if unit == POINTS else None
    if own is not None:
        margin = Margin(own, unit)
        shown = {POINTS: Unit.POINTS, RELATIVE: Unit.CHANGE}.get(unit, Unit.OWN)
        required = Requirement(
            name="margin",
            unit=shown,
            threshold=own if shown is Unit.OWN else own / 100,
            benchmark=of_metric,
            metric=metric,
        )
        name_of = "equivalence" if gate.equivalence else "margin"
        yield replace(required, name=name_of), partial(_margin, margin, gate.equivalence)
        if gate.control:
            yield replace(required, name="control"), partial(_control, margin)
    if table.max_flips is not None:
        ceiling = table.max_flips / 100
        yield (
            Requirement(
                name="max_flips", unit=Unit.PERCENT, threshold=ceiling, benchmark=of_metric
            ),
            partial(_flips, ceiling),
        )
    if table.max_mean_kl is not None:
        yield (
            Requirement(
                name="max_mean_kl", unit=Unit.NATS, threshold=table.max_mean_kl, benchmark=name
            ),
            partial(_mean_kl, table.max_mean_kl),
        )


def _metric(record: BenchmarkRecord | None, table: BenchmarkGate) -> Metric | None:
    """The metric that is judged; nothing where the run has none of that name."""
    if record is None:
        return None
    wanted = table.wanted or record.headline.name
    return next((metric for metric in record.metrics if metric.name == wanted), None)


def _why_undecided(sample: _Sample, without: _Decision, fixed: bool) -> str:
    """`without`: the decision if the unanswered questions did not exist."""
    if fixed and sample.stopped_early:
        return "its bounds need a run that does not stop at the margin's verdict"
    if without.outcome is not Outcome.UNDECIDED:
        return f"unanswered questions could change it: {sample.pairs.unanswered}"
    if not without.further:
        return "no number of further questions can be told that would decide it"
    left = sample.available - len(sample.pairs.differences)
    more = f"; the benchmark has {left or 'no'} more" if left < without.further else ""
    return f"about {without.further:,} further questions would decide it{more}"


def _sample(
    document: Document,
    record: BenchmarkRecord | None,
    metric: Metric | None,
    name: str,
    label: str,
) -> _Sample | str:
    """What both answered, or why there is nothing."""
    if record is None:
        return "the benchmark was not run"
    sets = {answers.label: answers for answers in record.answer_sets}
    if metric is None or not {label, document.baseline} <= sets.keys():
        return f"the run has no {metric.name if metric else name} of both models"
    base, ours = sets[document.baseline], sets[label]
    pairs = paired(record, metric, base, ours)
    until_decided = document.settings.until_decided
    if not until_decided:  # a question without any record is as unanswered as one with an error
        pairs = pairs.with_absent(max(len(record.questions) - len(pairs.differences), 0))
    if not pairs.count:
        return "no question was answered by both"
    are_different = document.fairness.are_different_models(label)
    comparable = record.has_choices and not are_different
    damaged = [sets[m.label] for m in document.models if m.control and m.label in sets]
    divergences = choice_kl_values(base, ours) if comparable else {}
    clusters = record.clusters()
    return _Sample(
        pairs=pairs,
        divergences=list(divergences.values()),
        clusters=[clusters[doc_id] for doc_id in divergences],
        available=record.available,
        until_decided=until_decided,
        above_chance=partial(sensitivity, record, base, metric),
        control=paired(record, metric, base, damaged[0]) if damaged else None,
        are_different=are_different,
    )


def _sees_damage(sample: _Sample, margin: Margin, confidence: float) -> bool:
    """Whether the questions call the control worse, or there is none."""
    if sample.control is None:
        return True
    found = sample.control.verdict(margin, confidence, until_decided=sample.until_decided)
    return found is Verdict.WORSE


def _control(margin: Margin, sample: _Sample, confidence: float) -> _Decision | str:
    if sample.control is None:
        return "the run has no control; run it with --control"
    pairs = sample.control
    lower, upper = pairs.interval(margin, confidence, until_decided=sample.until_decided) or (
        None,
        None,
    )
    seen = _sees_damage(sample, margin, confidence)
    return _Decision(
        Outcome.PASSED if seen else Outcome.CANNOT_TELL,
        pairs.estimate(),
        lower,
        upper,
        further=None,
        reason="" if seen else "the questions do not call the damaged baseline worse",
    )


def _margin(margin: Margin, equivalence: bool, sample: _Sample, confidence: float) -> _Decision:
    pairs, until_decided = sample.pairs, sample.until_decided
    interval = pairs.interval(margin, confidence, until_decided=until_decided)
    lower, upper = interval or (None, None)
    verdict = pairs.verdict(
        margin, confidence, until_decided=until_decided, equivalence=equivalence
    )
    baseline = sample.above_chance(margin, confidence)
    reason = ""
    if told(verdict, baseline) is not verdict and baseline:
        reason = (
            f"the baseline is not proven above chance ({100 * baseline.chance:.1f} %) by more than "
            "the margin"
        )
    elif verdict is not Verdict.WORSE and not _sees_damage(sample, margin, confidence):
        reason = "the questions do not call the damaged baseline worse"
    if reason:
        return _Decision(Outcome.CANNOT_TELL, pairs.estimate(), lower, upper, None, reason)
    further = pairs.further_questions(margin, confidence, until_decided=until_decided)
    return _Decision(_OUTCOMES[verdict], pairs.estimate(), lower, upper, further)


def _flips(ceiling: float, sample: _Sample, confidence: float) -> _Decision:
    pairs = sample.pairs
    flips, total = pairs.gains + pairs.losses, len(pairs.differences)
    both_sides = two_sided(confidence)
    lower, _ = wilson_interval(flips, total, both_sides)
    _, upper = wilson_interval(flips + pairs.unanswered, total, both_sides)
    return _below(sample, ceiling, flips / pairs.count, lower, upper)


def _mean_kl(ceiling: float, sample: _Sample, confidence: float) -> _Decision | str:
    if not sample.divergences:
        different = sample.are_different
        return "they are different models" if different else "no question has choices to compare"
    both_sides = two_sided(confidence)
    known = mean_interval(sample.divergences, sample.clusters, both_sides)
    unanswered = len(sample.pairs.differences) - len(sample.divergences)
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
    count, distance = sample.pairs.count, abs(ceiling - figure)
    half_width = upper - figure if figure < ceiling else figure - lower
    needed = count * (half_width / distance) ** 2 if distance else math.inf
    further = max(1, math.ceil(needed) - count) if math.isfinite(needed) else None
    return _Decision(outcome, figure, lower, upper, further)
