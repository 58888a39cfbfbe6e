"""`pajamas-eval gate`: what it accepts, what it runs, what it writes, and how it exits."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from gate_cases import pair

from pajamas_eval.api.metrics import Margin
from pajamas_eval.cli import main
from pajamas_eval.evaluation import session
from pajamas_eval.results import file as documents
from pajamas_eval.results.document import Document
from pajamas_eval.results.run_config import RunConfig, config_of

GATE = "[gate]\nmargin = 5.0\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a gate, outside of GitHub."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "g.toml").write_text(GATE)
    return tmp_path


def gate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["gate", *arguments])


def judged(made: Document, *arguments: str) -> Result:
    """What becomes of a stored result."""
    documents.write(made, Path("r.json"))
    return gate("--gate", "g.toml", "--result", "r.json", *arguments)


# -- exit codes ----------------------------------------------------------------------------


def failed(made: Document, number: int) -> Document:
    made.models[number].error = "it ran out of memory"
    return made


@pytest.mark.parametrize(
    ("made", "code", "end"),
    [
        (pair(200), 0, "q4: passed (1 passed)\n"),
        (pair(200, losses=50), 1, "q4: failed (1 failed)\n"),
        (pair(20), 3, "q4: undecided (1 undecided)\n"),
        (failed(pair(200), 1), 4, "q4: undecided (1 not measured)\n"),
        (failed(pair(200), 0), 4, "q4: undecided (1 not measured)\n"),
        (failed(pair(200, losses=50), 1), 4, "q4: failed (1 failed)\n"),
    ],
)
def test_the_exit_code_says_what_the_last_line_says(made: Document, code: int, end: str) -> None:
    result = judged(made)
    assert result.exit_code == code
    assert result.stdout.endswith(end)
    assert ("did not run to the end" in result.stderr) == (code == 4)


@pytest.mark.parametrize(("made", "code"), [(pair(200), 0), (pair(200, losses=50), 1)])
def test_a_verdict_that_nobody_reads_stands(made: Document, code: int) -> None:
    documents.write(made, Path("r.json"))
    command = '"$0" -m pajamas_eval gate --gate g.toml --result r.json | true; '
    done = subprocess.run(
        ["bash", "-c", command + 'exit "${PIPESTATUS[0]}"', sys.executable],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr) == (code, "")


def test_a_result_that_cannot_be_judged_is_one_line() -> None:
    made = pair(200)
    del made.models[1]
    result = judged(made)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: r.json: the result has no variant, or no benchmark, to judge\n"


def test_a_result_that_is_none_is_one_line() -> None:
    Path("r.json").write_text("{}")
    result = gate("--gate", "g.toml", "--result", "r.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: r.json is not a result document")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name a gate file"),
        (["org/a", "org/b"], "name a gate file"),
        (["--gate", "g.toml"], "gate needs a baseline and a variant, or the --result of a run"),
        (["--gate", "g.toml", "org/a"], "gate needs a baseline and a variant"),
        (["--gate", "g.toml", "--config", "g.toml"], "give one of them"),
        (["--config", "g.toml", "org/a", "org/b"], "--config says itself what to run"),
        (["--config", "g.toml", "--result", "r.json"], "--config says itself what to run"),
        (["--gate", "g.toml", "--result", "r.json", "org/a"], "--result runs nothing"),
        (["--gate", "g.toml", "--result", "r.json", "--limit", "5"], "--result runs nothing"),
        (["--gate", "g.toml", "--result", "r.json", "--json", "x"], "--result runs nothing"),
        (["--config", "g.toml"], "Error: g.toml: it has no [run] table"),
        (["--gate", "g.toml", "--junit", "no/x.xml", "org/a", "org/b"], "the folder no does not"),
        (["--gate", "g.toml", "--json", "no/x.json", "org/a", "org/b"], "the folder no does not"),
        (["--gate", "g.toml", "x=org/a", "x=org/b"], "two models have the label 'x'"),
        (["--gate", "g.toml", "x=org/a", "y=org/b", "--baseline", "z"], "no model has the label"),
        (["--gate", "g.toml", "gone.gguf", "org/b"], "gone.gguf: no such file"),
        (["--gate", "g.toml", "org/a", "org/b", "-b", "mmul"], "did you mean 'mmlu'?"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(
    arguments: list[str], complaint: str, never_run: None
) -> None:
    result = gate(*arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stdout == ""


@pytest.fixture
def never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("something was run")

    monkeypatch.setattr(session, "evaluate", refuse)


def test_a_summary_that_cannot_be_written_is_found_before_the_run(
    never_run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "no/summary.md")
    result = gate("--gate", "g.toml", "org/a", "org/b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot write no/summary.md" in result.stderr


# -- what is run ---------------------------------------------------------------------------


BUILT_IN = [
    "pajamas_commonsense",
    "pajamas_knowledge",
    "pajamas_knowledge_cloze",
    "pajamas_arithmetic",
]
"""What `auto` chooses from."""


class Ran:
    """What `evaluate` was asked, in its place."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.paths: list[str] = []
        self.benchmarks: list[str] = []
        self.folder: Path | None = None
        self.config: RunConfig | None = None
        self.result = pair(200)

    def __call__(
        self,
        specs: Sequence[Any],
        benchmarks: Sequence[Any],
        data: Any,
        _: object,
        asked: RunConfig,
        __: object = None,
        *,
        choosing: bool = False,
    ) -> Document:
        self.labels = [spec.label for spec in specs]
        self.paths = [str(spec.options["path"]) for spec in specs]
        self.benchmarks = [benchmark.name for benchmark in benchmarks]
        self.choosing = choosing
        self.folder, self.config = data.folder, RunConfig(**config_of(asked))
        return self.result


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    stub = Ran()
    monkeypatch.setattr(session, "evaluate", stub)
    return stub


