"""Ctrl-C and SIGTERM while a command runs: an exception, so that it ends in order."""

import _thread
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_AT_ONCE_SECONDS = 1.0
"""Signals that follow one another so fast are one: tidying up is not interrupted by the second."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: to be met wherever Ctrl-C is."""


@contextmanager
def raised() -> Iterator[None]:
    """Raises `KeyboardInterrupt` or `Terminated` inside for a signal that is not ignored."""
    last = 0.0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last > _AT_ONCE_SECONDS:
            last = time.monotonic()
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def again(unraisable: Any) -> None:
        """Python drops what is raised in a finalizer; a signal that came there comes once more."""
        nonlocal last
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            last = 0.0
            terminated = issubclass(unraisable.exc_type, Terminated)
            _thread.interrupt_main(signal.SIGTERM if terminated else signal.SIGINT)
        else:
            hook(unraisable)

    hook = sys.unraisablehook
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    met = [number for number in _SIGNALS if before[number] != signal.SIG_IGN]  # as by nohup
    try:
        for number in met:
            signal.signal(number, stop)
        sys.unraisablehook = again
        yield
    finally:
        sys.unraisablehook = hook
        for number in met:
            signal.signal(number, before[number])
