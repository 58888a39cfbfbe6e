"""Ctrl-C, SIGTERM and kill -9, at any moment: no traceback, no orphan, and nothing is lost."""

import os
import pty
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from faulty import COMMAND, EVERYTHING, Place, assert_fit_for_a_terminal

MOMENTS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.1, 1.4, 2.0)
"""Seconds after the start: while Python, libraries and workers are loaded, and while they run."""

STOP_SECONDS = 2.0
"""A second is promised; machines that test are slow."""

SHELLS_CODE = {signal.SIGINT: 130, signal.SIGTERM: 143}

SLOW = {"seconds": 0.05}

STARTS = ("program", "fork")  # by a worker: a server of its engine, a fork that loads data
STUCK = ["stuck"] if sys.platform == "linux" else []  # elsewhere only a thread ends it


def left_of(session: int) -> list[int]:
    """A command and what it started, whatever group it is in, as far as it still runs."""
    table = subprocess.run(
        ["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    left = []
    for pid, state in (line.split() for line in table.splitlines()):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(int(pid)) == session and not state.startswith("Z"):
                left.append(int(pid))
    return left


def all_end(session: int, seconds: float = STOP_SECONDS) -> bool:
    """Whether every process that a command started ends before long."""
    deadline = time.monotonic() + seconds
    while left_of(session):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def stopped(process: subprocess.Popen[str]) -> tuple[float, str]:
    """How long a process that got a signal takes to end, and all that it printed."""
    started = time.monotonic()
    output, progress = process.communicate(timeout=30)
    return time.monotonic() - started, output + progress


def answering(place: Place, label: str, count: int) -> None:
    """Waits until a model has computed so many responses."""
    deadline = time.monotonic() + 30
    while len(place.calls(label)) <= count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def all_of(terminal: int) -> str:
    """What is printed on a terminal until nobody is left there; then it is closed."""
    printed = b""
    with suppress(OSError):  # how a terminal says that nobody is left
        while chunk := os.read(terminal, 10_000):
            printed += chunk
    os.close(terminal)
    return printed.decode()


def stored(place: Place) -> int:
    with closing(sqlite3.connect(place.store)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM responses").fetchone()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return int(count)


HINT = (
    "what was computed is kept; to resume, give the same command again, or: "
    "pajamas-eval compare --resume 1"
)

INTERRUPTED_AFTER = """
import signal, sys
from pajamas_eval.store import database, runs
from pajamas_eval.cli import main
when = {when!r}
class Connection(database.sqlite3.Connection):
    def execute(self, statement, *rest):
        result = super().execute(statement, *rest)
        begins = "INSERT INTO runs" in statement
        Connection.begun = getattr(Connection, "begun", False) or begins
        if when in statement and Connection.begun:
            signal.raise_signal(signal.SIGINT)
        return result
connect = database.sqlite3.connect
database.sqlite3.connect = lambda *a, **k: connect(*a, **k, factory=Connection)
lock = runs.Runs._lock
def locked(self, run):
    handle = lock(self, run)
    if when == "lock":
        signal.raise_signal(signal.SIGINT)
    return handle
runs.Runs._lock = locked
sys.exit(main())
"""
"""Runs the command, which is interrupted right after one step of recording the run."""


def recorded(place: Place) -> bool:
    """Whether the store holds a run."""
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"file:{place.store}?mode=ro", uri=True)) as connection,
    ):
        (count,) = connection.execute("SELECT count(*) FROM runs").fetchone()
        return bool(count)
    return False


def hinted(printed: str) -> list[str]:
    """The arguments of the command that is hinted at."""
    program, *arguments = shlex.split(printed.strip().rpartition(", or: ")[2])
    assert program == "pajamas-eval"
    return arguments


# -- Ctrl-C and SIGTERM ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "to_all", "moment"),
    [
        *((signal.SIGINT, True, moment) for moment in MOMENTS),
        *((signal.SIGTERM, False, moment) for moment in MOMENTS[::2]),
        *((signal.SIGTERM, True, moment) for moment in MOMENTS[1::3]),
    ],
)
def test_it_stops_at_once_at_any_moment(
    place: Place, number: signal.Signals, to_all: bool, moment: float
) -> None:
    """Ctrl-C reaches every process of the terminal, SIGTERM one of them, or a whole group."""
    models = [place.model(label, **SLOW) for label in "ab"]
    process = place.start("compare", *models, *EVERYTHING)
    time.sleep(moment)
    (os.killpg if to_all else os.kill)(process.pid, number)
    seconds, printed = stopped(process)
    assert seconds < STOP_SECONDS
    assert_fit_for_a_terminal(printed)
    assert process.returncode in (SHELLS_CODE[number], -number)  # before Python has started
    assert all_end(process.pid)
    said = "Interrupted" if number == signal.SIGINT else "Terminated"
    hint = f"{said}; {HINT}"
    if recorded(place):
        assert process.returncode == SHELLS_CODE[number]
        assert printed.splitlines()[-1] == hint
    else:  # early: nothing of it is left
        assert printed.splitlines()[-1:] in ([], [said])


