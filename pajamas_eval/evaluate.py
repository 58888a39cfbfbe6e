"""Runs models over questions and gathers a result document."""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from blake3 import blake3

from pajamas_eval import __version__, fairness
from pajamas_eval.benchmark import SHOT_SEED, Benchmark
from pajamas_eval.chat import ChatTemplate
from pajamas_eval.data import DataSource
from pajamas_eval.document import (
    FORMAT_VERSION,
    AnswerRecord,
    AnswerSet,
    BenchmarkRecord,
    Document,
    Machine,
    ModelRecord,
    QuestionRecord,
    RunSettings,
)
from pajamas_eval.errors import RunError, UsageError
from pajamas_eval.model_spec import ModelSpec
from pajamas_eval.questions import Question, QuestionSet, prepare
from pajamas_eval.requests import Failure, GenerationResult, LogLikelihoodResult, Result
from pajamas_eval.runtime import Usage
from pajamas_eval.summary import summarize
from pajamas_eval.worker import Finished, Opened, Worker


class Progress(Protocol):
    """Told what is going on, for whoever watches."""

    def step(self, text: str) -> None:
        """Something that takes a while has begun."""

    def start(self, label: str, benchmark: str, total: int) -> None:
        """A model begins a benchmark of `total` questions."""

    def advance(self, questions: int) -> None:
        """So many more of them are answered."""

    def finish(self) -> None:
        """The model is through with the benchmark."""


def evaluate(
    specs: Sequence[ModelSpec],
    benchmarks: Sequence[Benchmark],  # type: ignore[type-arg]
    data: DataSource,
    progress: Progress,
    *,
    seed: int = SHOT_SEED,
    limit: int | None = None,
    shots: int | None = None,
    apply_chat_template: bool = False,
    exact: bool = False,
    confidence: float = 0.95,
) -> Document:
    """Asks every model every question; the first model is the baseline.

    A model that fails keeps the answers it gave and is marked; the others go on.

    Raises:
        UsageError: A model, benchmark or data set is at fault; nothing has been scored then.
        RunError: A model's process died before anything was scored.
    """

    def questions(chat: ChatTemplate | None, limit: int | None) -> list[QuestionSet]:
        return [
            prepare(benchmark, data, shots=shots, limit=limit, seed=seed, chat=chat)
            for benchmark in benchmarks
        ]

    # Bad data is found before any engine starts; prompts through a template come later.
    question_sets = questions(None, 1 if apply_chat_template else limit)
    workers: list[Worker] = []
    try:
        for spec in specs:
            options = {**spec.options, "exact": True} if exact else spec.options
            workers.append(Worker(replace(spec, options=options)))
        progress.step(f"reading the tokenizers of {len(workers)} model(s)")
        opened = {worker.label: worker.open() for worker in workers}
        if apply_chat_template:
            question_sets = questions(_chat_template(workers[0].label, opened), limit)
        for label, model in opened.items():
            fairness.refuse_impossible(label, model.capabilities, question_sets)
        progress.step("comparing how the models read the questions")
        settings = {label: model.settings for label, model in opened.items()}
        fair = fairness.check(workers, settings, question_sets)
        context_length = min(s.context_length for s in settings.values())
        document = Document(
            format_version=FORMAT_VERSION,
            program_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=_machine(),
            settings=RunSettings(
                seed=seed,
                limit=limit,
                shots=shots,
                context_length=context_length,
                chat_template=(
                    _template_digest(opened[workers[0].label]) if apply_chat_template else None
                ),
                exact=exact,
                confidence=confidence,
            ),
            baseline=workers[0].label,
            models=[],
            fairness=fair,
            benchmarks=[_benchmark_record(questions) for questions in question_sets],
        )
        for worker in workers:
            document.models.append(_run_model(worker, document, question_sets, progress))
            worker.close()
    finally:
        for worker in workers:
            worker.close()
    summarize(document)
    return document


def _chat_template(label: str, opened: dict[str, Opened]) -> ChatTemplate:
    settings = opened[label].settings
    if not settings.chat_template:
        raise UsageError(f"{label}, the baseline, has no chat template to apply")
    return ChatTemplate(settings.chat_template, settings.bos_token, settings.eos_token)


def _template_digest(opened: Opened) -> str:
    return blake3((opened.settings.chat_template or "").encode("utf-8", "replace")).hexdigest()


