"""Whether questions can show a loss at all: each model's score beside that of a guess.

A variant that is "no worse" than a baseline at chance has proven nothing: a model that lost all
would score the same. Trials of medicines call what is missing assay sensitivity: ICH E10, "Choice
of control group and related issues in clinical trials" (2000), section 1.5.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency

from pajamas_eval.api.metrics import Margin, Metric, margin_for
from pajamas_eval.results.document import AnswerSet, BenchmarkRecord, Document
from pajamas_eval.results.findings import Sensitivity
from pajamas_eval.statistics.clusters import mean_interval
from pajamas_eval.statistics.proportions import wilson_interval
from pajamas_eval.statistics.quantiles import two_sided
from pajamas_eval.statistics.verdicts import Verdict

SAME_ANSWER = 0.8
"""Share of questions with one and the same answer from which on a model does not really answer."""

PLACE_P = 0.001
"""P-value below which the score depends on where the right choice stands, and …"""

PLACE_SPREAD = 0.25
"""… the difference, as a proportion, between the best and the worst place that is worth a word."""


def sensitivities(document: Document) -> Iterator[Sensitivity]:
    """Every model by every metric for which guessing has a score."""
    settings = document.settings
    for record in document.benchmarks:
        for metric in record.metrics:
            margin, _ = margin_for(metric, settings.margins)
            for answers in record.answer_sets:
                if found := sensitivity(record, answers, metric, margin, settings.confidence):
                    yield found


def sensitivity(
    record: BenchmarkRecord,
    answers: AnswerSet,
    metric: Metric,
    margin: Margin | None,
    confidence: float,
) -> Sensitivity | None:
    """How far a model is above chance; nothing where that is unknown, or has no meaning.

    Args:
        record: The benchmark that was asked.
        answers: The model's.
        metric: Its values count; those of a proportion where more is better.
        margin: What the model must be above chance by; nothing counts as 0.
        confidence: Of the one-sided lower bound.
    """
    chance, is_constant = _chance(record, metric)
    if chance is None or all(a.error is not None for a in answers.answers):
        return None
    clusters = record.clusters()
    values = [a.scores[metric.name] if a.error is None else 0.0 for a in answers.answers]
    both_sides = two_sided(confidence)
    if metric.kind == "binary":
        lower, _ = wilson_interval(round(sum(values)), len(values), both_sides)
    else:
        own = [clusters[a.doc_id] for a in answers.answers]
        lower = mean_interval(values, own, both_sides).lower
    answer, share = _most_common(
        [a.prediction_by(metric.name) if a.parsed else None for a in answers.answers]
    )
    return Sensitivity(
        benchmark=record.name,
        label=answers.label,
        metric=metric.name,
        chance=chance,
        chance_is_constant=is_constant,
        lower=float(lower) if np.isfinite(lower) else None,
        can_tell=bool(lower > chance + (metric.margin_size(margin) if margin else 0.0)),
        same_answer=answer if share >= SAME_ANSWER else None,
        same_answer_share=share,
        by_place=_by_place(record, answers, metric),
    )


@dataclass(frozen=True, slots=True)
class Score:
    """What a few answers let expect of all.

    Attributes:
        value: The mean score; nothing where none was answered.
        chance: That of a guess, where it is known.
        can_tell: Whether all questions would prove the score above chance by more than the margin,
            should it stay the same; true where chance is not known.
    """

    value: float | None
    chance: float | None
    can_tell: bool

    def __str__(self) -> str:
        if self.value is None:
            return "no answer"
        chance = "" if self.chance is None else f", chance {100 * self.chance:.0f} %"
        return f"{100 * self.value:.0f} %{chance}"


def pilot_score(
    record: BenchmarkRecord, answers: AnswerSet, margin: Margin | None, confidence: float
) -> Score:
    """A model's score by the headline metric on a few of the questions, projected to all."""
    metric = record.headline
    chance, _ = _chance(record, metric)
    values = [a.scores[metric.name] for a in answers.answers if a.error is None]
    if not values:
        return Score(None, chance, can_tell=False)
    mean, count = sum(values) / len(values), len(record.questions)
    if chance is None:
        return Score(mean, None, can_tell=True)
    lower, _ = wilson_interval(round(mean * count), count, two_sided(confidence))
    needed = chance + (metric.margin_size(margin) if margin else 0.0)
    return Score(mean, chance, can_tell=lower > needed)


def told(verdict: Verdict, baseline: Sensitivity | None) -> Verdict:
    """A verdict as far as the questions can tell; what differs they could tell."""
    if verdict in (Verdict.WORSE, Verdict.BETTER) or baseline is None or baseline.can_tell:
        return verdict
    return Verdict.CANNOT_TELL


def _chance(record: BenchmarkRecord, metric: Metric) -> tuple[float | None, bool]:
    """The better score of two ways to know nothing, and whether it is the second.

    One guesses blindly; the other always gives the answer that is right most often, which a metric
    that counts right answers rewards.
    """
    known = [q.chance for q in record.questions if q.chance is not None]
    if not metric.is_proportion or not metric.higher_is_better or not known:
        return None, False
    blind = sum(known) / len(known)
    if metric.kind != "binary" and not record.has_choices:
        return blind, False
    _, constant = _most_common([q.answer for q in record.questions])
    return max(blind, constant), constant > blind


def _most_common(answers: Sequence[str | None]) -> tuple[str, float]:
    counts = Counter(answer for answer in answers if answer)
    if not counts:
        return "", 0.0
    answer, count = counts.most_common(1)[0]
    return answer, count / len(answers)


def _by_place(record: BenchmarkRecord, answers: AnswerSet, metric: Metric) -> list[float]:
    """Scores by the place of the right choice, where they depend on it; else nothing.

    Pearson's chi-squared test of the table of right and wrong answers by place, as a model that
    prefers a letter shows; cf. C. Zheng et al., "Large language models are not robust multiple
    choice selectors", ICLR 2024, arXiv:2309.03882.
    """
    if not record.has_choices or metric.kind != "binary":
        return []
    gold = {q.doc_id: q.gold for q in record.questions}
    table: dict[str, list[int]] = {}
    for answer in answers.answers:
        if answer.error is None:
            of_place = table.setdefault(gold[answer.doc_id], [0, 0])
            of_place[int(answer.scores[metric.name])] += 1
    counts = np.array([found for _, found in sorted(table.items())])
    if len(counts) < 2 or not counts.sum(axis=0).all():
        return []
    recalls = counts[:, 1] / counts.sum(axis=1)
    if np.ptp(recalls) < PLACE_SPREAD or chi2_contingency(counts).pvalue >= PLACE_P:
        return []
    return [float(recall) for recall in recalls]
