"""Runs models over questions and gathers a result document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pajamas_eval import __version__
from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.benchmark import Benchmark
from pajamas_eval.api.data import DataSource
from pajamas_eval.api.identity import Settings
from pajamas_eval.errors import UsageError
from pajamas_eval.evaluation import fairness
from pajamas_eval.evaluation.benchmark_choice import choose
from pajamas_eval.evaluation.call_workers import call_workers
from pajamas_eval.evaluation.control import with_control
from pajamas_eval.evaluation.early_stopping import ask_until_decided, refuse_early_stop
from pajamas_eval.evaluation.model_runner import ModelRunner, Progress
from pajamas_eval.evaluation.noise_floor import ONE_SHAPE, with_noise_floor
from pajamas_eval.evaluation.recording import Recording
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.plugins import contained
from pajamas_eval.questions.chat_template import ChatTemplate
from pajamas_eval.questions.prepare import QuestionSet, prepare
from pajamas_eval.results.document import (
    BenchmarkRecord,
    Document,
    Fairness,
    QuestionRecord,
)
from pajamas_eval.results.file import FORMAT_VERSION
from pajamas_eval.results.machine import this_machine
from pajamas_eval.results.run_config import RunConfig, RunSettings, config_of
from pajamas_eval.workers.local_worker import LocalWorker
from pajamas_eval.workers.messages import Opened, Readings
from pajamas_eval.workers.worker import Worker


def evaluate(
    specs: Sequence[ModelSpec],
    benchmarks: Sequence[Benchmark[Any]],
    data: DataSource,
    progress: Progress,
    config: RunConfig,
    recording: Recording | None = None,
    *,
    choosing: bool = False,
) -> Document:
    """Asks every model every question; the first is the baseline.

    A model that fails keeps the answers it gave and is marked; the others go on. What is recorded
    already is not computed again. `choosing`: only benchmarks that can tell are asked.

    Raises:
        UsageError: A model, benchmark or data set is at fault; nothing has been scored then.
        RunError: A model's process died before anything was scored.
    """
    specs, floors = with_noise_floor(specs, config)
    specs, control = with_control(specs, config)
    refuse_unknown_margins(benchmarks, config, len(specs) > 1)
    # Bad data is found before any engine starts; prompts through a template come later.
    first = 1 if config.apply_chat_template else config.limit
    question_sets = _question_sets(benchmarks, data, config, first, None)
    workers: list[Worker] = []
    try:
        workers += (_worker(spec, config, recording) for spec in specs)
        progress.step("opening the models")
        models = _Models(workers, {}, {}, {})
        models.opened = call_workers(workers, models.lost, lambda worker: worker.open())
        if config.noise_floor and models.opened[models.baseline].key.options.get("exact"):
            raise UsageError(ONE_SHAPE)
        if config.apply_chat_template:
            models.template = _chat_template(models.baseline, models.settings, config)
            question_sets = _question_sets(benchmarks, data, config, config.limit, models.template)
        for label, opened in models.opened.items():
            fairness.refuse_impossible(label, opened.capabilities, question_sets)
        progress.step("comparing how the models read the questions")
        models.read(question_sets)
        fair = fairness.check(models.alive, models.opened, question_sets, models.readings, config)
        document = _document(config, models, question_sets, fair)
        runners = [
            _runner(worker, models, progress, question_sets, recording) for worker in workers
        ]
        document.models = [runner.record for runner in runners]
        for record in document.models:
            record.noise_floor, record.control = record.label in floors, record.label == control
        if recording:
            keys = {label: opened.key for label, opened in models.opened.items()}
            recording.resolved(document.settings, keys)
        if choosing:
            question_sets = _chosen(runners[0], question_sets, document, models, config)
        ask = ask_until_decided if config.until_decided else _ask_everything
        ask(runners, question_sets, document)
    finally:
        for worker in workers:
            worker.close()
    summarize(document)
    return document


def _worker(spec: ModelSpec, config: RunConfig, recording: Recording | None) -> Worker:
    options = {**spec.options, "exact": True} if config.exact else spec.options
    log = recording.log(spec.label) if recording else None
    return LocalWorker(replace(spec, options=options), log, config.timeout)


@dataclass
class _Models:
    """The workers of a run, and what is known of their models before any is loaded.

    Attributes:
        template: The baseline's, where prompts go through it.
        lost: Last words of those that died, by label; they are left out of all that follows.
    """

    workers: Sequence[Worker]
    lost: dict[str, str]
    opened: Mapping[str, Opened]
    readings: Mapping[str, Readings]
    template: ChatTemplate | None = None

    @property
    def baseline(self) -> str:
        """Its label."""
        return self.workers[0].label

    @property
    def alive(self) -> list[Worker]:
        """Those that are not lost."""
        return [worker for worker in self.workers if worker.label not in self.lost]

    @property
    def settings(self) -> dict[str, Settings]:
        """How each reads text, where that is known."""
        return {label: o.settings for label, o in self.opened.items() if o.settings}

    @property
    def context_length(self) -> int | None:
        """The least of all models' own, so that all truncate alike."""
        lengths = [s.context_length for s in self.settings.values() if s.context_length is not None]
        return min(lengths, default=None)

    def read(self, question_sets: Sequence[QuestionSet]) -> None:
        """Has all of them read the questions at the same time."""
        requests, length = fairness.all_requests(question_sets), self.context_length

        def start(worker: Worker) -> None:
            worker.start_reading(requests, length)

        def start_again(worker: Worker) -> None:
            worker.open()
            start(worker)

        def read_again(worker: Worker) -> Readings:
            start_again(worker)
            return worker.readings()

        call_workers(self.workers, self.lost, start, start_again)
        self.readings = call_workers(
            self.workers, self.lost, lambda worker: worker.readings(), read_again
        )


