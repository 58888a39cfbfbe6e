"""Puts the results of requests together into answers to questions."""

from collections.abc import Iterable, Sequence

from blake3 import blake3

from pajamas_eval.api.requests import Request
from pajamas_eval.api.results import Failure, LogLikelihoodResult, Response, Result
from pajamas_eval.api.runtime import Usage
from pajamas_eval.questions.prepare import Question, QuestionSet
from pajamas_eval.results.document import AnswerRecord, AnswerSet

NOT_REACHED = "the model did not get to this question"


class AnswerCollector:
    """Puts the results of one benchmark, which come in any order, together into answers.

    Attributes:
        cached_responses: Responses that were stored before.
    """

    def __init__(self, questions: QuestionSet, fingerprints: Sequence[bytes]) -> None:
        self.name = questions.name
        self.wall_seconds = 0.0
        self.cached_responses = 0
        self._questions = questions.questions
        self._fingerprints = fingerprints
        self._usage = Usage()
        self._batch_digest: list[str] = []
        self._results: list[list[Result | None]] = []
        self._missing: list[int] = []
        self._places: dict[bytes, list[tuple[int, int]]] = {}
        self._requests = 0

    def extend(self, stop: int) -> dict[bytes, Request]:
        """What is to be asked for answers to the first `stop` questions, beyond what was.

        Requests that read alike have equal fingerprints and are asked once. What a question shares
        with one that was asked for earlier is asked again: it is found in the store, if anywhere.
        """
        new = range(len(self._results), max(stop, len(self._results)))
        self._places = {}
        requests = {}
        for i in new:
            for j, request in enumerate(self._questions[i].requests):
                if not self._fingerprints:  # of a model that could not read them
                    continue
                fingerprint = self._fingerprints[self._requests]
                self._requests += 1
                self._places.setdefault(fingerprint, []).append((i, j))
                requests[fingerprint] = request
            self._results.append([None] * len(self._questions[i].requests))
            self._missing.append(len(self._questions[i].requests))
        return requests

    @property
    def unanswered(self) -> int:
        """Questions that were asked for and have no answer yet."""
        return sum(missing > 0 for missing in self._missing)

    def take(self, results: Iterable[tuple[bytes, Result]]) -> int:
        """Notes results of requests that `extend` gave; returns the questions they completed."""
        completed = 0
        for fingerprint, result in results:
            for question, part in self._places[fingerprint]:
                self._results[question][part] = result
                self._missing[question] -= 1
                completed += self._missing[question] == 0
        return completed

    def add_usage(self, usage: Usage) -> None:
        """Adds what some of the answers cost."""
        ours = self._usage
        ours.evaluated_tokens += usage.evaluated_tokens
        ours.ideal_tokens += usage.ideal_tokens
        ours.generated_tokens += usage.generated_tokens
        ours.engine_seconds += usage.engine_seconds
        ours.batching = usage.batching
        ours.notes += usage.notes
        self._batch_digest.append(usage.batch_digest)

    def answer_set(self, label: str) -> AnswerSet:
        """All answers in the questions' order; what is missing is an error."""
        batch_digest = (
            self._batch_digest[0] if len(self._batch_digest) == 1 else _digest(self._batch_digest)
        )
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
            batch_digest="" if self.cached_responses else batch_digest,
            notes=list(self._usage.notes),
            cached_responses=self.cached_responses,
            requests=len(self._fingerprints),
            token_digest=blake3(b"".join(self._fingerprints)).hexdigest(),
        )


def _digest(packings: Sequence[str]) -> str:
    return blake3("\n".join(packings).encode()).hexdigest() if packings else ""


def _answer(question: Question, results: Sequence[Result | None]) -> AnswerRecord:
    answer = AnswerRecord(doc_id=question.doc_id, scores={})
    good: list[Response] = []
    scored: list[LogLikelihoodResult] = []
    for result in results:
        if result is None:
            answer.error = answer.error or NOT_REACHED
            continue
        if isinstance(result, Failure):
            answer.error = answer.error or result.error
            continue
        good.append(result)
        answer.prompt_tokens += result.prompt_tokens
        answer.token_count += result.token_count
        answer.truncated_tokens += result.truncated_tokens
        answer.seconds += result.seconds
        if isinstance(result, LogLikelihoodResult):
            scored.append(result)
        else:
            answer.text, answer.finish_reason = result.text, result.finish_reason
    if answer.error is None:
        if scored:  # one for each choice
            answer.log_probabilities = [r.log_probability for r in scored]
            answer.is_greedy = [r.is_greedy for r in scored]
        score = question.score(good)
        answer.scores, answer.prediction = dict(score.metrics), score.prediction
        answer.parsed = score.parsed
    return answer