def _run_model(
    worker: Worker, document: Document, question_sets: Sequence[QuestionSet], progress: Progress
) -> ModelRecord:
    """Loads one model and asks it everything; its answers go into the document."""
    record = ModelRecord(label=worker.label, spec=str(worker.spec.options["path"]))
    try:
        progress.step(f"loading {worker.label}")
        loaded = worker.load(document.settings.context_length)
        record.identity, record.load_seconds = loaded.identity, loaded.seconds
        for questions, benchmark_record in zip(question_sets, document.benchmarks, strict=True):
            progress.start(worker.label, questions.name, len(questions.questions))
            gathering = _Gathering(questions)
            started = time.perf_counter()
            try:
                for message in worker.answer(gathering.requests):
                    if isinstance(message, Finished):
                        gathering.usage = message.usage
                        record.peak_memory_bytes = message.peak_memory_bytes
                    else:
                        progress.advance(gathering.take(*message))
            finally:
                progress.finish()
                seconds = time.perf_counter() - started
                benchmark_record.answer_sets.append(gathering.answer_set(worker.label, seconds))
    except (UsageError, RunError) as error:
        record.error = str(error)
        progress.step(f"failed: {error}")
        for questions, benchmark_record in zip(question_sets, document.benchmarks, strict=True):
            if worker.label not in {a.label for a in benchmark_record.answer_sets}:
                nothing = _Gathering(questions).answer_set(worker.label, 0.0)
                benchmark_record.answer_sets.append(nothing)
    return record


class _Gathering:
    """Puts results, which come in any order, together into answers."""

    def __init__(self, questions: QuestionSet) -> None:
        self.usage = Usage()
        self._questions = questions.questions
        self._results: list[list[Result | None]] = [
            [None] * len(q.requests) for q in self._questions
        ]
        self._missing = [len(q.requests) for q in self._questions]
        self._place = [
            (i, j) for i, q in enumerate(self._questions) for j in range(len(q.requests))
        ]
        self.requests = [request for q in self._questions for request in q.requests]

    def take(self, index: int, result: Result) -> int:
        """Notes one result; returns how many questions it completed, 0 or 1."""
        question, part = self._place[index]
        self._results[question][part] = result
        self._missing[question] -= 1
        return int(self._missing[question] == 0)

    def answer_set(self, label: str, wall_seconds: float) -> AnswerSet:
        """All answers in the questions' order; what is missing is an error."""
        return AnswerSet(
            label=label,
            answers=[
                _answer(question, results)
                for question, results in zip(self._questions, self._results, strict=True)
            ],
            wall_seconds=wall_seconds,
            engine_seconds=self.usage.engine_seconds,
            evaluated_tokens=self.usage.evaluated_tokens,
            ideal_tokens=self.usage.ideal_tokens,
            generated_tokens=self.usage.generated_tokens,
            batching=self.usage.batching,
            packing=self.usage.packing,
            notes=list(self.usage.notes),
        )


def _answer(question: Question, results: Sequence[Result | None]) -> AnswerRecord:
    answer = AnswerRecord(doc_id=question.doc_id, scores={})
    good: list[LogLikelihoodResult | GenerationResult] = []
    for result in results:
        if result is None:
            answer.error = answer.error or "the model did not get to this question"
        elif isinstance(result, Failure):
            answer.error = answer.error or result.error
        else:
            good.append(result)
    answer.prompt_tokens = sum(r.prompt_tokens for r in good)
    answer.token_count = sum(r.token_count for r in good)
    answer.truncated_tokens = sum(r.truncated_tokens for r in good)
    answer.seconds = sum(r.seconds for r in good)
    scored = [r for r in good if isinstance(r, LogLikelihoodResult)]
    if scored and answer.error is None:  # one for each choice, or none
        answer.log_probabilities = [r.log_probability for r in scored]
        answer.is_greedy = [r.is_greedy for r in scored]
    for generated in (r for r in good if isinstance(r, GenerationResult)):
        answer.text, answer.finish_reason = generated.text, generated.finish_reason
    if answer.error is None:
        score = question.score(good)
        answer.scores, answer.prediction = dict(score.metrics), score.prediction
    return answer


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
            )
            for q in questions.questions
        ],
        answer_sets=[],
    )


def _machine() -> Machine:
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
