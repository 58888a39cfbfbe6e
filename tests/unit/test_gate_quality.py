"""Margin, flips and divergence: passed only where the questions prove it, broken likewise."""

import numpy as np
import pytest
from gate_cases import KNOWLEDGE, on_knowledge, only, pair

from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.gate.config import BenchmarkGate, Gate
from pajamas_eval.gate.findings import Outcome, Requirement, Unit
from pajamas_eval.gate.judge import judge
from pajamas_eval.results.document import ArchitectureCheck, Document
from pajamas_eval.statistics.paired import tango_interval
from pajamas_eval.statistics.planning import further_questions
from pajamas_eval.statistics.proportions import wilson_interval
from pajamas_eval.statistics.verdicts import Verdict, non_inferiority

PASSED, BROKEN, UNDECIDED, CANNOT_TELL, NOT_MEASURED = Outcome


# -- margin --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gains", "losses", "margin", "outcome"),
    [
        (1, 0, 5.0, PASSED),
        (1, 0, 0.5, UNDECIDED),
        (3, 30, 5.0, BROKEN),
        (0, 0, 5.0, PASSED),
        (7, 12, 5.0, UNDECIDED),
    ],
)
def test_a_margin_is_judged_by_the_tests_of_non_inferiority(
    gains: int, losses: int, margin: float, outcome: Outcome
) -> None:
    finding = only(pair(200, gains=gains, losses=losses), Gate(margin=margin))
    assert finding.outcome is outcome
    assert finding.requirement == Requirement(
        name="margin",
        unit=Unit.POINTS,
        threshold=margin / 100,
        benchmark=f"{KNOWLEDGE} acc",
        metric=Metric("acc"),
    )
    assert finding.figure == (gains - losses) / 200
    assert (finding.lower, finding.upper) == tango_interval(gains, losses, 200, 0.9)


def test_the_margin_and_the_confidence_are_the_gates_and_not_the_runs() -> None:
    made = pair(200, gains=2, losses=5)
    made.settings.margins, made.settings.confidence = (Margin(50.0),), 0.6
    assert only(made, Gate(margin=4.5, confidence=0.95)).outcome is PASSED
    assert only(made, Gate(margin=4.5, confidence=0.99)).outcome is UNDECIDED


def test_a_benchmarks_own_values_come_before_the_gates() -> None:
    made = pair(200, gains=2, losses=5)
    table = BenchmarkGate(margin=1.0, confidence=0.9)
    finding = only(made, Gate(margin=20.0, benchmarks={KNOWLEDGE: table}))
    assert (finding.requirement.threshold, finding.outcome) == (0.01, UNDECIDED)
    assert (finding.lower, finding.upper) == pytest.approx(tango_interval(2, 5, 200, 0.8))


def test_the_gates_margin_is_required_on_every_benchmark_of_the_run() -> None:
    made = pair(200)
    another = pair(200, losses=100).benchmarks[0]
    another.name = "pajamas_commonsense"
    made.benchmarks.append(another)
    found = {f.requirement.benchmark: f.outcome for f in judge(made, Gate(margin=5.0))}
    assert found == {f"{KNOWLEDGE} acc": PASSED, "pajamas_commonsense acc": BROKEN}


def test_another_metric_may_be_judged() -> None:
    made = pair(200, losses=50)
    record = made.benchmarks[0]
    record.metrics.append(Metric("acc_norm"))
    for answers in record.answer_sets:
        for answer in answers.answers:
            answer.scores["acc_norm"] = 1.0
    assert only(made, on_knowledge(margin=5.0)).outcome is BROKEN
    finding = only(made, on_knowledge(margin=5.0, metric="acc_norm"))
    assert finding.outcome is PASSED
    assert finding.requirement.benchmark == f"{KNOWLEDGE} acc_norm"


def test_an_undecided_margin_says_how_many_questions_it_would_take() -> None:
    finding = only(pair(200, gains=2, losses=5), Gate(margin=2.0))
    further = further_questions(2, 5, 200, 0.02)
    assert finding.reason == f"about {further:,} further questions would decide it"


def test_more_questions_than_there_are_is_said() -> None:
    made = pair(200, gains=2, losses=5)
    made.benchmarks[0].available = 240
    finding = only(made, Gate(margin=2.0))
    assert finding.reason.endswith("would decide it; the benchmark has 40 more")


def test_a_loss_of_the_margin_itself_is_decided_by_no_number_of_questions() -> None:
    finding = only(pair(100, losses=5), Gate(margin=5.0))
    assert finding.outcome is UNDECIDED
    assert finding.reason == "no number of further questions can be told that would decide it"


# -- too few, and unanswered ---------------------------------------------------------------


