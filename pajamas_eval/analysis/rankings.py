"""Models in tiers that the questions separate."""

from collections.abc import Iterator
from itertools import combinations

from pajamas_eval.analysis.paired import paired
from pajamas_eval.analysis.scores import mean_of
from pajamas_eval.results.document import Document
from pajamas_eval.results.findings import Ranking
from pajamas_eval.statistics.multiplicity import holm


def rankings(document: Document) -> Iterator[Ranking]:
    """Tiers of models on each benchmark, where the data separate any.

    Two models are separated by the paired test of the metric's kind, Holm over all pairs. A tier
    ends where every model above is separated from every model below.
    """
    if document.settings.until_decided:  # the test holds for a fixed number of questions
        return
    alpha = 1 - document.settings.confidence
    ranked = {document.baseline, *(model.label for model in document.variants)}
    for record in document.benchmarks:
        metric = record.headline
        sets = [a for a in record.answer_sets if a.label in ranked]
        if any(answer.error for answers in sets for answer in answers.answers):
            continue  # models that answered different questions have no rank
        value = {a.label: metric.sign * mean_of(record, a, metric).mean for a in sets}
        sets.sort(key=lambda a: -value[a.label])
        pairs = list(combinations(range(len(sets)), 2))
        p_values = holm([paired(record, metric, sets[i], sets[j]).p_different() for i, j in pairs])
        separated = {pair for pair, p in zip(pairs, p_values, strict=True) if p <= alpha}
        tiers: list[list[str]] = [[]]
        for cut, answers in enumerate(sets):
            if cut and all((i, j) in separated for i, j in pairs if i < cut <= j):
                tiers.append([])
            tiers[-1].append(answers.label)
        if len(tiers) > 1:
            yield Ranking(benchmark=record.name, tiers=tiers)
