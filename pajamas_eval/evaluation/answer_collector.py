"""Puts the results of requests together into answers to questions, round after round."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import cast

from blake3 import blake3

from pajamas_eval.api.requests import AnyResult, Request, Response
from pajamas_eval.api.results import Failure
from pajamas_eval.api.runtime import Usage
from pajamas_eval.errors import UsageError
from pajamas_eval.questions.prepare import Question, QuestionSet, prompt_hash
from pajamas_eval.results.document import AnswerRecord, AnswerSet
from pajamas_eval.workers.disturbance import LEAST_DISTURBANCE, LostTime
from pajamas_eval.workers.messages import Finished, Readings

_READING_BYTES = 6
"""Of a reading's digest: of 10^6 that differ, one passes for equal with a probability of 4e-9."""

NOT_REACHED = "the model did not get to this question"


@dataclass(slots=True)
class _Thread:
    """One sample of a question: its results so far.

    Attributes:
        missing: Results that are still to come.
        is_over: Whether no round follows.
        later: Requests of the rounds after the first.
    """

    question: int
    sample: int
    results: list[AnyResult | None]
    missing: int
    is_over: bool = False
    later: list[Request] = field(default_factory=list)


class AnswerCollector:
    """Puts the results of one benchmark, which come in any order, together into answers.

    Attributes:
        cached_responses: Responses that other runs stored, before or meanwhile.
    """

    def __init__(self, questions: QuestionSet, readings: Readings) -> None:
        """Takes how the model reads the first round; nothing of a model that could not read it."""
        self.name = questions.name
        self.wall_seconds = 0.0
        self.cached_responses = 0
        self._questions = questions.questions
        self._readings = readings
        self._usage = Usage()
        self._time = LostTime()
        self._batch_digests: list[str] = []
        self._threads: dict[int, list[_Thread]] = {}
        self._places: dict[bytes, list[tuple[_Thread, int]]] = {}
        counts = (sum(map(len, question.threads)) for question in self._questions)
        self._first_reading = [0, *accumulate(counts)]

    def extend(self, places: Iterable[int]) -> dict[bytes, Request]:
        """What is to be asked for answers to the questions at these places, beyond what was.

        Requests that read alike have equal fingerprints and are asked once. What a question shares
        with one that was asked for earlier is asked again: it is found in the store, if anywhere.
        """
        self._places = {}
        requests: dict[bytes, Request] = {}
        for i in places:
            if i in self._threads:
                continue
            self._threads[i] = []
            start = self._first_reading[i]
            for sample, asked in enumerate(self._questions[i].threads):
                self._threads[i].append(thread := _Thread(i, sample, [], 0))
                fingerprints = self._readings.fingerprints[start : start + len(asked)]
                start += len(asked)
                self._await(thread, asked, fingerprints, requests)
        return requests

    def next_round(self) -> list[Request]:
        """What the answers so far give rise to; nothing where all dialogues are over."""
        self._waiting: list[tuple[_Thread, tuple[Request, ...]]] = []
        for threads in self._threads.values():
            for thread in threads:
                if asked := self._following(thread):
                    self._waiting.append((thread, asked))
        return [request for _, asked in self._waiting for request in asked]

    def begin_round(self, fingerprints: Sequence[bytes]) -> dict[bytes, Request]:
        """What is to be asked for the requests of `next_round`, given how the model reads them."""
        self._places = {}
        requests: dict[bytes, Request] = {}
        start = 0
        for thread, asked in self._waiting:
            self._await(thread, asked, fingerprints[start : start + len(asked)], requests)
            thread.later += asked
            start += len(asked)
        return requests

    def _following(self, thread: _Thread) -> tuple[Request, ...]:
        """The next round of a sample whose last one is answered; notes where there is none."""
        if thread.is_over or thread.missing or not _good(thread.results):
            return ()
        results = cast(list[Response], thread.results)
        try:
            asked = self._questions[thread.question].next_round(thread.sample, results)
        except UsageError as error:
            thread.results.append(Failure(str(error)))
            return ()
        thread.is_over = not asked
        return asked

    def _await(
        self,
        thread: _Thread,
        asked: Sequence[Request],
        fingerprints: Sequence[bytes],
        requests: dict[bytes, Request],
    ) -> None:
        first = len(thread.results)
        thread.results += [None] * len(asked)
        thread.missing += len(asked)
        pairs = zip(asked, fingerprints, strict=False)
        for place, (request, fingerprint) in enumerate(pairs, first):
            self._places.setdefault(fingerprint, []).append((thread, place))
            requests[fingerprint] = request

    @property
    def unanswered(self) -> int:
        """Questions that were asked for and have no answer yet."""
        return sum(any(t.missing for t in threads) for threads in self._threads.values())

    def take(self, results: Iterable[tuple[bytes, AnyResult]]) -> int:
        """Notes results of requests that were given out; returns the questions they completed."""
        completed = 0
        for fingerprint, result in results:
            for thread, place in self._places[fingerprint]:
                thread.results[place] = result
                thread.missing -= 1
                if not thread.missing:
                    completed += not any(t.missing for t in self._threads[thread.question])
        return completed

    def add_costs(self, finished: Finished) -> None:
        """Adds what some of the answers cost."""
        ours, usage = self._usage, finished.usage
        self._time += finished.time
        ours.evaluated_tokens += usage.evaluated_tokens
        ours.prompt_tokens += usage.prompt_tokens
        ours.generated_tokens += usage.generated_tokens
        ours.prompt_seconds += usage.prompt_seconds
        ours.generation_seconds += usage.generation_seconds
        ours.batching = usage.batching
        ours.notes += usage.notes
        self._batch_digests.append(usage.batch_digest)

    def answer_set(self, label: str) -> AnswerSet:
        """All answers in the order they were asked for; what is missing is an error."""
        digests = self._batch_digests
        batch_digest = digests[0] if len(digests) == 1 else _digest(digests)
        return AnswerSet(
            label=label,
            answers=list(self._answers()),
            wall_seconds=self.wall_seconds,
            prompt_seconds=self._usage.prompt_seconds,
            generation_seconds=self._usage.generation_seconds,
            evaluated_tokens=self._usage.evaluated_tokens,
            prompt_tokens=self._usage.prompt_tokens,
            generated_tokens=self._usage.generated_tokens,
            batching=self._usage.batching,
            batch_digest="" if self.cached_responses else batch_digest,
            notes=list(self._usage.notes),
            cached_responses=self.cached_responses,
            disturbance=self._time.share,
            disturbed=self._time.share >= LEAST_DISTURBANCE,
            reading_digests=[
                "" if place in self._readings.unknown else fingerprint[:_READING_BYTES].hex()
                for place, fingerprint in enumerate(self._readings.fingerprints)
            ],
        )

    def _answers(self) -> Iterator[AnswerRecord]:
        for place, threads in self._threads.items():
            for thread in threads:  # a model that failed may have answered all the same
                self._following(thread)
            yield _answer(self._questions[place], threads)


def _digest(digests: Sequence[str]) -> str:
    return blake3("\n".join(digests).encode()).hexdigest() if digests else ""


def _good(results: Iterable[AnyResult | None]) -> bool:
    return not any(result is None or isinstance(result, Failure) for result in results)


def _answer(question: Question, threads: Sequence[_Thread]) -> AnswerRecord:
    answer = AnswerRecord(doc_id=question.doc_id)
    for thread in threads:
        for result in thread.results:
            if result is None:
                answer.error = answer.error or NOT_REACHED
            elif isinstance(result, Failure):
                answer.error = answer.error or result.error
            else:
                answer.parts.append(result)
        if not thread.is_over:
            answer.error = answer.error or NOT_REACHED
        answer.later_prompts += [prompt_hash(request)[:16] for request in thread.later]
    if answer.error is None:
        score = question.score(answer.parts)
        if isinstance(score, Failure):
            answer.error = score.error
            return answer
        answer.scores, answer.weights = dict(score.metrics), dict(score.weights)
        answer.prediction, answer.parsed = score.prediction, score.parsed
        answer.predictions = {
            name: said for name, said in score.predictions.items() if said != score.prediction
        }
    return answer
