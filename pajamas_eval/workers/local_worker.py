"""One model in its own process: an engine that aborts takes down its worker, nothing else."""

import os
import re
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pajamas_eval.api.requests import AnyResult, Request
from pajamas_eval.errors import PajamasError, RunError, WorkerDiedError, WorkerHungError
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.workers.messages import Finished, Loaded, Opened, Readings
from pajamas_eval.workers.process import STDERR_TAIL, serve
from pajamas_eval.workers.process_group import ProcessGroup, how_it_ended
from pajamas_eval.workers.worker import TIMEOUT_SECONDS

LOOKED_AT = 100_000
"""Bytes at a log's end that are searched for an assertion, behind which debuggers print frames."""

_FRAME = r"\s*(?:#\d|0x|\d+\s+\S+\s+0x|\[New )"
_ASSERTION = re.compile(
    rf"^(?!{_FRAME})"
    r"(?=.*(?:\.\w{1,4}:\d+: |assert|terminating due|terminate called|what\(\):)).*\S",
    re.MULTILINE | re.IGNORECASE,
)
"""Lines in which C, C++ and ggml say why they abort, and no frames of a debugger."""

LOADING_TIMEOUT_SECONDS = 3600.0
"""How long opening or loading a model may take: weights may come from a slow disk."""

SPIN_LITTLE = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
"""How long threads of OpenMP (GNU's; Intel's and LLVM's, in milliseconds) spin before they sleep.

By default it is so long that they take from each other, wherever anything else runs on the machine,
the very processors that they wait for; `tests/performance/busy.py` measures it.
"""


class LocalWorker:
    """A worker that is a process of this machine, driven over a pipe."""

    def __init__(
        self, spec: ModelSpec, log: Path | None = None, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """Starts the process.

        Args:
            spec: The model.
            log: File that what the engine prints is appended to; one without a name, which goes
                with this process, by default.
            timeout: Seconds that it may be silent while it answers, and that it may leave what is
                sent to it unread.

        Raises:
            RunError: There is no room for another process.
        """
        self.spec = spec
        self.label = spec.label
        self._timeout = timeout
        self._log = log
        self._opened: Opened | None = None
        try:
            self._output = log.open("a+b") if log else tempfile.TemporaryFile()  # noqa: SIM115
        except OSError as error:
            raise RunError(f"{self.label}: cannot open a log for it: {error}") from None
        self._process = self._start()

    def _start(self) -> ProcessGroup:
        self._busy = True  # opening the model
        try:
            return ProcessGroup(
                serve,
                self.spec,
                self._timeout,
                output=self._output,  # engines chat; the terminal belongs to the report
                timeout=self._timeout,
                environment={} if "OMP_WAIT_POLICY" in os.environ else SPIN_LITTLE,
            )
        except OSError as error:
            self._close_log()
            raise RunError(f"{self.label}: no worker process can be started: {error}") from None
        except BaseException:
            self._close_log()
            raise

    def open(self) -> Opened:
        """Waits until tokenizer and metadata are read."""
        opened = self._reply()
        assert isinstance(opened, Opened)
        former, self._opened = self._opened or opened, opened
        self._refuse_changed(former.key.weights, opened.key.weights)
        if former != opened:  # an engine that was updated meanwhile
            raise RunError(f"{self.label}: its engine or settings were changed during the run")
        return opened

    def start_reading(self, requests: Sequence[Request], context_length: int | None) -> None:
        """Has the process read requests, while others do."""
        self._send("read", (list(requests), context_length))

    def readings(self) -> Readings:
        """How the model reads the requests of `start_reading`."""
        readings = self._reply()
        assert isinstance(readings, Readings)
        return readings

    def tokenize(self, requests: Sequence[Request]) -> list[list[int]]:
        """The tokens of each request."""
        self._send("tokenize", list(requests))
        tokens: list[list[int]] = self._reply()
        return tokens

    def load(self, context_length: int | None) -> Loaded:
        """Has the process read the weights."""
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

    def restart(self) -> None:
        """Replaces a process that died or hung by a new one."""
        self._end()
        self._process = self._start()

    def close(self) -> None:
        """Ends the process and all that it started; a log that says nothing is removed."""
        self._end()
        self._close_log()

    def _end(self) -> None:
        if not self._busy:
            self._process.connection.close()  # it sees at once that it is no longer needed
            self._process.wait(0.1)
        self._process.end()

    def _close_log(self) -> None:
        self._output.close()
        if self._log and self._log.exists() and not self._log.stat().st_size:
            self._log.unlink(missing_ok=True)

    def _refuse_changed(self, former: str | None, digest: str | None) -> None:
        """Answers are kept under the digest of the weights that gave them."""
        if former != digest:
            raise RunError(f"{self.label}: its files were changed during the run")

    def _send(self, method: str, argument: Any) -> None:
        self._busy = True
        try:
            self._process.connection.send((method, argument))
        except BlockingIOError:
            raise self._hung("took nothing of what it was sent", self._timeout) from None
        except (BrokenPipeError, ConnectionError):
            raise WorkerDiedError(self._last_words()) from None

    def _reply(self) -> Any:
        message = self._receive(LOADING_TIMEOUT_SECONDS)
        self._busy = False
        return message

    def _receive(self, timeout: float) -> Any:
        try:
            if not self._process.speaks_within(timeout):
                raise self._hung("showed no heartbeat", timeout)
            message = self._process.connection.recv()
        except WorkerHungError:
            raise
        except BlockingIOError:  # in the middle of a message
            raise self._hung("showed no heartbeat", self._timeout) from None
        except (EOFError, OSError):  # the latter in the middle of a message
            raise WorkerDiedError(self._last_words()) from None
        except Exception as error:  # an engine may write over anything
            self._process.end()
            raise WorkerDiedError(
                f"{self.label}: the worker process sent what cannot be read "
                f"({type(error).__name__}) and was killed{self._tail()}"
            ) from None
        if isinstance(message, WorkerDiedError):
            raise WorkerDiedError(f"{self.label}: {message}{self._tail()}")
        if isinstance(message, PajamasError):
            raise type(message)(f"{self.label}: {message}")
        return message

    def _hung(self, what: str, seconds: float) -> WorkerHungError:
        self._process.end()
        return WorkerHungError(
            f"{self.label}: the worker process {what} for {seconds:g} seconds "
            f"and was killed{self._tail()}"
        )

    def _last_words(self) -> str:
        code = self._process.wait(5)
        self._process.end()  # where it is still there, what it does is of no use
        said = self._assertion() if code == -signal.SIGABRT else self._tail()
        return f"{self.label}: the worker process died ({how_it_ended(code)}){said}"

    def _tail(self) -> str:
        tail = self._said(STDERR_TAIL)
        return f"; it last said:\n{tail}" if tail else ""

    def _assertion(self) -> str:
        """Why it aborted, or what it last said."""
        lines = list(dict.fromkeys(_ASSERTION.findall(self._said(LOOKED_AT))))
        return "; it last said:\n" + "\n".join(lines[-3:]) if lines else self._tail()

    def _said(self, most: int) -> str:
        """The end of what it printed."""
        if self._output.closed:
            return ""
        log = self._output.fileno()
        # Without moving the place at which the process goes on to write.
        said = os.pread(log, most, max(0, os.fstat(log).st_size - most))
        return said.decode("utf-8", "replace").strip()
