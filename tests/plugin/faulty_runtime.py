"""A runtime that goes wrong as it is told: the stand-in for every engine's misbehaviour.

A plugin like a third party's: with this folder on PYTHONPATH, `faulty[path=FILE,...]` is a model.
It answers `Q17?` of MMLU with choice 17 % 4 and `Q17?` of GSM8K with `#### 17`; a file that says
`wrong 20` has all questions below 20 wrong. What it computes it notes in `FILE.calls`, a line for
each load and each request. Where FAULTY_WELL is set nothing goes wrong; FAULTY_ENGINE is a fault
that happens where its engine is asked for.
"""

import ctypes
import gc
import multiprocessing
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from pajamas_eval.api.digest import digest_of
from pajamas_eval.api.hidden_states import HiddenStates, Observer, Place
from pajamas_eval.api.identity import Engine, Identity, Settings
from pajamas_eval.api.requests import AnyResult as Result
from pajamas_eval.api.requests import (
    GenerateUntil,
    GenerationResult,
    LogLikelihood,
    LogLikelihoodResult,
    LogLikelihoodRolling,
    Request,
)
from pajamas_eval.api.results import Failure
from pajamas_eval.api.runtime import (
    Answers,
    Capabilities,
    TextRuntime,
    TokenPair,
    Usage,
)
from pajamas_eval.errors import OutOfMemoryError
from pajamas_eval.tokens.options import TokenOptions

BOS = 1


class FaultyOptions(TokenOptions, frozen=True, kw_only=True):
    """How the runtime goes wrong.

    Attributes:
        fault: What happens, by the name of a function below; nothing if empty.
        on: Text of the requests at which it does; all of them if empty.
        once: Only the first time, over all processes.
        seconds: That every answer takes.
        says: Folder whose file `17.txt` is the answer to `Q17?`.
        starts: What it starts and never ends when it is opened, a `program` or a `fork`; their
            numbers are noted in `FILE.started`.
        dtype: An option that could change an answer.
    """

    fault: str = ""
    on: str = ""
    once: bool = False
    seconds: float = 0.0
    says: str = ""
    starts: str = ""
    dtype: str = "f32"