def refuse_unknown_margins(
    benchmarks: Sequence[Benchmark[Any]], config: RunConfig, compares: bool
) -> None:
    """Raises `UsageError` for metrics on which nothing could be decided."""
    if config.equivalence and config.until_decided:
        raise UsageError("--equivalence takes all questions, and --until-decided asks some")
    for benchmark in benchmarks:
        metric = benchmark.metrics[0]
        for each in benchmark.metrics if compares else ():
            if margin := config.margin(each):
                each.margin_size(margin)
        if compares and config.margin(metric) is None:
            raise UsageError(
                f"{benchmark.name} is measured in {metric.unit}: say how much a variant may lose, "
                f"for example --margin 0.1{metric.unit}"
            )
        if config.until_decided:
            refuse_early_stop(benchmark)


def _question_sets(
    benchmarks: Sequence[Benchmark[Any]],
    data: DataSource,
    config: RunConfig,
    limit: int | None,
    chat: ChatTemplate | None,
) -> list[QuestionSet]:
    question_sets = []
    for benchmark in benchmarks:
        with contained(f"the benchmark {benchmark.name}"):
            questions = prepare(
                benchmark,
                data,
                shots=config.shots,
                limit=limit,
                seed=config.seed,
                chat=chat,
                shuffled=config.until_decided,
            )
        question_sets.append(questions)
    return question_sets


def _chosen(
    baseline: ModelRunner,
    question_sets: Sequence[QuestionSet],
    document: Document,
    models: _Models,
    config: RunConfig,
) -> list[QuestionSet]:
    """The questions that can tell; the document keeps no others."""
    chosen, note = choose(baseline, question_sets, document)
    names = [questions.name for questions in chosen]
    readings = {
        label: _joined([_by_benchmark(question_sets, found)[name] for name in names])
        for label, found in models.readings.items()
    }
    document.fairness = fairness.check(models.alive, models.opened, chosen, readings, config)
    document.fairness.notes.append(note)
    document.benchmarks = [record for record in document.benchmarks if record.name in names]
    return chosen


def _document(
    config: RunConfig, models: _Models, question_sets: Sequence[QuestionSet], fair: Fairness
) -> Document:
    template = models.template
    options = config_of(config)
    options["template_date"] = template.today if template and template.reads_clock else None
    return Document(
        format_version=FORMAT_VERSION,
        program_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=this_machine(),
        settings=RunSettings(
            **options,
            context_length=models.context_length,
            template_digest=template.digest if template else None,
        ),
        baseline=models.baseline,
        models=[],
        fairness=fair,
        benchmarks=[_benchmark_record(questions) for questions in question_sets],
    )


def _runner(
    worker: Worker,
    models: _Models,
    progress: Progress,
    question_sets: Sequence[QuestionSet],
    recording: Recording | None,
) -> ModelRunner:
    opened = models.opened.get(worker.label)
    cache = None
    if recording and opened and worker.label not in models.lost:
        cache = recording.responses(worker.label, opened.key)
    readings = _by_benchmark(question_sets, models.readings.get(worker.label, Readings([])))
    runner = ModelRunner(worker, opened, models.context_length, progress, readings, cache)
    runner.record.error = models.lost.get(worker.label)
    return runner


def _by_benchmark(question_sets: Sequence[QuestionSet], readings: Readings) -> dict[str, Readings]:
    """The readings of all requests, divided by benchmark."""
    divided, start = {}, 0
    for questions in question_sets:
        end = start + sum(len(question.requests) for question in questions.questions)
        unknown = frozenset(place - start for place in readings.unknown if start <= place < end)
        divided[questions.name] = Readings(readings.fingerprints[start:end], unknown)
        start = end
    return divided


def _joined(parts: Sequence[Readings]) -> Readings:
    """The readings of several benchmarks, as of one."""
    fingerprints: list[bytes] = []
    unknown: set[int] = set()
    for part in parts:
        unknown |= {len(fingerprints) + place for place in part.unknown}
        fingerprints += part.fingerprints
    return Readings(fingerprints, frozenset(unknown))


def _ask_everything(
    runners: Sequence[ModelRunner], question_sets: Sequence[QuestionSet], document: Document
) -> None:
    """One model after the other, so that only one is in memory."""
    for runner in runners:
        for questions, record in zip(question_sets, document.benchmarks, strict=True):
            record.answer_sets.append(runner.ask(questions))
        runner.close()


def _chat_template(label: str, settings: Mapping[str, Settings], config: RunConfig) -> ChatTemplate:
    of_baseline = settings.get(label)
    if of_baseline is None or not of_baseline.chat_template:
        raise UsageError(f"{label}, the baseline, has no chat template to apply")
    return ChatTemplate(
        of_baseline.chat_template,
        of_baseline.bos_token,
        of_baseline.eos_token,
        config.template_date,
    )


def _benchmark_record(questions: QuestionSet) -> BenchmarkRecord:
    return BenchmarkRecord(
        name=questions.name,
        metrics=list(questions.benchmark.metrics),
        has_choices=questions.benchmark.has_choices,
        cloze=questions.benchmark.cloze,
        max_shots=questions.benchmark.max_shots,
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
                answer=q.answer,
                chance=q.chance,
                cluster=q.cluster,
            )
            for q in questions.questions
        ],
        answer_sets=[],
    )
