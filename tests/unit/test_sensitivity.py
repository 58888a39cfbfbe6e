"""Whether the questions can tell: what is at chance certifies nothing."""

import random
from collections.abc import Sequence

import pytest
from handmade import answer_set, choices, document

from pajamas_eval.analysis.sensitivity import sensitivity
from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.results.document import AnswerSet, Document
from pajamas_eval.results.findings import Sensitivity
from pajamas_eval.statistics.verdicts import Verdict

LETTERS = "ABCD"


def asked(
    *right: int, count: int = 200, golds: Sequence[str] = LETTERS, margin: float = 4.0
) -> Document:
    """Models that have so many four-choice questions right, the same ones first."""
    sets = []
    for number, correct in enumerate(right):
        values = {str(i): float(i < correct) for i in range(count)}
        sets.append(answer_set("base" if not number else f"v{number}", values))
    made = document(sets, margins=(Margin(margin),))
    record = made.benchmarks[0]
    record.has_choices = True
    for i, question in enumerate(record.questions):
        question.answer, question.chance = golds[i % len(golds)], 0.25
        question.gold = str(i % 4)
    for answers in record.answer_sets:
        for i, answer in enumerate(answers.answers):
            answer.parts = choices(-1.0, -2.0, -2.0, -2.0)
            answer.prediction = str(i % 4)
    return made


def found(made: Document, label: str = "base") -> Sensitivity:
    (sensed,) = (s for s in made.sensitivities if s.label == label)
    return sensed


def verdict(made: Document) -> tuple[Verdict | None, Verdict]:
    (comparison,), (overall,) = made.comparisons, made.verdicts
    return comparison.verdict, overall.verdict


@pytest.mark.parametrize(
    ("baseline", "variant", "expected"),
    [
        (50, 50, Verdict.CANNOT_TELL),  # 25 %: no flip, which was "no worse"
        (58, 58, Verdict.CANNOT_TELL),  # 29 %: chance and the margin, not proven to be more
        (80, 80, Verdict.NO_WORSE),
        (80, 60, Verdict.WORSE),
        (58, 30, Verdict.WORSE),  # a loss that shows is a loss
        (80, 73, Verdict.UNDECIDED),
        (58, 51, Verdict.CANNOT_TELL),
    ],
)
def test_what_is_not_above_chance_by_the_margin_certifies_nothing(
    baseline: int, variant: int, expected: Verdict
) -> None:
    made = asked(baseline, variant)
    summarize(made)
    assert verdict(made) == (expected, expected)
    if expected is Verdict.CANNOT_TELL:
        assert made.comparisons[0].further_questions == 0, "more of the same would not help"


def test_always_giving_the_most_frequent_answer_is_chance_too() -> None:
    made = asked(130, 130, golds=("yes", "yes", "no"))
    summarize(made)
    sensed = found(made)
    assert (sensed.chance, sensed.chance_is_constant) == (pytest.approx(134 / 200), True)
    assert verdict(made)[0] is Verdict.CANNOT_TELL


def test_answers_that_no_two_questions_share_are_no_strategy() -> None:
    made = asked(130, 130, golds=[f"answer {i}" for i in range(200)])
    summarize(made)
    assert (found(made).chance, found(made).chance_is_constant) == (0.25, False)


def test_generated_answers_have_only_the_most_frequent_one() -> None:
    made = asked(150, 150, golds=("7", "8", "9", "10"))
    made.benchmarks[0].has_choices = False
    for question in made.benchmarks[0].questions:
        question.chance = 0.0
    summarize(made)
    assert found(made).chance == pytest.approx(0.25)


def test_soft_accuracy_has_chance_and_the_t_interval() -> None:
    made = asked(100, 100)
    record = made.benchmarks[0]
    record.metrics = [Metric("acc"), Metric("soft_acc", "mean")]
    rng = random.Random(1)
    for answers in record.answer_sets:
        for answer in answers.answers:
            answer.scores["soft_acc"] = rng.uniform(0.2, 0.32)
    summarize(made)
    by_metric = {c.metric: c.verdict for c in made.comparisons}
    assert by_metric == {"acc": Verdict.NO_WORSE, "soft_acc": Verdict.CANNOT_TELL}


