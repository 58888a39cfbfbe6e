"""One model that is asked questions: loaded when it first has to answer, its answers kept."""

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from pajamas_eval.api.identity import Identity
from pajamas_eval.api.requests import AnyResult, Request, Response
from pajamas_eval.api.results import Failure
from pajamas_eval.api.validation import validate_result
from pajamas_eval.errors import RunError, StoreError, UsageError, WorkerDiedError, WorkerHungError
from pajamas_eval.evaluation.answer_collector import AnswerCollector
from pajamas_eval.questions.prepare import QuestionSet
from pajamas_eval.results.document import AnswerSet, ModelRecord
from pajamas_eval.workers.messages import Finished, Opened, Readings
from pajamas_eval.workers.worker import Worker

PARTS = 32
"""Into how many parts requests are divided to find the one that an engine hangs on."""

AT_ONCE = 1024
"""Requests that are asked at once, many batches of any engine, before the store is looked at."""

SHARED_AT_ONCE = 16
"""The same while other runs ask the same."""

MOST_LOST = 3
"""Requests that a model may hang on before it counts as failed."""


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


class ResponseCache(Protocol):
    """Where responses are found again, by the fingerprints of their requests."""

    @property
    def description(self) -> Identity | None:
        """What the model was when it was loaded last."""

    def describe(self, identity: Identity) -> None:
        """Keeps what was loaded."""

    def find(self, fingerprints: Sequence[bytes]) -> Mapping[bytes, Response]:
        """Those that are there."""

    def is_shared(self) -> bool:
        """Whether another process computes responses of this model meanwhile."""

    def keep(self, responses: Iterable[tuple[bytes, Response]]) -> None:
        """Puts some more there; once this returns they are safe."""


