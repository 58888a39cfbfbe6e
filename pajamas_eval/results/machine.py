"""Where a run took place."""

import os
import platform
import subprocess
import sys

from pajamas_eval.results.record import Record


class Machine(Record):
    """Where the run took place."""

    system: str
    processor: str
    cores: int
    memory_bytes: int
    python: str


def this_machine() -> Machine:
    """Where this process runs."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
    )


def _processor() -> str:
    if sys.platform == "darwin":  # whose `platform.processor()` is just "arm"
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        return found or platform.processor() or "unknown"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
