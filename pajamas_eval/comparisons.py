"""Each variant against the baseline: flips, divergence, verdicts, and what they add up to."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import log_softmax

from pajamas_eval.document import (
    AnswerRecord,
    AnswerSet,
    BenchmarkRecord,
    Comparison,
    Document,
    MeanSummary,
    OverallVerdict,
    Ranking,
    RunSettings,
)
from pajamas_eval.statistics.clusters import mean_interval
from pajamas_eval.statistics.multiple import holm
from pajamas_eval.statistics.paired import mcnemar_p, tango_interval
from pajamas_eval.statistics.planning import further_questions, smallest_margin
from pajamas_eval.statistics.proportions import wilson_interval
from pajamas_eval.statistics.sequential import (
    SEQUENTIAL_SHARE,
    final_verdict,
    log_wealths,
    sequential_verdict,
)
from pajamas_eval.statistics.verdicts import Verdict, non_inferiority, p_worse


@dataclass(frozen=True)
class _Pairs:
    """What two models answered to the same questions, in the order asked.

    Attributes:
        differences: Variant minus baseline where both answered, NaN where one could not.
        planned: Questions that a full run asks.
    """

    differences: np.ndarray[tuple[int], np.dtype[np.float64]]
    planned: int

    @property
    def gains(self) -> int:
        return int((self.differences > 0).sum())

    @property
    def losses(self) -> int:
        return int((self.differences < 0).sum())

    @property
    def missing(self) -> int:
        return int(np.isnan(self.differences).sum())

    @property
    def count(self) -> int:
        return len(self.differences) - self.missing


def compare_with_baseline(document: Document) -> list[Comparison]:
    """Every variant against the baseline, on every benchmark and metric."""
    comparisons = [
        _compare(document, record, base, answers, metric, choice_kl)
        for record in document.benchmarks
        for base in record.answer_sets
        if base.label == document.baseline
        for answers in record.answer_sets
        if answers is not base
        for choice_kl in [_choice_kl(record, base, answers, document.settings.confidence)]
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


def rankings(document: Document) -> Iterator[Ranking]:
    """Tiers of models on each benchmark, where the data separate any.

    Two models are separated by McNemar's exact test, Holm over all pairs. A tier ends where every
    model above is separated from every model below.
    """
    if document.settings.until_decided:  # the test holds for a fixed number of questions
        return
    alpha = 1 - document.settings.confidence
    floors = {model.label for model in document.models if model.noise_floor}
    for record in document.benchmarks:
        metric = record.metrics[0]
        sets = [a for a in record.answer_sets if a.label not in floors]
        if any(answer.error for answers in sets for answer in answers.answers):
            continue  # a rank that rests on unequal questions is none
        total = {a.label: sum(metric_values(a, metric).values()) for a in sets}
        sets.sort(key=lambda a: -total[a.label])
        pairs = list(combinations(range(len(sets)), 2))
        tested = [_pairs(record, sets[i], sets[j], metric) for i, j in pairs]
        p_values = holm([mcnemar_p(p.gains, p.losses) for p in tested])
        separated = {pair for pair, p in zip(pairs, p_values, strict=True) if p <= alpha}
        tiers: list[list[str]] = [[]]
        for cut, answers in enumerate(sets):
            if cut and all((i, j) in separated for i, j in pairs if i < cut <= j):
                tiers.append([])
            tiers[-1].append(answers.label)
        if len(tiers) > 1:
            yield Ranking(benchmark=record.name, tiers=tiers)


def metric_values(answers: AnswerSet, metric: str) -> dict[str, float]:
    """Each question's value, errors left out."""
    return {a.doc_id: a.scores[metric] for a in answers.answers if a.error is None}


def choice_kl_values(baseline: AnswerSet, variant: AnswerSet) -> dict[str, float]:
    """KL(baseline ‖ variant) over the choices of each question that both answered, in nats.

    Source: S. Kullback and R. A. Leibler, "On information and sufficiency", Annals of Mathematical
    Statistics 22 (1951), of the choices' probabilities normalized to 1. Empty where answers are
    generated.
    """
    theirs = {a.doc_id: a.log_probabilities for a in variant.answers}
    pairs: dict[int, list[tuple[str, list[float], list[float]]]] = {}
    for answer in baseline.answers:
        ours, other = answer.log_probabilities, theirs.get(answer.doc_id)
        if ours and other:
            pairs.setdefault(len(ours), []).append((answer.doc_id, ours, other))
    divergences: dict[str, float] = {}
    for of_one_size in pairs.values():
        doc_ids, ours_, theirs_ = zip(*of_one_size, strict=True)
        with np.errstate(invalid="ignore"):  # ∞ − ∞ is NaN: where nothing has a probability
            p, q = log_softmax(ours_, axis=1), log_softmax(theirs_, axis=1)
            # What has no probability adds nothing, whatever its logarithm.
            weights = np.exp(p)
            terms = weights * np.subtract(p, q, where=weights != 0, out=np.zeros_like(p))
        sums = np.nan_to_num(terms.sum(axis=1), nan=np.inf, posinf=np.inf)
        divergences.update(zip(doc_ids, np.maximum(sums, 0.0).tolist(), strict=True))
    return divergences