def write_config(folder: Path, run: str) -> str:
    """A configuration in a folder of its own, next to its models."""
    (folder / "sub").mkdir()
    for name in ("one.gguf", "two.gguf"):
        (folder / "sub" / name).write_bytes(b"GGUF")
    (folder / "sub" / "pajamas.toml").write_text(f"{GATE}{run}")
    return "sub/pajamas.toml"


def test_a_configuration_says_all_that_a_run_needs(ran: Ran, folder: Path) -> None:
    run = """
[run]
models = ["one.gguf", "second=gguf[path=two.gguf,n_ctx=64]", "org/name"]
baseline = "second"
benchmarks = ["mmlu", "gsm8k"]
limit = 50
shots = 2
seed = 7
data = "sets"
apply_chat_template = true
exact = true
"""
    result = gate("--config", write_config(folder, run))
    assert result.exit_code == 0, result.stderr
    assert ran.labels == ["second", "one", "name"]
    assert ran.paths == ["sub/two.gguf", "sub/one.gguf", "org/name"]
    assert ran.benchmarks == ["mmlu", "gsm8k"]
    assert ran.folder == Path("sub/sets")
    assert isinstance(ran.config.template_date, date), "a chat template is told one date"
    assert ran.config == RunConfig(
        limit=50,
        shots=2,
        seed=7,
        apply_chat_template=True,
        template_date=ran.config.template_date,
        exact=True,
        margins=(Margin(5.0),),
    )


def test_what_the_command_line_says_comes_first(ran: Ran, folder: Path) -> None:
    run = "[run]\nmodels = ['one.gguf', 'two.gguf']\nlimit = 50\nseed = 7\ndata = 'sets'\n"
    options = ["--limit", "5", "--baseline", "two", "-b", "mmlu, gsm8k", "--data", "mine"]
    result = gate("--config", write_config(folder, run), *options, "--until-decided")
    assert result.exit_code == 0, result.stderr
    assert ran.labels == ["two", "one"]
    assert ran.benchmarks == ["mmlu", "gsm8k"]
    assert ran.folder == folder / "mine"
    assert ran.config == RunConfig(limit=5, seed=7, margins=(Margin(5.0),), until_decided=True)


def test_models_named_on_the_command_line(ran: Ran, folder: Path) -> None:
    write_config(folder, "")
    result = gate("--gate", "sub/pajamas.toml", "sub/one.gguf", "b=sub/two.gguf", "--data", "d")
    assert result.exit_code == 0, result.stderr
    assert ran.paths == ["sub/one.gguf", "sub/two.gguf"]
    assert ran.folder == folder / "d"


@pytest.mark.parametrize(
    ("text", "options", "asked"),
    [
        (GATE, [], BUILT_IN),
        (f"{GATE}[gate.benchmarks.hellaswag]", [], ["hellaswag"]),
        (f"{GATE}[gate.benchmarks.hellaswag]", ["-b", "mmlu"], ["mmlu"]),
    ],
)
def test_the_benchmarks_are_by_default_those_that_the_gate_names(
    ran: Ran, text: str, options: list[str], asked: list[str]
) -> None:
    Path("g.toml").write_text(text)
    gate("--gate", "g.toml", "org/a", "org/b", *options)
    assert ran.benchmarks == asked


def test_an_early_stop_that_the_gate_does_not_allow_is_refused(never_run: None) -> None:
    Path("g.toml").write_text(f"{GATE}[gate.benchmarks.mmlu]\nmax_flips = 5")
    result = gate("--gate", "g.toml", "org/a", "org/b", "--until-decided")
    assert result.exit_code == 2
    assert "until_decided stops at the one margin of [gate]" in result.stderr


def test_a_model_that_a_configuration_names_in_vain_is_told_with_its_file(
    folder: Path, never_run: None
) -> None:
    config = write_config(folder, "[run]\nmodels = ['one.gguf', 'three.gguf']")
    result = gate("--config", config)
    assert result.exit_code == 2
    assert result.stderr == "Error: sub/pajamas.toml: three.gguf: no such file\n"
    assert Path.cwd() == folder


# -- what is written -----------------------------------------------------------------------


def test_the_result_and_the_junit_file_are_written(ran: Ran) -> None:
    ran.result = pair(200, losses=50)
    result = gate("--gate", "g.toml", "org/a", "org/b", "--json", "out.json", "--junit", "out.xml")
    assert result.exit_code == 1
    assert documents.read(Path("out.json")) == ran.result
    (suite,) = ElementTree.parse("out.xml").getroot()
    assert suite.attrib["failures"] == "1"
    assert sorted(os.listdir()) == ["g.toml", "out.json", "out.xml"]


def test_github_gets_its_summary_and_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("summary.md").write_text("# Before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = judged(pair(200, losses=50))
    assert result.exit_code == 1
    assert Path("summary.md").read_text("utf-8").startswith("# Before\n### q4&#58; failed")
    assert result.stdout.splitlines()[-1].startswith("::error title=q4%3A pajamas_knowledge")


def test_nobody_else_gets_them() -> None:
    result = judged(pair(200, losses=50))
    assert "::" not in result.stdout
    assert sorted(os.listdir()) == ["g.toml", "r.json"]
