"""Gate files: one layout, checked whole before anything is run, each fault told in one line."""

import json
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pajamas_eval.cli import main
from pajamas_eval.errors import UsageError
from pajamas_eval.gate.config import SIZE_LIMIT_BYTES, BenchmarkGate, Gate, GateFile, RunTable, read

ROOT = Path(__file__).parent.parent.parent
GATES = [
    *sorted((ROOT / "quant_configs" / "gates").glob("*.toml")),
    *sorted((ROOT / "examples" / "gates").glob("*.toml")),
]
SCHEMA = ROOT / "quant_configs" / "gates" / "gate.schema.json"

WHOLE = """
[gate]
confidence = 0.99
margin = 1
min_questions = 100
min_prompt_tokens_per_second = 20.5
min_generated_speed_ratio = 0.9
max_peak_memory_gb = 6
max_memory_ratio = 0.6
max_size_gb = 4.5
max_size_ratio = 0.4

[gate.benchmarks.mmlu]
margin = 0.5
confidence = 0.9
min_questions = 2000
metric = "acc"
max_mean_kl = 0.02
max_flips = 5

[run]
models = ["original/", "q4=model.gguf"]
baseline = "original"
benchmarks = ["mmlu", "gsm8k"]
limit = 500
shots = 0
seed = 7
data = "data"
apply_chat_template = true
exact = true
"""


def test_everything_that_can_be_said() -> None:
    assert parsed(WHOLE) == GateFile(
        gate=Gate(
            confidence=0.99,
            margin=1.0,
            min_questions=100,
            min_prompt_tokens_per_second=20.5,
            min_generated_speed_ratio=0.9,
            max_peak_memory_gb=6.0,
            max_memory_ratio=0.6,
            max_size_gb=4.5,
            max_size_ratio=0.4,
            benchmarks={
                "mmlu": BenchmarkGate(
                    margin=0.5,
                    confidence=0.9,
                    min_questions=2000,
                    metric="acc",
                    max_mean_kl=0.02,
                    max_flips=5.0,
                )
            },
        ),
        run=RunTable(
            models=["original/", "q4=model.gguf"],
            baseline="original",
            benchmarks=["mmlu", "gsm8k"],
            limit=500,
            shots=0,
            seed=7,
            data="data",
            apply_chat_template=True,
            exact=True,
        ),
    )


def parsed(text: str) -> GateFile:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "gate.toml"
        file.write_text(text, "utf-8")
        return read(file)


