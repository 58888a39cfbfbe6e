"""One model in its own process: an engine that aborts takes down its worker, nothing else."""

import gc
import multiprocessing
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from pajamas_eval.errors import OutOfMemoryError, PajamasError, RunError, UsageError, suggestion
from pajamas_eval.model_spec import ModelSpec
from pajamas_eval.registry import runtime_class
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

PATIENCE_SECONDS = 300.0
"""How long an engine may show no sign of life while it answers."""

LOADING_PATIENCE_SECONDS = 3600.0
"""How long opening or loading a model may take: weights may come from a slow disk."""

SLICES = 20
"""Parts in which one waits for a sign of life."""

SIGN_OF_LIFE_SECONDS = 1.0
"""How often, at most, a worker that has no results to send says that it is alive."""


class WorkerDiedError(RunError):
    """The worker process ended by itself, or ran out of memory."""


class WorkerHungError(RunError):
    """The worker process showed no sign of life, and was killed."""


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


class Worker:
    """A spawned process with one model, driven over a pipe.

    Every method raises `UsageError` where the model or its options are at fault, `WorkerDiedError`
    where the process ended, `WorkerHungError` where it was killed because it showed no sign of
    life, and `RunError` where the engine failed otherwise.
    """

    def __init__(
        self, spec: ModelSpec, log: Path | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        """Starts the process.

        Args:
            spec: The model.
            log: File that what the engine prints is appended to; a temporary one by default.
            patience: Seconds that it may be silent while it answers.
        """
        self.spec = spec
        self.label = spec.label
        self._patience = patience
        self._temporary = log is None
        if log is None:
            handle, name = tempfile.mkstemp(prefix="pajamas-eval-", suffix=".log")
            os.close(handle)
            log = Path(name)
        self.log = log
        self._opened: Opened | None = None
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        _end_reads_after(self._patience, self._connection)
        self._busy = True  # opening the model
        self._process = context.Process(
            target=_serve,
            args=(theirs, self.spec, str(self.log), self._patience),
            daemon=True,
        )
        try:
            with _uninterrupted():  # until there is a process that can be ended
                # Ctrl-C reaches every process of the terminal; this one decides what it means for
                # workers.
                resource_tracker.ensure_running()  # where `start` began it, it would unblock them
                before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                try:
                    self._process.start()
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)
                theirs.close()
        except OSError as error:
            self.close()
            raise RunError(f"{self.label}: no worker process can be started: {error}") from None
        except BaseException:
            self.close()
            raise

    def restart(self) -> None:
        """Replaces a process that died or hung by a new one; the model is to be opened again."""
        self._end()
        self._begin()

    def open(self) -> Opened:
        """Reads tokenizer and metadata; cheap, save for a digest that is not yet known."""
        opened = self._reply()
        assert isinstance(opened, Opened)
        former, self._opened = self._opened or opened, opened
        self._refuse_changed(former.digest, opened.digest)
        if former != opened:  # an engine that was updated meanwhile
            raise RunError(f"{self.label}: its engine or settings were changed during the run")
        return opened

    def tokenize(self, requests: Sequence[Request]) -> list[list[int]]:
        """The tokens of each request."""
        self._send("tokenize", list(requests))
        tokens: list[list[int]] = self._reply()
        return tokens

    def begin_reading(self, requests: Sequence[Request], context_length: int) -> None:
        """Has the process tokenize requests, while others do; see `load` for the length."""
        self._send("fingerprints", (list(requests), context_length))

    def fingerprints(self) -> list[bytes]:
        """A digest of each request as the model reads it; equal ones have equal results."""
        digests: list[bytes] = self._reply()
        return digests

    def load(self, context_length: int) -> Loaded:
        """Reads the weights; sequences will have at most `context_length` tokens."""
        self._send("load", context_length)
        loaded = self._reply()
        assert isinstance(loaded, Loaded)
        if self._opened:
            self._refuse_changed(self._opened.digest, loaded.identity.digest)
        return loaded

    def answer(
        self, requests: Sequence[Request]
    ) -> Iterator[Sequence[tuple[int, Result]] | Finished]:
        """Groups of results as they come, and what they cost at the end."""
        self._send("answer", list(requests))
        while True:
            message = self._receive(self._patience)
            if isinstance(message, Finished):
                self._busy = False
                yield message
                return
            if message is not None:  # else a sign of life
                yield message

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._end()
        if self._temporary or (self.log.exists() and not self.log.stat().st_size):
            self.log.unlink(missing_ok=True)

    def _refuse_changed(self, former: str, digest: str) -> None:
        """Answers are kept under the digest of the weights that gave them."""
        if former != digest:
            raise RunError(f"{self.label}: its files were changed during the run")

    def _end(self) -> None:
        self._connection.close()
        if self._process.pid is None:  # it could not even be started
            return
        if not self._busy:  # then it sees at once that it is no longer needed
            self._process.join(timeout=0.1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, method: str, argument: Any) -> None:
        self._busy = True
        try:
            self._connection.send((method, argument))
        except (BrokenPipeError, ConnectionError):
            raise WorkerDiedError(self._last_words()) from None

    def _reply(self) -> Any:
        message = self._receive(LOADING_PATIENCE_SECONDS)
        self._busy = False
        return message

    def _receive(self, patience: float) -> Any:
        try:
            # In slices: where this process was stopped as well, by Ctrl-Z or with its machine, no
            # more than one of them has passed.
            if not any(self._connection.poll(patience / SLICES) for _ in range(SLICES)):
                raise self._hung(patience)
            message = self._connection.recv()
        except WorkerHungError:
            raise
        except BlockingIOError:  # in the middle of a message
            raise self._hung(self._patience) from None
        except (EOFError, OSError):  # the latter in the middle of a message
            raise WorkerDiedError(self._last_words()) from None
        except Exception as error:  # an engine may write over anything
            self._process.kill()
            raise WorkerDiedError(
                f"{self.label}: the worker process sent what cannot be read "
                f"({type(error).__name__}) and was killed{self._tail()}"
            ) from None
        if isinstance(message, WorkerDiedError):
            raise WorkerDiedError(f"{self.label}: {message}{self._tail()}")
        if isinstance(message, PajamasError):
            raise type(message)(f"{self.label}: {message}")
        return message

    def _hung(self, patience: float) -> WorkerHungError:
        self._process.kill()
        return WorkerHungError(
            f"{self.label}: the worker process showed no sign of life for {patience:g} seconds "
            f"and was killed{self._tail()}"
        )

    def _last_words(self) -> str:
        self._process.join(timeout=5)
        code = self._process.exitcode
        how = f"exit code {code}"
        if code is None:  # whatever it still does is of no use
            self._process.kill()
            how = "it hung up"
        elif code < 0:
            names = {number.value: number.name for number in signal.Signals}
            how = f"killed by {names.get(-code, f'signal {-code}')}"
            if code == -signal.SIGKILL:
                how += ", as the system does when memory runs out"
        return f"{self.label}: the worker process died ({how}){self._tail()}"

    def _tail(self) -> str:
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - STDERR_TAIL))
                tail = log.read().decode("utf-8", "replace").strip()
        except OSError:
            tail = ""
        return f"; it last said:\n{tail}" if tail else ""