@pytest.mark.parametrize(
    "metric",
    [
        Metric("perplexity", "ratio"),
        Metric("m", "mean", unit="nats"),
        Metric("errors", higher_is_better=False),
    ],
)
def test_a_metric_without_a_score_of_chance_is_judged_as_before(metric: Metric) -> None:
    made = asked(100)
    record = made.benchmarks[0]
    base = record.answer_sets[0]
    for answer in base.answers:
        answer.scores = {metric.name: 1.0}
    assert sensitivity(record, base, metric, None, 0.95) is None


def test_documents_of_former_versions_know_no_chance() -> None:
    made = asked(50, 50)
    for question in made.benchmarks[0].questions:
        question.answer, question.chance = "", None
    summarize(made)
    assert made.sensitivities == []
    assert verdict(made)[0] is Verdict.NO_WORSE


def test_a_baseline_that_could_answer_nothing_is_not_at_chance() -> None:
    made = asked(50, 50)
    for answer in made.benchmarks[0].answer_sets[0].answers:
        answer.scores, answer.error = {}, "it died"
    summarize(made)
    assert verdict(made)[0] is Verdict.UNDECIDED


def test_unanswered_questions_prove_nothing_of_the_baseline() -> None:
    made = asked(80, 80)
    for answer in made.benchmarks[0].answer_sets[0].answers[:25]:
        answer.scores, answer.error = {}, "out of memory"
    assert not _of(made).can_tell
    assert _of(asked(80, 80)).can_tell


def _of(made: Document) -> Sensitivity:
    record = made.benchmarks[0]
    sensed = sensitivity(record, record.answer_sets[0], record.headline, Margin(4.0), 0.95)
    assert sensed is not None
    return sensed


def test_overall_what_cannot_tell_stands_before_what_is_undecided() -> None:
    made = asked(50, 50)
    other = asked(80, 73).benchmarks[0]
    other.name = "other"
    made.benchmarks.append(other)
    summarize(made)
    assert [c.verdict for c in made.comparisons] == [Verdict.CANNOT_TELL, Verdict.UNDECIDED]
    assert made.verdicts[0].verdict is Verdict.CANNOT_TELL


# -- models that do not really answer --------------------------------------------------------


def _answering(base: AnswerSet, predictions: Sequence[str], golds: Sequence[str]) -> None:
    for answer, prediction, gold in zip(base.answers, predictions, golds, strict=True):
        answer.prediction = prediction
        answer.scores = {"acc": float(prediction == gold)}


def test_the_same_answer_to_nearly_all_questions_is_said() -> None:
    made = asked(100, 100)
    base, variant = made.benchmarks[0].answer_sets
    golds = [q.gold for q in made.benchmarks[0].questions]
    _answering(base, ["0"] * 170 + golds[170:], golds)
    summarize(made)
    assert found(made).same_answer == "0"
    assert found(made).same_answer_share == pytest.approx(178 / 200, abs=0.01)
    assert found(made, variant.label).same_answer is None


def test_a_score_that_hangs_on_the_place_of_the_right_choice_is_said() -> None:
    made = asked(100, 100)
    base = made.benchmarks[0].answer_sets[0]
    golds = [q.gold for q in made.benchmarks[0].questions]
    rng = random.Random(2)
    prefers = ["0" if rng.random() < 0.7 else gold for gold in golds]
    _answering(base, prefers, golds)
    summarize(made)
    first, *others = found(made).by_place
    assert first == 1.0
    assert max(others) < 0.6
    even = [gold if rng.random() < 0.5 else "9" for gold in golds]
    _answering(base, even, golds)
    summarize(made)
    assert found(made).by_place == []
