"""Workers with the faulty runtime in them, for tests of both sides."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import GenerateUntil
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.workers.local_worker import LocalWorker

PLUGIN = Path(__file__).parent.parent / "plugin"
PROMPTS = [GenerateUntil(Prompt(f"Q{i}?"), (), 8) for i in range(10)]


class Nursery:
    """Starts workers, and ends those that are left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[LocalWorker] = []

    def __call__(
        self, timeout: float = 60, log: Path | None = None, **options: object
    ) -> LocalWorker:
        self.workers.append(LocalWorker(self.spec(**options), log, timeout))
        return self.workers[-1]

    def spec(self, **options: object) -> ModelSpec:
        file = self.folder / "m.bin"
        if not file.exists():
            file.write_text("m")
        return ModelSpec("m", "faulty", {"path": str(file), **options})

    def started(self, count: int = 1) -> list[int]:
        """What the models started themselves, once it is so many."""
        file = self.folder / "m.bin.started"
        deadline = time.monotonic() + 20
        while not file.exists() or len(file.read_text().split()) < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return [int(pid) for pid in file.read_text().split()]


def ready(worker: LocalWorker) -> LocalWorker:
    worker.open()
    worker.load(64)
    return worker


def alive(pid: int) -> bool:
    """Whether there is such a process, be it one that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def all_end(pids: Sequence[int], seconds: float = 2.0) -> bool:
    """Whether all of these processes end before long, whoever may wait for them."""
    deadline = time.monotonic() + seconds
    while any(map(_runs, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _runs(pid: int) -> bool:
    asked = ["ps", "-o", "stat=", "-p", f"{pid}"]
    state = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return state != "" and not state.startswith("Z")
