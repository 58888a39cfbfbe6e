"""How each model scored, computed from the answers in a result document."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from pajamas_eval.analysis.pairs import metric_values, metric_weights
from pajamas_eval.api.metrics import Metric, check_values
from pajamas_eval.results.document import AnswerRecord, AnswerSet, BenchmarkRecord
from pajamas_eval.results.findings import ExtractionAudit, ScoreSummary
from pajamas_eval.statistics.clusters import MeanInterval, mean_interval
from pajamas_eval.statistics.proportions import wilson_interval
from pajamas_eval.statistics.ratios import geometric_mean_interval


def mean_of(
    record: BenchmarkRecord,
    answers: AnswerSet,
    metric: Metric,
    doc_ids: Iterable[str] | None = None,
    confidence: float = 0.95,
) -> MeanInterval:
    """A model's mean by one metric, over all questions that it answered or some of them."""
    values, weights = metric_values(answers, metric.name), metric_weights(answers, metric.name)
    clusters = record.clusters()
    chosen = list(values) if doc_ids is None else [d for d in values if d in doc_ids]
    mean = geometric_mean_interval if metric.kind == "ratio" else mean_interval
    return mean(
        [values[d] for d in chosen],
        [clusters[d] for d in chosen],
        confidence,
        [weights[d] for d in chosen] if metric.kind == "ratio" else None,
    )


def scores(record: BenchmarkRecord, confidence: float) -> Iterator[ScoreSummary]:
    """Every model by every metric, over all questions and over each subset.

    Raises:
        UsageError: A value is none that its metric can have.
    """
    tags = sorted({tag for question in record.questions for tag in question.tags})
    members: dict[str | None, set[str] | None] = {None: None}
    for tag in tags:
        members[tag] = {q.doc_id for q in record.questions if tag in q.tags}
    for answers in record.answer_sets:
        for answer in answers.answers:
            if answer.error is None:
                check_values(f"{record.name} {answer.doc_id}", record.metrics, answer.scores)
        for metric in record.metrics:
            for subset, doc_ids in members.items():
                found = mean_of(record, answers, metric, doc_ids, confidence)
                yield _summary(record, answers, metric, subset, found, confidence)


def _summary(
    record: BenchmarkRecord,
    answers: AnswerSet,
    metric: Metric,
    tag: str | None,
    found: MeanInterval,
    confidence: float,
) -> ScoreSummary:
    lower, upper = found.lower, found.upper
    if metric.kind == "binary":
        right = round(found.mean * found.count) if found.count else 0
        lower, upper = wilson_interval(right, found.count, confidence)
    elif not math.isfinite(found.standard_error):
        lower = upper = math.nan
    return ScoreSummary(
        benchmark=record.name,
        label=answers.label,
        metric=metric.name,
        subset=tag,
        count=found.count,
        value=found.mean if found.count else 0.0,
        lower=lower if math.isfinite(lower) else None,
        upper=upper if math.isfinite(upper) else None,
        standard_error=found.standard_error if math.isfinite(found.standard_error) else None,
    )


def audit(record: BenchmarkRecord, answers: AnswerSet) -> ExtractionAudit:
    """What became of the texts that a model generated, by a binary headline metric."""
    counts = Counter(_outcome(answer, record.headline) for answer in answers.answers)
    return ExtractionAudit(
        benchmark=record.name,
        label=answers.label,
        correct=counts["correct"],
        wrong=counts["wrong"],
        unparseable=counts["unparseable"],
        cut_off=counts["cut off"],
        errors=counts["error"],
    )


def _outcome(answer: AnswerRecord, metric: Metric) -> str:
    if answer.error is not None:
        return "error"
    if answer.scores[metric.name] == float(metric.higher_is_better):
        return "correct"
    if "length" in answer.finish_reasons:
        return "cut off"
    return "wrong" if answer.parsed else "unparseable"


def errors(answers: AnswerSet) -> list[AnswerRecord]:
    """The questions that could not be answered."""
    return [a for a in answers.answers if a.error is not None]
