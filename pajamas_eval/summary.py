"""Scores and comparisons, computed from the answers in a result document."""

from collections.abc import Iterator, Mapping

from pajamas_eval.document import (
    AnswerRecord,
    AnswerSet,
    BenchmarkRecord,
    Comparison,
    Document,
    ScoreSummary,
)
from pajamas_eval.statistics.paired import tango_interval
from pajamas_eval.statistics.proportions import wilson_interval


def summarize(document: Document) -> None:
    """Fills in the document's scores and comparisons."""
    confidence = document.settings.confidence
    document.scores = [
        score for record in document.benchmarks for score in _scores(record, confidence)
    ]
    document.comparisons = [
        comparison
        for record in document.benchmarks
        for comparison in _comparisons(record, document.baseline, confidence)
    ]


def _scores(record: BenchmarkRecord, confidence: float) -> Iterator[ScoreSummary]:
    tags = sorted({tag for question in record.questions for tag in question.tags})
    members = {
        tag: {question.doc_id for question in record.questions if tag in question.tags}
        for tag in tags
    }
    for answers in record.answer_sets:
        for metric in record.metrics:
            values = metric_values(answers, metric)
            for tag in (None, *tags):
                chosen = [v for doc_id, v in values.items() if not tag or doc_id in members[tag]]
                count, right = len(chosen), round(sum(chosen))
                lower, upper = wilson_interval(right, count, confidence)
                yield ScoreSummary(
                    benchmark=record.name,
                    label=answers.label,
                    metric=metric,
                    subset=tag,
                    count=count,
                    value=right / count if count else 0.0,
                    lower=lower,
                    upper=upper,
                )


def _comparisons(record: BenchmarkRecord, baseline: str, confidence: float) -> Iterator[Comparison]:
    sets = {answers.label: answers for answers in record.answer_sets}
    if baseline not in sets:
        return
    for label, answers in sets.items():
        if label == baseline:
            continue
        for metric in record.metrics:
            yield _compare(
                record.name,
                label,
                metric,
                metric_values(sets[baseline], metric),
                metric_values(answers, metric),
                confidence,
            )


def _compare(
    benchmark: str,
    label: str,
    metric: str,
    baseline: Mapping[str, float],
    variant: Mapping[str, float],
    confidence: float,
) -> Comparison:
    both = baseline.keys() & variant.keys()
    gains = sum(variant[doc_id] > baseline[doc_id] for doc_id in both)
    losses = sum(variant[doc_id] < baseline[doc_id] for doc_id in both)
    lower, upper = tango_interval(gains, losses, len(both), confidence)
    return Comparison(
        benchmark=benchmark,
        label=label,
        metric=metric,
        count=len(both),
        gains=gains,
        losses=losses,
        difference=(gains - losses) / len(both) if both else 0.0,
        lower=lower,
        upper=upper,
    )


def metric_values(answers: AnswerSet, metric: str) -> dict[str, float]:
    """Each question's value, errors left out."""
    return {a.doc_id: a.scores[metric] for a in answers.answers if a.error is None}


def errors(answers: AnswerSet) -> list[AnswerRecord]:
    """The questions that could not be answered."""
    return [a for a in answers.answers if a.error is not None]