class FaultyRuntime(TextRuntime):
    """Knows all answers, and may fail to give them."""

    name = "faulty"
    options_type = FaultyOptions
    options: FaultyOptions

    def __init__(self, options: FaultyOptions) -> None:
        self.options = options
        self.usage = Usage()
        self._file = Path(options.path)
        if options.starts:
            self._append("started", f"{_start(options.starts)}")
        self._stage("open_")

    @classmethod
    def engine(cls) -> Engine:
        """Its version and build are what the environment says."""
        if fault := os.environ.get("FAULTY_ENGINE"):
            for _ in _FAULTS[fault](cls, [], 0):  # type: ignore[arg-type]
                pass
        build = os.environ.get("FAULTY_BUILD", "")
        return Engine({"faulty": os.environ.get("FAULTY_VERSION", "1")}, "CPU", build)

    @property
    def capabilities(self) -> Capabilities:
        """All request kinds."""
        return Capabilities(frozenset({LogLikelihood, LogLikelihoodRolling, GenerateUntil}))

    @property
    def settings(self) -> Settings:
        """A BOS token where it is asked for."""
        prefix = (BOS,) if self.options.add_bos else ()
        return Settings(
            context_length=self.options.n_ctx or 1_000_000,
            prefix_tokens=prefix,
            bos_token="",
            eos_token="",
            chat_template=None,
        )

    def digest(self) -> str:
        """Of the file."""
        return digest_of([self._file])

    def limit_context(self, context_length: int) -> None:
        """Any context fits."""

    def load(self) -> Identity:
        """Notes that it was loaded."""
        self._note("load")
        self._stage("load_")
        return Identity(
            runtime=self.name,
            path=self.options.path,
            digest=self.digest(),
            size_bytes=self._file.stat().st_size,
            architecture="faulty",
            parameters=0,
            quantization="none",
            bits_per_weight=0.0,
            dtype=self.options.dtype,
            device="CPU",
            versions=self.engine().versions,
        )

    def hidden_states(self, tokens: Sequence[int], observe: Observer) -> None:
        """Each place has one more than the one before it, and may fail in the middle."""
        states = np.repeat(np.asarray(tokens, np.float32)[:, None], 4, axis=1)
        for place in (Place.EMBEDDING, Place.OUTPUT, Place.LOGITS):
            layer = 0 if place is Place.OUTPUT else None
            instead = observe(HiddenStates(place, layer, states))
            states = (states if instead is None else instead) + 1
            self._stage("states_")

    def tokenize(self, requests: Sequence[Request]) -> Iterator[TokenPair]:
        """Characters are tokens."""
        for request in requests:
            context, continuation = request.texts()
            yield self._tokens(context), _characters(continuation)

    def loglikelihood(self, requests: Sequence[LogLikelihood]) -> Answers:
        """The right letter is the most probable one."""
        return self._answers(requests)

    def loglikelihood_rolling(self, requests: Sequence[LogLikelihoodRolling]) -> Answers:
        """Every text is as probable as any other."""
        return self._answers(requests)

    def generate_until(self, requests: Sequence[GenerateUntil]) -> Answers:
        """The number of the question."""
        return self._answers(requests)

    def _tokens(self, text: str) -> np.ndarray[Any, np.dtype[np.int32]]:
        return np.append(np.array(self.settings.prefix_tokens, np.int32), _characters(text))

    def _answers(self, requests: Sequence[Request]) -> Answers:
        fault = _FAULTS.get(self.options.fault)
        for i, request in enumerate(requests):
            time.sleep(self.options.seconds)
            if fault and self.options.on in _text(request) and self._due():
                yield from fault(self, requests, i)
                continue
            yield i, self.right(request)

    def right(self, request: Request) -> Result:
        """What it would answer if nothing went wrong."""
        self._note(_text(request))
        self.usage.evaluated_tokens += 1
        self.usage.prompt_tokens += 1
        self.usage.prompt_seconds += 0.001
        self.usage.batching = "one text at a time"
        text = _text(request)
        number = int((re.findall(r"Q(\d+)\?", text) or ["0"])[-1])
        wrong = re.fullmatch(r"wrong (\d+)", self._file.read_text().strip())
        number += wrong is not None and number < int(wrong[1])
        if isinstance(request, GenerateUntil):
            said = f"#### {number}"
            if self.options.says:
                file = Path(self.options.says) / f"{number}.txt"
                said = file.read_bytes().decode("utf-8", "surrogatepass")
            return GenerationResult(said, "stop", len(said), len(text), 0, 0.001)
        right = text.endswith("ABCD"[number % 4])
        return LogLikelihoodResult(-0.5 if right else -2.0, right, 1, 1, len(text), 0, 0.001)

    def _due(self) -> bool:
        """Whether the fault happens now."""
        if "FAULTY_WELL" in os.environ:
            return False
        if not self.options.once:
            return True
        marker = Path(f"{self.options.path}.once")
        if marker.exists():
            return False
        marker.touch()
        return True

    def _stage(self, stage: str) -> None:
        """Goes wrong at another moment than while answering."""
        if self.options.fault.startswith(stage) and self._due():
            for _ in _FAULTS[self.options.fault.removeprefix(stage)](self, [], 0):
                pass

    def _note(self, text: str) -> None:
        self._append("calls", text)

    def _append(self, name: str, text: str) -> None:
        line = text.encode("unicode_escape")[-200:] + b"\n"
        with open(f"{self.options.path}.{name}", "ab", buffering=0) as file:
            file.write(line)


def _start(what: str) -> int:
    """As engines start servers, and data loaders their forks."""
    if what == "program":
        return subprocess.Popen(["sleep", "1000"]).pid
    loader = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
    loader.start()
    assert loader.pid is not None
    return loader.pid


def _text(request: Request) -> str:
    return "".join(request.texts())


def _characters(text: str) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.int32)


# -- what can go wrong: each yields what it answers to request i, if it answers at all ---------

Fault = Callable[[FaultyRuntime, Sequence[Request], int], Answers]
_FAULTS: dict[str, Fault] = {}


def _fault(function: Fault) -> Fault:
    _FAULTS[function.__name__] = function
    return function