def _end_reads_after(seconds: float, connection: Connection) -> None:
    """A process that is stopped while it sends would be waited for without end."""
    with socket.socket(fileno=os.dup(connection.fileno())) as pipe:
        whole, rest = divmod(seconds, 1)
        timeval = struct.pack("ll", int(whole), int(rest * 1e6))
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """What a signal would raise inside is raised afterwards.

    To block signals would not do: another thread may take them, and Python still calls their
    handlers in this one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler is not None}
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for came_first in came[:1]:
            signal.raise_signal(came_first)


def _serve(connection: Connection, spec: ModelSpec, log: str, patience: float) -> None:
    """The worker's main loop: opens the model, then obeys."""
    _redirect_output(log)
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


def _redirect_output(log: str) -> None:
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


def open_runtime(name: str, options: Mapping[str, object]) -> Runtime:
    """The runtime with its options checked. Raises `UsageError`."""
    runtime_type = runtime_class(name)
    known = [field.name for field in msgspec.structs.fields(runtime_type.options_type)]
    for key in options:
        if key not in known:
            raise UsageError(
                f"the {name} runtime has no option {key!r}{suggestion(key, known)} "
                f"(known: {', '.join(known)})"
            )
    try:
        converted: RuntimeOptions = msgspec.convert(
            dict(options), runtime_type.options_type, strict=False
        )
    except msgspec.ValidationError as error:
        raise UsageError(_bad_option(name, runtime_type.options_type, options, error)) from None
    return runtime_type(converted)  # type: ignore[call-arg]


def _bad_option(
    name: str,
    options_type: type[RuntimeOptions],
    options: Mapping[str, object],
    error: msgspec.ValidationError,
) -> str:
    """What is wrong with an option, in the words of those who type it."""
    message, _, key = str(error).partition(" - at `$.")
    key = key.rstrip("`")
    if key not in options:
        return f"{name} options: {error}"
    kind = get_type_hints(options_type)[key]
    allowed = [
        str(value)
        for part in (kind, *get_args(kind))
        if get_origin(part) is Literal
        for value in get_args(part)
    ]
    if allowed:
        message = f"expected one of {', '.join(allowed)}"
    else:
        for technical, plain in _PLAIN_TYPES.items():
            message = message.replace(technical, plain)
    return f"{name} option {key}={options[key]}: {message[0].lower()}{message[1:]}"


_PLAIN_TYPES = {
    " | null": "",
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "true or false",
    "`str`": "text",
}


def peak_memory_bytes() -> int:
    """The most memory this process ever had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def installed_engine(name: str) -> Engine | str:
    """The engine of a runtime, or why it does not work here; asked in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_report_engine, args=(theirs, name), daemon=True)
    process.start()
    theirs.close()
    try:
        answer: Engine | str = ours.recv()
    except EOFError:
        process.join()
        answer = f"its engine died at import (exit code {process.exitcode})"
    process.join()
    return answer


def _report_engine(connection: Connection, name: str) -> None:
    _redirect_output(os.devnull)
    try:
        connection.send(runtime_class(name).engine())
    except Exception as error:
        connection.send(str(error) if isinstance(error, PajamasError) else repr(error))
