"""Sends results in groups, and heartbeats between them."""

import pickle
import threading
import time
from collections import deque
from multiprocessing.connection import Connection

from pajamas_eval.api.requests import AnyResult
from pajamas_eval.api.results import Failure
from pajamas_eval.workers.messages import Finished

SEND_EVERY_SECONDS = 0.05
"""Results travel in groups this long: one message each would cost more than a small model."""


class Outbox:
    """Sends results in groups, from a thread of its own: none waits for the next one to come."""

    def __init__(self, connection: Connection, heartbeat_seconds: float) -> None:
        self._connection = connection
        self._every = heartbeat_seconds
        self._lock = threading.Lock()  # whose holder may use the connection
        self._pending: deque[tuple[int, AnyResult]] = deque()
        self._something = threading.Event()
        self._sent = time.perf_counter()
        self._error: Exception | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, answer: tuple[int, AnyResult]) -> None:
        """Takes a result, to be sent before long."""
        if self._error:
            raise self._error
        self._pending.append(answer)
        if not self._something.is_set():  # to set it again would take a lock
            self._something.set()

    def heartbeat(self) -> None:
        """Says so, if nothing was said for a while."""
        if time.perf_counter() - self._sent > self._every:
            self._send(None)

    def flush(self) -> None:
        """Sends what it has."""
        with self._lock:
            self._something.clear()
            group = [self._pending.popleft() for _ in range(len(self._pending))]
            if group:
                try:
                    self._connection.send(group)
                except (pickle.PicklingError, TypeError, AttributeError):  # nothing was sent
                    self._connection.send([_picklable_or_failure(answer) for answer in group])
                self._sent = time.perf_counter()

    def finish(self, finished: Finished) -> None:
        """Sends what it has, and that there will be no more."""
        self.flush()
        if self._error:
            raise self._error
        self._send(finished)

    def _send(self, message: object) -> None:
        with self._lock:
            self._connection.send(message)
            self._sent = time.perf_counter()

    def _run(self) -> None:
        try:
            while self._something.wait():
                time.sleep(SEND_EVERY_SECONDS)
                self.flush()
        except Exception as error:  # for `put` to raise where it is met
            self._error = error


def _picklable_or_failure(answer: tuple[int, AnyResult]) -> tuple[int, AnyResult]:
    """The result itself, or a failure where no other process could be given it."""
    try:
        pickle.dumps(answer)
    except (pickle.PicklingError, TypeError, AttributeError):
        index, result = answer
        return index, Failure(f"the runtime gave a {type(result).__name__} for an answer")
    return answer
