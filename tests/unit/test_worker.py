"""A worker process from its parent's side, with the faulty runtime in it: no engine is needed."""

import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nursery import PROMPTS, Nursery, alive, ready

from pajamas_eval.api.hidden_states import HiddenStates, Place
from pajamas_eval.api.requests import GenerationResult
from pajamas_eval.api.runtime import Runtime
from pajamas_eval.errors import RunError, UsageError, WorkerDiedError, WorkerHungError
from pajamas_eval.workers import local_worker as worker_module
from pajamas_eval.workers import process_group
from pajamas_eval.workers.messages import Finished


def test_it_shows_hidden_states_and_goes_on_from_what_it_is_given(start: Nursery) -> None:
    worker = ready(start())
    seen: list[HiddenStates] = []

    def observe(states: HiddenStates) -> Any:
        seen.append(states)
        return states.array * 10 if states.place is Place.EMBEDDING else None

    worker.hidden_states([1, 2, 3], observe)
    places = [(s.place, s.layer) for s in seen]
    assert places == [(Place.EMBEDDING, None), (Place.OUTPUT, 0), (Place.LOGITS, None)]
    assert [s.array[:, 0].tolist() for s in seen] == [[1, 2, 3], [11, 21, 31], [12, 22, 32]]
    assert seen[0].array.shape == (3, 4)
    assert len(list(worker.answer(PROMPTS[:1]))) > 0  # it is as ready as before


def test_a_large_text_comes_through_whole(start: Nursery) -> None:
    worker, shapes = ready(start()), []
    worker.hidden_states([7] * 1_000_000, lambda states: shapes.append(states.array.shape))
    assert shapes == [(1_000_000, 4)] * 3


@pytest.mark.parametrize("fault", ["killed", "hang", "exception", "out_of_memory"])
def test_it_fails_in_the_middle_of_its_hidden_states(start: Nursery, fault: str) -> None:
    worker = ready(start(fault=f"states_{fault}", timeout=1))
    kinds = {"hang": WorkerHungError, "exception": RunError}
    with pytest.raises(kinds.get(fault, WorkerDiedError)):
        worker.hidden_states([1, 2, 3], lambda states: None)


def test_an_observer_that_raises_leaves_a_worker_that_can_be_closed(start: Nursery) -> None:
    worker = ready(start())

    def observe(states: HiddenStates) -> Any:
        raise UsageError("of another width")

    with pytest.raises(UsageError, match="of another width"):
        worker.hidden_states([1, 2, 3], observe)
    worker.close()


def test_a_runtime_that_shows_no_hidden_states_says_so(start: Nursery) -> None:
    from faulty_runtime import FaultyOptions, FaultyRuntime

    start.spec()
    runtime = FaultyRuntime(FaultyOptions(path=str(start.folder / "m.bin")))
    with pytest.raises(UsageError, match="the faulty runtime does not show hidden states"):
        Runtime.hidden_states(runtime, [1, 2, 3], lambda states: None)


def test_it_answers(start: Nursery) -> None:
    worker = start()
    opened = worker.open()
    assert opened.key.versions == {"faulty": "1"}
    assert len(opened.key.weights or "") == 64
    loaded = worker.load(64)
    assert loaded.identity.digest == opened.key.weights
    messages = list(worker.answer(PROMPTS))
    assert isinstance(messages[-1], Finished)
    results = dict(pair for m in messages[:-1] for pair in m)  # type: ignore[union-attr]
    assert sorted(results) == [*range(10)]
    assert all(
        isinstance(r, GenerationResult) and r.text == f"#### {i}" for i, r in results.items()
    )
    assert messages[-1].peak_memory_bytes > 10_000_000


def test_a_result_does_not_wait_for_the_next(start: Nursery) -> None:
    """Those of a batch that took a minute would be lost with the next batch."""
    worker = ready(start(fault="hang", on="Q3?"))
    started = time.monotonic()
    answers = worker.answer(PROMPTS)
    received: list[int] = []
    while len(received) < 3:
        message = next(answers)
        assert not isinstance(message, Finished)
        received += [index for index, _ in message]
    assert received == [0, 1, 2]
    assert time.monotonic() - started < 5


def test_an_error_comes_after_the_results_before_it(start: Nursery) -> None:
    worker = ready(start(fault="exception", on="Q3?"))
    received: list[int] = []

    def receive() -> None:
        for message in worker.answer(PROMPTS):
            assert not isinstance(message, Finished)
            received.extend(index for index, _ in message)

    with pytest.raises(RunError, match="m: RuntimeError: the kernel is"):
        receive()
    assert received == [0, 1, 2]


def test_silence_is_a_hang_and_signs_of_life_are_none(start: Nursery) -> None:
    for fault, hangs in (("hang", True), ("stuck", True), ("slow", False)):
        worker = ready(start(timeout=0.5, fault=fault, on="Q3?"))
        started = time.monotonic()
        if hangs:
            with pytest.raises(WorkerHungError, match=r"m: .* no heartbeat for 0\.5 seconds"):
                list(worker.answer(PROMPTS))
            assert time.monotonic() - started < 5
            assert worker._process.wait(2) == -signal.SIGKILL
        else:
            assert isinstance(list(worker.answer(PROMPTS))[-1], Finished)
            assert time.monotonic() - started > 2


