"""The command line starts fast, explains itself, and shows errors as one line."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner, Result

from pajamas_eval.api.identity import Engine
from pajamas_eval.cli import main

ENGINES = {"torch", "mlx", "mlx_lm", "llama_cpp", "transformers", "datasets", "tokenizers"}
HEAVY = ENGINES | {"numpy", "scipy", "rich", "jinja2", "pyarrow"}

REPORT = """
import sys
from pajamas_eval.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert not end.code, end.code
print("\\nIMPORTED", *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def imported_by(*arguments: str) -> set[str]:
    """Top-level modules that a fresh process holds after a command."""
    code = REPORT.format(arguments=list(arguments))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.rpartition("IMPORTED")[2].split())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["compare", "--help"], ["gate", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    modules = imported_by(*arguments)
    assert "click" in modules
    assert not modules & HEAVY


def test_the_first_import_is_a_light_one() -> None:
    """Until it has run, Ctrl-C would show a traceback."""
    code = "import sys; before = {*sys.modules}; import pajamas_eval.__main__; "
    code += "print(*sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"pajamas_eval", "pajamas_eval.__main__", "signal", "enum"}


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pajamas_eval", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("pajamas-eval, version ")
    wrong = subprocess.run(
        [sys.executable, "-m", "pajamas_eval", "show", "x"], capture_output=True, text=True
    )
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("Usage: pajamas-eval show ")


@pytest.mark.parametrize("kind", ["benchmarks", "runtimes"])
def test_a_list_imports_no_engine(kind: str) -> None:
    modules = imported_by("list", kind)
    assert "pajamas_eval" in modules
    assert not modules & ENGINES


def test_a_certificate_needs_no_engine(tmp_path: Path) -> None:
    file = tiny_models.write_gguf(tiny_models.llama(), tmp_path / "model.gguf")
    folder = tiny_models.write_folder(tiny_models.llama(), tmp_path / "model")
    modules = imported_by("verify", f"base={folder}", str(file))
    assert "gguf" in modules
    assert not modules & ENGINES


def test_help_shows_the_commands() -> None:
    output = run("--help").output
    for command in ("compare", "run", "gate", "verify", "list", "doctor"):
        assert f"\n  {command} " in output


def test_help_of_compare_says_what_a_model_may_be() -> None:
    starts = {line.strip().split("  ")[0] for line in run("compare", "--help").output.splitlines()}
    assert starts >= {
        "model.gguf",
        "folder/",
        "org/name",
        "'runtime[key=value,...]'",
        "model.toml, model.py",
    }


def test_list_runtimes_says_a_line_about_each() -> None:
    lines = run("list", "runtimes").output.splitlines()
    assert {line.split()[0] for line in lines} >= {"gguf", "hf", "mlx"}
    assert all(len(line.split()) > 2 for line in lines)


def test_list_runtimes_names_the_aliases() -> None:
    (hf,) = (x for x in run("list", "runtimes").output.splitlines() if x.startswith("hf "))
    assert hf.endswith(" Also called huggingface, transformers.")


def test_help_stands_alone() -> None:
    compare, plan = (" ".join(run(x, "--help").output.split()) for x in ("compare", "plan"))
    assert "Confidence of every verdict, and of either side of the interval" in compare
    assert "Questions per benchmark; all by default." in compare
    assert "Questions per benchmark. [default: 200" in plan


def test_doctor_says_what_works_and_how_to_install_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engines = {"hf": Engine({"torch": "2.13"}, "cpu"), "gguf": Engine({"llama": "1"}, "CPU")}

    def version(package: str) -> str:
        if package == "datasets":
            raise PackageNotFoundError
        return "25.0"

    monkeypatch.setattr("pajamas_eval.models.registry.runtime_names", lambda: ["gguf", "hf", "mlx"])
    monkeypatch.setattr(
        "pajamas_eval.workers.installed_engine.installed_engine",
        lambda name: engines.get(name, "its engine died"),
    )
    monkeypatch.setattr("importlib.metadata.version", version)
    result = run("doctor")
    assert result.exception is None
    assert result.output.splitlines()[1:] == [
        "gguf     works on CPU: llama 1",
        "hf       works on CPU: torch 2.13",
        "mlx      missing: its engine died",
        "         install it with: pip install 'pajamas-eval[mlx]'",
        "hub      missing: data sets from the Hugging Face hub need the Python package 'datasets'",
        "         install it with: pip install 'pajamas-eval[hub]'",
        "parquet  data sets in parquet files: pyarrow 25.0",
    ]


def test_list_benchmarks_says_a_line_about_each() -> None:
    lines = run("list", "benchmarks").output.splitlines()
    assert "gsm8k" in {line.split()[0] for line in lines}
    (gsm8k,) = (line for line in lines if line.startswith("gsm8k "))
    assert gsm8k.endswith(
        "; exact_match_strict, exact_match_flexible; 5-shot by default, margin 1 point"
    )


def test_list_all_benchmarks_shows_subjects_and_groups() -> None:
    output = run("list", "benchmarks", "--all").output
    assert "\n  mmlu_stem\n" in output
    assert "\n  mmlu_world_religions\n" in output
    assert "mmlu_stem" not in run("list", "benchmarks").output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["compare", "org/a"], "compare needs two models or more; `run` takes one"),
        (["compare", "x=org/a", "x=org/b"], "two models have the label 'x'"),
        (
            ["compare", "one=org/a", "two=org/b", "--baseline", "oen"],
            "no model has the label 'oen'; did you mean 'one'? (labels: one, two)",
        ),
        (["run", "nothing.gguf"], "nothing.gguf: no such file"),
        (["run", "org/a", "-b", "gms8k"], "unknown benchmark 'gms8k'; did you mean 'gsm8k'?"),
        (["run", "org/a", "-b", " , "], "no benchmark is named"),
        (["run", "org/a", "--json", "no/such/x.json"], "the folder no/such does not exist"),
        (["run", "org/a", "-b", "mmlu", "--data", "nowhere"], "data folder nowhere: No such file"),
        (["run", "org/a", "--limit", "0"], "Invalid value for '--limit'"),
        (["run", "org/a", "--json", ""], "Invalid value for '--json': its name is empty."),
        (["run", "org/a", "--data", ""], "Invalid value for '--data': its name is empty."),
        (["run", "org/a", "--store", ""], "Invalid value for '--store': its name is empty."),
        (["store", "export", ""], "Invalid value for 'FILE': its name is empty."),
        (["run", "here.gguf", "--json", "here.gguf"], "here.gguf is the model here; name another"),
        (["run", "org/a", "--json", "x.db", "--store", "x.db"], "x.db is the response store"),
        (["gate", "--gate", "g.toml", "--result", "r.json", "--junit", "r.json"], "r.json is the"),
        (["gate", "--gate", "g.toml", "--result", "r.json", "--junit", "g.toml"], "is the gate;"),
        (
            ["gate", "--gate", "g.toml", "a.gguf", "b.gguf", "--json", "x", "--junit", "x"],
            "x is to be written twice",
        ),
        (["runs", "--store", "nowhere.db"], "there is not a response store at nowhere.db"),
        (["run", "mlx[path=here.gguf]", "-b", "gms8k"], "unknown benchmark"),
        (["run", "ggfu[path=here.gguf]"], "unknown runtime 'ggfu'; did you mean 'gguf'?"),
    ],
)
def test_wrong_input_is_a_line_and_exit_code_2(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.gguf").touch()
    (tmp_path / "g.toml").write_text("[gate]\nmargin = 5.0\n")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    result = run(*arguments)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            "--margin 0",
            "Invalid value for '--margin': the margin '0' must be above 0 and below 100",
        ),
        (
            "--margin -1",
            "Invalid value for '--margin': cannot read the margin '-1'; write 5, 2% or",
        ),
        ("--margin 100", "Invalid value for '--margin': the margin '100' must be above 0 and"),
        ("--margin inf", "Invalid value for '--margin': cannot read the margin 'inf'; write 5,"),
        ("--margin nan", "Invalid value for '--margin': cannot read the margin 'nan'; write 5,"),
        ("--margin 1e-320", "Invalid value for '--margin': cannot read the margin '1e-320'"),
        ("--margin abc", "Invalid value for '--margin': cannot read the margin 'abc'; write 5,"),
        ("--margin 1,5", "Invalid value for '--margin': cannot read the margin '1,5'; write 5,"),
        ("--confidence 0.5", "Invalid value for '--confidence': 0.5 is not in the range 0.5<x<="),
        ("--confidence 1", "Invalid value for '--confidence': 1.0 is not in the range 0.5<x<="),
        ("--confidence 2", "Invalid value for '--confidence': 2.0 is not in the range 0.5<x<="),
        ("--confidence 95", "Invalid value for '--confidence': 95.0 is not in the range 0.5<x<="),
        ("--confidence 0.9999999999999999", "Invalid value for '--confidence': 0.9999999999999999"),
        ("--confidence nan", "Invalid value for '--confidence': 'nan' is not a number."),
        ("--same-weights nope", "no variant has the label 'nope'"),
        ("--same-weights twoo", "no variant has the label 'twoo'; did you mean 'two'?"),
        ("--same-weights one", "no variant has the label 'one'"),
        ("--same-weights", "Option '--same-weights' requires an argument."),
        ("--noise-floor --exact", "a noise floor needs batches of two shapes"),
        (
            "--noise-floor again.toml",
            "two models would have the label 'one again': the noise floor is called so; give yours "
            "another label",
        ),
        ("--until-decided --same-weights two", "no variant is left to decide on"),
    ],
)
def test_what_no_verdict_can_rest_on_is_refused_in_a_line_before_anything_runs(
    options: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "again.toml").write_text('path = "org/c"\nlabel = "one again"')
    monkeypatch.chdir(tmp_path)
    result = run("compare", "one=org/a", "two=org/b", "-b", "pajamas_knowledge", *options.split())
    assert result.exit_code == 2
    said = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert said == result.stderr.splitlines()[-1:]
    assert complaint in said[0]
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)


