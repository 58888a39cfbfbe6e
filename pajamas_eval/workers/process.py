"""Worker main loop: serves commands, sends heartbeats."""

import gc
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from numpy.typing import NDArray

from pajamas_eval.api.answer_key import answer_key, fingerprint
from pajamas_eval.api.architecture import ArchitectureFacts
from pajamas_eval.api.hidden_states import HiddenStates
from pajamas_eval.api.identity import Identity, Settings
from pajamas_eval.api.requests import Request
from pajamas_eval.api.runtime import Capabilities, Runtime, TextRuntime, Usage
from pajamas_eval.api.validation import of_type, validate_place, validate_statement
from pajamas_eval.errors import (
    OutOfMemoryError,
    PajamasError,
    RunError,
    UsageError,
    WorkerDiedError,
    one_line,
)
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.workers.disturbance import lost_time, read_clocks
from pajamas_eval.workers.memory import peak_memory_bytes
from pajamas_eval.workers.messages import Finished, Loaded, Opened, Readings
from pajamas_eval.workers.outbox import Outbox

HEARTBEAT_SECONDS = 1.0
"""How often, at most, a worker that has no results to send says that it is alive."""


def serve(connection: Connection, spec: ModelSpec, timeout: float) -> None:
    """The process's main loop: opens the model, then obeys."""
    gc.set_threshold(100_000)  # requests by the hundred thousand are no cycles to look for
    try:
        runtime = open_runtime(spec.runtime, spec.options)
        outbox = Outbox(connection, min(HEARTBEAT_SECONDS, timeout / 4))
        connection.send(_opened(runtime))
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
                seconds = time.perf_counter() - started
                identity = validate_statement(
                    Identity, identity, "the runtime gave an invalid identity"
                )
                connection.send(Loaded(identity, seconds))
            elif method == "hidden_states":
                _show_hidden_states(connection, outbox, runtime, argument)
            else:
                _answer(outbox, runtime, argument)
    except (EOFError, BrokenPipeError, ConnectionError, KeyboardInterrupt):
        return  # the parent is gone or has closed the pipe
    except (MemoryError, OutOfMemoryError) as error:
        connection.send(
            WorkerDiedError(f"the worker process ran out of memory ({one_line(error)})")
        )
    except PajamasError as error:
        connection.send(_portable(error))
    except Exception as error:
        traceback.print_exc()
        connection.send(RunError(one_line(error)))


def _opened(runtime: Runtime) -> Opened:
    """What the runtime says of the model before it is loaded."""
    settings = None
    if isinstance(runtime, TextRuntime):
        settings = validate_statement(
            Settings, runtime.settings, "the runtime gave invalid settings"
        )
    capabilities = runtime.capabilities
    if not isinstance(capabilities, Capabilities):
        raise RunError(f"the runtime gave invalid capabilities: {of_type(capabilities)}")
    architecture = runtime.architecture()
    if architecture is not None:
        architecture = validate_statement(
            ArchitectureFacts, architecture, "the runtime gave an invalid architecture"
        )
    return Opened(settings, capabilities, answer_key(runtime), architecture)


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


def _answer(outbox: Outbox, runtime: Runtime, requests: Sequence[Request]) -> None:
    runtime.usage = Usage()
    before = read_clocks()
    runtime.heartbeat = outbox.heartbeat  # type: ignore[method-assign]
    try:
        for answer in runtime.answer(requests):
            outbox.put(validate_place(answer, len(requests), runtime.name))
    finally:  # what came before an error is no less true
        outbox.flush()
    usage = validate_statement(Usage, runtime.usage, "the runtime gave an invalid usage")
    memory = peak_memory_bytes() + usage.device_memory_bytes
    outbox.finish(Finished(usage, memory, lost_time(before, read_clocks())))


def _show_hidden_states(
    connection: Connection, outbox: Outbox, runtime: Runtime, tokens: Sequence[int]
) -> None:
    runtime.usage = Usage()
    runtime.heartbeat = outbox.heartbeat  # type: ignore[method-assign]

    def observe(states: HiddenStates) -> NDArray[Any] | None:
        connection.send(states)
        instead: NDArray[Any] | None = connection.recv()
        return instead

    runtime.hidden_states(tokens, observe)
    outbox.finish(Finished(runtime.usage, peak_memory_bytes()))
