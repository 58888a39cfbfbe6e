"""Runs models over questions and gathers a result document."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from blake3 import blake3

from pajamas_eval import __version__, fairness
from pajamas_eval.benchmark import SHOT_SEED, Benchmark
from pajamas_eval.chat import ChatTemplate
from pajamas_eval.data import DataSource
from pajamas_eval.document import (
    FORMAT_VERSION,
    AnswerSet,
    BenchmarkRecord,
    Document,
    QuestionRecord,
    RunSettings,
    this_machine,
)
from pajamas_eval.errors import UsageError, WorkerDiedError, WorkerHungError, suggestion
from pajamas_eval.gathering import NOT_REACHED
from pajamas_eval.model_spec import ModelSpec
from pajamas_eval.pairs import paired_differences, until_decided
from pajamas_eval.questions import QuestionSet, prepare
from pajamas_eval.recording import Recording
from pajamas_eval.respondent import Progress, Respondent
from pajamas_eval.statistics.verdicts import Verdict
from pajamas_eval.summary import summarize
from pajamas_eval.worker import PATIENCE_SECONDS, Worker
from pajamas_eval.worker_process import Opened

_Answer = TypeVar("_Answer")

FIRST_LOOK = 50
"""Questions before the first look at a verdict; each later chunk is a fifth of those before."""

NOISE_BATCHES = (
    {"batch_tokens": 160, "batch_sequences": 5},
    {"batch_tokens": 96, "batch_sequences": 3},
)
"""Batches of the second run of the baseline: of another shape than any runtime's own, and another
again, where the first run has the former."""

_ONE_SHAPE = "a noise floor needs batches of two shapes, and exact allows one"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a run is asked to do, with every model alike.

    Attributes:
        margin: Loss that a variant may have and still be no worse, as a proportion.
        until_decided: Ask questions in random order, and only until each verdict is in.
        noise_floor: Run the baseline a second time, in batches of another shape.
        same_weights: Labels of variants that are the baseline's weights in another runtime.
        patience: Seconds that an engine may show no sign of life while it answers.
    """

    seed: int = SHOT_SEED
    limit: int | None = None
    shots: int | None = None
    apply_chat_template: bool = False
    exact: bool = False
    confidence: float = 0.95
    margin: float = 0.01
    until_decided: bool = False
    noise_floor: bool = False
    same_weights: tuple[str, ...] = ()
    patience: float = PATIENCE_SECONDS


def evaluate(
    specs: Sequence[ModelSpec],
    benchmarks: Sequence[Benchmark],  # type: ignore[type-arg]
    data: DataSource,
    progress: Progress,
    asked: Asked = Asked(),
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

    specs, floors = _with_noise_floor(specs, asked)
    # Bad data is found before any engine starts; prompts through a template come later.
    question_sets = questions(None, 1 if asked.apply_chat_template else asked.limit)
    workers: list[Worker] = []
    try:
        for spec in specs:
            options = {**spec.options, "exact": True} if asked.exact else spec.options
            log = recording.log(spec.label) if recording else None
            workers.append(Worker(replace(spec, options=options), log, asked.patience))
        progress.step("reading the tokenizers")
        lost: dict[str, str] = {}
        opened = _surviving(workers, lost, Worker.open)
        if asked.noise_floor and opened[workers[0].label].options.get("exact"):
            raise UsageError(_ONE_SHAPE)
        if asked.apply_chat_template:
            question_sets = questions(_chat_template(workers[0].label, opened), asked.limit)
        for label, model in opened.items():
            fairness.refuse_impossible(label, model.capabilities, question_sets)
        progress.step("comparing how the models read the questions")
        settings = {label: model.settings for label, model in opened.items()}
        requests = fairness.all_requests(question_sets)
        context_length = min(s.context_length for s in settings.values())

        def begin(worker: Worker) -> None:
            worker.begin_reading(requests, context_length)

        def begin_again(worker: Worker) -> None:
            worker.open()
            begin(worker)

        def read_again(worker: Worker) -> list[bytes]:
            begin_again(worker)
            return worker.fingerprints()

        _surviving(workers, lost, begin, begin_again)
        fingerprints = _surviving(workers, lost, Worker.fingerprints, read_again)
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
        respondents = [
            Respondent(
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
        document.models = [respondent.record for respondent in respondents]
        for model_record in document.models:
            model_record.error = lost.get(model_record.label)
        for model_record in document.models:
            model_record.noise_floor = model_record.label in floors
        if recording:
            recording.resolved(
                document.settings, {label: model.engine for label, model in opened.items()}
            )
        ask = _ask_until_decided if asked.until_decided else _ask_everything
        ask(respondents, question_sets, document)
    finally:
        for worker in workers:
            worker.close()
    summarize(document)
    return document


def _surviving(
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


def _with_noise_floor(
    specs: Sequence[ModelSpec], asked: Asked
) -> tuple[list[ModelSpec], frozenset[str]]:
    """All models to run, and the labels of those that show the engine's noise."""
    floors = set(asked.same_weights)
    labels = [spec.label for spec in specs]
    for label in asked.same_weights:
        if label not in labels[1:]:
            raise UsageError(f"no variant has the label {label!r}{suggestion(label, labels[1:])}")
    if asked.until_decided and floors.issuperset(labels[1:]):
        raise UsageError(
            "no variant is left to decide on: one with the baseline's own weights gets no verdict"
        )
    if not asked.noise_floor:
        return list(specs), frozenset(floors)
    if asked.exact:
        raise UsageError(_ONE_SHAPE)
    baseline, *variants = specs
    options = baseline.options
    shape = next(
        shape for shape in NOISE_BATCHES if any(str(options.get(k)) != str(shape[k]) for k in shape)
    )
    again = replace(baseline, label=f"{baseline.label} again", options={**options, **shape})
    if again.label in labels:
        raise UsageError(
            f"two models would have the label {again.label!r}: the noise floor is called so; "
            "give yours another label"
        )
    return [baseline, again, *variants], frozenset({*floors, again.label})


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
    respondents: Sequence[Respondent],
    question_sets: Sequence[QuestionSet],
    document: Document,
) -> None:
    """One model after the other, so that only one is in memory."""
    for respondent in respondents:
        for questions, record in zip(question_sets, document.benchmarks, strict=True):
            record.answer_sets.append(respondent.ask(questions))
        respondent.close()


def _ask_until_decided(
    respondents: Sequence[Respondent],
    question_sets: Sequence[QuestionSet],
    document: Document,
) -> None:
    """Each variant with the baseline, chunk by chunk, so that two models are in memory.

    Those without a verdict are asked last: what the baseline was asked.
    """
    baseline, *others = respondents
    found: dict[tuple[str, str], AnswerSet] = {}
    for other in sorted(others, key=lambda respondent: respondent.record.noise_floor):
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
    baseline: Respondent,
    variant: Respondent,
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