@pytest.mark.parametrize("number", SHELLS_CODE)
def test_the_moments_cover_both_sides_of_the_record(place: Place, number: signal.Signals) -> None:
    """At the first moment no run is recorded; as soon as one is, the hint is always printed."""
    models = [place.model(label, **SLOW) for label in "ab"]
    process = place.start("compare", *models, *EVERYTHING)
    time.sleep(MOMENTS[0])
    assert not recorded(place)
    deadline = time.monotonic() + 30
    while not recorded(place):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, number)
    _, printed = stopped(process)
    assert process.returncode == SHELLS_CODE[number]
    assert printed.splitlines()[-1].endswith(f"; {HINT}")
    resumed, _ = place.documented(*hinted(printed))
    assert place.computed("a").total() == place.computed("b").total() == 28
    assert [len(record.questions) for record in resumed.benchmarks] == [6, 4]
    assert all(
        a.error is None for r in resumed.benchmarks for s in r.answer_sets for a in s.answers
    )


@pytest.mark.parametrize("when", ["INSERT INTO runs", "COMMIT", "lock"])
def test_the_hint_comes_though_the_run_was_recorded_that_moment(place: Place, when: str) -> None:
    """The signal comes right after a step of recording it."""
    program = INTERRUPTED_AFTER.format(when=when)
    result = subprocess.run(
        [sys.executable, "-c", program, "run", place.model("a"), *EVERYTHING],
        capture_output=True, text=True, cwd=place.folder, env=place.environment, timeout=60,
    )  # fmt: skip
    assert result.returncode == 130
    last = result.stderr.splitlines()[-1]
    assert last == (f"Interrupted; {HINT}" if recorded(place) else "Interrupted")
    assert recorded(place) == (when == "COMMIT")


@pytest.mark.parametrize("number", SHELLS_CODE)
def test_what_was_computed_is_not_computed_again(place: Place, number: signal.Signals) -> None:
    models = [place.model(label, **SLOW) for label in "ab"]
    process = place.start("compare", *models, *EVERYTHING)
    answering(place, "a", 10)
    os.killpg(process.pid, number)
    _, printed = stopped(process)
    assert process.returncode == SHELLS_CODE[number]
    kept = stored(place)
    assert kept >= 6
    assert "interrupted" in place.run("runs").stdout

    place.forget_calls()
    resumed, _ = place.documented(*hinted(printed))
    assert place.computed("a").total() + place.computed("b").total() == 56 - kept
    assert place.run("store", "verify").stdout == "whole: 56 responses, 2 runs\n"
    place.forget_calls()
    again, _ = place.compare(*models)
    assert place.calls("a") == place.calls("b") == []
    assert again.scores == resumed.scores
    assert again.verdicts == resumed.verdicts


def test_how_to_go_on_names_a_store_that_is_not_the_usual_one(place: Place) -> None:
    other = place.folder / "another store.sqlite"
    models = [place.model(x, **SLOW) for x in "ab"]
    process = place.start("compare", *models, *EVERYTHING, "--store", other)
    assert process.stderr is not None
    for line in process.stderr:
        if "loading" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, printed = stopped(process)
    assert printed.endswith(f"pajamas-eval compare --resume 1 --store '{other}'\n")
    place.documented(*hinted(printed))
    assert not place.store.exists()
    shown = place.run("show", 1, "--store", other).stdout
    assert f"to resume: pajamas-eval compare --resume 1 --store '{other}'\n" in shown


def test_many_workers_end_as_fast_as_one(place: Place) -> None:
    models = [place.model(f"m{i}", **SLOW) for i in range(6)]
    process = place.start("compare", *models, *EVERYTHING)
    answering(place, "m0", 3)
    os.killpg(process.pid, signal.SIGINT)
    seconds, _ = stopped(process)
    assert process.returncode == 130
    assert seconds < STOP_SECONDS
    assert all_end(process.pid)


@pytest.mark.parametrize("fault", ["hang", "stuck", "load_hang"])
def test_a_worker_that_hangs_is_not_waited_for(place: Place, fault: str) -> None:
    process = place.start("compare", place.model("a", fault=fault), place.model("b"), *EVERYTHING)
    answering(place, "a", 0)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    seconds, printed = stopped(process)
    assert process.returncode == 130
    assert seconds < STOP_SECONDS
    assert "--resume 1" in printed
    assert all_end(process.pid)


