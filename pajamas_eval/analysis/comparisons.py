"""Each variant against the baseline: flips, divergence, verdicts, and what they add up to."""

import math
from collections.abc import Sequence

import numpy as np

from pajamas_eval.analysis.divergence import mean_choice_kl
from pajamas_eval.analysis.pairs import (
    Pairs,
    both_asked,
    paired_differences,
    until_decided,
    verdict_with_unanswered,
)
from pajamas_eval.results.document import AnswerSet, BenchmarkRecord, Document, RunSettings
from pajamas_eval.results.findings import Comparison, MeanSummary, OverallVerdict
from pajamas_eval.statistics.multiplicity import holm
from pajamas_eval.statistics.paired import mcnemar_p, tango_interval
from pajamas_eval.statistics.planning import further_questions, smallest_margin
from pajamas_eval.statistics.proportions import wilson_interval
from pajamas_eval.statistics.sequential import SEQUENTIAL_SHARE, final_confidence, log_wealths
from pajamas_eval.statistics.verdicts import Verdict, p_worse


def compare_with_baseline(document: Document) -> list[Comparison]:
    """Every variant against the baseline, on every benchmark and metric."""
    comparisons = [
        _compare(document, record, base, answers, metric, choice_kl)
        for record in document.benchmarks
        for base in record.answer_sets
        if base.label == document.baseline
        for answers in record.answer_sets
        if answers is not base
        for choice_kl in [mean_choice_kl(record, base, answers, document.settings.confidence)]
        for metric in record.metrics
    ]
    tested = [c for c in headlines(document, comparisons) if c.verdict is not None]
    adjusted = holm([c.p_worse for c in tested])
    for comparison, p in zip(tested, adjusted, strict=True):
        comparison.p_worse = float(p)
    return comparisons


def headlines(document: Document, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those by a benchmark's first metric."""
    first = {record.name: record.metrics[0] for record in document.benchmarks}
    return [c for c in comparisons if c.metric == first[c.benchmark]]


def overall_verdicts(document: Document) -> list[OverallVerdict]:
    """One verdict for each variant, over all benchmarks.

    "No worse on all" needs no correction for their number; "worse on one of them" does.
    """
    alpha = 1 - document.settings.confidence
    verdicts = []
    for model in document.models:
        if model.label == document.baseline or model.noise_floor:
            continue
        of_model = [c for c in headlines(document, document.comparisons) if c.label == model.label]
        worse = [c.benchmark for c in of_model if c.verdict is Verdict.WORSE and c.p_worse <= alpha]
        if worse:
            verdict = Verdict.WORSE
        elif of_model and all(c.verdict is Verdict.NO_WORSE for c in of_model):
            verdict = Verdict.NO_WORSE
        else:
            verdict = Verdict.UNDECIDED
        verdicts.append(OverallVerdict(label=model.label, verdict=verdict, worse_on=worse))
    return verdicts


def _pairs(record: BenchmarkRecord, baseline: AnswerSet, variant: AnswerSet, metric: str) -> Pairs:
    differences = paired_differences(baseline, variant, metric)
    return Pairs(differences=differences, planned=len(record.questions))


def _compare(
    document: Document,
    record: BenchmarkRecord,
    base: AnswerSet,
    answers: AnswerSet,
    metric: str,
    choice_kl: MeanSummary | None,
) -> Comparison:
    settings = document.settings
    pairs = _pairs(record, base, answers, metric)
    gains, losses, count = pairs.gains, pairs.losses, pairs.count
    lower, upper = tango_interval(gains, losses, count, settings.confidence)
    flip_lower, flip_upper = wilson_interval(gains + losses, count, settings.confidence)
    flip_rate = (gains + losses) / count if count else 0.0
    noise = document.model(answers.label).noise_floor
    verdict = None if noise else _verdict(pairs, settings)
    return Comparison(
        benchmark=record.name,
        label=answers.label,
        metric=metric,
        count=count,
        gains=gains,
        losses=losses,
        unanswered=pairs.unanswered,
        difference=(gains - losses) / count if count else 0.0,
        lower=lower,
        upper=upper,
        mcnemar_p=None if settings.until_decided else mcnemar_p(gains, losses),
        flip_rate=flip_rate,
        flip_lower=flip_lower,
        flip_upper=flip_upper,
        changed_wrong=sum(
            not theirs.scores[metric]
            and not ours.scores[metric]
            and theirs.prediction != ours.prediction
            for theirs, ours in both_asked(base, answers)
            if theirs.error is None and ours.error is None
        ),
        choice_kl=choice_kl,
        verdict=verdict,
        p_worse=_p_worse(pairs, settings),
        smallest_margin=smallest_margin(count, flip_rate, confidence=_fixed_confidence(settings)),
        further_questions=_further_questions(pairs, verdict, settings),
    )


def _verdict(pairs: Pairs, settings: RunSettings) -> Verdict:
    if settings.until_decided:
        return until_decided(pairs.differences, pairs.planned, settings.margin, settings.confidence)
    return verdict_with_unanswered(
        pairs.gains,
        pairs.losses,
        pairs.unanswered,
        pairs.count,
        settings.margin,
        settings.confidence,
    )


def _further_questions(pairs: Pairs, verdict: Verdict | None, settings: RunSettings) -> int | None:
    if verdict is not Verdict.UNDECIDED:
        return 0
    more = further_questions(
        pairs.gains, pairs.losses, pairs.count, settings.margin, _fixed_confidence(settings)
    )
    return more or None  # not 0: those that were asked would do, had they all been answered


def _fixed_confidence(settings: RunSettings) -> float:
    """Of the test over all questions; where one may stop early, it has a share of the error."""
    return final_confidence(settings.confidence) if settings.until_decided else settings.confidence


def _p_worse(pairs: Pairs, settings: RunSettings) -> float:
    """P-value of "the loss is at most the margin", whenever one stopped asking.

    The inverse of the largest wealth of a bet on it (Ville's inequality), and the fixed test's
    once all questions were asked, each at its share of the error. What could not be answered
    counts as a gain, as it does for the verdict: a loss that is not proven must be no step of
    Holm's correction either.
    """
    gains, count = pairs.gains + pairs.unanswered, pairs.count + pairs.unanswered
    fixed = p_worse(gains, pairs.losses, count, settings.margin)
    if not settings.until_decided:
        return fixed
    _, wealths = log_wealths(np.nan_to_num(pairs.differences, nan=1.0), settings.margin)
    p = math.exp(-max(0.0, wealths.max(initial=0.0))) / SEQUENTIAL_SHARE
    if len(pairs.differences) >= pairs.planned:
        p = min(p, fixed / (1 - SEQUENTIAL_SHARE))
    return min(p, 1.0)
