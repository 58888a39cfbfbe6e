"""Questions asked only until each verdict is in."""

from collections.abc import Sequence
from typing import Any

from pajamas_eval.analysis.paired import paired
from pajamas_eval.api.benchmark import Benchmark
from pajamas_eval.errors import UsageError
from pajamas_eval.evaluation.answer_collector import NOT_REACHED
from pajamas_eval.evaluation.model_runner import ModelRunner
from pajamas_eval.questions.prepare import QuestionSet
from pajamas_eval.results.document import AnswerSet, BenchmarkRecord, Document
from pajamas_eval.results.run_config import RunSettings
from pajamas_eval.statistics.verdicts import Verdict

FIRST_LOOK = 50
"""Questions before the first look at a verdict; each later chunk is a fifth of those before."""


def refuse_early_stop(benchmark: Benchmark[Any]) -> None:
    """Raises `UsageError` where no test with a look after every question is known."""
    metric = benchmark.metrics[0]
    if not metric.is_proportion:
        raise UsageError(
            f"--until-decided takes metrics between 0 and 1, and {benchmark.name} is measured in "
            f"{metric.unit}"
        )


def ask_until_decided(
    runners: Sequence[ModelRunner],
    question_sets: Sequence[QuestionSet],
    document: Document,
) -> None:
    """Each variant with the baseline, chunk by chunk, so that two models are in memory.

    Those without a verdict are asked last: what the baseline was asked.
    """
    baseline, *others = runners
    found: dict[tuple[str, str], AnswerSet] = {}
    for other in sorted(others, key=lambda runner: runner.record.noise_floor):
        for questions, record in zip(question_sets, document.benchmarks, strict=True):
            if other.record.noise_floor:
                answers = other.ask(questions, range(len(baseline.ask(questions, ()).answers)))
            else:
                answers = _ask_pair(baseline, other, questions, record, document.settings)
            found[other.label, record.name] = answers
        other.close()
    for questions, record in zip(question_sets, document.benchmarks, strict=True):
        record.answer_sets.append(baseline.ask(questions, ()))
        record.answer_sets += [found[other.label, record.name] for other in others]


def _ask_pair(
    baseline: ModelRunner,
    variant: ModelRunner,
    questions: QuestionSet,
    record: BenchmarkRecord,
    settings: RunSettings,
) -> AnswerSet:
    """The variant's answers: to all questions, or those before the verdict or a failure."""
    planned, stop = len(questions.questions), 0
    margin = settings.margin(record.headline)
    assert margin is not None  # a run without one was refused
    while True:
        stop = min(stop + max(FIRST_LOOK, stop // 5), planned)
        theirs, ours = (model.ask(questions, range(stop)) for model in (baseline, variant))
        pairs = paired(record, record.headline, theirs, ours)
        verdict = pairs.verdict(margin, settings.confidence, until_decided=True)
        failed = any(
            answer.error == NOT_REACHED
            for answers in (theirs, ours)
            for answer in answers.answers[:stop]
        )
        if failed or verdict is not Verdict.UNDECIDED or stop == planned:
            return ours
