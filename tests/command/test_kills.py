"""The real command with three real engines, killed at random moments and resumed.

`KILLS` sets the number of kills of each kind, in batches and again one sequence at a time.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pajamas_eval.results.document import Document
from pajamas_eval.results.file import encode, read
from pajamas_eval.store import Store, verify

COMMAND = Path(sys.executable).with_name("pajamas-eval")
KILLS = int(os.environ.get("KILLS", "1"))
LONGEST_WAIT = 15.0
"""Seconds before a kill: about what loading and answering take on two cores."""

pytestmark = pytest.mark.engine


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """The command, in a process group of its own as a shell gives it."""
    return subprocess.Popen(
        [str(COMMAND), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module", params=[False, True], ids=["batched", "exact"])
def exact(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def asked(original: Path, variants: Path, exact: bool) -> list[str]:
    models = [f"original={original}", variants / "demo-q8_0.gguf", variants / "demo-mlx-8bit"]
    how = ["--limit", "10", "--exact"] if exact else ["--limit", "60"]
    return [*map(str, models), "-b", "pajamas_knowledge,pajamas_arithmetic", *how]


@pytest.fixture(scope="module")
def uninterrupted(asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Document:
    out = tmp_path_factory.mktemp("reference") / "out.json"
    subprocess.run(
        [COMMAND, "compare", *asked, "--no-store", "--json", out], check=True, capture_output=True
    )
    return read(out)


def workers(parent: int) -> list[int]:
    """Processes that a process has spawned with a model in them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"pajamas_eval.workers" in command:
            found.append(int(stat.parent.name))
    return found


def kill_a_worker(process: subprocess.Popen[str], choose: random.Random) -> int:
    """The command goes on; a second death of the same model's worker is its end."""
    there = workers(process.pid)
    if there:
        os.kill(choose.choice(there), signal.SIGKILL)
    process.communicate()
    return len(there[:1])


def kill_the_parent(process: subprocess.Popen[str], choose: random.Random) -> int:
    orphans = workers(process.pid)
    process.kill()
    process.communicate()
    until = time.monotonic() + 20  # a step of the engine may have to end first
    while any(Path(f"/proc/{orphan}").exists() for orphan in orphans):
        assert time.monotonic() < until, "a worker outlived its parent"
        time.sleep(0.1)
    return 1


def press_ctrl_c(process: subprocess.Popen[str], choose: random.Random) -> int:
    if process.poll() is not None:
        process.communicate()
        return 0
    os.killpg(process.pid, signal.SIGINT)
    pressed = time.monotonic()
    output, _ = process.communicate()
    assert "Traceback" not in output
    if process.returncode == 0:  # it had just finished
        return 0
    assert process.returncode == 130, output
    assert time.monotonic() - pressed < 3  # a second, on a machine that does nothing else
    return 1


KINDS: Sequence[Callable[[subprocess.Popen[str], random.Random], int]] = (
    kill_a_worker,
    kill_the_parent,
    press_ctrl_c,
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds workers through /proc")
@pytest.mark.parametrize("kill", KINDS)
def test_what_is_killed_and_resumed_ends_as_if_nothing_had_happened(
    kill: Callable[[subprocess.Popen[str], random.Random], int],
    asked: list[str],
    uninterrupted: Document,
    exact: bool,
    tmp_path: Path,
) -> None:
    choose = random.Random(7)
    kills = rounds = 0
    while kills < KILLS:
        store = tmp_path / f"{rounds}.sqlite"
        rounds += 1
        finished = False
        while kills < KILLS and not finished:
            process = start("compare", *again(store, asked))
            wait = choose.uniform(0.2, LONGEST_WAIT)
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                kills += kill(process, choose)
            else:
                process.communicate()
            finished = process.returncode == 0
        out = tmp_path / f"{rounds}.json"
        subprocess.run(
            [COMMAND, "compare", *again(store, asked), "--json", out],
            check=True,
            capture_output=True,
        )
        assert_same(read(out), uninterrupted, exact)
        with Store.open(store) as opened:
            assert verify(opened).problems == []
            assert sum(run.duplicates for run in opened.runs.all()) == 0


def again(store: Path, asked: list[str]) -> list[str]:
    """Arguments that resume the store's last run, or begin the first."""
    if store.exists():
        with Store.open(store) as opened:
            if runs := opened.runs.all():
                return ["--resume", str(runs[-1].id), "--store", str(store)]
    return [*asked, "--store", str(store)]


def assert_same(resumed: Document, whole: Document, exact: bool) -> None:
    """Everything but what was measured: times, memory, restarts, and what came from the store.

    What is left over runs in batches of another shape, whose logits round otherwise.
    """
    ours, theirs = unmeasured(resumed), unmeasured(whole)
    if not exact:
        for a, b in zip(rounded(ours), rounded(theirs), strict=True):
            assert a == pytest.approx(b, abs=0.05)
    assert ours == theirs


def unmeasured(document: Document) -> Any:
    """The whole document as JSON, without what differs from run to run."""
    plain = json.loads(encode(document))
    del plain["created"]
    for model in plain["models"]:
        for name in ("load_seconds", "peak_memory_bytes", "restarts", "notes"):
            del model[name]
    for answers in (a for b in plain["benchmarks"] for a in b["answer_sets"]):
        for name in MEASURED:
            del answers[name]
        for answer in answers["answers"]:
            for part in answer.get("parts", ()):
                part.pop("seconds", None)
    return plain


MEASURED = (
    "wall_seconds",
    "prompt_seconds",
    "generation_seconds",
    "evaluated_tokens",
    "prompt_tokens",
    "generated_tokens",
    "batching",
    "batch_digest",
    "notes",
    "cached_responses",
    "disturbance",
    "disturbed",
)


def rounded(plain: Any) -> Iterator[float]:
    """Takes out, and gives, the numbers that depend on the shape of a batch."""
    for benchmark in plain["benchmarks"]:
        for answer in (a for answers in benchmark["answer_sets"] for a in answers["answers"]):
            parts = answer.get("parts", ())
            yield from (part.pop("log_probability", 0.0) for part in parts)
    for comparison in plain["comparisons"]:
        if divergence := comparison.pop("choice_kl"):
            yield divergence["mean"]
