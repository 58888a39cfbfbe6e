"""What the program costs without a model: planning, and a whole run of 100,000 requests.

    python -m tests.performance.overhead

The run is the real command with a worker process, a runtime that computes nothing (a plugin, as a
third party would install one), HellaSwag's code on made-up questions, and the result file.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def whole_run(requests: int) -> tuple[float, float]:
    """Seconds of the whole command, and the peak memory of its largest process in MB."""
    words = [f"word{n}" for n in range(2000)]
    generator = random.Random(0)

    def text(count: int) -> str:
        return " ".join(generator.choices(words, k=count))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
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
        plugin = folder / "plugin" / "trivial-1.dist-info"
        plugin.mkdir(parents=True)
        (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: trivial\nVersion: 1\n")
        (plugin / "entry_points.txt").write_text(
            "[pajamas_eval.runtimes]\ntrivial = trivial_runtime:TrivialRuntime\n"
        )
        paths = [str(HERE), str(folder / "plugin"), os.environ.get("PYTHONPATH", "")]
        started = time.perf_counter()
        subprocess.run(
            [
                str(Path(sys.executable).parent / "pajamas-eval"),
                "run",
                "trivial[path=nothing]",
                "--benchmarks=hellaswag",
                f"--data={folder}",
                f"--json={folder / 'result.json'}",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        seconds = time.perf_counter() - started
        answered = json.loads((folder / "result.json").read_text())["benchmarks"][0]
        assert len(answered["answer_sets"][0]["answers"]) == requests // CHOICES
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    packed, padded, tokens = planning(100_000)
    print(f"planning 100,000 requests of {tokens / 1e6:.0f} million tokens: ", end="")
    print(f"{packed:.1f} s packed, {padded:.1f} s padded")
    for requests in (10_000, 100_000):
        seconds, megabytes = whole_run(requests)
        print(f"{requests:,} requests without a model: {seconds:.1f} s, {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