@pytest.mark.parametrize("losses", [0, 100])
def test_too_few_questions_decide_nothing_whatever_they_show(losses: int) -> None:
    required = on_knowledge(margin=5.0, max_flips=20.0, min_questions=201)
    findings = judge(pair(200, losses=losses), required)
    assert len(findings) == 2
    for finding in findings:
        assert finding.outcome is UNDECIDED
        assert finding.reason == "both answered 200 questions, of at least 201"
        assert finding.figure is not None


def test_the_questions_that_count_are_those_that_both_answered() -> None:
    required = on_knowledge(margin=5.0, min_questions=200)
    assert only(pair(200), required).outcome is PASSED
    assert only(pair(199, unanswered=1), required).outcome is UNDECIDED


def test_unanswered_questions_that_could_change_a_pass_leave_it_undecided() -> None:
    assert only(pair(200), Gate(margin=5.0)).outcome is PASSED
    assert only(pair(200, unanswered=2), Gate(margin=5.0)).outcome is PASSED
    finding = only(pair(200, unanswered=20), Gate(margin=5.0))
    assert finding.outcome is UNDECIDED
    assert finding.reason == "unanswered questions could change it: 20"


def test_unanswered_questions_that_could_change_a_failure_leave_it_undecided() -> None:
    assert only(pair(200, losses=24), Gate(margin=5.0)).outcome is BROKEN
    finding = only(pair(200, losses=24, unanswered=20), Gate(margin=5.0))
    assert finding.outcome is UNDECIDED
    assert finding.reason == "unanswered questions could change it: 20"


@pytest.mark.parametrize("unanswered", [1, 10, 40])
@pytest.mark.parametrize("losses", [0, 3, 15, 30])
@pytest.mark.parametrize("margin", [1.0, 5.0])
def test_no_unanswered_question_could_have_turned_what_was_decided(
    losses: int, unanswered: int, margin: float
) -> None:
    outcome = only(pair(200, losses=losses, unanswered=unanswered), Gate(margin=margin)).outcome
    possible = {
        non_inferiority(gained, losses + unanswered - gained, 200 + unanswered, margin / 100)
        for gained in range(unanswered + 1)
    }
    certain = possible.pop() if len(possible) == 1 else Verdict.UNDECIDED
    expected = {Verdict.NO_WORSE: PASSED, Verdict.WORSE: BROKEN, Verdict.UNDECIDED: UNDECIDED}
    assert outcome is expected[certain]


def test_a_question_without_any_record_is_unanswered() -> None:
    made = pair(200)
    del made.benchmarks[0].answer_sets[1].answers[180:]
    assert only(made, Gate(margin=5.0)).reason == "unanswered questions could change it: 20"


# -- flips ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flips", "outcome"), [(2, PASSED), (8, UNDECIDED), (12, UNDECIDED), (30, BROKEN)]
)
def test_flips_are_proven_by_wilsons_bounds(flips: int, outcome: Outcome) -> None:
    made = pair(200, gains=flips // 2, losses=flips // 2)
    finding = only(made, on_knowledge(max_flips=5.0))
    assert finding.outcome is outcome
    assert finding.figure == flips / 200
    assert (finding.lower, finding.upper) == wilson_interval(flips, 200, 0.9)


def test_unanswered_questions_may_all_be_flips_or_none() -> None:
    finding = only(pair(200, losses=2, unanswered=10), on_knowledge(max_flips=5.0))
    assert finding.outcome is UNDECIDED
    assert finding.lower == wilson_interval(2, 210, 0.9)[0]
    assert finding.upper == wilson_interval(12, 210, 0.9)[1]
    assert finding.reason == "unanswered questions could change it: 10"


def test_so_many_further_questions_decide_flips_if_their_rate_goes_on() -> None:
    finding = only(pair(200, losses=6), on_knowledge(max_flips=5.0))
    further = int(finding.reason.split()[1])
    times = (200 + further) / 200
    after = only(pair(200 + further, losses=round(6 * times)), on_knowledge(max_flips=5.0))
    assert after.outcome is PASSED


# -- KL divergence -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ceiling", "outcome"), [(0.05, PASSED), (0.031, UNDECIDED), (0.029, UNDECIDED), (0.01, BROKEN)]
)
def test_the_mean_divergence_is_proven_by_its_one_sided_bounds(
    ceiling: float, outcome: Outcome
) -> None:
    nats = [0.01, 0.05] * 100
    finding = only(pair(200, kl=nats), on_knowledge(max_mean_kl=ceiling))
    assert finding.outcome is outcome
    assert finding.figure == pytest.approx(0.03)
    error = np.std(nats, ddof=1) / np.sqrt(200)
    assert finding.lower == pytest.approx(0.03 - 1.6525 * error, abs=1e-6)
    assert finding.upper == pytest.approx(0.03 + 1.6525 * error, abs=1e-6)