@pytest.mark.parametrize("starts", STARTS)
@pytest.mark.parametrize("number", SHELLS_CODE)
@pytest.mark.parametrize("fault", ["", "hang", "stopped"])
def test_what_workers_started_ends_with_them(
    place: Place, fault: str, number: signal.Signals, starts: str
) -> None:
    models = [place.model(x, starts=starts, fault=fault, **SLOW) for x in "ab"]
    process = place.start("compare", *models, *EVERYTHING)
    answering(place, "a", 0)
    time.sleep(0.3)
    assert len(left_of(process.pid)) >= 5
    os.killpg(process.pid, number)
    seconds, _ = stopped(process)
    assert process.returncode == SHELLS_CODE[number]
    assert seconds < STOP_SECONDS
    assert all_end(process.pid)


@pytest.mark.parametrize("starts", STARTS)
def test_what_workers_started_ends_where_they_die_hang_or_are_done(
    place: Place, starts: str
) -> None:
    faults = {"sound": "", "dies": "abort", "hangs": "hang", "stops": "stopped"}
    models = [place.model(x, starts=starts, fault=faults[x], on="Question: Q1?") for x in faults]
    process = place.start("compare", *models, *EVERYTHING, "--timeout", 1)
    output, progress = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "dies: the worker process died (killed by SIGABRT)" in progress
    assert "hangs failed on 1 question, not counted as wrong" in output
    assert "stops failed on 1 question, not counted as wrong" in output
    assert all_end(process.pid)


def test_another_process_that_holds_the_store_is_not_waited_for(place: Place) -> None:
    models = [place.model(label, **SLOW) for label in "ab"]
    process = place.start("compare", *models, *EVERYTHING)
    answering(place, "a", 1)
    with closing(sqlite3.connect(place.store, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(0.5)  # by then it waits
        os.killpg(process.pid, signal.SIGINT)
        seconds, printed = stopped(process)
    assert seconds < STOP_SECONDS
    assert process.returncode == 130
    assert printed.splitlines()[-1].endswith("pajamas-eval compare --resume 1")


def test_impatience_changes_nothing(place: Place) -> None:
    """Ctrl-C, Ctrl-C, Ctrl-C; and `timeout`, which signals a process and then its group."""
    process = place.start("compare", *[place.model(x, **SLOW) for x in "ab"], *EVERYTHING)
    answering(place, "a", 5)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        os.killpg(process.pid, number)
        time.sleep(0.01)
    _, printed = stopped(process)
    assert process.returncode == 130
    assert_fit_for_a_terminal(printed)
    assert "--resume 1" in printed
    assert "interrupted" in place.run("runs").stdout


def test_a_signal_that_is_ignored_stays_ignored(place: Place) -> None:
    """As in a script's background job, whose Ctrl-C is not its own."""
    models = [place.model(label, **SLOW) for label in "ab"]
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", COMMAND, "compare", *models, *EVERYTHING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place.folder,
        env=place.environment,
        start_new_session=True,
    )
    for moment in (0.05, 0.3, 1.0):
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGINT)
    _, printed = stopped(process)
    assert process.returncode == 0, printed


@pytest.mark.parametrize("with_workers", [False, True])
def test_a_pause_is_no_hang(place: Place, with_workers: bool) -> None:
    """Of the command, or with its machine, for longer than an engine may be silent."""
    model = place.model("a", fault="busy")
    process = place.start("run", model, "-b", "gsm8k", "--shots", 0, "--timeout", 1)
    answering(place, "a", 1)
    time.sleep(0.2)
    paused = left_of(process.pid) if with_workers else [process.pid]
    assert len(paused) == 1 + with_workers
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5)
    for pid in paused:
        os.kill(pid, signal.SIGCONT)
    _, printed = stopped(process)
    assert process.returncode == 0
    assert "started again" not in printed
    assert place.computed("a").total() == 4


def test_a_pause_by_the_terminals_key_is_no_hang(place: Place) -> None:
    """Ctrl-Z stops the command alone: its workers, in groups of their own, compute on meanwhile."""
    model = place.model("a", fault="busy")
    command = [COMMAND, "run", model, "-b", "gsm8k", "--shots", 0, "--timeout", 1]
    script = f"{shlex.join(map(str, command))}; echo paused; sleep 2.5; fg; echo code $?"
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(place.folder)
        os.execvpe("sh", ["sh", "-m", "-c", script], place.environment)
    answering(place, "a", 1)
    os.write(terminal, b"\x1a")
    printed = all_of(terminal)
    os.waitpid(child, 0)
    assert "paused\r\n" in printed
    assert printed.endswith("code 0\r\n")
    assert "started again" not in printed
    assert place.computed("a").total() == 4


