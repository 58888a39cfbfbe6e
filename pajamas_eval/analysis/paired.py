"""Two models on the same questions, with the statistics of a metric's kind."""

import numpy as np

from pajamas_eval.analysis.paired_binary import PairedBinary
from pajamas_eval.analysis.paired_means import PairedMeans
from pajamas_eval.analysis.pairs import Pairs, both_asked, paired_differences
from pajamas_eval.api.metrics import Metric
from pajamas_eval.results.document import AnswerSet, BenchmarkRecord


def paired(
    record: BenchmarkRecord, metric: Metric, baseline: AnswerSet, variant: AnswerSet
) -> Pairs:
    """What two models scored by one metric, with the statistics of its kind."""
    asked = [theirs for theirs, _ in both_asked(baseline, variant)]
    clusters = record.clusters()
    kind = PairedBinary if metric.kind == "binary" else PairedMeans
    return kind(
        metric=metric,
        differences=paired_differences(metric, baseline, variant),
        clusters=[clusters.get(answer.doc_id, answer.doc_id) for answer in asked],
        weights=np.array([answer.weights.get(metric.name, 1.0) for answer in asked]),
        planned=len(record.questions),
    )
