"""All that is computed from the answers in a result document."""

from pajamas_eval.analysis.comparisons import compare_with_baseline, overall_verdicts
from pajamas_eval.analysis.rankings import rankings
from pajamas_eval.analysis.scores import audit, scores
from pajamas_eval.analysis.sensitivity import sensitivities
from pajamas_eval.analysis.suspicion import suspicions
from pajamas_eval.analysis.tokenization import later_rounds
from pajamas_eval.results.document import Document


def summarize(document: Document) -> None:
    """Fills it in. Raises `UsageError` for a value that its metric cannot have."""
    confidence = document.settings.confidence
    document.scores = [
        score for record in document.benchmarks for score in scores(record, confidence)
    ]
    document.audits = [
        audit(record, answers)
        for record in document.benchmarks
        if record.headline.kind == "binary"
        for answers in record.answer_sets
        if any(answer.texts for answer in answers.answers)
    ]
    document.fairness.later_rounds = list(later_rounds(document))
    document.sensitivities = list(sensitivities(document))
    document.comparisons = compare_with_baseline(document)
    document.verdicts = overall_verdicts(document)
    document.rankings = list(rankings(document))
    document.suspicions = list(suspicions(document))
