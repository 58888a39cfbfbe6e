"""One model that is asked questions: loaded when it first has to answer, its answers kept."""

import time
from collections.abc import Sequence
from typing import Protocol

from blake3 import blake3

from pajamas_eval.document import AnswerRecord, AnswerSet, ModelRecord
from pajamas_eval.errors import RunError, UsageError
from pajamas_eval.questions import Question, QuestionSet
from pajamas_eval.requests import (
    Failure,
    GenerationResult,
    LogLikelihoodResult,
    Request,
    Result,
)
from pajamas_eval.runtime import Usage
from pajamas_eval.worker import Finished, Worker

NOT_REACHED = "the model did not get to this question"


class Progress(Protocol):
    """Told what is going on, for whoever watches."""

    def step(self, text: str) -> None:
        """Something that takes a while has begun."""

    def start(self, label: str, benchmark: str, total: int) -> None:
        """A model begins with `total` questions of a benchmark."""

    def advance(self, questions: int) -> None:
        """So many more of them are answered."""

    def finish(self) -> None:
        """The model is through with them."""


class Respondent:
    """A worker with what it was asked and what it answered.

    A model that fails keeps the answers it gave; whatever else it is asked is an error.
    """

    def __init__(self, worker: Worker, context_length: int, progress: Progress) -> None:
        self.record = ModelRecord(label=worker.label, spec=str(worker.spec.options["path"]))
        self._worker = worker
        self._context_length = context_length
        self._progress = progress
        self._answers: dict[str, Answers] = {}

    @property
    def label(self) -> str:
        """The model's name in the report."""
        return self._worker.label

    def ask(self, questions: QuestionSet, stop: int | None = None) -> AnswerSet:
        """The answers to the first `stop` questions; those that are not there yet are asked for."""
        answers = self._answers.setdefault(questions.name, Answers(questions))
        requests = answers.extend(len(questions.questions) if stop is None else stop)
        if requests and not self.record.error:
            try:
                self._load()
                self._answer(answers, requests)
            except (UsageError, RunError) as error:
                self.record.error = str(error)
                self._progress.step(f"failed: {error}")
        return answers.answer_set(self.label)

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._worker.close()

    def _load(self) -> None:
        if self.record.identity is None:
            self._progress.step(f"loading {self.label}")
            loaded = self._worker.load(self._context_length)
            self.record.identity, self.record.load_seconds = loaded.identity, loaded.seconds

    def _answer(self, answers: "Answers", requests: Sequence[Request]) -> None:
        self._progress.start(self.label, answers.name, answers.unanswered)
        started = time.perf_counter()
        try:
            for message in self._worker.answer(requests):
                if isinstance(message, Finished):
                    answers.add_usage(message.usage)
                    self.record.peak_memory_bytes = message.peak_memory_bytes
                else:
                    self._progress.advance(answers.take(*message))
        finally:
            self._progress.finish()
            answers.wall_seconds += time.perf_counter() - started


class Answers:
    """Puts the results of one benchmark, which come in any order, together into answers."""

    def __init__(self, questions: QuestionSet) -> None:
        self.name = questions.name
        self.wall_seconds = 0.0
        self._questions = questions.questions
        self._usage = Usage()
        self._packing: list[str] = []
        self._results: list[list[Result | None]] = []
        self._missing: list[int] = []
        self._place: list[tuple[int, int]] = []

    def extend(self, stop: int) -> list[Request]:
        """What is to be asked for answers to the first `stop` questions, beyond what was."""
        new = range(len(self._results), max(stop, len(self._results)))
        self._place = [(i, j) for i in new for j in range(len(self._questions[i].requests))]
        for i in new:
            self._results.append([None] * len(self._questions[i].requests))
            self._missing.append(len(self._questions[i].requests))
        return [self._questions[i].requests[j] for i, j in self._place]

    @property
    def unanswered(self) -> int:
        """Questions that were asked for and have no answer yet."""
        return sum(missing > 0 for missing in self._missing)

    def take(self, index: int, result: Result) -> int:
        """Notes the result of one of the requests that `extend` gave.

        Returns how many questions it completed, 0 or 1.
        """
        question, part = self._place[index]
        self._results[question][part] = result
        self._missing[question] -= 1
        return int(self._missing[question] == 0)

    def add_usage(self, usage: Usage) -> None:
        """Adds what some of the answers cost."""
        ours = self._usage
        ours.evaluated_tokens += usage.evaluated_tokens
        ours.ideal_tokens += usage.ideal_tokens
        ours.generated_tokens += usage.generated_tokens
        ours.engine_seconds += usage.engine_seconds
        ours.batching = usage.batching
        ours.notes += usage.notes
        self._packing.append(usage.packing)

    def answer_set(self, label: str) -> AnswerSet:
        """All answers in the questions' order; what is missing is an error."""
        packing = self._packing[0] if len(self._packing) == 1 else _digest(self._packing)
        return AnswerSet(
            label=label,
            answers=[
                _answer(question, results)
                for question, results in zip(self._questions, self._results, strict=False)
            ],
            wall_seconds=self.wall_seconds,
            engine_seconds=self._usage.engine_seconds,
            evaluated_tokens=self._usage.evaluated_tokens,
            ideal_tokens=self._usage.ideal_tokens,
            generated_tokens=self._usage.generated_tokens,
            batching=self._usage.batching,
            packing=packing,
            notes=list(self._usage.notes),
        )


def _digest(packings: Sequence[str]) -> str:
    return blake3("\n".join(packings).encode()).hexdigest() if packings else ""


def _answer(question: Question, results: Sequence[Result | None]) -> AnswerRecord:
    answer = AnswerRecord(doc_id=question.doc_id, scores={})
    good: list[LogLikelihoodResult | GenerationResult] = []
    for result in results:
        if result is None:
            answer.error = answer.error or NOT_REACHED
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
