"""Runs models over questions and gathers a result document."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from blake3 import blake3

from pajamas_eval import __version__
from pajamas_eval.analysis.scores import summarize
from pajamas_eval.api.benchmark import Benchmark
from pajamas_eval.api.data import DataSource
from pajamas_eval.errors import UsageError, WorkerDiedError, WorkerHungError
from pajamas_eval.evaluation import fairness
from pajamas_eval.evaluation.early_stopping import ask_until_decided
from pajamas_eval.evaluation.model_runner import ModelRunner, Progress
from pajamas_eval.evaluation.noise_floor import ONE_SHAPE, with_noise_floor
from pajamas_eval.evaluation.recording import Recording
from pajamas_eval.evaluation.run_config import RunConfig
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.questions.chat_template import ChatTemplate
from pajamas_eval.questions.prepare import QuestionSet, prepare
from pajamas_eval.results.document import (
    BenchmarkRecord,
    Document,
    QuestionRecord,
    RunSettings,
)
from pajamas_eval.results.file import FORMAT_VERSION
from pajamas_eval.results.machine import this_machine
from pajamas_eval.workers.local_worker import LocalWorker
from pajamas_eval.workers.messages import Opened
from pajamas_eval.workers.worker import Worker

_Answer = TypeVar("_Answer")


def evaluate(
    specs: Sequence[ModelSpec],
    benchmarks: Sequence[Benchmark],  # type: ignore[type-arg]
    data: DataSource,
    progress: Progress,
    asked: RunConfig,
    recording: Recording | None = None,
) -> Document:
    """Asks every model every question; the first model is the baseline.

    A model that fails keeps the answers it gave and is marked; the others go on. What is recorded
    already is not computed again.

    Raises:
        UsageError: A model, benchmark or data set is at fault; nothing has been scored then.
        RunError: A model's process died before anything was scored.
    """

    def questions(chat: ChatTemplate | None, limit: int | None) -> list[QuestionSet]:
        return [
            prepare(
                benchmark,
                data,
                shots=asked.shots,
                limit=limit,
                seed=asked.seed,
                chat=chat,
                shuffled=asked.until_decided,
            )
            for benchmark in benchmarks
        ]

    specs, floors = with_noise_floor(specs, asked)
    # Bad data is found before any engine starts; prompts through a template come later.
    question_sets = questions(None, 1 if asked.apply_chat_template else asked.limit)
    workers: list[Worker] = []
    try:
        for spec in specs:
            options = {**spec.options, "exact": True} if asked.exact else spec.options
            log = recording.log(spec.label) if recording else None
            workers.append(LocalWorker(replace(spec, options=options), log, asked.timeout))
        progress.step("reading the tokenizers")
        lost: dict[str, str] = {}
        opened = _call_workers(workers, lost, lambda worker: worker.open())
        if asked.noise_floor and opened[workers[0].label].options.get("exact"):
            raise UsageError(ONE_SHAPE)
        if asked.apply_chat_template:
            question_sets = questions(_chat_template(workers[0].label, opened), asked.limit)
        for label, model in opened.items():
            fairness.refuse_impossible(label, model.capabilities, question_sets)
        progress.step("comparing how the models read the questions")
        settings = {label: model.settings for label, model in opened.items()}
        requests = fairness.all_requests(question_sets)
        context_length = min(s.context_length for s in settings.values())

        def begin(worker: Worker) -> None:
            worker.start_tokenizing(requests, context_length)

        def begin_again(worker: Worker) -> None:
            worker.open()
            begin(worker)

        def read_again(worker: Worker) -> list[bytes]:
            begin_again(worker)
            return worker.fingerprints()

        _call_workers(workers, lost, begin, begin_again)
        fingerprints = _call_workers(
            workers, lost, lambda worker: worker.fingerprints(), read_again
        )
        alive = [worker for worker in workers if worker.label not in lost]
        fair = fairness.check(alive, settings, question_sets, fingerprints)
        document = Document(
            format_version=FORMAT_VERSION,
            program_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=this_machine(),
            settings=RunSettings(
                seed=asked.seed,
                limit=asked.limit,
                shots=asked.shots,
                context_length=context_length,
                chat_template=(
                    _template_digest(opened[workers[0].label])
                    if asked.apply_chat_template
                    else None
                ),
                exact=asked.exact,
                confidence=asked.confidence,
                margin=asked.margin,
                until_decided=asked.until_decided,
            ),
            baseline=workers[0].label,
            models=[],
            fairness=fair,
            benchmarks=[_benchmark_record(questions) for questions in question_sets],
        )
        runners = [
            ModelRunner(
                worker,
                context_length,
                progress,
                _by_benchmark(question_sets, fingerprints.get(worker.label, ())),
                recording.responses(worker, opened[worker.label])
                if recording and worker.label not in lost
                else None,
            )
            for worker in workers
        ]
        document.models = [runner.record for runner in runners]
        for model_record in document.models:
            model_record.error = lost.get(model_record.label)
        for model_record in document.models:
            model_record.noise_floor = model_record.label in floors
        if recording:
            recording.resolved(
                document.settings, {label: model.engine for label, model in opened.items()}
            )
        ask = ask_until_decided if asked.until_decided else _ask_everything
        ask(runners, question_sets, document)
    finally:
        for worker in workers:
            worker.close()
    summarize(document)
    return document


def _call_workers(
    workers: Sequence[Worker],
    lost: dict[str, str],
    ask: Callable[[Worker], _Answer],
    ask_again: Callable[[Worker], _Answer] | None = None,
) -> dict[str, _Answer]:
    """What each worker answers, by its label; one that dies is started again once.

    Those that die again are added to `lost` with their last words: their models have failed, and
    the others go on. Without the baseline there is nothing to go on with.
    """
    answers = {}
    for worker in (w for w in workers if w.label not in lost):
        try:
            try:
                answers[worker.label] = ask(worker)
            except (WorkerDiedError, WorkerHungError):
                worker.restart()
                answers[worker.label] = (ask_again or ask)(worker)
        except (WorkerDiedError, WorkerHungError) as error:
            if worker is workers[0]:
                raise
            lost[worker.label] = str(error)
    return answers


def _by_benchmark(
    question_sets: Sequence[QuestionSet], fingerprints: Sequence[bytes]
) -> dict[str, Sequence[bytes]]:
    """The fingerprints of all requests, divided by benchmark."""
    divided, start = {}, 0
    for questions in question_sets:
        count = sum(len(question.requests) for question in questions.questions)
        divided[questions.name] = fingerprints[start : start + count]
        start += count
    return divided


def _ask_everything(
    runners: Sequence[ModelRunner],
    question_sets: Sequence[QuestionSet],
    document: Document,
) -> None:
    """One model after the other, so that only one is in memory."""
    for runner in runners:
        for questions, record in zip(question_sets, document.benchmarks, strict=True):
            record.answer_sets.append(runner.ask(questions))
        runner.close()


def _chat_template(label: str, opened: dict[str, Opened]) -> ChatTemplate:
    settings = opened[label].settings
    if not settings.chat_template:
        raise UsageError(f"{label}, the baseline, has no chat template to apply")
    return ChatTemplate(settings.chat_template, settings.bos_token, settings.eos_token)


def _template_digest(opened: Opened) -> str:
    return blake3((opened.settings.chat_template or "").encode("utf-8", "replace")).hexdigest()


def _benchmark_record(questions: QuestionSet) -> BenchmarkRecord:
    return BenchmarkRecord(
        name=questions.name,
        metrics=list(questions.benchmark.metrics),
        shots=questions.shots,
        available=questions.available,
        notes=list(questions.notes),
        questions=[
            QuestionRecord(
                doc_id=q.doc_id,
                doc_hash=q.doc_hash,
                prompt_hash=q.prompt_hash,
                tags=q.tags,
                gold=q.gold,
                cluster=q.cluster,
            )
            for q in questions.questions
        ],
        answer_sets=[],
    )
