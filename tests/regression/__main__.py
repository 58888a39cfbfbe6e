"""Do two versions of this program find the same? Runs the demo's comparison with both.

    python -m tests.regression c4c4f9f HEAD

Each version is taken from git, installed beside the packages of this environment, and run on the
models that `make demo` makes, with a store of its own. Scores, predictions, texts,
log-probabilities, flips and verdicts must be equal; the exit code is 1 where they are not.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pajamas_eval.results.document import AnswerRecord, Document
from pajamas_eval.results.file import read

ROOT = Path(__file__).parent.parent.parent
WEIGHTS = ROOT / "examples" / "demo_model" / "weights"
VARIANTS = (
    "demo-f16.gguf",
    "demo-q8_0.gguf",
    "demo-q4_k_m.gguf",
    "demo-q2_k.gguf",
    "demo-mlx-8bit",
    "demo-mlx-4bit",
    "demo-mlx-2bit",
)


def installed(commit: str, folder: Path) -> Path:
    """A folder from which Python imports the program as it was."""
    source, site = folder / "source", folder / "site"
    source.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", commit], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "x", "-C", str(source)], input=archive, check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True)
    return site


def run(site: Path, folder: Path, models: Path) -> Document:
    """What that version finds."""
    out = folder / "result.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "PAJAMAS_EVAL_STORE": str(folder / "responses.sqlite"),
    }
    named = [f"original={WEIGHTS}", *(str(models / name) for name in VARIANTS)]
    command = [sys.executable, "-P", "-m", "pajamas_eval", "compare", "--margin", "5"]
    subprocess.run(
        [*command, *named, "--json", str(out)],
        check=True,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    return read(out)


def differences(before: Document, after: Document) -> Iterator[str]:
    """What is not the same, in words."""
    for old, new in zip(before.benchmarks, after.benchmarks, strict=True):
        for theirs, ours in zip(old.answer_sets, new.answer_sets, strict=True):
            for a, b in zip(theirs.answers, ours.answers, strict=True):
                if said(a) != said(b):
                    yield f"{ours.label}, {new.name} {b.doc_id}: {said(a)} and {said(b)}"
    for was, now in zip(before.comparisons, after.comparisons, strict=True):
        for name in now.__struct_fields__:
            if getattr(was, name) != getattr(now, name):
                place = f"{now.label}, {now.benchmark}, {now.metric}"
                yield f"{place}: {name} {getattr(was, name)} and {getattr(now, name)}"
    if before.verdicts != after.verdicts or before.rankings != after.rankings:
        yield "the verdicts or the rankings"


def said(answer: AnswerRecord) -> tuple[object, ...]:
    """What an answer says, without what it cost."""
    return (
        answer.doc_id,
        answer.scores,
        answer.prediction,
        answer.error,
        answer.texts,
        answer.finish_reasons,
        answer.log_probabilities,
    )


def main() -> int:
    """Compares two commits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default="HEAD")
    parser.add_argument("--models", type=Path, default=ROOT / "demo-models")
    asked = parser.parse_args()
    make = ROOT / "examples" / "demo_model" / "make_variants.py"
    subprocess.run([sys.executable, str(make), str(asked.models)], check=True)
    found = []
    with tempfile.TemporaryDirectory() as name:
        for commit in (asked.before, asked.after):
            folder = Path(name) / commit
            found.append(run(installed(commit, folder), folder, asked.models.resolve()))
    problems = list(differences(*found))
    for problem in problems:
        print(problem)
    answers = sum(len(s.answers) for record in found[1].benchmarks for s in record.answer_sets)
    comparisons = len(found[1].comparisons)
    print(f"{answers} answers and {comparisons} comparisons: {len(problems)} differences")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
