"""A Python process and all that it starts: they end together."""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, Any

SLICES = 20
"""Parts in which one waits for a message."""

_PROGRAM = """\
import sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
sys.path[:] = connection.recv()
from pajamas_eval.workers.process_group import obey
obey(connection, int(sys.argv[2]))
"""


class ProcessGroup:
    """A Python process that leads a process group of its own.

    It is no process of `multiprocessing`, whose daemonic ones may have no children, and whose
    others are waited for at exit. The group ends with `end`, when its leader is found dead, and
    when this process exits or is killed.

    Attributes:
        pid: Of the process and of its group.
        connection: A pipe to the process. Where no byte of a message moves for the time given,
            reading and writing raise `BlockingIOError`.
    """

    def __init__(
        self,
        function: Callable[..., None],
        *arguments: object,
        output: IO[bytes] | int,
        timeout: float,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the process, which calls `function(connection, *arguments)`.

        Args:
            function: A function of a module, which is imported there.
            arguments: They are pickled.
            output: File that what it prints is written to, or `subprocess.DEVNULL`.
            timeout: Seconds that sending or receiving may stand still in the middle of a message.
            environment: Variables that it finds set, unless they are set here.

        Raises:
            OSError: There is no room for another process.
        """
        self.connection, theirs = Pipe()
        _limit_waits(self.connection, timeout)
        watched, self._held = Pipe(duplex=False)  # closed by the system when this process ends
        descriptors = (theirs.fileno(), watched.fileno())
        # Without -P modules could come from the working directory before the path is known.
        flags = [*subprocess._args_from_interpreter_flags(), "-P"]  # type: ignore[attr-defined]
        with ExitStack() as where_it_fails:
            where_it_fails.callback(self.connection.close)
            with _uninterrupted(), theirs, watched:  # until there is a process that can be ended
                self._process = subprocess.Popen(
                    [sys.executable, *flags, "-c", _PROGRAM, *map(str, descriptors)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=descriptors,
                    process_group=0,
                    env={**(environment or {}), **os.environ},
                )
                self._end = weakref.finalize(self, _end, self._process, os.getpid())
                where_it_fails.callback(self._end)
            self.pid = self._process.pid
            self.connection.send(sys.path)
            self.connection.send((function, arguments))
            where_it_fails.pop_all()

    def speaks_within(self, seconds: float) -> bool:
        """Whether there is something to read before that time is over."""
        # In slices: where this process was stopped, by Ctrl-Z or with its machine, no more than
        # one of them has passed.
        return any(self.connection.poll(seconds / SLICES) for _ in range(SLICES))

    def wait(self, seconds: float) -> int | None:
        """The process's exit code, as `subprocess` has it, if it ends before that time is over."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if self._process.returncode is not None:
                self._end()

    def end(self) -> None:
        """Ends every process of the group, whatever it is doing."""
        self._end()
        self.connection.close()


def how_it_ended(code: int | None) -> str:
    """An exit code in words; a process without one has closed its connection."""
    if code is None:
        return "closed the connection without exiting"
    if code >= 0:
        return f"exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    how = f"killed by {names.get(-code, f'signal {-code}')}"
    if code == -signal.SIGKILL:
        how += ", as the system does when memory runs out"
    return how


def _end(leader: "subprocess.Popen[bytes]", parent: int) -> None:
    if os.getpid() != parent:  # a fork of it, whose processes these are not
        return
    # At once where the leader was waited for: its number stays the group's while one process is
    # left in it, and is anybody's thereafter.
    leader.kill()
    with suppress(ProcessLookupError, PermissionError):  # the latter for zombies on macOS
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def _limit_waits(connection: Connection, seconds: float) -> None:
    """A process that is stopped in the middle of a message would be waited for without end."""
    with socket.socket(fileno=os.dup(connection.fileno())) as pipe:
        whole, rest = divmod(seconds, 1)
        timeval = struct.pack("ll", int(whole), int(rest * 1e6))
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)


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


# -- what runs in the process ----------------------------------------------------------------------


def obey(connection: Connection, watched: int) -> None:
    """Calls the function that the parent sends, and ends the group when the parent is gone."""
    # Ctrl-C does not come here, but who signals all of a session or a container means the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent(watched)
    for descriptor in (connection.fileno(), watched):
        os.set_inheritable(descriptor, False)
    # A fork that held the connection would hide from the parent that this process died.
    os.register_at_fork(after_in_child=connection.close)
    del sys.argv[1:]
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    function, arguments = connection.recv()
    function(connection, *arguments)


def _end_with_parent(watched: int) -> None:
    """Whatever the processes are doing: nobody is there to take it where the parent was killed.

    A thread sees to that, and Linux itself: where an engine hangs in C code that holds the
    interpreter's lock, no thread runs.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(watched, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(watched, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(watched, fcntl.F_SETFL, os.O_ASYNC)

    def end() -> None:
        os.read(watched, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()
