"""Speed, memory and size are plainly compared; what was not measured is never passed."""

from collections.abc import Callable

import pytest
from gate_cases import on_knowledge, only, pair
from handmade import identity, written

from pajamas_eval.gate.config import BenchmarkGate, Gate
from pajamas_eval.gate.findings import Outcome, overall
from pajamas_eval.gate.judge import judge
from pajamas_eval.results.document import Document

PASSED, BROKEN, UNDECIDED, CANNOT_TELL, NOT_MEASURED = Outcome


def costly() -> Document:
    """A variant at 2,000 tokens per second to the baseline's 1,000, half as large."""
    made = pair(10)
    base, variant = made.benchmarks[0].answer_sets
    for answers, seconds in ((base, 3.0), (variant, 1.5)):
        answers.prompt_tokens, answers.prompt_seconds = 3000, seconds
        answers.generated_tokens, answers.generation_seconds = 300, 2 * seconds
        answers.answers[0].parts = written("7")
    made.models[0].identity = identity(size_bytes=10_000_000_000)
    made.models[1].identity = identity(size_bytes=5_000_000_000)
    made.models[0].peak_memory_bytes = 8_000_000_000
    made.models[1].peak_memory_bytes = 6_000_000_000
    return made


@pytest.mark.parametrize(
    ("name", "figure", "holds", "fails"),
    [
        ("min_prompt_tokens_per_second", 2000.0, 2000.0, 2000.1),
        ("min_prompt_speed_ratio", 2.0, 2.0, 2.1),
        ("min_generated_tokens_per_second", 100.0, 100.0, 100.1),
        ("min_generated_speed_ratio", 2.0, 2.0, 2.1),
        ("max_peak_memory_gb", 6e9, 6.0, 5.9),
        ("max_memory_ratio", 0.75, 0.75, 0.7),
        ("max_size_gb", 5e9, 5.0, 4.9),
        ("max_size_ratio", 0.5, 0.5, 0.49),
    ],
)
def test_costs_are_plainly_compared(name: str, figure: float, holds: float, fails: float) -> None:
    passed = only(costly(), Gate(**{name: holds}))  # type: ignore[arg-type]
    assert (passed.figure, passed.outcome) == (figure, PASSED)
    assert only(costly(), Gate(**{name: fails})).outcome is BROKEN  # type: ignore[arg-type]


def test_the_slowest_benchmark_counts() -> None:
    made = costly()
    slow = costly().benchmarks[0]
    slow.name = "pajamas_arithmetic"
    slow.answer_sets[1].prompt_seconds = 6.0
    made.benchmarks.append(slow)
    assert only(made, Gate(min_prompt_tokens_per_second=600.0)).figure == 500.0
    assert only(made, Gate(min_prompt_speed_ratio=1.0)).outcome is BROKEN


def no_tokens(made: Document) -> None:
    made.benchmarks[0].answer_sets[1].prompt_tokens = 0


def no_time(made: Document) -> None:
    made.benchmarks[0].answer_sets[1].prompt_seconds = 0.0


def no_answers_of_the_baseline(made: Document) -> None:
    del made.benchmarks[0].answer_sets[0]


def stored(made: Document) -> None:
    made.benchmarks[0].answer_sets[1].cached_responses = 1


def baseline_stored(made: Document) -> None:
    made.benchmarks[0].answer_sets[0].cached_responses = 1


def no_memory(made: Document) -> None:
    made.models[1].peak_memory_bytes = 0


def no_memory_of_the_baseline(made: Document) -> None:
    made.models[0].peak_memory_bytes = 0


def not_loaded(made: Document) -> None:
    made.models[1].identity = None


def disturbed(made: Document) -> None:
    made.benchmarks[0].answer_sets[1].disturbed = True


def baseline_disturbed(made: Document) -> None:
    made.benchmarks[0].answer_sets[0].disturbed = True


def nothing_generated(made: Document) -> None:
    for answers in made.benchmarks[0].answer_sets:
        answers.answers[0].parts = []


def failed(made: Document) -> None:
    made.models[1].error = "q4 ran out of memory"


def baseline_failed(made: Document) -> None:
    made.models[0].error = "base ran out of memory"


