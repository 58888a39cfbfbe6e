"""How far a variant's distribution over the choices lies from the baseline's."""

import numpy as np
from scipy.special import log_softmax

from pajamas_eval.results.document import AnswerSet, BenchmarkRecord
from pajamas_eval.results.findings import MeanSummary
from pajamas_eval.statistics.clusters import mean_interval


def choice_kl_values(baseline: AnswerSet, variant: AnswerSet) -> dict[str, float]:
    """KL(baseline ‖ variant) over the choices of each question that both answered, in nats.

    Source: S. Kullback and R. A. Leibler, "On information and sufficiency", Annals of Mathematical
    Statistics 22 (1951), of the choices' probabilities normalized to 1. To be asked of benchmarks
    that have choices.
    """
    theirs = {a.doc_id: a.log_probabilities for a in variant.answers if a.error is None}
    pairs: dict[int, list[tuple[str, list[float], list[float]]]] = {}
    for answer in baseline.answers:
        ours, other = answer.log_probabilities, theirs.get(answer.doc_id)
        if ours and other and answer.error is None:
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


def mean_choice_kl(
    record: BenchmarkRecord, base: AnswerSet, answers: AnswerSet, confidence: float
) -> MeanSummary | None:
    """The mean divergence over the questions; nothing for generated answers."""
    values = choice_kl_values(base, answers) if record.has_choices else {}
    if not values:
        return None
    clusters = record.clusters()
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
