"""What the program costs without a model: planning, whole runs, and the response store.

    python -m tests.performance.overhead [MODEL]

The runs are the real command with worker processes, a runtime that computes nothing (a plugin, as a
third party would install one), HellaSwag's code on made-up questions, and the result file. With a
MODEL, such as a GGUF file, its time on the built-in sets is taken with and without the store too.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from pajamas_eval.scoring_plan import Budget, PrefixTree

HERE = Path(__file__).parent
CHOICES = 4


def planning(requests: int) -> tuple[float, float, int]:
    """Seconds to plan rows like those of 5-shot questions, packed and padded; their tokens."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(requests // 400):
        header = rng.integers(0, 50_000, 200)
        for _ in range(100):
            question = rng.integers(0, 50_000, 60)
            for _ in range(CHOICES):
                choice = rng.integers(0, 50_000, 8)
                rows.append(np.concatenate([header, question, choice]).astype(np.int32))
    reads = [9] * len(rows)
    first = [259] * len(rows)
    seconds = []
    for packed in (True, False):
        started = time.perf_counter()
        tree = PrefixTree(rows, first, reads)
        if packed:
            for step in tree.packed(Budget(512, 127, 256)):
                tree.segments(step)
        else:
            for _ in tree.padded(Budget(1024, 32, 256, 32)):
                pass
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1], sum(map(len, rows))


def questions(folder: Path, requests: int) -> None:
    """HellaSwag questions of made-up words, four requests each."""
    words = [f"word{n}" for n in range(2000)]
    generator = random.Random(0)

    def text(count: int) -> str:
        return " ".join(generator.choices(words, k=count))

    (folder / "hellaswag").mkdir()
    with (folder / "hellaswag" / "validation.jsonl").open("w") as out:
        for n in range(requests // CHOICES):
            row = {
                "ind": n,
                "activity_label": "Test",
                "ctx_a": text(12),
                "ctx_b": text(4),
                "ctx": text(16),
                "endings": [text(6) for _ in range(CHOICES)],
                "label": str(n % CHOICES),
                "source_id": str(n),
                "split": "val",
                "split_type": "indomain",
            }
            out.write(json.dumps(row) + "\n")


def command(folder: Path, *arguments: str) -> float:
    """Seconds of the command, with the runtime that computes nothing installed."""
    plugin = folder / "plugin" / "trivial-1.dist-info"
    plugin.mkdir(parents=True, exist_ok=True)
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: trivial\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text(
        "[pajamas_eval.runtimes]\ntrivial = trivial_runtime:TrivialRuntime\n"
    )
    paths = [str(HERE), str(folder / "plugin"), os.environ.get("PYTHONPATH", "")]
    started = time.perf_counter()
    subprocess.run(
        [str(Path(sys.executable).parent / "pajamas-eval"), *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PAJAMAS_EVAL_STORE": str(folder / "store.sqlite"),
        },
    )
    return time.perf_counter() - started


def whole_runs(requests: int, models: Sequence[str], *options: str) -> tuple[list[float], float]:
    """Seconds of the whole command twice over, and its largest process's peak memory in MB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        questions(folder, requests)
        out = folder / "result.json"
        seconds = []
        for _ in range(2):
            seconds.append(
                command(
                    folder,
                    "compare" if len(models) > 1 else "run",
                    *models,
                    "--benchmarks=hellaswag",
                    f"--data={folder}",
                    f"--json={out}",
                    *options,
                )
            )
            answered = json.loads(out.read_text())["benchmarks"][0]["answer_sets"]
            assert [len(a["answers"]) for a in answered] == [requests // CHOICES] * len(models)
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def with_and_without_store(model: str, rounds: int = 5) -> tuple[float, float]:
    """Median seconds of a model on the built-in sets, without and with a fresh store."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for stored, taken in seconds.items():
            with tempfile.TemporaryDirectory() as name:
                options = [] if stored else ["--no-store"]
                taken.append(command(Path(name), "run", model, *options))
    return median(seconds[False]), median(seconds[True])


def main(model: str | None = None) -> None:
    packed, padded, tokens = planning(100_000)
    print(f"planning 100,000 requests of {tokens / 1e6:.0f} million tokens: ", end="")
    print(f"{packed:.1f} s packed, {padded:.1f} s padded")
    one, two = "trivial[path=one]", ["trivial[path=one]", "trivial[path=two]"]
    for requests in (10_000, 100_000):
        (_, again), megabytes = whole_runs(requests, [one], "--no-store")
        print(f"{requests:,} requests without a model: {again:.1f} s, {megabytes:.0f} MB")
    (fresh, stored), _ = whole_runs(100_000, [one])
    print(f"100,000 responses stored: {fresh:.1f} s, found again: {stored:.1f} s")
    (fresh, stored), _ = whole_runs(100_000, two)
    print(f"200,000 responses of two models stored: {fresh:.1f} s, found again: {stored:.1f} s")
    if model:
        without, with_store = with_and_without_store(model)
        share = 100 * (with_store / without - 1)
        print(
            f"{Path(model).name} on the built-in sets: {without:.2f} s without the store, "
            f"{with_store:.2f} s with it ({share:+.1f} %)"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