def test_an_unknown_runtime_is_refused_with_a_suggestion() -> None:
    result = run("run", "ggfu[path=m.gguf]", "-b", "pajamas_knowledge", "--limit", "1")
    assert result.exit_code == 2
    assert "unknown runtime 'ggfu'; did you mean 'gguf'?" in result.stderr


def test_an_unknown_option_of_a_runtime_is_refused_with_a_suggestion() -> None:
    result = run("run", "gguf[path=m.gguf,n_ctxt=64]", "-b", "pajamas_knowledge", "--limit", "1")
    assert result.exit_code == 2
    assert "the gguf runtime has no option 'n_ctxt'; did you mean 'n_ctx'?" in result.stderr


# -- standard output -----------------------------------------------------------------------


def piped(command: str, output: str) -> subprocess.CompletedProcess[str]:
    """A command whose standard output goes somewhere; the exit code is its own."""
    python = [sys.executable, "-m", "pajamas_eval"]
    return subprocess.run(
        ["bash", "-c", f'"$@" {command} {output}; exit "${{PIPESTATUS[0]}}"', "-", *python],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )


def test_a_pipe_that_is_closed_is_no_error() -> None:
    done = piped("list benchmarks --all", "| true")
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no device is always full")
def test_output_that_cannot_be_written_is_one_line() -> None:
    done = piped("list benchmarks", "> /dev/full")
    assert done.returncode == 4
    assert done.stderr == (
        "Error: cannot read or write the output: [Errno 28] No space left on device\n"
    )


def test_a_defect_never_looks_like_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
from pajamas_eval.cli.doctor import doctor
doctor.callback = lambda: 1 / 0
import sys
sys.argv = ["pajamas-eval", "doctor"]
from pajamas_eval.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
