"""What a worker starts itself ends with it, however it ends; and nobody waits for the stopped."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from nursery import PROMPTS, Nursery, all_end, ready

from pajamas_eval.api.identity import Engine
from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import GenerateUntil
from pajamas_eval.cli import main
from pajamas_eval.errors import WorkerDiedError, WorkerHungError
from pajamas_eval.workers import installed_engine as engine_module
from pajamas_eval.workers.installed_engine import installed_engine
from pajamas_eval.workers.local_worker import LocalWorker

STARTS = ["program", "fork"]
MUCH = [GenerateUntil(Prompt("x" * 10_000_000), (), 8)]
"""More than fits into a pipe."""


# -- the group -------------------------------------------------------------------------------------


def test_it_leads_a_group_of_its_own_from_the_beginning(start: Nursery) -> None:
    worker = start()
    assert os.getpgid(worker._process.pid) == worker._process.pid != os.getpgid(0)


def test_nothing_is_imported_from_the_working_directory(
    start: Nursery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in ("socket", "struct", "numpy"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    ready(start())


@pytest.mark.parametrize("starts", STARTS)
@pytest.mark.parametrize("asked", [False, True])
def test_what_it_started_ends_where_it_is_closed(start: Nursery, starts: str, asked: bool) -> None:
    worker = ready(start(starts=starts))
    if asked:
        next(worker.answer(PROMPTS))
    children = start.started()
    worker.close()
    assert all_end(children)


@pytest.mark.parametrize("starts", STARTS)
def test_what_it_started_ends_where_it_is_started_again(start: Nursery, starts: str) -> None:
    worker = ready(start(starts=starts))
    former = start.started()
    worker.restart()
    assert all_end(former)
    ready(worker)
    worker.close()
    assert all_end(start.started(2))


@pytest.mark.parametrize("starts", STARTS)
@pytest.mark.parametrize("fault", ["hang", "stuck", "stopped"])
def test_what_it_started_ends_where_it_hangs(start: Nursery, starts: str, fault: str) -> None:
    worker = ready(start(timeout=0.5, fault=fault, on="Q3?", starts=starts))
    with pytest.raises(WorkerHungError):
        list(worker.answer(PROMPTS))
    assert all_end(start.started())


@pytest.mark.parametrize("starts", STARTS)
@pytest.mark.parametrize(
    ("fault", "how"), [("abort", "SIGABRT"), ("killed", "SIGKILL"), ("cut", "exit code 9")]
)
def test_a_death_is_seen_at_once_and_what_it_started_ends(
    start: Nursery, starts: str, fault: str, how: str
) -> None:
    """Whatever it started has its end of the pipe no longer, which says that it died."""
    worker = ready(start(fault=fault, on="Q3?", starts=starts))
    began = time.monotonic()
    with pytest.raises(WorkerDiedError, match=how):
        list(worker.answer(PROMPTS))
    assert time.monotonic() - began < 3
    assert all_end(start.started())


@pytest.mark.parametrize("starts", STARTS)
def test_what_it_started_ends_where_it_died_and_nobody_asked_any_more(
    start: Nursery, starts: str
) -> None:
    worker, other = ready(start(starts=starts)), ready(start(starts=starts))
    for pid in (worker._process.pid, other._process.pid):
        os.kill(pid, signal.SIGKILL)
    first, second = start.started(2)
    assert worker._process.wait(2) == -signal.SIGKILL
    assert all_end([first])
    other.close()
    assert all_end([second])


def test_one_that_nobody_knows_any_more_ends(start: Nursery) -> None:
    """As where Ctrl-C comes before whoever makes it has put it anywhere."""
    worker = LocalWorker(start.spec(fault="open_hang", starts="program"))
    children = [worker._process.pid, *start.started()]
    del worker
    gc.collect()
    assert all_end(children)


PROGRAM = """
import sys, time
from pathlib import Path
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.workers.local_worker import LocalWorker
path = sys.argv[1]
worker = LocalWorker(ModelSpec("m", "faulty", {"path": path, "starts": "fork", **FAULT}), timeout=1)
while not Path(path + ".started").exists():
    time.sleep(0.02)
print(worker._process.pid, flush=True)
"""


@pytest.mark.parametrize("fault", ["", "open_hang", "open_stuck", "open_stopped"])
@pytest.mark.parametrize("end", ["", "raise KeyboardInterrupt"])
def test_a_program_that_closes_none_ends_and_leaves_none(
    start: Nursery, fault: str, end: str
) -> None:
    code = PROGRAM.replace("FAULT", repr({"fault": fault})) + end
    path = str(start.spec().options["path"])
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        env={**os.environ, "PYTHONPATH": sys.path[0]},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == (-signal.SIGINT if end else 0)
    assert time.monotonic() - began < 15, "it waits for nobody; a loaded machine may"
    assert all_end([int(done.stdout), *start.started()])


def test_a_fork_of_the_program_that_exits_ends_nothing(start: Nursery) -> None:
    code = PROGRAM.replace("FAULT", "{}") + FORKS
    done = subprocess.run(
        [sys.executable, "-c", code, str(start.spec().options["path"])],
        env={**os.environ, "PYTHONPATH": sys.path[0]},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stdout.endswith("opened\n"), done.stderr


FORKS = """
import os
if os.fork() == 0:
    del worker
    sys.exit()