GATE = "[gate]\nmargin = 1.0\n"
RUN = f"{GATE}[run]\nmodels = ['a', 'b']\n"
MMLU = f"{GATE}[gate.benchmarks.mmlu]\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        # unknown keys, anywhere
        ("[gates]\nmargin = 1", "a gate file has no key 'gates'; did you mean 'gate'?"),
        ("[gate]\nmargni = 1", "[gate] has no key 'margni'; did you mean 'margin'?"),
        (f"{MMLU}max_kl = 1", "[gate.benchmarks.mmlu] has no key 'max_kl'"),
        (f"{MMLU}max_flip = 1", "has no key 'max_flip'; did you mean 'max_flips'?"),
        (f"{RUN}modles = []", "[run] has no key 'modles'; did you mean 'models'?"),
        ('[gate]\n"a\\nb" = 1', r"[gate] has no key 'a\nb'"),
        # figures out of their range
        ("[gate]\nmargin = 0", "gate.margin = 0: expected `float` > 0.0"),
        ("[gate]\nmargin = -1.5", "gate.margin = -1.5: expected `float` > 0.0"),
        ("[gate]\nmargin = 100", "gate.margin = 100: expected `float` < 100.0"),
        ("[gate]\nmargin = nan", "gate.margin = nan: expected `float` > 0.0"),
        ("[gate]\nmargin = inf", "gate.margin = inf: expected `float` < 100.0"),
        (f"[gate]\nmargin = 1{400 * '0'}", "gate.margin = 10000000"),
        (f"{GATE}confidence = 0", "gate.confidence = 0: expected `float` > 0.5"),
        (f"{GATE}confidence = 0.5", "gate.confidence = 0.5: expected `float` > 0.5"),
        (f"{GATE}confidence = 1.0", "gate.confidence = 1.0: expected `float` <= 0.999999"),
        (f"{GATE}confidence = 95", "gate.confidence = 95: expected `float` <= 0.999999"),
        (f"{MMLU}confidence = -0.1", "gate.benchmarks.mmlu.confidence = -0.1: expected"),
        (f"{MMLU}margin = -1", "gate.benchmarks.mmlu.margin = -1: expected `float` > 0.0"),
        (f"{MMLU}max_flips = 0", "gate.benchmarks.mmlu.max_flips = 0: expected"),
        (f"{MMLU}max_mean_kl = -0.1", "gate.benchmarks.mmlu.max_mean_kl = -0.1: expected"),
        (f"{GATE}min_questions = 0", "gate.min_questions = 0: expected `int` >= 1"),
        (f"{GATE}max_size_ratio = inf", "gate.max_size_ratio = inf: expected"),
        (f"{RUN}limit = 0", "run.limit = 0: expected `int` >= 1"),
        (f"{RUN}shots = -1", "run.shots = -1: expected `int` >= 0"),
        # other kinds
        ("gate = 1", "gate: expected `object`, got `int`"),
        ("[gate]\nmargin = '1'", "gate.margin = '1': expected `float`, got `str`"),
        ("[gate]\nmargin = true", "gate.margin = True: expected `float`, got `bool`"),
        ("[gate]\nmargin = 1979-05-27", "gate.margin = datetime.date(1979, 5, 27): expected"),
        ("[gate]\nbenchmarks = []", "gate.benchmarks = []: expected `object`, got `array`"),
        ("[gate.benchmarks]\nmmlu = 1", "gate.benchmarks.mmlu: expected `object`, got `int`"),
        (f"{MMLU}metric = 1", "gate.benchmarks.mmlu.metric = 1: expected `str`, got `int`"),
        (f"{MMLU}min_questions = 1.5", "min_questions = 1.5: expected `int`, got `float`"),
        (f"{GATE}[run]\nmodels = 'a'", "run.models = 'a': expected `array`, got `str`"),
        (
            f"{GATE}[run]\nmodels = ['a']",
            "run.models = ['a']: name a baseline and a variant",
        ),
        (f"{GATE}[run]\nmodels = ['a', 1]", "run.models[1]: expected `str`, got `int`"),
        (f"{GATE}[run]\nlimit = 1", "run: object missing required field `models`"),
        # no gate at all
        ("", "g.toml: object missing required field `gate`"),
        ("[gate]", "[gate] requires nothing"),
        ("[gate]\nconfidence = 0.9", "[gate] requires nothing"),
        ("[gate.benchmarks.mmlu]\nmin_questions = 5", "[gate.benchmarks.mmlu] requires nothing"),
        # what the benchmarks cannot give
        (
            f"{GATE}[gate.benchmarks.mmul]",
            "unknown benchmark 'mmul'; did you mean 'mmlu'?",
        ),
        (
            f"{GATE}[gate.benchmarks.hellaswag]\nmetric = 'acc_nrom'",
            "[gate.benchmarks.hellaswag]: hellaswag has no metric 'acc_nrom'; "
            "did you mean 'acc_norm'? (it has acc_norm, acc, soft_acc)",
        ),
        (
            f"{MMLU}metric = 'exact_match'",
            "mmlu has no metric 'exact_match' (it has acc, soft_acc)",
        ),
        (
            f"{GATE}[gate.benchmarks.gsm8k]\nmax_mean_kl = 0.1",
            "[gate.benchmarks.gsm8k]: max_mean_kl is over the choices of a question, and gsm8k "
            "has none",
        ),
        # a run that stops at one margin
        (
            f"{RUN}until_decided = true\n[gate.benchmarks.mmlu]\nmax_flips = 5.0",
            "until_decided stops at the one margin of [gate]",
        ),
        (
            "[gate]\nmax_size_gb = 1\n[run]\nmodels = ['a', 'b']\nuntil_decided = true",
            "until_decided stops at the one margin of [gate]",
        ),
        # no TOML
        ("[gate", "not TOML: Expected ']' at the end of a table declaration"),
        ("[gate]\nmargin = 1\nmargin = 2", "not TOML: Cannot overwrite a value"),
        (f"[gate]\nmargin{'.a' * 2_000} = 1", "expected `float`, got `object`"),
        (f"[gate]\n{'a' * 50_000} = 1", "[gate] has no key 'aaaa"),
        (f"a = {'[' * 10_000}", "its values are nested too deep"),
        (f"a = {'9' * 5_000}", "not TOML: Exceeds the limit"),
        ("#" * (SIZE_LIMIT_BYTES + 1), "too large for a gate file, over 100000 bytes"),
    ],
)
def test_a_bad_gate_file_is_refused_in_one_line(text: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text(text, "utf-8")
    assert refused(file).startswith(f"Error: {file}: ")
    assert complaint in refused(file)


def refused(file: Path) -> str:
    """The one line in which the command refuses a gate file, whatever it is told to judge."""
    lines = set()
    for arguments in (["--config", str(file)], ["--gate", str(file), "org/a", "org/b"]):
        result = CliRunner().invoke(main, ["gate", *arguments])
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert isinstance(result.exception, SystemExit)
        lines.add(result.stderr)
    (line,) = lines
    assert line.count("\n") == 1
    assert len(line) < 400
    return line


def test_a_gate_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    assert refused(absent) == f"Error: cannot read {absent}: No such file or directory\n"
    assert refused(tmp_path) == f"Error: cannot read {tmp_path}: Is a directory\n"
    (tmp_path / "latin.toml").write_bytes(b"[gate]\n# \xe9t\xe9\nmargin = 1")
    assert "not TOML: 'utf-8' codec can't decode" in refused(tmp_path / "latin.toml")


KEYS = st.sampled_from(
    ["gate", "run", "margin", "benchmarks", "mmlu", "models", "max_flips", "limit", "gsm8k", "x"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


def toml(value: object) -> str:
    """A value as TOML, tables inline."""
    match value:
        case None | bool():
            return "true" if value else "false"
        case dict():
            return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case str():
            return json.dumps(value)
        case _:
            return str(value)


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3).map(
        lambda file: "\n".join(f"{k} = {toml(v)}" for k, v in file.items()).encode()
    )
)
def test_no_file_shows_a_traceback(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "g.toml"
        file.write_bytes(content)
        try:
            read(file)
        except UsageError as error:
            assert str(error).startswith(f"{file}: ")  # noqa: PT017 - most files are bad
            assert "\n" not in str(error)  # noqa: PT017


def test_an_early_stop_is_allowed_where_one_margin_is_all() -> None:
    file = parsed(f"{RUN}until_decided = true")
    assert file.run
    assert file.run.until_decided


# -- what is committed ---------------------------------------------------------------------


@pytest.mark.parametrize("path", GATES, ids=lambda path: path.stem)
def test_every_gate_of_the_repository_is_one(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    file = read(path)
    assert bool(file.run) == (path.parent.parent.name == "examples")
    jsonschema.validate(tomllib.loads(path.read_text("utf-8")), json.loads(SCHEMA.read_text()))
    schema = path.read_text("utf-8").splitlines()[0].removeprefix("#:schema ")
    assert (path.parent / schema).resolve() == SCHEMA


def test_the_schema_is_the_one_that_the_command_prints() -> None:
    result = CliRunner().invoke(main, ["gate", "--schema"])
    assert result.exit_code == 0
    assert result.stdout == SCHEMA.read_text("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "[gate]\nmargni = 1",
        "[gate]\nmargin = 0",
        f"{MMLU}confidence = 1",
        "[run]\nmodels = ['a', 'b']",
        f"{GATE}[run]\nmodels = ['a']",
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(UsageError):
        parsed(text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), schema)


def test_the_example_workflow_runs_a_gate_and_keeps_what_it_wrote() -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / "examples" / "github-action.yml").read_text("utf-8"))
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert any(command.startswith("pip install") for command in commands)
    (gate,) = (command for command in commands if command.startswith("pajamas-eval gate"))
    upload = job["steps"][-1]
    assert upload["uses"].startswith("actions/upload-artifact@")
    assert upload["if"] == "always()"
    for file in upload["with"]["path"].split():
        assert file in gate.split()
    known = {option for p in main.commands["gate"].params for option in p.opts}  # type: ignore[attr-defined]
    assert {word for word in gate.split() if word.startswith("--")} <= known
