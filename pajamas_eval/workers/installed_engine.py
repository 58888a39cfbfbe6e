"""Whether a runtime's engine works here."""

import subprocess
from multiprocessing.connection import Connection

from pajamas_eval.api.identity import Engine
from pajamas_eval.api.validation import validate_statement
from pajamas_eval.errors import PajamasError
from pajamas_eval.models.registry import runtime_class
from pajamas_eval.workers.process_group import ProcessGroup, how_it_ended

TIMEOUT_SECONDS = 60.0
"""How long an engine may take to be imported and to name itself."""


def installed_engine(name: str) -> Engine | str:
    """The engine of a runtime, or why it does not work here; asked in a process of its own."""
    silent = f"its engine said nothing for {TIMEOUT_SECONDS:g} seconds"
    try:
        process = ProcessGroup(
            _report_engine, name, output=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS
        )
    except OSError as error:
        return f"no process can be started for its engine: {error}"
    try:
        if not process.speaks_within(TIMEOUT_SECONDS):
            return silent
        answer: Engine | str = process.connection.recv()
    except BlockingIOError:  # in the middle of a message
        return silent
    except (EOFError, OSError):
        return f"its engine died at import ({how_it_ended(process.wait(5))})"
    finally:
        process.end()
    return answer


def _report_engine(connection: Connection, name: str) -> None:
    try:
        engine = validate_statement(
            Engine, runtime_class(name).engine(), "it gave an invalid engine"
        )
        connection.send(engine)
    except Exception as error:
        connection.send(str(error) if isinstance(error, PajamasError) else repr(error))