def test_on_a_terminal(place: Place) -> None:
    """The key itself, while a bar is shown; the cursor is back at the end."""
    models = [place.model(label, **SLOW) for label in "ab"]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(place.folder)
        os.execve(COMMAND, [str(COMMAND), "compare", *models, *EVERYTHING], place.environment)
    answering(place, "a", 8)
    started = time.monotonic()
    os.write(terminal, b"\x03")
    printed = all_of(terminal)
    _, status = os.waitpid(child, 0)
    assert time.monotonic() - started < STOP_SECONDS
    assert os.waitstatus_to_exitcode(status) == 130
    assert "Traceback" not in printed
    assert "\u2501" in printed, "there was a bar"
    assert printed.count("\x1b[?25l") == printed.count("\x1b[?25h") > 0
    assert "pajamas-eval compare --resume 1" in printed


# -- kill -9 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS[3::2])
def test_workers_vanish_with_a_parent_that_is_killed(place: Place, moment: float) -> None:
    process = place.start("compare", *[place.model(x, **SLOW) for x in "ab"], *EVERYTHING)
    time.sleep(moment)
    process.kill()
    assert all_end(process.pid)
    _, printed = stopped(process)
    assert_fit_for_a_terminal(printed)


def test_a_parent_that_is_killed_leaves_nothing_in_the_folder_for_temporary_files(
    place: Place,
) -> None:
    temporary = place.folder / "temporary"
    temporary.mkdir()
    for options in ([], ["--no-store"]):
        models = [place.model(x, fault="chatter", **SLOW) for x in "ab"]
        process = place.start("compare", *models, *EVERYTHING, *options, TMPDIR=str(temporary))
        before = len(place.calls("a"))
        answering(place, "a", before + 2)
        process.kill()
        process.communicate()
        assert all_end(process.pid)
        assert list(temporary.iterdir()) == []


def test_workers_that_hang_vanish_too(place: Place) -> None:
    process = place.start("compare", place.model("a", fault="hang"), place.model("b"), *EVERYTHING)
    answering(place, "a", 0)
    process.kill()
    assert all_end(process.pid)
    process.communicate()


@pytest.mark.parametrize("starts", STARTS)
@pytest.mark.parametrize("fault", ["", "hang", "stopped", *STUCK])
def test_what_workers_started_vanishes_too(place: Place, fault: str, starts: str) -> None:
    models = [place.model(x, starts=starts, fault=fault, **SLOW) for x in "ab"]
    process = place.start("compare", *models, *EVERYTHING)
    answering(place, "a", 0)
    time.sleep(0.3)
    assert len(left_of(process.pid)) >= 5
    process.kill()
    assert all_end(process.pid)
    process.communicate()


def test_a_run_whose_process_was_killed_was_interrupted(place: Place) -> None:
    models = [place.model(label, **SLOW) for label in "ab"]
    process = place.start("compare", *models, *EVERYTHING)
    answering(place, "a", 10)
    process.kill()
    process.communicate()
    assert all_end(process.pid)
    assert re.search(r"\b1 .* interrupted ", place.run("runs").stdout)
    shown = place.run("show", 1).stdout
    assert shown.startswith("run 1: interrupted, ")
    assert shown.endswith("to resume: pajamas-eval compare --resume 1\n")
    kept = stored(place)
    assert kept >= 6
    place.forget_calls()
    place.documented("compare", "--resume", 1)
    assert place.computed("a").total() + place.computed("b").total() == 56 - kept
    assert re.search(r"\b2 .* finished ", place.run("runs").stdout)


def test_a_run_that_goes_on_is_shown_as_running(place: Place) -> None:
    place.run("run", place.model("b"), *EVERYTHING)
    process = place.start("run", place.model("a", seconds=1), *EVERYTHING)
    answering(place, "a", 0)
    try:
        assert re.search(r"\b2 .* running ", place.run("runs").stdout)
        shown = place.run("show", 2).stdout
        assert shown.startswith("run 2: running, ")
        assert "to resume" not in shown
        refused = place.run("compare", "run:1", "run:2")
        assert refused.returncode == 2
        assert refused.stderr == "Error: run 2 is still running\n"
    finally:
        process.kill()
        process.communicate()


def test_the_log_folder_of_a_store_may_not_be_made(place: Place) -> None:
    place.store.parent.mkdir()
    Path(f"{place.store}-logs").write_text("")
    result = place.run("compare", place.model("a"), place.model("b"), *EVERYTHING)
    assert result.returncode == 2
    assert result.stderr == f"Error: cannot make the folder {place.store}-logs: File exists\n"
