"""Worker main loop: serves commands, sends heartbeats."""

import gc
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection

from pajamas_eval.api.answer_key import answer_key, fingerprint
from pajamas_eval.api.requests import Request
from pajamas_eval.api.runtime import Runtime, TextRuntime, Usage
from pajamas_eval.errors import (
    OutOfMemoryError,
    PajamasError,
    RunError,
    UsageError,
    WorkerDiedError,
)
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.workers.memory import peak_memory_bytes
from pajamas_eval.workers.messages import Finished, Loaded, Opened, Readings
from pajamas_eval.workers.outbox import Outbox

LONGEST_ERROR = 2000
"""Characters of an engine's error."""

HEARTBEAT_SECONDS = 1.0
"""How often, at most, a worker that has no results to send says that it is alive."""


def serve(connection: Connection, spec: ModelSpec, timeout: float) -> None:
    """The process's main loop: opens the model, then obeys."""
    gc.set_threshold(100_000)  # requests by the hundred thousand are no cycles to look for
    try:
        runtime = open_runtime(spec.runtime, spec.options)
        outbox = Outbox(connection, min(HEARTBEAT_SECONDS, timeout / 4))
        settings = runtime.settings if isinstance(runtime, TextRuntime) else None
        connection.send(Opened(settings, runtime.capabilities, answer_key(runtime)))
        while True:
            method, argument = connection.recv()
            if method == "tokenize":
                connection.send(_tokens(runtime, argument))
            elif method == "read":
                requests, context_length = argument
                _limit_context(runtime, context_length)
                connection.send(_read(runtime, requests))
            elif method == "load":
                _limit_context(runtime, argument)
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


def _tokens(runtime: Runtime, requests: Sequence[Request]) -> list[list[int]]:
    """The tokens of each request; none where the runtime does not know them."""
    if not isinstance(runtime, TextRuntime):
        return [[] for _ in requests]
    return [[*map(int, a), *map(int, b)] for a, b in runtime.tokenize(requests)]


def _read(runtime: Runtime, requests: Sequence[Request]) -> Readings:
    fingerprints: list[bytes] = []
    unknown: list[int] = []
    for request, reading in zip(requests, runtime.readings(requests), strict=True):
        if reading is None:
            unknown.append(len(fingerprints))
        fingerprints.append(fingerprint(request, reading))
    return Readings(fingerprints, frozenset(unknown))


def _limit_context(runtime: Runtime, context_length: int | None) -> None:
    if context_length is not None and isinstance(runtime, TextRuntime):
        runtime.limit_context(context_length)


def _portable(error: PajamasError) -> PajamasError:
    """The error as one of the types that the other side can build from a message alone."""
    return UsageError(str(error)) if isinstance(error, UsageError) else RunError(str(error))


def _line(error: Exception) -> str:
    """An error in one line; its text may be empty, or as long as it likes."""
    name, text = type(error).__name__, str(error).strip()
    return f"{name}: {text.splitlines()[0]}"[:LONGEST_ERROR] if text else name


def _answer(outbox: Outbox, runtime: Runtime, requests: Sequence[Request]) -> None:
    runtime.usage = Usage()
    runtime.heartbeat = outbox.heartbeat  # type: ignore[method-assign]
    try:
        for answer in runtime.answer(requests):
            outbox.put(answer)
    finally:  # what came before an error is no less true
        outbox.flush()
    outbox.finish(Finished(runtime.usage, peak_memory_bytes() + runtime.usage.device_memory_bytes))
