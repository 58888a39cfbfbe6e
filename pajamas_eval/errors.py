"""What can go wrong, as types: each knows the exit code of the command that meets it."""

from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches


class PajamasError(Exception):
    """An error with a message for the user; shown as one line, never as a traceback."""

    exit_code = 4


class UsageError(PajamasError):
    """The input is wrong: the message says what is wrong with it and what to do."""

    exit_code = 2


class MissingEngineError(UsageError):
    """The engine behind a runtime is not installed."""

    def __init__(self, runtime: str, module: str) -> None:
        super().__init__(
            f"the {runtime} runtime needs the Python package {module!r}, which is not installed; "
            f"install it with: {install_command(runtime)}"
        )


class RunError(PajamasError):
    """A model could not be run to the end."""


class WorkerDiedError(RunError):
    """The worker process ended by itself, or ran out of memory."""


class WorkerHungError(RunError):
    """The worker process showed no heartbeat, and was killed."""


class StoreError(RunError):
    """The response store could not be read or written."""


class OutOfMemoryError(PajamasError):
    """An engine had no room for a batch; the caller retries with a smaller one."""


LONGEST_ERROR = 2000
"""Characters of an error that are kept."""


def one_line(error: BaseException) -> str:
    """Kind and first line of an error, whose text may be empty, or as long as it likes."""
    name, text = type(error).__name__, ""
    with suppress(Exception):  # a plugin's error may fail to be written
        text = str(error).strip()
    return f"{name}: {text.splitlines()[0]}"[:LONGEST_ERROR] if text else name


def install_command(extra: str) -> str:
    """The exact command that installs the engine of one extra."""
    return f"pip install 'pajamas-eval[{extra}]'"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest of the known names, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