class ModelRunner:
    """A worker with what it was asked and what it answered.

    What it answered before, in this run or an earlier one, is not asked again. A worker that dies
    is started once more where it stood; one that hangs on a single request loses that request. A
    model that fails keeps the answers it gave; whatever else it is asked is an error.
    """

    def __init__(
        self,
        worker: Worker,
        opened: Opened | None,
        context_length: int | None,
        progress: Progress,
        readings: Mapping[str, Readings],
        cache: ResponseCache | None = None,
    ) -> None:
        """Takes over a worker that is open.

        Args:
            worker: The model.
            opened: What it said of itself; nothing where it could not be opened.
            context_length: Tokens that a sequence may have, where that is known.
            progress: Told what is going on.
            readings: How it reads the first round of each benchmark, by its name.
            cache: Where responses are kept, if anywhere.
        """
        self.record = ModelRecord(
            label=worker.label,
            spec=worker.spec.source,
            key=opened.key if opened else None,
            architecture=opened.architecture if opened else None,
        )
        if opened and opened.settings:
            self.record.notes += opened.settings.notes
        self._worker = worker
        self._context_length = context_length
        self._progress = progress
        self._readings = readings
        self._cache = cache
        self._answers: dict[str, AnswerCollector] = {}
        self._loaded = self._died = False
        self._lost = 0

    @property
    def label(self) -> str:
        """The model's name in the report."""
        return self._worker.label

    def ask(self, questions: QuestionSet, places: Iterable[int] | None = None) -> AnswerSet:
        """Asks the questions at these places, all by default, save those that were asked before.

        Returns:
            The answers to all that were asked so far: in the order they were asked in; where all
            were, in the questions' own.
        """
        name = questions.name
        if name not in self._answers:
            self._answers[name] = AnswerCollector(questions, self._readings[name])
        answers = self._answers[name]
        everything = range(len(questions.questions))
        asked: Mapping[bytes, Request] = answers.extend(everything if places is None else places)
        number = 1
        while asked and (self._cache or not self.record.error):
            title = name if number == 1 else f"{name}, round {number}"
            self._progress.start(self.label, title, answers.unanswered)
            started = time.perf_counter()
            asked = self._ask_round(answers, asked)
            answers.wall_seconds += time.perf_counter() - started
            number += 1
        found = answers.answer_set(self.label)
        if places is None:
            order = {question.doc_id: i for i, question in enumerate(questions.questions)}
            found.answers.sort(key=lambda answer: order[answer.doc_id])
        return found

    def _ask_round(
        self, answers: AnswerCollector, asked: Mapping[bytes, Request]
    ) -> Mapping[bytes, Request]:
        """Asks one round; returns what its answers give rise to."""
        try:
            self._answer(answers, asked)
            following = answers.next_round()
            if following:
                return answers.begin_round(self._read(following))
        except StoreError:  # no model's fault, and no other would fare better
            raise
        except (UsageError, RunError) as error:
            self.record.error = str(error)
            self.record.refused = isinstance(error, UsageError)
            self._progress.step(f"failed: {error}")
        finally:
            self._progress.finish()
        return {}

    def _read(self, requests: Sequence[Request]) -> list[bytes]:
        """How the model reads requests that came up; a process that died is started again once."""
        if self.record.error:
            return []
        try:
            self._worker.start_reading(requests, self._context_length)
            return self._worker.readings().fingerprints
        except (WorkerDiedError, WorkerHungError) as error:
            if self._died:
                raise
            self._died = True
            self._restart("hung" if isinstance(error, WorkerHungError) else "died")
            self._worker.start_reading(requests, self._context_length)
            return self._worker.readings().fingerprints

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._worker.close()

    def _answer(self, answers: AnswerCollector, asked: Mapping[bytes, Request]) -> None:
        asked = self._not_found(answers, asked)
        if self.record.error:
            return
        for results in self._computed(answers, asked):
            if self._cache:
                self._cache.keep([(f, r) for f, r in results if not isinstance(r, Failure)])
            self._progress.advance(answers.take(results))

    def _not_found(
        self, answers: AnswerCollector, asked: Mapping[bytes, Request]
    ) -> dict[bytes, Request]:
        """What is left to be computed once the stored responses are taken."""
        if not self._cache:
            return dict(asked)
        found = self._cache.find(list(asked))
        if self.record.identity is None and (known := self._cache.description):
            self.record.identity = replace(known, path=self.record.spec)
        answers.cached_responses += len(found)
        self._progress.advance(answers.take(found.items()))
        return {f: request for f, request in asked.items() if f not in found}

    def _computed(
        self, answers: AnswerCollector, asked: Mapping[bytes, Request]
    ) -> Iterator[list[tuple[bytes, AnyResult]]]:
        """Groups of results of all requests, whatever the worker does.

        Before each part the store is looked at again, for what other runs found meanwhile. While
        others ask the same, parts are small, and each run has an order of its own.

        Where it hangs, what is left of what it was asked at once is asked again in smaller parts,
        down to the single request that it hangs on.
        """
        parts = _divided(asked, AT_ONCE)
        is_first = True
        while parts:
            part = parts.pop(0)
            if not is_first:
                part = self._not_found(answers, part)
            is_first = False
            if not part:
                continue
            if len(part) > SHARED_AT_ONCE and self._cache and self._cache.is_shared():
                parts[:0] = _divided(part, SHARED_AT_ONCE)
                random.shuffle(parts)
                continue
            try:
                self._load()
                yield from self._received(answers, part)
            except (WorkerDiedError, WorkerHungError) as error:
                hung = isinstance(error, WorkerHungError)
                if hung and self._loaded:
                    if len(part) == 1:
                        self._lost += 1
                        if self._lost > MOST_LOST:
                            raise
                        yield [(f, Failure(str(error))) for f in part]
                        part.clear()
                    parts[:0] = _divided(part, max(1, -(-len(part) // PARTS)))
                else:
                    if self._died:
                        raise
                    self._died = True
                    if part:
                        parts.insert(0, part)
                self._restart("hung" if hung else "died")

    def _received(
        self, answers: AnswerCollector, part: dict[bytes, Request]
    ) -> Iterator[list[tuple[bytes, AnyResult]]]:
        """Results of one call of the worker; `part` keeps what is not answered."""
        fingerprints = list(part)
        for message in self._worker.answer(list(part.values())):
            if isinstance(message, Finished):
                answers.add_costs(message)
                peak = max(self.record.peak_memory_bytes, message.peak_memory_bytes)
                self.record.peak_memory_bytes = peak
                continue
            results: list[tuple[bytes, AnyResult]] = []
            for index, result in message:
                fingerprint = fingerprints[index] if 0 <= index < len(fingerprints) else b""
                request = part.pop(fingerprint, None)
                if request is None:
                    yield results
                    raise RunError(
                        f"{self.label}: the {self._worker.spec.runtime} runtime answered request "
                        f"{index} of {len(fingerprints)} twice, or was never asked it"
                    )
                results.append((fingerprint, validate_result(request, result)))
            yield results
        left_out = Failure(f"the {self._worker.spec.runtime} runtime gave no answer")
        yield [(fingerprint, left_out) for fingerprint in part]
        part.clear()

    def _load(self) -> None:
        if not self._loaded:
            self._progress.step(f"loading {self.label}")
            loaded = self._worker.load(self._context_length)
            self.record.identity, self.record.load_seconds = loaded.identity, loaded.seconds
            self._loaded = True
            if self._cache:
                self._cache.describe(loaded.identity)

    def _restart(self, what: str) -> None:
        note = f"its process {what} and was started again"
        self.record.notes.append(note)
        self.record.restarts += 1
        self._progress.step(f"{self.label}: {note}")
        self._loaded = False
        self._worker.restart()
        self._worker.open()


def _divided(part: Mapping[bytes, Request], size: int) -> list[dict[bytes, Request]]:
    items = list(part.items())
    return [dict(items[i : i + size]) for i in range(0, len(items), size)]