@pytest.mark.parametrize("stage", ["open", "load"])
def test_a_model_that_hangs_while_it_is_opened_or_loaded(
    start: Nursery, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    worker = start(fault="load_hang")
    worker.open()
    monkeypatch.setattr(worker_module, "LOADING_TIMEOUT_SECONDS", 0.3)
    if stage == "load":
        with pytest.raises(WorkerHungError, match=r"m: .* no heartbeat for 0\.3 seconds"):
            worker.load(64)
    else:
        other = start(fault="open_hang")
        with pytest.raises(WorkerHungError, match=r"m: .* no heartbeat for 0\.3 seconds"):
            other.open()


def test_a_message_that_breaks_off_is_a_hang(start: Nursery) -> None:
    """As where its process is stopped while it sends."""
    worker = ready(start(timeout=0.5, fault="hang", on="Q3?"))
    answers = worker.answer(PROMPTS)
    next(answers)
    there, here = socket.socketpair()
    connection = worker._process.connection
    os.dup2(here.fileno(), connection.fileno())  # another process in its place
    process_group._limit_waits(connection, 0.5)
    there.sendall(struct.pack("!i", 1000) + b"half")
    started = time.monotonic()
    with pytest.raises(WorkerHungError, match=r"m: .* no heartbeat for 0\.5 seconds"):
        list(answers)
    assert time.monotonic() - started < 5


def test_it_can_be_started_again(start: Nursery) -> None:
    worker = ready(start(fault="abort", on="Q3?", once=True))
    former = worker._process.pid
    with pytest.raises(WorkerDiedError, match=r"m: .*SIGABRT\): ggml.c:1234: GGML_ASSERT"):
        list(worker.answer(PROMPTS))
    worker.restart()
    assert not alive(former)
    ready(worker)
    assert isinstance(list(worker.answer(PROMPTS))[-1], Finished)


def test_weights_that_change_are_found_out(start: Nursery, tmp_path: Path) -> None:
    worker = start()
    worker.open()
    (tmp_path / "m.bin").write_text("other")
    with pytest.raises(RunError, match="m: its files were changed during the run"):
        worker.load(64)
    worker.restart()
    with pytest.raises(RunError, match="m: its files were changed during the run"):
        worker.open()


def test_an_engine_that_changes_is_found_out(start: Nursery) -> None:
    """As by an update during a long run: what it stores would go under the old one's name."""
    worker = start()
    worker.open()
    worker.spec = replace(worker.spec, options={**worker.spec.options, "n_ctx": 32})
    worker.restart()
    with pytest.raises(RunError, match="m: its engine or settings were changed during the run"):
        worker.open()


def test_no_room_for_a_process_is_named(start: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(RunError, match=r"m: no worker process can be started: .*unavailable"):
        start()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nonsense": 1}, "m: the faulty runtime has no option 'nonsense'"),
        ({"n_ctx": 0}, "m: faulty option n_ctx=0: expected a whole number >= 1"),
        ({"path": "/nonexistent"}, "m: FileNotFoundError: "),
    ],
)
def test_what_cannot_be_opened_says_why(
    start: Nursery, options: dict[str, object], said: str
) -> None:
    with pytest.raises((UsageError, RunError), match=said):
        start(**options).open()


def test_the_words_of_a_long_log_are_its_last(start: Nursery, tmp_path: Path) -> None:
    log = tmp_path / "m.log"
    with log.open("wb") as file:
        file.truncate(3_000_000_000)  # of which nothing is written
    worker = ready(start(log=log, fault="abort", on="Q3?"))
    with pytest.raises(WorkerDiedError) as caught:
        list(worker.answer(PROMPTS))
    assert str(caught.value).endswith("GGML_ASSERT(everything) failed")
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_process_is_started_leaves_none_behind(
    start: Nursery, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Half a process could neither be ended nor end by itself."""
    started: list[int] = []
    popen = subprocess.Popen

    def interrupted(*arguments: Any, **named: Any) -> Any:
        signal.raise_signal(number)
        process = popen(*arguments, **named)
        started.append(process.pid)
        signal.raise_signal(number)
        return process

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert len(started) == 1
    assert not alive(started[0])


def test_workers_are_out_of_ctrl_cs_reach(start: Nursery) -> None:
    """Ctrl-C reaches every process of a terminal; what it means for workers their parent says."""
    worker = ready(start())
    pid = worker._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    time.sleep(0.2)
    assert isinstance(list(worker.answer(PROMPTS))[-1], Finished)


def test_it_may_be_started_by_another_thread(start: Nursery) -> None:
    """Where signals cannot be met, nothing must try to."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(start().open()))
    thread.start()
    thread.join(30)
    assert len(found) == 1
    time.sleep(0.2)
    start.workers[0].load(64)  # it outlives the thread that started it


def test_an_empty_log_is_removed(start: Nursery, tmp_path: Path) -> None:
    log = tmp_path / "m.log"
    worker = ready(start(log=log))
    assert log.exists()
    worker.close()
    assert not log.exists()
    worker.close()


def test_a_log_that_nobody_asked_for_leaves_nothing_behind(
    start: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where this process is killed: there never is a file of that name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    worker = ready(start(fault="abort", on="Q3?"))
    assert {file.name for file in tmp_path.iterdir()} <= {"home", "m.bin", "m.bin.calls"}
    with pytest.raises(WorkerDiedError, match="GGML_ASSERT"):  # it is there all the same
        list(worker.answer(PROMPTS))


def test_a_log_that_says_something_is_kept(start: Nursery, tmp_path: Path) -> None:
    worker = ready(start(log=tmp_path / "m.log", fault="chatter"))
    list(worker.answer(PROMPTS[:1]))
    worker.close()
    assert "chatter of C\n" in (tmp_path / "m.log").read_text()
