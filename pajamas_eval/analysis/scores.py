"""Scores, comparisons and verdicts, computed from the answers in a result document."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from pajamas_eval.analysis.comparisons import compare_with_baseline, overall_verdicts
from pajamas_eval.analysis.rankings import metric_values, rankings
from pajamas_eval.results.document import AnswerRecord, AnswerSet, BenchmarkRecord, Document
from pajamas_eval.results.findings import ExtractionAudit, ScoreSummary
from pajamas_eval.statistics.clusters import mean_interval
from pajamas_eval.statistics.proportions import wilson_interval


def summarize(document: Document) -> None:
    """Fills in all that is computed from the document's answers."""
    confidence = document.settings.confidence
    document.scores = [
        score for record in document.benchmarks for score in _scores(record, confidence)
    ]
    document.audits = [
        _audit(record, answers)
        for record in document.benchmarks
        for answers in record.answer_sets
        if any(answer.text is not None for answer in answers.answers)
    ]
    document.comparisons = compare_with_baseline(document)
    document.verdicts = overall_verdicts(document)
    document.rankings = list(rankings(document))


def _scores(record: BenchmarkRecord, confidence: float) -> Iterator[ScoreSummary]:
    tags = sorted({tag for question in record.questions for tag in question.tags})
    members = {
        tag: {question.doc_id for question in record.questions if tag in question.tags}
        for tag in tags
    }
    clusters = record.clusters()
    for answers in record.answer_sets:
        for metric in record.metrics:
            values = metric_values(answers, metric)
            for tag in (None, *tags):
                chosen = [d for d in values if not tag or d in members[tag]]
                right = round(sum(values[d] for d in chosen))
                lower, upper = wilson_interval(right, len(chosen), confidence)
                spread = mean_interval(
                    np.array([values[d] for d in chosen]), [clusters[d] for d in chosen], confidence
                ).standard_error
                yield ScoreSummary(
                    benchmark=record.name,
                    label=answers.label,
                    metric=metric,
                    subset=tag,
                    count=len(chosen),
                    value=right / len(chosen) if chosen else 0.0,
                    lower=lower,
                    upper=upper,
                    standard_error=spread if np.isfinite(spread) else None,
                )


def _audit(record: BenchmarkRecord, answers: AnswerSet) -> ExtractionAudit:
    counts = Counter(_outcome(answer, record.metrics[0]) for answer in answers.answers)
    return ExtractionAudit(
        benchmark=record.name,
        label=answers.label,
        correct=counts["correct"],
        wrong=counts["wrong"],
        unparseable=counts["unparseable"],
        cut_off=counts["cut off"],
        errors=counts["error"],
    )


def _outcome(answer: AnswerRecord, metric: str) -> str:
    if answer.error is not None:
        return "error"
    if answer.scores[metric]:
        return "correct"
    if answer.finish_reason == "length":
        return "cut off"
    return "wrong" if answer.parsed else "unparseable"


def errors(answers: AnswerSet) -> list[AnswerRecord]:
    """The questions that could not be answered."""
    return [a for a in answers.answers if a.error is not None]