@pytest.mark.parametrize(
    ("gate", "lose"),
    [
        (Gate(min_prompt_tokens_per_second=1.0), no_tokens),
        (Gate(min_prompt_tokens_per_second=1.0), no_time),
        (Gate(min_prompt_speed_ratio=0.1), no_time),
        (Gate(min_prompt_speed_ratio=0.1), no_answers_of_the_baseline),
        (Gate(max_peak_memory_gb=100.0), no_memory),
        (Gate(max_memory_ratio=100.0), no_memory),
        (Gate(max_memory_ratio=100.0), no_memory_of_the_baseline),
        (Gate(max_size_gb=100.0), not_loaded),
        (Gate(max_size_ratio=100.0), not_loaded),
        (Gate(min_prompt_tokens_per_second=1.0), stored),
        (Gate(max_peak_memory_gb=100.0), stored),
        (Gate(min_prompt_speed_ratio=0.1), baseline_stored),
        (Gate(max_memory_ratio=100.0), baseline_stored),
        (Gate(min_prompt_tokens_per_second=2500.0), disturbed),
        (Gate(min_generated_tokens_per_second=150.0), disturbed),
        (Gate(min_prompt_speed_ratio=3.0), disturbed),
        (Gate(min_prompt_speed_ratio=1.5), baseline_disturbed),
        (Gate(min_generated_speed_ratio=1.5), baseline_disturbed),
        (Gate(min_generated_tokens_per_second=1.0), nothing_generated),
        (Gate(min_generated_speed_ratio=0.1), nothing_generated),
        (Gate(max_size_gb=100.0), failed),
        (Gate(max_peak_memory_gb=100.0), failed),
        (Gate(min_prompt_tokens_per_second=1.0), failed),
        (Gate(max_memory_ratio=0.1), baseline_failed),
        (Gate(margin=90.0), failed),
        (Gate(margin=90.0), baseline_failed),
        (Gate(margin=90.0), no_answers_of_the_baseline),
        (on_knowledge(max_flips=90.0), no_answers_of_the_baseline),
    ],
)
def test_what_was_not_measured_is_never_passed(
    gate: Gate, lose: Callable[[Document], None]
) -> None:
    made = costly()
    lose(made)
    finding = only(made, gate)
    assert finding.outcome is NOT_MEASURED
    assert finding.reason
    assert overall([finding]) is UNDECIDED


@pytest.mark.parametrize(
    ("gate", "lose", "outcome"),
    [
        (Gate(min_prompt_tokens_per_second=1500.0), disturbed, PASSED),
        (Gate(min_prompt_tokens_per_second=1500.0), baseline_disturbed, PASSED),
        (Gate(min_prompt_tokens_per_second=2500.0), baseline_disturbed, BROKEN),
        (Gate(min_prompt_speed_ratio=1.5), disturbed, PASSED),
        (Gate(min_generated_speed_ratio=3.0), baseline_disturbed, BROKEN),
        (Gate(max_size_ratio=0.4), disturbed, BROKEN),
    ],
)
def test_a_disturbed_speed_decides_what_the_true_one_would(
    gate: Gate, lose: Callable[[Document], None], outcome: Outcome
) -> None:
    """Without other programs it could only have been higher."""
    made = costly()
    lose(made)
    assert only(made, gate).outcome is outcome


def test_only_benchmarks_that_generate_have_a_speed_of_generating() -> None:
    made = costly()
    scored = costly().benchmarks[0]
    scored.name = "pajamas_commonsense"
    for answers in scored.answer_sets:
        answers.generated_tokens, answers.generation_seconds = 0, 0.0
        answers.answers[0].parts = []
    made.benchmarks.append(scored)
    assert only(made, Gate(min_generated_tokens_per_second=100.0)).figure == 100.0


def test_what_a_failed_model_is_proven_to_lose_is_broken_all_the_same() -> None:
    made = pair(200, losses=100)
    made.models[1].error = "q4 ran out of memory"
    assert only(made, Gate(margin=5.0)).outcome is BROKEN


def test_a_benchmark_that_was_not_run_is_never_passed() -> None:
    gate = Gate(benchmarks={"mmlu": BenchmarkGate(margin=50.0, max_flips=50.0, max_mean_kl=9.0)})
    findings = judge(pair(200, kl=[0.0] * 200), gate)
    assert len(findings) == 3
    for finding in findings:
        assert finding.outcome is NOT_MEASURED
        assert finding.reason == "the benchmark was not run"
        assert finding.requirement.benchmark == "mmlu"


def test_a_metric_that_the_run_lacks_is_never_passed() -> None:
    finding = only(pair(200), on_knowledge(margin=50.0, metric="acc_norm"))
    assert finding.outcome is NOT_MEASURED


def test_no_common_answer_proves_nothing() -> None:
    finding = only(pair(0, unanswered=50), Gate(margin=50.0))
    assert (finding.outcome, finding.figure) == (NOT_MEASURED, None)
    assert finding.reason == "no question was answered by both"


def test_stored_answers_leave_the_size_known_and_say_how_to_measure_the_rest() -> None:
    made = costly()
    stored(made)
    speed, size = judge(made, Gate(min_prompt_tokens_per_second=1.0, max_size_gb=5.0))
    assert speed.reason.endswith("answers were stored before; measure with --no-store")
    assert size.outcome is PASSED
