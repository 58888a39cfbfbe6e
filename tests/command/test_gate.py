"""The gates of `examples/gates`, run as their comments say, on the demo's models."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pajamas_eval.results.file import read

ROOT = Path(__file__).parent.parent.parent
COMMAND = Path(sys.executable).with_name("pajamas-eval")

pytestmark = pytest.mark.engine

Run = Callable[[str], tuple[subprocess.CompletedProcess[str], Path]]


def gate(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the installed command as GitHub would."""
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    return subprocess.run(
        [COMMAND, "gate", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **github},
        timeout=300,
    )


@pytest.fixture(scope="module")
def run(variants: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs an example once; its files lie beside models as they do after `make demo`."""
    root = tmp_path_factory.mktemp("gates")
    shutil.copytree(ROOT / "examples" / "gates", root / "examples" / "gates")
    (root / "examples" / "demo_model").symlink_to(ROOT / "examples" / "demo_model")
    (root / "demo-models").symlink_to(variants)

    @cache
    def once(name: str) -> tuple[subprocess.CompletedProcess[str], Path]:
        out = root / name
        out.mkdir()
        (out / "summary.md").touch()
        config = root / "examples" / "gates" / f"{name}.toml"
        files = ("--json", out / "result.json", "--junit", out / "gate.xml")
        return gate(out, "--config", config, *files), out

    return once


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("passes", 0, "demo-q8_0: passed (3 passed)"),
        ("fails", 1, "demo-q2_k: failed (1 passed, 2 failed)"),
        ("undecided", 3, "demo-q8_0: undecided (1 undecided)"),
    ],
)
def test_each_example_ends_as_it_says(run: Run, name: str, code: int, says: str) -> None:
    done, out = run(name)
    assert done.returncode == code, done.stderr
    assert f"Exit code {code}:" in (ROOT / "examples" / "gates" / f"{name}.toml").read_text()
    assert says in done.stdout.splitlines()
    (suite,) = ElementTree.parse(out / "gate.xml").getroot()
    assert (suite.attrib["failures"] == "0") == (code == 0)
    assert suite.attrib["errors"] == "0"
    assert (out / "summary.md").read_text("utf-8").startswith("### demo")
    assert ("::error " in done.stdout) == (code == 1)
    assert ("::warning " in done.stdout) == (code == 3)


def test_what_is_undecided_says_what_it_would_take(run: Run) -> None:
    done, _ = run("undecided")
    assert "further questions would decide it" in done.stdout


def test_a_stored_result_is_judged_as_the_run_was(run: Run, tmp_path: Path) -> None:
    for name in ("passes", "fails", "undecided"):
        done, out = run(name)
        config = ROOT / "examples" / "gates" / f"{name}.toml"
        again = gate(tmp_path, "--gate", config, "--result", out / "result.json")
        assert (again.returncode, again.stdout) == (done.returncode, done.stdout)


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("name", "code"), [("passes", 0), ("fails", 1), ("undecided", 3)])
def test_a_verdict_needs_nobody_who_reads_it(
    run: Run, tmp_path: Path, name: str, code: int, closed: str
) -> None:
    _, out = run(name)
    config = ROOT / "examples" / "gates" / f"{name}.toml"
    arguments = [COMMAND, "gate", "--gate", config, "--result", out / "result.json"]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *map(str, arguments)]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_run_needs_nobody_who_reads_it(variants: Path, tmp_path: Path) -> None:
    """What engines and the store write goes where it should, not into a stream's old number."""
    arguments = [COMMAND, "run", variants / "demo-f16.gguf", "--benchmarks=pajamas_knowledge"]
    arguments += ["--limit=6", f"--store={tmp_path / 'store.sqlite'}", f"--json={tmp_path / 'r'}"]
    for _ in range(2):  # computed, then found in the store
        shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *map(str, arguments)]
        assert subprocess.run(shell, cwd=tmp_path, check=False).returncode == 0
        assert len(read(tmp_path / "r").benchmarks[0].answer_sets[0].answers) == 6
    verify = [COMMAND, "store", "verify", f"--store={tmp_path / 'store.sqlite'}"]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0


def test_a_release_is_not_passed_by_what_was_not_run(run: Run, tmp_path: Path) -> None:
    _, out = run("passes")
    release = ROOT / "quant_configs" / "gates" / "release.toml"
    done = gate(tmp_path, "--gate", release, "--result", out / "result.json")
    assert done.returncode == 3
    assert "hellaswag max_flips: the benchmark was not run." in done.stdout.splitlines()


def test_the_baseline_is_the_one_that_is_named(run: Run) -> None:
    _, out = run("passes")
    document = read(out / "result.json")
    assert document.baseline == "original"
    assert [(m.value, m.unit) for m in document.settings.margins] == [(5.0, "points")]
    assert [model.label for model in document.models] == ["original", "demo-q8_0"]
