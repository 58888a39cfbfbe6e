"""What it costs that threads spin while they wait, on an idle and on a busy machine.

    python -m tests.performance.busy MODEL [MODEL …]

Each MODEL, such as a folder for hf and `mlx[path=FOLDER]`, answers 30 questions of a built-in set
with the libraries' own settings and with ours, taking turns; then again beside as many busy loops
as there are processors. The seconds are the engine's, medians over the rounds. The table goes to
standard output; `busy.md` is one, of SmolLM2-135M (`examples/smollm2`).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

LIBRARIES_OWN = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}
"""What GNU's OpenMP, and Intel's and LLVM's, do unless they are told otherwise."""

ROUNDS = 3


def engine_seconds(model: str, environment: Mapping[str, str]) -> float:
    """Seconds that a model takes for the questions, without loading."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        options = ["--benchmarks=pajamas_knowledge", "--limit=30", "--no-store", f"--json={out}"]
        subprocess.run(
            [sys.executable, "-m", "pajamas_eval", "run", model, *options],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        (answers,) = json.loads(out.read_text())["benchmarks"][0]["answer_sets"]
    return float(answers["prompt_seconds"])


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main(*models: str) -> None:
    processors = os.cpu_count() or 1
    print("| model | busy loops beside it | as the libraries wait | as we have them wait | ratio |")
    print("|---|---|---|---|---|")
    for model in models:
        for loops in (0, processors):
            own, ours = [], []
            with busy_loops(loops):
                for _ in range(ROUNDS):
                    own.append(engine_seconds(model, LIBRARIES_OWN))
                    ours.append(engine_seconds(model, {}))
            ratio = median(ours) / median(own)
            row = (
                f"| {model} | {loops} | {median(own):.1f} s | {median(ours):.1f} s | {ratio:.2f} |"
            )
            print(row, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
