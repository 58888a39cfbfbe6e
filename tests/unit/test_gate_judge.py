"""The gate as a whole: whom it judges, what it refuses to, and what the findings come to."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from gate_cases import diverge, on_knowledge, pair
from handmade import answer_set, choices, document

from pajamas_eval.errors import UsageError
from pajamas_eval.gate.config import Gate
from pajamas_eval.gate.findings import Finding, Outcome, Requirement, Unit, overall
from pajamas_eval.gate.judge import judge
from pajamas_eval.results.document import Document

PASSED, BROKEN, UNDECIDED, CANNOT_TELL, NOT_MEASURED = Outcome


def test_every_variant_is_judged_and_a_noise_floor_is_none() -> None:
    ids = [f"q{i}" for i in range(100)]
    sets = [answer_set(label, dict.fromkeys(ids, 1.0)) for label in ("base", "again", "q8", "q4")]
    made = document(sets)
    made.models[1].noise_floor = True
    assert [f.label for f in judge(made, Gate(margin=5.0))] == ["q8", "q4"]


def no_variant(made: Document) -> None:
    del made.models[1]


def no_baseline(made: Document) -> None:
    made.baseline = "another"


def no_benchmark(made: Document) -> None:
    made.benchmarks.clear()


def nan_divergence(made: Document) -> None:
    diverge(made.benchmarks[0].answer_sets, [0.1] * 10)
    made.benchmarks[0].has_choices = True
    made.benchmarks[0].answer_sets[1].answers[0].parts = choices(0.0, 0.0, 0.0)


def no_score(made: Document) -> None:
    made.benchmarks[0].answer_sets[1].answers[0].scores = {}


@pytest.mark.parametrize("spoil", [no_variant, no_baseline, no_benchmark, nan_divergence, no_score])
def test_a_result_that_cannot_be_judged_is_refused(spoil: Callable[[Document], None]) -> None:
    made = pair(200)
    spoil(made)
    with pytest.raises(UsageError, match="the result "):
        judge(made, on_knowledge(margin=5.0, max_mean_kl=5.0))


def test_one_broken_requirement_breaks_the_gate_and_one_open_one_leaves_it_open() -> None:
    requirement = Requirement(name="margin", unit=Unit.POINTS, threshold=0.01)
    finding = Finding(label="q4", requirement=requirement, outcome=PASSED)

    def of(*outcomes: Outcome) -> Outcome:
        return overall([replace(finding, outcome=outcome) for outcome in outcomes])

    assert of(PASSED, PASSED) is PASSED
    assert of(PASSED, UNDECIDED, BROKEN, NOT_MEASURED) is BROKEN
    assert of(PASSED, UNDECIDED) is UNDECIDED
    assert of(PASSED, NOT_MEASURED) is UNDECIDED
    assert overall([]) is UNDECIDED
