"""Equivalence: proven to be neither worse nor better by the margin."""

import pytest
from gate_cases import KNOWLEDGE, pair
from handmade import answer_set, document
from hypothesis import given
from hypothesis import strategies as st

from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.errors import UsageError
from pajamas_eval.evaluation.evaluate import refuse_unknown_margins
from pajamas_eval.gate.config import BenchmarkGate, Gate, check_early_stop
from pajamas_eval.gate.findings import Outcome
from pajamas_eval.gate.judge import judge
from pajamas_eval.report.wording.comparison import verdicts
from pajamas_eval.report.wording.gate import sentence
from pajamas_eval.results.document import Document
from pajamas_eval.results.run_config import RunConfig
from pajamas_eval.statistics.paired import tango_interval
from pajamas_eval.statistics.quantiles import two_sided
from pajamas_eval.statistics.verdicts import Verdict, equivalence, equivalence_of_bounds


def compared(gains: int, losses: int, count: int, *, asked: bool = True) -> Document:
    base = {str(i): float(i >= gains) for i in range(count)}
    variant = {str(i): float(i < gains or i >= gains + losses) for i in range(count)}
    made = document([answer_set("base", base), answer_set("v", variant)], margins=(Margin(4.0),))
    made.settings.equivalence = asked
    summarize(made)
    return made


@pytest.mark.parametrize(
    ("gains", "losses", "expected"),
    [
        (3, 3, Verdict.EQUIVALENT),
        (0, 0, Verdict.EQUIVALENT),
        (40, 5, Verdict.BETTER),
        (5, 40, Verdict.WORSE),
        (14, 3, Verdict.UNDECIDED),  # no worse, and perhaps better by more than the margin
    ],
)
def test_a_gain_beyond_the_margin_is_no_equivalence(
    gains: int, losses: int, expected: Verdict
) -> None:
    made = compared(gains, losses, 200)
    assert made.comparisons[0].verdict is expected
    assert made.verdicts[0].verdict is expected
    if expected in (Verdict.UNDECIDED, Verdict.BETTER):
        assert compared(gains, losses, 200, asked=False).verdicts[0].verdict is Verdict.NO_WORSE


@given(st.integers(0, 60), st.integers(0, 60), st.integers(120, 400))
def test_the_bounds_tell_what_two_one_sided_tests_do(gains: int, losses: int, count: int) -> None:
    bounds = tango_interval(gains, losses, count, two_sided(0.95))
    told = equivalence_of_bounds(*bounds, 0.05) is Verdict.EQUIVALENT
    near = any(abs(abs(bound) - 0.05) < 1e-6 for bound in bounds)
    assert near or told == equivalence(gains, losses, count, 0.05)


def test_of_means_it_is_read_from_the_t_interval() -> None:
    metric = Metric("f1", "mean")
    sets = [
        answer_set("base", {str(i): 0.5 + i % 3 / 100 for i in range(60)}, "f1"),
        answer_set("v", {str(i): 0.5 + i % 5 / 100 for i in range(60)}, "f1"),
    ]
    made = document(sets, metric=metric, margins=(Margin(4.0),))
    made.settings.equivalence = True
    summarize(made)
    assert made.comparisons[0].verdict is Verdict.EQUIVALENT


def test_overall_all_must_be_equivalent() -> None:
    made, other = compared(3, 3, 200), compared(40, 5, 200).benchmarks[0]
    other.name = "other"
    made.benchmarks.append(other)
    summarize(made)
    assert made.verdicts[0].verdict is Verdict.BETTER
    assert "v: better" in list(verdicts(made))[-1]


@pytest.mark.parametrize(
    ("gains", "losses", "outcome"),
    [(2, 2, Outcome.PASSED), (60, 2, Outcome.FAILED), (2, 60, Outcome.FAILED)],
)
def test_a_gate_can_require_it(gains: int, losses: int, outcome: Outcome) -> None:
    made = pair(200, gains=gains, losses=losses)
    required = Gate(equivalence=True, benchmarks={KNOWLEDGE: BenchmarkGate(margin=4.0)})
    (finding,) = judge(made, required)
    assert finding.outcome is outcome
    assert "equivalence" in sentence(finding)
    assert "required within ±4 points" in sentence(finding)


def test_it_takes_all_questions() -> None:
    with pytest.raises(UsageError, match="--equivalence takes all questions"):
        refuse_unknown_margins([], RunConfig(equivalence=True, until_decided=True), True)
    with pytest.raises(UsageError, match="equivalence takes all questions"):
        check_early_stop(Gate(margin=4.0, equivalence=True), until_decided=True)
