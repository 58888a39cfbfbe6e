"""Divergence that bits per weight do not explain: the conversion is at fault, not the quantization.

A lost rope base or norm epsilon makes another model of the same weights, which a difference in
scores hardly shows and the divergence over the choices does. The limits are wider than what
`python -m tests.survey.divergence` prints of honest variants of SmolLM2-135M and of the demo model
on the two built-in sets with choices: see each. A mean is compared by its interval's lower end.
"""

from collections.abc import Iterator, Mapping
from itertools import permutations

import numpy as np

from pajamas_eval.analysis.divergence import choice_kl_values
from pajamas_eval.results.document import BenchmarkRecord, Document
from pajamas_eval.results.findings import Suspicion, SuspicionKind
from pajamas_eval.statistics.clusters import mean_interval

FINE_BITS = 7.5
"""Bits per weight from which on a quantization hardly shows."""

FINE_NATS = 0.02
"""Mean divergence of so fine a variant that is out of line.

SmolLM2: Q8_0 0.003 and 0.005, MLX's 8 bits 0.001 and 0.002, Q6_K of 8.1 bits 0.013 and 0.015.
"""

TIMES = 3.0
"""A variant with more bits may diverge so many times as much as one with fewer.

SmolLM2: at most 2.1 times, of Q5_K_M and Q4_K_M on 100 questions.
"""

MORE_BITS = 0.25
"""Bits per weight that are more: less is a matter of methods."""

LEAST_NATS = 0.003
"""Mean divergence below which the methods and the engine's rounding decide, not the bits."""

SAME_NATS = 0.003
"""Mean divergence of the same weights in two engines that rounding does not explain.

SmolLM2: float32 and float16 in llama.cpp and in transformers, at most 0.00001.
"""


def suspicions(document: Document) -> Iterator[Suspicion]:
    """At most one for each variant on each benchmark with choices."""
    bits = {
        model.label: model.identity.bits_per_weight
        for model in document.models
        if model.identity and model.identity.bits_per_weight
    }
    for record in document.benchmarks:
        sets = {answers.label: answers for answers in record.answer_sets}
        if record.has_choices and document.baseline in sets:
            base = sets.pop(document.baseline)
            values = {
                label: choice_kl_values(base, answers)
                for label, answers in sets.items()
                if not document.model(label).control
                and not document.fairness.are_different_models(label)
            }
            yield from _of_benchmark(document, record, values, bits)


def _of_benchmark(
    document: Document,
    record: BenchmarkRecord,
    values: Mapping[str, Mapping[str, float]],
    bits: Mapping[str, float],
) -> Iterator[Suspicion]:
    def lower(differences: Mapping[str, float]) -> float:
        """A bound below which their mean is not, one-sided at the run's confidence."""
        clusters = record.clusters()
        interval = mean_interval(
            np.array(list(differences.values())),
            [clusters[doc_id] for doc_id in differences],
            2 * document.settings.confidence - 1,
        )
        return interval.lower if np.isfinite(interval.lower) else -np.inf

    found: dict[str, Suspicion] = {}

    def suspect(kind: SuspicionKind, label: str, limit: float, than: str | None = None) -> None:
        mean = float(np.mean(list(values[label].values())))
        found.setdefault(
            label,
            Suspicion(
                benchmark=record.name, label=label, kind=kind, nats=mean, limit=limit, than=than
            ),
        )

    same = [label for label in document.settings.same_weights if values.get(label)]
    for label in same:
        if lower(values[label]) > SAME_NATS:
            suspect("same weights", label, SAME_NATS)
    # A variant that is finer than the baseline differs from it by the baseline's quantization.
    finest = bits.get(document.baseline, 0.0)
    known = {label: n for label, n in bits.items() if values.get(label) and n <= finest}
    known = {label: n for label, n in known.items() if label not in same}
    for label, n in known.items():
        if n >= FINE_BITS and lower(values[label]) > FINE_NATS:
            suspect("fine", label, FINE_NATS)
    for label, other in permutations(known, 2):
        if known[label] < known[other] + MORE_BITS or label in found:
            continue
        both = values[label].keys() & values[other].keys()
        excess = {d: values[label][d] - TIMES * max(values[other][d], 0.0) for d in both}
        if both and lower(excess) > 0 and lower(values[label]) > LEAST_NATS:
            mean = float(np.mean([values[other][d] for d in both]))
            suspect("out of order", label, mean, other)
    yield from found.values()
