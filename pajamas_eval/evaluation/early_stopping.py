"""Questions asked only until each verdict is in."""

from collections.abc import Sequence

from pajamas_eval.analysis.pairs import paired_differences, until_decided
from pajamas_eval.evaluation.answer_collector import NOT_REACHED
from pajamas_eval.evaluation.model_runner import ModelRunner
from pajamas_eval.questions.prepare import QuestionSet
from pajamas_eval.results.document import AnswerSet, Document, RunSettings
from pajamas_eval.statistics.verdicts import Verdict

FIRST_LOOK = 50
"""Questions before the first look at a verdict; each later chunk is a fifth of those before."""


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
                answers = other.ask(questions, len(baseline.ask(questions, 0).answers))
            else:
                answers = _ask_pair(
                    baseline, other, questions, record.metrics[0], document.settings
                )
            found[other.label, record.name] = answers
        other.close()
    for questions, record in zip(question_sets, document.benchmarks, strict=True):
        record.answer_sets.append(baseline.ask(questions, 0))
        record.answer_sets += [found[other.label, record.name] for other in others]


def _ask_pair(
    baseline: ModelRunner,
    variant: ModelRunner,
    questions: QuestionSet,
    metric: str,
    settings: RunSettings,
) -> AnswerSet:
    """The variant's answers: to all questions, or those before the verdict or a failure."""
    planned, stop = len(questions.questions), 0
    while True:
        stop = min(stop + max(FIRST_LOOK, stop // 5), planned)
        theirs, ours = baseline.ask(questions, stop), variant.ask(questions, stop)
        differences = paired_differences(theirs, ours, metric)
        verdict = until_decided(differences, planned, settings.margin, settings.confidence)
        failed = any(
            answer.error == NOT_REACHED
            for answers in (theirs, ours)
            for answer in answers.answers[:stop]
        )
        if failed or verdict is not Verdict.UNDECIDED or stop == planned:
            return ours