def _says(error: BaseException) -> Fault:
    def fault(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
        raise error
        yield

    return fault


def _gives(result: Any) -> Fault:
    def fault(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
        yield i, result

    return fault


def _likely(value: Any, **others: Any) -> LogLikelihoodResult:
    known: dict[str, Any] = {"is_greedy": True, "token_count": 1, "byte_count": 1}
    return LogLikelihoodResult(value, **(known | {"prompt_tokens": 1} | others))


_FAULTS |= {
    "memory_error": _says(MemoryError()),
    "out_of_memory": _says(OutOfMemoryError("no room for the batch")),
    "exception": _says(RuntimeError("the kernel is \x1b[31mred\x1b[0m\nand more")),
    "unsayable": _says(RuntimeError("\udcff\u202e" + "x" * 10_000_000)),
    "exit": _says(SystemExit(7)),
    "interrupt": _says(KeyboardInterrupt()),
    "nan": _gives(_likely(float("nan"))),
    "infinite": _gives(_likely(float("-inf"))),
    "numpy": _gives(_likely(np.float32(-0.25), is_greedy=np.bool_(True), token_count=np.int64(1))),
    "nothing": _gives(None),
    "unsendable": _gives(lambda: None),
    "text_for_number": _gives(GenerationResult("A", "stop", 1, 1)),
    "number_for_text": _gives(_likely(-0.5)),
    "wrong_fields": _gives(_likely("much", is_greedy="maybe")),
    "odd_finish": _gives(GenerationResult("#### 1", "tired", 1, 1)),  # type: ignore[arg-type]
    "bytes_for_text": _gives(GenerationResult(b"\xff\xfe", "stop", 1, 1)),  # type: ignore[arg-type]
    "nan_seconds": _gives(_likely(-0.5, seconds=float("nan"))),
    "failure": _gives(Failure("the logits are \x1b[31mno numbers")),
    "surrogates": _gives(GenerationResult("\udcff#### 1\ud800", "stop", 1, 1)),
}


@_fault
def abort(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """As ggml does where an assertion does not hold, with the stack that a debugger prints."""
    os.write(2, b"ggml.c:1234: GGML_ASSERT(everything) failed\n")
    for number in range(70):
        os.write(2, b"#%d  0x00007f25 in ggml_compute_%d () from libggml.so\n" % (number, number))
    os.abort()
    yield


@_fault
def abort_in_debugger(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """As ggml does that starts one, which prints more frames than anybody reads."""
    os.write(2, b"loading\n/src/ggml.c:1234: GGML_ASSERT(n > 0) failed\n[New LWP 7]\n")
    for n in range(200):
        os.write(2, b"#%d  0x00007f in ggml_abort (assert=1) at /src/ggml.c:%d\n" % (n, n))
    os.write(2, b"[Inferior 1 (process 7) detached]\n")
    os.abort()
    yield


@_fault
def uncaught(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """As C++ does with an exception that nobody catches."""
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.write(2, b"  what():  std::bad_alloc\nbye\n")
    os.abort()
    yield


@_fault
def failed_assertion(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """As the C library does."""
    os.write(2, b"python: x.c:12: f: Assertion `a == b' failed.\nbye\n")
    os.abort()
    yield


@_fault
def killed(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """As the system does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    yield


@_fault
def real_time_signal(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """A signal without a name of its own."""
    os.kill(os.getpid(), 40)
    yield


@_fault
def cut(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """Dies in the middle of a message."""
    (pipe,) = (o for o in gc.get_objects() if isinstance(o, Connection) and o.writable)
    os.write(pipe.fileno(), struct.pack("!i", 1000) + b"half a mess")
    os._exit(9)
    yield


@_fault
def garbage(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """A message that says nothing."""
    (pipe,) = (o for o in gc.get_objects() if isinstance(o, Connection) and o.writable)
    os.write(pipe.fileno(), struct.pack("!i", 11) + b"half a mess")
    time.sleep(1000)
    yield


@_fault
def hang(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """Never comes back."""
    os.write(2, b"about to hang\n")
    time.sleep(1000)
    yield


@_fault
def stuck(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """Never comes back, and lets no other thread of its process run."""
    ctypes.PyDLL(None).sleep(1000)
    yield


@_fault
def stopped(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """Never comes back, unless somebody wakes it."""
    os.kill(os.getpid(), signal.SIGSTOP)
    yield i, runtime.right(requests[i])


@_fault
def engine_with_child(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """An engine that has a server of its own; its number is noted in FAULTY_STARTED."""
    Path(os.environ["FAULTY_STARTED"]).write_text(f"{_start('program')}")
    yield from ()


@_fault
def slow(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """Takes long, and says all the while that it is alive."""
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        time.sleep(0.05)
        runtime.heartbeat()
    yield i, runtime.right(requests[i])


@_fault
def busy(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """Computes for a while: a process that is stopped gets no further."""
    until = time.thread_time() + 0.5
    while time.thread_time() < until:
        pass
    yield i, runtime.right(requests[i])


@_fault
def left_out(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """No answer."""
    yield from ()


@_fault
def twice(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """The same answer two times."""
    yield i, runtime.right(requests[i])
    yield i, runtime.right(requests[i])


@_fault
def beyond(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """An answer to what was never asked."""
    yield len(requests), runtime.right(requests[i])


@_fault
def before(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """An answer to what was never asked, that Python's lists would take."""
    yield -1, runtime.right(requests[i])


@_fault
def chatter(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """Talks past Python, as engines do, and through it."""
    os.write(1, b"chatter on stdout\n")
    os.write(2, b"chatter on stderr \x1b[31m\n")
    libc = ctypes.CDLL(None)
    libc.puts(b"chatter of C")
    libc.fflush(None)
    print("chatter of Python", flush=True)
    print("chatter of Python's", file=sys.stderr)
    yield i, runtime.right(requests[i])


@_fault
def endless(runtime: FaultyRuntime, requests: Sequence[Request], i: int) -> Answers:
    """A very long text."""
    yield i, GenerationResult("x" * 10_000_000, "length", 10_000_000, 1)
