"""One model in its own process: an engine that aborts takes down its worker, nothing else."""

import multiprocessing
import os
import signal
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pajamas_eval.api.identity import Engine
from pajamas_eval.api.requests import AnyResult, Request
from pajamas_eval.errors import PajamasError, RunError, WorkerDiedError, WorkerHungError
from pajamas_eval.models.registry import runtime_class
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.workers.messages import Finished, Loaded, Opened, Readings
from pajamas_eval.workers.process import STDERR_TAIL, redirect_output, serve

TIMEOUT_SECONDS = 300.0
"""How long an engine may show no heartbeat while it answers."""

LOADING_TIMEOUT_SECONDS = 3600.0
"""How long opening or loading a model may take: weights may come from a slow disk."""

SLICES = 20
"""Parts in which one waits for a heartbeat."""


class Worker:
    """A spawned process with one model, driven over a pipe.

    Every method raises `UsageError` where the model or its options are at fault, `WorkerDiedError`
    where the process ended, `WorkerHungError` where it was killed because it showed no sign of
    life, and `RunError` where the engine failed otherwise.
    """

    def __init__(
        self, spec: ModelSpec, log: Path | None = None, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """Starts the process.

        Args:
            spec: The model.
            log: File that what the engine prints is appended to; a temporary one by default.
            timeout: Seconds that it may be silent while it answers.
        """
        self.spec = spec
        self.label = spec.label
        self._timeout = timeout
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
        _end_reads_after(self._timeout, self._connection)
        self._busy = True  # opening the model
        self._process = context.Process(
            target=serve,
            args=(theirs, self.spec, str(self.log), self._timeout),
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
        self._refuse_changed(former.key.weights, opened.key.weights)
        if former != opened:  # an engine that was updated meanwhile
            raise RunError(f"{self.label}: its engine or settings were changed during the run")
        return opened

    def tokenize(self, requests: Sequence[Request]) -> list[list[int]]:
        """The tokens of each request."""
        self._send("tokenize", list(requests))
        tokens: list[list[int]] = self._reply()
        return tokens

    def start_reading(self, requests: Sequence[Request], context_length: int | None) -> None:
        """Has the process read requests, while others do; see `load` for the length."""
        self._send("read", (list(requests), context_length))

    def readings(self) -> Readings:
        """How the model reads the requests of `start_reading`."""
        readings = self._reply()
        assert isinstance(readings, Readings)
        return readings

    def load(self, context_length: int | None) -> Loaded:
        """Reads the weights; sequences will have at most `context_length` tokens."""
        self._send("load", context_length)
        loaded = self._reply()
        assert isinstance(loaded, Loaded)
        if self._opened:
            self._refuse_changed(self._opened.key.weights, loaded.identity.digest)
        return loaded

    def answer(
        self, requests: Sequence[Request]
    ) -> Iterator[Sequence[tuple[int, AnyResult]] | Finished]:
        """Groups of results as they come, and what they cost at the end."""
        self._send("answer", list(requests))
        while True:
            message = self._receive(self._timeout)
            if isinstance(message, Finished):
                self._busy = False
                yield message
                return
            if message is not None:  # else a heartbeat
                yield message

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._end()
        if self._temporary or (self.log.exists() and not self.log.stat().st_size):
            self.log.unlink(missing_ok=True)

    def _refuse_changed(self, former: str | None, digest: str | None) -> None:
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
        message = self._receive(LOADING_TIMEOUT_SECONDS)
        self._busy = False
        return message

    def _receive(self, timeout: float) -> Any:
        try:
            # In slices: where this process was stopped as well, by Ctrl-Z or with its machine, no
            # more than one of them has passed.
            if not any(self._connection.poll(timeout / SLICES) for _ in range(SLICES)):
                raise self._hung(timeout)
            message = self._connection.recv()
        except WorkerHungError:
            raise
        except BlockingIOError:  # in the middle of a message
            raise self._hung(self._timeout) from None
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

    def _hung(self, timeout: float) -> WorkerHungError:
        self._process.kill()
        return WorkerHungError(
            f"{self.label}: the worker process showed no heartbeat for {timeout:g} seconds "
            f"and was killed{self._tail()}"
        )

    def _last_words(self) -> str:
        self._process.join(timeout=5)
        code = self._process.exitcode
        how = f"exit code {code}"
        if code is None:  # whatever it still does is of no use
            self._process.kill()
            how = "closed the connection without exiting"
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
    redirect_output(os.devnull)
    try:
        connection.send(runtime_class(name).engine())
    except Exception as error:
        connection.send(str(error) if isinstance(error, PajamasError) else repr(error))