def robust_verdict(
    gains: int, losses: int, missing: int, count: int, margin: float, confidence: float
) -> Verdict:
    """The verdict that holds whatever the unanswered questions would have shown.

    Args:
        gains, losses: Among the `count` questions that both answered.
        missing: Questions that one could not answer, in addition to `count`.
        margin: As a proportion.
        confidence: In (0, 1).
    """
    total = count + missing
    if non_inferiority(gains, losses + missing, total, margin, confidence) is Verdict.NO_WORSE:
        return Verdict.NO_WORSE
    if non_inferiority(gains + missing, losses, total, margin, confidence) is Verdict.WORSE:
        return Verdict.WORSE
    return Verdict.UNDECIDED


def until_decided(
    differences: np.ndarray[tuple[int], np.dtype[np.float64]],
    planned: int,
    margin: float,
    confidence: float,
) -> Verdict:
    """The verdict of questions asked one after the other; NaN where one could not be answered.

    What could not be answered counts as a loss against "no worse" and as a gain against "worse".
    Once all planned questions are asked, the fixed test has the last word, at its own share of
    the error.
    """
    for imputed, wanted in ((-1.0, Verdict.NO_WORSE), (1.0, Verdict.WORSE)):
        filled = np.nan_to_num(differences, nan=imputed)
        verdict, _ = sequential_verdict(filled, margin, confidence)
        if verdict is Verdict.UNDECIDED and len(filled) >= planned:
            gains, losses = int((filled > 0).sum()), int((filled < 0).sum())
            verdict = final_verdict(gains, losses, len(filled), margin, confidence)
        if verdict is wanted:
            return verdict
    return Verdict.UNDECIDED


def paired_differences(
    baseline: AnswerSet, variant: AnswerSet, metric: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Variant minus baseline in the order asked; NaN where one of the two could not answer."""
    asked = _both_asked(baseline, variant)
    return np.array(
        [
            ours.scores[metric] - theirs.scores[metric]
            if ours.error is None and theirs.error is None
            else np.nan
            for theirs, ours in asked
        ],
        np.float64,
    )


def _both_asked(
    baseline: AnswerSet, variant: AnswerSet
) -> Iterator[tuple[AnswerRecord, AnswerRecord]]:
    theirs = {a.doc_id: a for a in baseline.answers}
    for ours in variant.answers:
        if ours.doc_id in theirs:
            yield theirs[ours.doc_id], ours


def _pairs(record: BenchmarkRecord, baseline: AnswerSet, variant: AnswerSet, metric: str) -> _Pairs:
    differences = paired_differences(baseline, variant, metric)
    return _Pairs(differences, len(record.questions))


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
        missing=pairs.missing,
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
            for theirs, ours in _both_asked(base, answers)
            if theirs.error is None and ours.error is None
        ),
        choice_kl=choice_kl,
        verdict=verdict,
        p_worse=_p_worse(pairs, settings),
        smallest_margin=smallest_margin(count, flip_rate, confidence=settings.confidence),
        further_questions=_further_questions(pairs, verdict, settings),
    )


def _verdict(pairs: _Pairs, settings: RunSettings) -> Verdict:
    if settings.until_decided:
        return until_decided(pairs.differences, pairs.planned, settings.margin, settings.confidence)
    return robust_verdict(
        pairs.gains, pairs.losses, pairs.missing, pairs.count, settings.margin, settings.confidence
    )


def _further_questions(pairs: _Pairs, verdict: Verdict | None, settings: RunSettings) -> int | None:
    if verdict is not Verdict.UNDECIDED:
        return 0
    more = further_questions(
        pairs.gains, pairs.losses, pairs.count, settings.margin, settings.confidence
    )
    return more or None  # not 0: those that were asked would do, had they all been answered


def _p_worse(pairs: _Pairs, settings: RunSettings) -> float:
    """P-value of "the loss is at most the margin", whenever one stopped asking.

    The inverse of the largest wealth of a bet on it (Ville's inequality), and the fixed test's
    once all questions were asked, each at its share of the error. What could not be answered
    counts as a gain, as it does for the verdict: a loss that is not proven must be no step of
    Holm's correction either.
    """
    gains, count = pairs.gains + pairs.missing, pairs.count + pairs.missing
    fixed = p_worse(gains, pairs.losses, count, settings.margin)
    if not settings.until_decided:
        return fixed
    _, wealths = log_wealths(np.nan_to_num(pairs.differences, nan=1.0), settings.margin)
    p = math.exp(-max(0.0, wealths.max(initial=0.0))) / SEQUENTIAL_SHARE
    if len(pairs.differences) >= pairs.planned:
        p = min(p, fixed / (1 - SEQUENTIAL_SHARE))
    return min(p, 1.0)


def _choice_kl(
    record: BenchmarkRecord, base: AnswerSet, answers: AnswerSet, confidence: float
) -> MeanSummary | None:
    values = choice_kl_values(base, answers)
    if not values:
        return None
    clusters = {q.doc_id: q.cluster or q.doc_id for q in record.questions}
    interval = mean_interval(
        np.array(list(values.values())), [clusters[doc_id] for doc_id in values], confidence
    )
    known = np.isfinite(interval.upper)
    return MeanSummary(
        mean=interval.mean,
        lower=max(0.0, interval.lower) if known else None,
        upper=interval.upper if known else None,
        count=len(values),
    )
