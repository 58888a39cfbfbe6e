"""Whether other programs took the processors from an engine while it was measured.

CPU time over wall time does not tell: it is low as well where an engine waits for a GPU or for its
parent, or where one thread prepares what the others run. Linux knows better: of each thread, for
how long it could have run and got no processor (`/proc/PID/task/TID/schedstat`). Some of that the
threads of a model and of the command take from each other, so no more of it counts than all other
programs ran. Elsewhere, as on macOS, the load average says how many threads wanted a processor.
"""

import math
import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LEAST_DISTURBANCE = 0.1
"""Share of its time that an engine lost, from which on it counts as disturbed."""

LEAST_PART = 0.1
"""Share of the busiest thread's time that a thread must run to count."""

LOAD_SECONDS = 60.0
"""Time in which the load average forgets all but 1/e of what was."""

LEAST_SECONDS = 10.0
"""Time over which it says anything: it is brought up to date every five seconds."""


@dataclass(frozen=True, slots=True)
class LostTime:
    """Wall time, in seconds, and how much of it a process lost.

    Attributes:
        lost: It could have run, and other programs had the processors.
        wall: All of it.
    """

    lost: float = 0.0
    wall: float = 0.0

    def __add__(self, other: "LostTime") -> "LostTime":
        return LostTime(self.lost + other.lost, self.wall + other.wall)

    @property
    def share(self) -> float:
        """Of the wall time, what was lost."""
        return self.lost / self.wall if self.wall else 0.0


@dataclass(frozen=True, slots=True)
class CpuReading:
    """Clocks of this process and of the machine.

    Attributes:
        time: When they were read.
        own: Processor time of this process.
        command: Processor time of the process that started it.
        machine: Processor time of all processes.
        threads: Nanoseconds that each thread ran, and that it waited to; empty where the system
            does not tell.
        load: The load average.
    """

    time: float
    own: float
    command: float
    machine: float
    threads: Mapping[str, tuple[int, int]]
    load: float


def read_clocks(proc: Path = Path("/proc")) -> CpuReading:
    """The clocks now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    threads: dict[str, tuple[int, int]] = {}
    command = machine = 0.0
    try:
        for task in (proc / "self/task").iterdir():
            try:
                ran, waited, _ = (task / "schedstat").read_text().split()
            except (FileNotFoundError, ProcessLookupError):  # it has ended
                continue
            threads[task.name] = int(ran), int(waited)
        ticks = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, softirq = map(
            int, (proc / "stat").read_text().split(maxsplit=8)[1:8]
        )
        machine = (user + nice + system + irq + softirq) / ticks
        # Its name, in parentheses, may hold anything.
        fields = (proc / str(os.getppid()) / "stat").read_text().rpartition(")")[2].split()
        command = (int(fields[11]) + int(fields[12])) / ticks
    except (OSError, ValueError):
        threads = {}
    return CpuReading(
        time=time.perf_counter(),
        own=usage.ru_utime + usage.ru_stime,
        command=command,
        machine=machine,
        threads=threads,
        load=os.getloadavg()[0],
    )


def lost_time(before: CpuReading, after: CpuReading) -> LostTime:
    """What this process lost between two readings."""
    wall, used = after.time - before.time, after.own - before.own
    if not after.threads:
        return LostTime(_lost_by_load(before, after), wall)
    spans = []
    for thread, (ran, waited) in after.threads.items():
        ran_before, waited_before = before.threads.get(thread, (0, 0))
        spans.append(((ran - ran_before) / 1e9, (waited - waited_before) / 1e9))
    busiest = max(ran for ran, _ in spans)
    # Threads of an engine wait for each other, so what each of them lost they all did, one after
    # the other or at once. A thread that hardly runs holds up nobody.
    lost = sum(span for ran, span in spans if ran >= LEAST_PART * busiest)
    others = (after.machine - before.machine) - used - (after.command - before.command)
    return LostTime(max(0.0, min(lost, wall - busiest, others)), wall)


def _lost_by_load(before: CpuReading, after: CpuReading) -> float:
    """What a fair share of the processors leaves unsatisfied, where more threads want to run."""
    wall, used = after.time - before.time, after.own - before.own
    if wall < LEAST_SECONDS:
        return 0.0
    kept = math.exp(-wall / LOAD_SECONDS)
    cores = os.cpu_count() or 1
    wanting = (after.load - kept * before.load) / (1 - kept) / cores
    if wanting <= 1:
        return 0.0
    return max(0.0, min(used * (wanting - 1), wall * (1 - 1 / wanting), cores * wall - used))
