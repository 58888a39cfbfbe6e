"""Each variant against the baseline: differences, divergence, verdicts, and what they add up to."""

import math
from collections.abc import Collection, Sequence

from pajamas_eval.analysis.divergence import mean_choice_kl
from pajamas_eval.analysis.paired import paired
from pajamas_eval.analysis.paired_binary import PairedBinary
from pajamas_eval.analysis.pairs import both_asked, fixed_confidence
from pajamas_eval.analysis.sensitivity import told
from pajamas_eval.api.metrics import Metric, margin_for
from pajamas_eval.results.document import AnswerSet, BenchmarkRecord, Document
from pajamas_eval.results.findings import Comparison, MeanSummary, OverallVerdict
from pajamas_eval.statistics.multiplicity import holm
from pajamas_eval.statistics.quantiles import two_sided
from pajamas_eval.statistics.verdicts import Verdict

PASSING = (Verdict.NO_WORSE, Verdict.EQUIVALENT)
"""What a variant must be on every benchmark; a run asks for one of them."""

POWER = 0.8
"""Probability that a variant without loss is certified at the smallest margin."""


def compare_with_baseline(document: Document) -> list[Comparison]:
    """Every variant against the baseline, on every benchmark and metric."""
    comparisons = [
        _compare(document, record, base, answers, metric, choice_kl)
        for record in document.benchmarks
        for base in record.answer_sets
        if base.label == document.baseline
        for answers in record.answer_sets
        if answers is not base
        for choice_kl in [_divergence(document, record, base, answers)]
        for metric in record.metrics
    ]
    controls = {model.label for model in document.models if model.control}
    _doubt(comparisons, controls)
    judged = [c for c in comparisons if c.label not in controls]
    tested = [c for c in headlines(document, judged) if c.verdict is not None]
    adjusted = holm([c.p_worse for c in tested])
    for comparison, p in zip(tested, adjusted, strict=True):
        comparison.p_worse = float(p)
    return comparisons


def _doubt(comparisons: Sequence[Comparison], controls: Collection[str]) -> None:
    """Takes back what questions say that do not show the control's loss."""
    blind = {
        (c.benchmark, c.metric)
        for c in comparisons
        if c.label in controls and c.verdict is not Verdict.WORSE
    }
    for c in comparisons:
        is_doubtful = c.verdict not in (Verdict.WORSE, Verdict.BETTER, None)
        if c.label not in controls and is_doubtful and (c.benchmark, c.metric) in blind:
            c.verdict, c.further_questions = Verdict.CANNOT_TELL, 0


def _divergence(
    document: Document, record: BenchmarkRecord, base: AnswerSet, answers: AnswerSet
) -> MeanSummary | None:
    """Nothing between two models of which none is a variant of the other."""
    if document.fairness.are_different_models(answers.label):
        return None
    return mean_choice_kl(record, base, answers, document.settings.confidence)


def headlines(document: Document, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those by a benchmark's first metric."""
    first = {record.name: record.headline.name for record in document.benchmarks}
    return [c for c in comparisons if c.metric == first[c.benchmark]]


def overall_verdicts(document: Document) -> list[OverallVerdict]:
    """One verdict for each variant, over all benchmarks.

    "No worse on all" needs no correction for their number; "worse on one of them" does.
    """
    alpha = 1 - document.settings.confidence
    verdicts = []
    for model in document.variants:
        of_model = [c for c in headlines(document, document.comparisons) if c.label == model.label]
        worse = [c.benchmark for c in of_model if c.verdict is Verdict.WORSE and c.p_worse <= alpha]
        if worse:
            verdict = Verdict.WORSE
        elif of_model and all(c.verdict in PASSING for c in of_model):
            verdict = of_model[0].verdict or Verdict.UNDECIDED
        elif any(c.verdict is Verdict.CANNOT_TELL for c in of_model):
            verdict = Verdict.CANNOT_TELL
        elif of_model and all(c.verdict in (*PASSING, Verdict.BETTER) for c in of_model):
            verdict = Verdict.BETTER
        else:
            verdict = Verdict.UNDECIDED
        verdicts.append(OverallVerdict(label=model.label, verdict=verdict, worse_on=worse))
    return verdicts


def _compare(
    document: Document,
    record: BenchmarkRecord,
    base: AnswerSet,
    answers: AnswerSet,
    metric: Metric,
    choice_kl: MeanSummary | None,
) -> Comparison:
    settings = document.settings
    confidence, until_decided = settings.confidence, settings.until_decided
    pairs = paired(record, metric, base, answers)
    margin, is_default = margin_for(metric, settings.margins)
    interval = pairs.interval(margin, confidence, until_decided=until_decided)
    model = document.model(answers.label)
    verdict = None
    if margin and not model.noise_floor:
        verdict = pairs.verdict(
            margin,
            confidence,
            until_decided=until_decided,
            equivalence=settings.equivalence and not model.control,
        )
        if not model.control:
            verdict = told(verdict, document.sensitivity(record.name, base.label, metric))
    further: int | None = 0
    if verdict is Verdict.UNDECIDED and margin:
        # Not 0: those that were asked would do, had they all been answered.
        further = pairs.further_questions(margin, confidence, until_decided=until_decided) or None
    flips = pairs if isinstance(pairs, PairedBinary) else None
    flip_lower, flip_upper = flips.flip_interval(confidence) if flips else (None, None)
    return Comparison(
        benchmark=record.name,
        label=answers.label,
        metric=metric.name,
        count=pairs.count,
        gains=pairs.gains,
        losses=pairs.losses,
        unanswered=pairs.unanswered,
        difference=pairs.estimate(),
        lower=_known(interval and interval[0]),
        upper=_known(interval and interval[1]),
        interval_confidence=two_sided(confidence) if interval else None,
        p_different=None if until_decided else pairs.p_different(),
        flip_rate=flips.flip_rate if flips else None,
        flip_lower=flip_lower,
        flip_upper=flip_upper,
        changed_wrong=_changed_wrong(metric, base, answers) if flips else None,
        choice_kl=choice_kl,
        margin=margin,
        margin_is_default=is_default,
        verdict=verdict,
        p_worse=pairs.p_worse(margin, until_decided=until_decided) if margin else 1.0,
        smallest_margin=pairs.margin_of(
            pairs.count, POWER, fixed_confidence(confidence, until_decided)
        ),
        further_questions=further,
    )


def _known(bound: float | None) -> float | None:
    """JSON knows no infinity."""
    return bound if bound is not None and math.isfinite(bound) else None


def _changed_wrong(metric: Metric, base: AnswerSet, answers: AnswerSet) -> int:
    right = float(metric.higher_is_better)
    return sum(
        theirs.scores[metric.name] != right
        and ours.scores[metric.name] != right
        and theirs.prediction_by(metric.name) != ours.prediction_by(metric.name)
        for theirs, ours in both_asked(base, answers)
        if theirs.error is None and ours.error is None
    )
