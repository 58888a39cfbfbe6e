"""Models in tiers that the questions separate."""

from collections.abc import Iterator
from itertools import combinations

from pajamas_eval.analysis.comparisons import _pairs
from pajamas_eval.results.document import AnswerSet, Document
from pajamas_eval.results.findings import Ranking
from pajamas_eval.statistics.multiplicity import holm
from pajamas_eval.statistics.paired import mcnemar_p


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
