"""Whether other programs took the processors from an engine while it was measured.

CPU time over wall time does not tell: it is low as well where an engine waits for a GPU or for its
parent, or where one thread prepares what the others run. Linux knows better: of each thread, for
how long it could have run and got no processor (`/proc/PID/task/TID/schedstat`). Some of that the
threads of a model and of the command take from each other, so no more of it counts than all others
ran. Elsewhere, as on macOS, the load average says how many threads wanted a processor.
"""

import math
import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LEAST_DISTURBANCE = 0.1
"""Share of the processor time that it wanted, from which on an engine counts as disturbed."""

LOAD_SECONDS = 60.0
"""Time in which the load average forgets all but 1/e of what was."""

LEAST_SECONDS = 10.0
"""Time over which it says anything: it is brought up to date every five seconds."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Processor time, in seconds, over all threads of a process.

    Attributes:
        used: What it got.
        lost: What it wanted besides and other programs got.
    """

    used: float = 0.0
    lost: float = 0.0

    def __add__(self, other: "CpuTime") -> "CpuTime":
        return CpuTime(self.used + other.used, self.lost + other.lost)

    @property
    def disturbance(self) -> float:
        """Share of what it wanted that other programs got."""
        return self.lost / (self.used + self.lost) if self.lost else 0.0


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


def cpu_time(before: CpuReading, after: CpuReading) -> CpuTime:
    """What this process used and lost between two readings."""
    used = after.own - before.own
    if not after.threads:
        return CpuTime(used, _lost_by_load(before, after))
    waited = sum(
        nanoseconds - before.threads.get(thread, (0, 0))[1]
        for thread, (_, nanoseconds) in after.threads.items()
    )
    others = (after.machine - before.machine) - used - (after.command - before.command)
    return CpuTime(used, max(0.0, min(waited / 1e9, others)))


def _lost_by_load(before: CpuReading, after: CpuReading) -> float:
    """What a fair share of the processors leaves unsatisfied, where more threads want to run."""
    seconds, used = after.time - before.time, after.own - before.own
    if seconds < LEAST_SECONDS:
        return 0.0
    kept = math.exp(-seconds / LOAD_SECONDS)
    wanting = (after.load - kept * before.load) / (1 - kept)
    cores = os.cpu_count() or 1
    return max(0.0, min(used * (wanting / cores - 1), cores * seconds - used))
