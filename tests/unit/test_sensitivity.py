"""Whether the questions can tell: what is at chance certifies nothing."""

import random
from collections.abc import Sequence

import pytest
from handmade import answer_set, choices, document

from pajamas_eval.analysis.sensitivity import sensitivity
from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.gate.config import BenchmarkGate, Gate
from pajamas_eval.gate.findings import Outcome, overall
from pajamas_eval.gate.judge import judge
from pajamas_eval.report.wording.comparison import of_benchmark, verdicts
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


# -- a positive control ------------------------------------------------------------------------


def controlled(baseline: int, damaged: int, variant: int) -> Document:
    """A run whose second model is the damaged baseline."""
    made = asked(baseline, damaged, variant)
    made.models[1].control = True
    summarize(made)
    return made


@pytest.mark.parametrize(
    ("damaged", "variant", "expected"),
    [
        (120, 160, Verdict.NO_WORSE),
        (155, 160, Verdict.CANNOT_TELL),  # 2.5 points of a loss that nobody can see
        (155, 153, Verdict.CANNOT_TELL),
        (155, 120, Verdict.WORSE),
    ],
)
def test_questions_that_do_not_show_the_damage_certify_nothing(
    damaged: int, variant: int, expected: Verdict
) -> None:
    made = controlled(160, damaged, variant)
    (judged,) = made.verdicts
    assert (judged.label, judged.verdict) == ("v2", expected)
    assert not any("v1" in tier for ranking in made.rankings for tier in ranking.tiers)


def test_the_control_is_no_step_of_the_correction() -> None:
    with_it, without = controlled(160, 100, 140), asked(160, 140)
    summarize(without)
    assert with_it.comparisons[1].p_worse == without.comparisons[0].p_worse


@pytest.mark.parametrize(
    ("damaged", "margin", "control"),
    [(120, Outcome.PASSED, Outcome.PASSED), (155, Outcome.CANNOT_TELL, Outcome.CANNOT_TELL)],
)
def test_a_gate_can_require_the_control(damaged: int, margin: Outcome, control: Outcome) -> None:
    made = controlled(160, damaged, 160)
    found = {f.requirement.name: f.outcome for f in judge(made, Gate(margin=4.0, control=True))}
    assert found == {"margin": margin, "control": control}


def test_a_gate_that_requires_a_control_is_not_content_without() -> None:
    made = asked(160, 160)
    summarize(made)
    findings = judge(made, Gate(margin=4.0, control=True))
    assert [f.outcome for f in findings] == [Outcome.PASSED, Outcome.NOT_MEASURED]
    assert "--control" in findings[1].reason


def test_a_gate_says_that_the_baseline_is_at_chance() -> None:
    made = asked(50, 50)
    summarize(made)
    (finding,) = judge(made, Gate(margin=4.0))
    assert finding.outcome is Outcome.CANNOT_TELL
    assert overall([finding]) is Outcome.CANNOT_TELL
    assert "not proven above chance (25.0 %)" in finding.reason


def test_a_gate_judges_soft_accuracy() -> None:
    made = asked(160, 160)
    record = made.benchmarks[0]
    record.metrics = [Metric("acc"), Metric("soft_acc", "mean")]
    for answers, value in zip(record.answer_sets, (0.8, 0.6), strict=True):
        for i, answer in enumerate(answers.answers):
            answer.scores["soft_acc"] = value + i % 2 / 10
    summarize(made)
    gates = BenchmarkGate(margin=4.0), BenchmarkGate(margin=4.0, measure="soft")
    outcomes = [judge(made, Gate(benchmarks={"quiz": gate}))[0].outcome for gate in gates]
    assert outcomes == [Outcome.PASSED, Outcome.FAILED]


# -- in words ----------------------------------------------------------------------------------


def test_the_report_says_why_and_what_may_tell() -> None:
    made = asked(50, 50)
    made.benchmarks[0].cloze = "quiz_cloze"
    made.benchmarks[0].max_shots = 5
    summarize(made)
    said = list(of_benchmark(made, made.benchmarks[0]))
    assert said[0] == (
        "These questions cannot tell: the baseline scores 25.0 %, of which 20.3 % are proven, not "
        "better than guessing (25.0 %) by more than 4 points. A variant that lost as much would "
        "not show it. What may: the cloze form (--benchmarks quiz_cloze), more few-shot examples "
        "(--shots), another set (--benchmarks auto)."
    )
    assert list(verdicts(made))[-1] == "  v1: cannot tell, on quiz"


def test_the_report_says_what_the_control_showed() -> None:
    lines = [
        line
        for made in (controlled(160, 120, 160), controlled(160, 155, 160))
        for line in of_benchmark(made, made.benchmarks[0])
        if line.startswith("Control")
    ]
    assert lines == [
        "Control: v1 (−20.0 points) is called worse; so large a loss these questions show.",
        "Control: v1 (−2.5 points) is not called worse: these questions certify no variant. Ask "
        "more of them, or others.",
    ]
