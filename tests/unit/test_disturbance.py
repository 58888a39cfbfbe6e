"""Other programs are told from an engine that waits, and from its own threads and its parent."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from nursery import PROMPTS, Nursery, ready

from pajamas_eval.workers import disturbance
from pajamas_eval.workers.disturbance import (
    LEAST_DISTURBANCE,
    CpuReading,
    LostTime,
    lost_time,
    read_clocks,
)
from pajamas_eval.workers.messages import Finished

linux = pytest.mark.skipif(sys.platform != "linux", reason="of Linux's own clocks")
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.3)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measured(start: Nursery, fault: str, *, first: bool = False) -> LostTime:
    """What a real worker says of the time in which it answered.

    Args:
        start: Starts it.
        fault: What it does with each of four questions.
        first: Whether it comes before all other programs of the machine, where that is allowed.
    """
    worker = ready(start(fault=fault))
    if first:
        with suppress(PermissionError):
            os.sched_setscheduler(worker._process.pid, os.SCHED_RR, os.sched_param(1))
    *_, finished = worker.answer(PROMPTS[:4])
    worker.close()
    assert isinstance(finished, Finished)
    return finished.time


def others(seconds: float) -> float:
    """Processors that programs beside this one use."""
    before = read_clocks()
    time.sleep(seconds)
    after = read_clocks()
    return (after.machine - before.machine - (after.own - before.own)) / seconds


@linux
def test_busy_loops_beside_a_worker_are_seen(start: Nursery) -> None:
    with busy_loops(2 * CORES):
        cpu = measured(start, "busy")
    assert cpu.share > 3 * LEAST_DISTURBANCE


@linux
@pytest.mark.parametrize("fault", ["busy", "slow"])
@pytest.mark.parametrize("loops", [0, CORES - 1])
def test_a_worker_that_finds_a_processor_free_is_not_disturbed_be_it_busy_or_idle(
    start: Nursery, fault: str, loops: int
) -> None:
    """One thread on a machine of several, or hardly any: its CPU time is far below wall."""
    with busy_loops(loops):
        cpu = measured(start, fault, first=True)
    if os.geteuid() and others(1.0) > 0.1:
        pytest.skip("this machine is not quiet, and only its administrator may come first")
    assert cpu.wall > 1
    assert cpu.share < LEAST_DISTURBANCE


NOTHING = CpuReading(0.0, 0.0, 0.0, 0.0, {"1": (0, 0)}, 0.0)
S = 10**9


def between(**after: object) -> LostTime:
    return lost_time(NOTHING, replace(NOTHING, time=10.0, **after))  # type: ignore[arg-type]


def test_what_a_thread_waited_for_while_others_ran_is_lost() -> None:
    cpu = between(own=6.0, machine=20.0, threads={"1": (6 * S, 4 * S)})
    assert cpu == LostTime(4.0, 10.0)
    assert cpu.share == 0.4


@pytest.mark.parametrize(
    "threads",
    [
        {"1": (6 * S, 4 * S), "2": (6 * S, 4 * S)},  # at once
        {"1": (6 * S, 2 * S), "2": (6 * S, 2 * S)},  # one waited, then the other
        {"1": (6 * S, 4 * S), "2": (6 * S, 0)},  # one waited, and the other for it
    ],
)
def test_threads_that_wait_for_each_other_lose_what_each_of_them_does(
    threads: dict[str, tuple[int, int]],
) -> None:
    assert between(own=12.0, machine=20.0, threads=threads).lost == 4.0


def test_a_thread_that_hardly_runs_holds_up_nobody() -> None:
    threads = {"engine": (9 * S, S // 10), "results": (S // 1000, 5 * S)}
    assert between(own=9.0, machine=20.0, threads=threads).lost == 0.1


def test_threads_that_take_from_each_other_or_give_to_the_command_are_not_disturbed() -> None:
    """More threads than processors, and a parent that is busy: nobody else is there."""
    threads = {"1": (5 * S, 5 * S), "2": (5 * S, 5 * S), "3": (4 * S, 6 * S)}  # of two processors
    assert between(own=14.0, command=6.0, machine=20.0, threads=threads).lost == 0
    assert between(own=14.0, command=5.0, machine=20.0, threads=threads).lost == 1.0


def test_others_on_processors_of_their_own_take_nothing() -> None:
    assert between(own=10.0, machine=90.0, threads={"1": (10 * S, 0)}).lost == 0


def test_an_engine_that_waits_for_a_gpu_is_not_disturbed() -> None:
    """The little that it does on a processor may wait for as long again."""
    cpu = between(own=0.1, machine=20.0, threads={"1": (S // 10, S // 10)})
    assert cpu.lost == 0.1
    assert cpu.share == 0.01


def test_a_thread_that_came_and_one_that_went_count_for_what_is_known_of_them() -> None:
    before = replace(NOTHING, threads={"1": (S, 2 * S), "gone": (0, 9 * S)})
    after = replace(NOTHING, time=9.0, machine=50.0, threads={"1": (3 * S, 3 * S), "n": (S, 2 * S)})
    assert lost_time(before, after).lost == 3.0


class TestWithoutLinux:
    """The mean number of threads that want to run, got back from the load average."""

    def lost(
        self, monkeypatch: pytest.MonkeyPatch, *, wanting: float, own: float, seconds: float = 60.0
    ) -> float:
        monkeypatch.setattr(disturbance.os, "cpu_count", lambda: 8)
        kept = 2.718281828459045 ** (-seconds / 60)
        before = replace(NOTHING, threads={}, load=20.0)  # of what ran before: no fault of now
        load = 20.0 * kept + wanting * (1 - kept)
        after = replace(before, time=seconds, own=own, load=load)
        return lost_time(before, after).share

    def test_twice_as_many_as_processors_take_half(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lost = self.lost(monkeypatch, wanting=16, own=4 * 60.0)
        assert lost == pytest.approx(0.5)

    def test_an_engine_on_all_processors_is_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.lost(monkeypatch, wanting=8.5, own=7.9 * 60) < LEAST_DISTURBANCE
        assert self.lost(monkeypatch, wanting=16, own=8 * 60) == 0, "all of these are its own"

    def test_a_gpu_beside_some_load_is_not_disturbed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.lost(monkeypatch, wanting=5, own=6.0) == 0

    def test_a_time_too_short_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.lost(monkeypatch, wanting=80, own=8.0, seconds=4.0) == 0


@linux
def test_without_linuxs_clocks_the_load_is_taken(tmp_path: object) -> None:
    assert read_clocks().threads
    assert not read_clocks(tmp_path / "proc").threads  # type: ignore[operator]