def test_an_unanswered_question_may_diverge_by_any_amount() -> None:
    made = pair(200, kl=[0.01, 0.05] * 100, unanswered=1)
    finding = only(made, on_knowledge(max_mean_kl=0.05))
    assert finding.outcome is UNDECIDED
    assert finding.reason == "unanswered questions could change it: 1"
    assert only(made, on_knowledge(max_mean_kl=0.01)).outcome is BROKEN
    assert only(
        pair(200, kl=[0.03] * 200, unanswered=150), on_knowledge(max_mean_kl=0.02)
    ).outcome is (UNDECIDED)


def test_questions_of_one_passage_are_not_independent() -> None:
    made = pair(200, kl=[*[0.01] * 100, *[0.05] * 100])
    assert only(made, on_knowledge(max_mean_kl=0.04)).outcome is PASSED
    for number, question in enumerate(made.benchmarks[0].questions):
        question.cluster = f"passage {number // 50}"
    assert only(made, on_knowledge(max_mean_kl=0.04)).outcome is UNDECIDED


def test_generated_answers_have_no_divergence_that_could_pass() -> None:
    finding = only(pair(200), on_knowledge(max_mean_kl=10.0))
    assert finding.outcome is NOT_MEASURED
    assert finding.reason == "no question has choices to compare"


def test_no_divergence_is_measured_between_two_models_that_are_no_variants() -> None:
    made = pair(200, kl=[0.001] * 200)
    assert only(made, on_knowledge(max_mean_kl=0.04)).outcome is PASSED
    made.fairness.architectures = [
        ArchitectureCheck(label="q4", known=20, differences=["layers"], different_models=True)
    ]
    finding = only(made, on_knowledge(max_mean_kl=0.04))
    assert (finding.outcome, finding.reason) == (NOT_MEASURED, "they are different models")


# -- runs that stop early ------------------------------------------------------------------


def stopped_early(losses: int, asked: int, planned: int) -> Document:
    made = pair(planned, losses=losses, kl=[0.0, 0.001] * (planned // 2))
    made.settings.until_decided = True
    for answers in made.benchmarks[0].answer_sets:
        del answers.answers[asked:]
    return made


def test_an_early_stop_is_judged_by_the_test_that_may_look_at_any_time() -> None:
    """The fixed test would be wrong too often, having stopped where the figures looked best."""
    assert only(pair(60), Gate(margin=5.0)).outcome is PASSED
    finding = only(stopped_early(0, 60, 10_000), Gate(margin=5.0))
    assert finding.outcome is UNDECIDED
    assert (finding.lower, finding.upper) == (None, None)
    assert only(stopped_early(0, 400, 10_000), Gate(margin=5.0)).outcome is PASSED
    assert only(stopped_early(100, 400, 10_000), Gate(margin=5.0)).outcome is BROKEN


def test_what_the_margin_stopped_proves_nothing_of_flips_and_divergence() -> None:
    required = on_knowledge(max_flips=50.0, max_mean_kl=5.0)
    stopped = judge(stopped_early(0, 400, 10_000), required)
    assert [finding.outcome for finding in stopped] == [UNDECIDED] * 2
    for finding in stopped:
        assert finding.reason == "its bounds need a run that does not stop at the margin's verdict"
    asked_all = judge(stopped_early(0, 400, 400), required)
    assert [finding.outcome for finding in asked_all] == [PASSED] * 2


# -- a rule that rounds --------------------------------------------------------------------


def rounding_rule(made: Document) -> bool:
    """What is often done: release at 99 % recovery or more, rounded to two decimals."""
    base, variant = (
        sum(a.scores.get("acc", 0.0) for a in answers.answers)
        for answers in made.benchmarks[0].answer_sets
    )
    return round(variant / base, 2) >= 0.99


@pytest.mark.parametrize(
    ("made", "recovery", "margin", "outcome"),
    [
        # The demo's 4-bit GGUF on its own 200 questions: one gain, two losses (see the README).
        (pair(200, gains=1, losses=2, right=166), 0.994, 1.0, UNDECIDED),
        # A baseline at 80 % on all of MMLU, and a variant that loses 1.15 points of it.
        (pair(14_042, gains=150, losses=312, right=11_234), 0.9856, 0.5, BROKEN),
        # Equal scores on 50 questions, of which every fifth is answered otherwise.
        (pair(50, gains=5, losses=5, right=40), 1.0, 1.0, UNDECIDED),
    ],
)
def test_a_rule_that_rounds_recovery_releases_what_the_gate_does_not(
    made: Document, recovery: float, margin: float, outcome: Outcome
) -> None:
    """Recovery, the variant's score over the baseline's, rounded to two decimals and compared with
    0.99: it forgives a loss of 1.5 % of the score, proven or not, and an equal score on few
    questions is nothing to it but equal."""
    base, variant = (
        sum(a.scores["acc"] for a in answers.answers) for answers in made.benchmarks[0].answer_sets
    )
    assert variant / base == pytest.approx(recovery, abs=1e-4)
    assert rounding_rule(made)
    assert only(made, Gate(margin=margin)).outcome is outcome
