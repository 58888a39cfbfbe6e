"""What runs in a worker's process: opens a model, obeys, and says that it is alive."""

import gc
import multiprocessing
import os
import pickle
import resource
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from pajamas_eval.errors import (
    OutOfMemoryError,
    PajamasError,
    RunError,
    UsageError,
    WorkerDiedError,
)
from pajamas_eval.model_spec import ModelSpec
from pajamas_eval.registry import open_runtime
from pajamas_eval.requests import Failure, Request, Result
from pajamas_eval.runtime import (
    Capabilities,
    Engine,
    Identity,
    Runtime,
    RuntimeOptions,
    Settings,
    Usage,
)
from pajamas_eval.store.keys import fingerprint

SEND_EVERY_SECONDS = 0.05
"""Results travel in groups this long: one message each would cost more than a small model."""

STDERR_TAIL = 2000
"""Bytes of an engine's last words shown when it dies, and characters of an error of its own."""

SIGN_OF_LIFE_SECONDS = 1.0
"""How often, at most, a worker that has no results to send says that it is alive."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a worker says of its model before the weights are loaded.

    Attributes:
        digest: BLAKE3 of the model's files, in hexadecimal.
        options: Options that can change an answer, as they were given or are by default.
    """

    settings: Settings
    capabilities: Capabilities
    digest: str
    engine: Engine
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker says of its model once it is loaded."""

    identity: Identity
    seconds: float


@dataclass(frozen=True, slots=True)
class Finished:
    """What answering a list of requests cost."""

    usage: Usage
    peak_memory_bytes: int


def serve(connection: Connection, spec: ModelSpec, log: str, patience: float) -> None:
    """The process's main loop: opens the model, then obeys."""
    redirect_output(log)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.set_threshold(100_000)  # requests by the hundred thousand are no cycles to look for
    try:
        runtime = open_runtime(spec.runtime, spec.options)
        outbox = _Outbox(connection, min(SIGN_OF_LIFE_SECONDS, patience / 4))
        connection.send(
            Opened(
                runtime.settings,
                runtime.capabilities,
                runtime.digest(),
                runtime.engine(),
                _decisive(runtime.options),
            )
        )
        while True:
            method, argument = connection.recv()
            if method == "tokenize":
                pairs = runtime.tokenize(argument)
                connection.send(
                    [[*context.tolist(), *continuation.tolist()] for context, continuation in pairs]
                )
            elif method == "fingerprints":
                requests, length = argument
                read = zip(requests, runtime.tokenize(requests), strict=True)
                connection.send([fingerprint(r, *pair, length) for r, pair in read])
            elif method == "load":
                runtime.limit_context(argument)
                started = time.perf_counter()
                identity = runtime.load()
                connection.send(Loaded(identity, time.perf_counter() - started))
            else:
                _answer(outbox, runtime, argument)
    except (EOFError, BrokenPipeError, ConnectionError, KeyboardInterrupt):
        return  # the parent is gone or has closed the pipe
    except (MemoryError, OutOfMemoryError) as error:
        connection.send(WorkerDiedError(f"the worker process ran out of memory ({_line(error)})"))
    except PajamasError as error:
        connection.send(_portable(error))
    except Exception as error:
        traceback.print_exc()
        connection.send(RunError(_line(error)))


def _decisive(options: RuntimeOptions) -> dict[str, Any]:
    """Options that can change an answer, beyond what settings and digest say already."""
    told_otherwise = {"path", "n_ctx", "add_bos", "allow_pickle"}
    plain: dict[str, Any] = msgspec.to_builtins(options)
    return {name: value for name, value in plain.items() if name not in told_otherwise}


def _portable(error: PajamasError) -> PajamasError:
    """The error as one of the types that the other side can build from a message alone."""
    return UsageError(str(error)) if isinstance(error, UsageError) else RunError(str(error))


def _line(error: Exception) -> str:
    """An error in one line; its text may be empty, or as long as it likes."""
    name, text = type(error).__name__, str(error).strip()
    return f"{name}: {text.splitlines()[0]}"[:STDERR_TAIL] if text else name


def _end_with_parent() -> None:
    """Whatever a worker is doing: nobody is there to take it where the parent was killed."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def redirect_output(log: str) -> None:
    """Engines chat on both streams; the terminal belongs to the report."""
    sys.stdout.flush()
    sys.stderr.flush()
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


class _Outbox:
    """Sends results in groups, from a thread of its own: none waits for the next one to come."""

    def __init__(self, connection: Connection, sign_of_life_seconds: float) -> None:
        self._connection = connection
        self._every = sign_of_life_seconds
        self._lock = threading.Lock()  # whose holder may use the connection
        self._pending: deque[tuple[int, Result]] = deque()
        self._something = threading.Event()
        self._sent = time.perf_counter()
        self._error: Exception | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, answer: tuple[int, Result]) -> None:
        """Takes a result, to be sent before long."""
        if self._error:
            raise self._error
        self._pending.append(answer)
        if not self._something.is_set():  # to set it again would take a lock
            self._something.set()

    def alive(self) -> None:
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
                    self._connection.send([_that_travels(answer) for answer in group])
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


def _that_travels(answer: tuple[int, Result]) -> tuple[int, Result]:
    """The result itself, or a failure where no other process could be given it."""
    try:
        pickle.dumps(answer)
    except (pickle.PicklingError, TypeError, AttributeError):
        index, result = answer
        return index, Failure(f"the runtime gave a {type(result).__name__} for an answer")
    return answer


def _answer(outbox: _Outbox, runtime: Runtime, requests: Sequence[Request]) -> None:
    runtime.usage = Usage()
    runtime.alive = outbox.alive  # type: ignore[method-assign]
    try:
        for answer in runtime.answer(requests):
            outbox.put(answer)
    finally:  # what came before an error is no less true
        outbox.flush()
    outbox.finish(Finished(runtime.usage, peak_memory_bytes() + runtime.usage.device_memory_bytes))


def peak_memory_bytes() -> int:
    """The most memory this process ever had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
