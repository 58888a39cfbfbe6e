"""What the program costs without a model: planning, whole runs, and the response store.

    python -m tests.performance.overhead [MODEL]

The runs are the real command with worker processes, a runtime that computes nothing (a plugin, as a
third party would install one), HellaSwag's code on made-up questions, and the result file. With a
MODEL, such as a GGUF file, its time on the built-in sets is taken with and without the store too.
"""

import json
import os
import pstats
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

import pajamas_eval.store
from pajamas_eval.tokens.prefix_tree import Budget, PrefixTree

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


def command(folder: Path, *arguments: str, python: Sequence[str] = ()) -> float:
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
        [sys.executable, *python, "-m", "pajamas_eval", *arguments],
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


def with_and_without_store(model: str, rounds: int = 6) -> tuple[float, float]:
    """Median seconds of a model on the built-in sets without the store, and what it adds to them.

    The latter is the median of pairs of neighbours, each order as often as the other.
    """
    without, added = [], []
    for round_ in range(rounds):
        seconds = {}
        for stored in (True, False) if round_ % 2 else (False, True):
            with tempfile.TemporaryDirectory() as name:
                options = [] if stored else ["--no-store"]
                seconds[stored] = command(Path(name), "run", model, *options)
        without.append(seconds[False])
        added.append(seconds[True] - seconds[False])
    return median(without), median(added)


def in_the_store(model: str) -> tuple[float, float]:
    """Seconds that a run spends in the store's code, as a profiler sees it, and in all.

    Unlike the difference of two runs it does not depend on what else the machine does meanwhile.
    """
    with tempfile.TemporaryDirectory() as name:
        profile = Path(name) / "profile"
        command(Path(name), "run", model, python=["-m", "cProfile", "-o", str(profile)])
        stats = pstats.Stats(str(profile))
    inside = f"{Path(pajamas_eval.store.__file__).parent}{os.sep}"
    seconds = 0.0
    for (file, _, name), (*_, callers) in stats.stats.items():  # type: ignore[attr-defined]
        if file.startswith(inside) and name != "<module>":
            entered = (c for caller, c in callers.items() if not caller[0].startswith(inside))
            seconds += sum(cumulative for *_, cumulative in entered)
    return seconds, stats.total_tt  # type: ignore[attr-defined]


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
        seconds, all_seconds = in_the_store(model)
        share = 100 * seconds / all_seconds
        print(f"{Path(model).name} on the built-in sets: ", end="")
        print(
            f"{seconds:.2f} of {all_seconds:.1f} s are spent in the store ({share:.1f} %); ", end=""
        )
        without, added = with_and_without_store(model)
        print(f"{without:.1f} s without it, {added:+.1f} s with it")


if __name__ == "__main__":
    main(*sys.argv[1:])