os.wait()
worker.open()
print("opened")
"""


# -- sending ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask", [LocalWorker.tokenize, lambda w, r: w.start_reading(r, 64), LocalWorker.answer]
)
def test_one_that_is_stopped_before_it_is_sent_something_hangs(
    start: Nursery, ask: Callable[[LocalWorker, list[GenerateUntil]], object]
) -> None:
    worker = ready(start(timeout=0.5, starts="program"))
    os.kill(worker._process.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(WorkerHungError, match=r"m: .* took nothing .* for 0\.5 seconds"):
        list(ask(worker, MUCH))  # type: ignore[call-overload]
    assert time.monotonic() - began < 15, "it waits for nobody; a loaded machine may"
    assert worker._process.wait(2) == -signal.SIGKILL
    assert all_end(start.started())


def test_one_that_is_stuck_and_sent_something_hangs(start: Nursery) -> None:
    worker = ready(start(timeout=0.5, fault="stuck", on="Q3?", seconds=0.1))
    next(worker.answer(PROMPTS))
    with pytest.raises(WorkerHungError, match="took nothing"):
        worker.tokenize(MUCH)


def test_much_arrives_where_it_is_read_slowly(start: Nursery) -> None:
    """Parts of the message are taken now and then, each before the time is over."""
    worker = ready(start(timeout=1))
    pid = worker._process.pid
    pauses = subprocess.Popen(
        ["sh", "-c", f"for i in 1 2 3 4; do kill -STOP {pid}; sleep 0.4; kill -CONT {pid}; done"]
    )
    (tokens,) = worker.tokenize(MUCH)
    assert len(tokens) == 10_000_000
    assert pauses.wait() == 0


def test_a_pause_of_both_while_something_is_sent_is_no_hang(start: Nursery) -> None:
    """Ctrl-Z, or a machine that is suspended, for longer than an engine may be silent."""
    code = PROGRAM.replace("FAULT", "{}") + SENDS
    sender = subprocess.Popen(
        [sys.executable, "-c", code, str(start.spec().options["path"])],
        env={**os.environ, "PYTHONPATH": sys.path[0]},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sender.stdout is not None
    pid = int(sender.stdout.readline())
    assert sender.stdout.readline() == "sending\n"
    time.sleep(0.2)
    os.kill(sender.pid, signal.SIGSTOP)
    time.sleep(3)
    os.kill(pid, signal.SIGCONT)
    os.kill(sender.pid, signal.SIGCONT)
    assert sender.communicate(timeout=20) == ("10000000\n", None)


SENDS = """
import os, signal
from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import GenerateUntil
worker.open()
os.kill(worker._process.pid, signal.SIGSTOP)
print("sending", flush=True)
print(len(worker.tokenize([GenerateUntil(Prompt("x" * 10_000_000), (), 8)])[0]))
"""


# -- the engine that `doctor` asks -----------------------------------------------------------------


def test_an_engine_that_works_is_named(start: Nursery) -> None:
    assert installed_engine("faulty") == Engine({"faulty": "1"}, "CPU", "")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("hang", "its engine said nothing for 0.5 seconds"),
        ("stuck", "its engine said nothing for 0.5 seconds"),
        ("stopped", "its engine said nothing for 0.5 seconds"),
        ("exit", "its engine died at import (exit code 7)"),
        ("abort", "its engine died at import (killed by SIGABRT)"),
        ("exception", "RuntimeError('the kernel is \\x1b[31mred\\x1b[0m\\nand more')"),
    ],
)
def test_an_engine_that_does_not_work_says_why(
    start: Nursery, monkeypatch: pytest.MonkeyPatch, fault: str, said: str
) -> None:
    seconds = 0.5 if "nothing" in said else 60
    monkeypatch.setattr(engine_module, "TIMEOUT_SECONDS", seconds)
    monkeypatch.setenv("FAULTY_ENGINE", fault)
    began = time.monotonic()
    assert installed_engine("faulty") == said
    assert time.monotonic() - began < 15, "it waits for nobody; a loaded machine may"


def test_what_an_engine_started_ends_when_it_is_named(
    start: Nursery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAULTY_ENGINE", "engine_with_child")
    monkeypatch.setenv("FAULTY_STARTED", str(tmp_path / "m.bin.started"))
    assert isinstance(installed_engine("faulty"), Engine)
    assert all_end(start.started())


def test_doctor_says_that_an_engine_hangs(start: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pajamas_eval.models.registry.runtime_names", lambda: ["faulty"])
    monkeypatch.setattr(engine_module, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setenv("FAULTY_ENGINE", "hang")
    output = CliRunner().invoke(main, ["doctor"]).output
    assert output.splitlines()[1] == "faulty   missing: its engine said nothing for 0.5 seconds"


# -- its environment -------------------------------------------------------------------------------

SPINS = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({}, ["10000", "1"]),
        ({"GOMP_SPINCOUNT": "7"}, ["7", "1"]),
        ({"OMP_WAIT_POLICY": "active"}, [None, None]),
    ],
)
def test_engines_spin_little_unless_the_user_says_otherwise(
    start: Nursery,
    monkeypatch: pytest.MonkeyPatch,
    own: dict[str, str],
    found: list[str | None],
) -> None:
    for name in (*SPINS, "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    pid = start()._process.pid
    told = subprocess.run(
        ["ps", "eww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    environment = dict(word.split("=", 1) for word in told.stdout.split() if "=" in word)
    assert [environment.get(name) for name in SPINS] == found
