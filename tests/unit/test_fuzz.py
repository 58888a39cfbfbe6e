"""Whatever is typed or read: an answer, or one line that says what is wrong; never a traceback."""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from handmade import answer_set, document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.api.data import DataSource
from pajamas_eval.api.requests import GenerationResult, LogLikelihoodResult
from pajamas_eval.benchmarks.gsm8k import Gsm8k
from pajamas_eval.benchmarks.hellaswag import HellaSwag
from pajamas_eval.benchmarks.mmlu import Mmlu
from pajamas_eval.cli import main
from pajamas_eval.errors import UsageError
from pajamas_eval.models.spec import parse_specs
from pajamas_eval.questions.prepare import prepare
from pajamas_eval.results.file import decode, encode
from pajamas_eval.store import Store
from pajamas_eval.store import database as database_module
from pajamas_eval.store.model_responses import ModelResponses

TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
"""Any text: control characters, lone surrogates, noncharacters."""

few = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def changed(content: bytes, choose: random.Random) -> bytes:
    """A file with some of it replaced, repeated, or cut off."""
    data = bytearray(content)
    for _ in range(choose.choice([1, 1, 2, 5, 50])):
        at = choose.randrange(len(data) + 1)
        length = choose.choice([1, 1, 1, 8, 200])
        match choose.randrange(5):
            case 0 | 1:
                data[at : at + length] = choose.randbytes(length)
            case 2:
                data[at : at + length] = b""
            case 3:
                data[at:at] = data[choose.randrange(len(data) + 1) :][:length]
            case 4:
                data[at : at + length] = choose.choice([b"\0", b"\xff", b"[", b'"', b"9"]) * length
    return bytes(data[: choose.choice([len(data), len(data), choose.randrange(len(data) + 1)])])


CHANGES = st.randoms(use_true_random=False).map(
    lambda choose: lambda content: changed(content, choose)
)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A folder to be in, with models of several kinds and names of an unkind one."""
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text("{}")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.gguf").symlink_to("loop.gguf")
    with chdir(tmp_path):
        yield tmp_path


def refused_or(action: Callable[[], object]) -> None:
    """Runs it; the only error it may raise is one for the user, in words that can be printed."""
    try:
        action()
    except UsageError as error:
        said = str(error)
    else:
        said = "nothing"
    assert said


# -- what is typed ---------------------------------------------------------------------------------

PIECES = st.one_of(
    TEXT,
    st.sampled_from(
        ["=", "[", "]", ",", '"', "path=", "gguf", "hf", "mlx", "label=", ".", "..", "/", "~", " "]
        + ["model.gguf", "folder.gguf", "folder.toml", "hf", "weights", "loop", "loop.gguf", "run:"]
        + [".gguf", ".toml", ".py", "-00001-of-00002.gguf", "-00000-of-00000.gguf", "org/name"]
        + ["-99999-of-99999.gguf", "x" * 300, "x/" * 3000, "\0", "\ud800", "n_ctx=", "9" * 5000]
    ),
)


@few
@given(specs=st.lists(st.lists(PIECES, max_size=6).map("".join), max_size=3))
def test_model_specs(here: Path, specs: list[str]) -> None:
    refused_or(lambda: parse_specs(specs))


@few
@given(
    entries=st.dictionaries(
        st.one_of(TEXT, st.sampled_from(["path", "runtime", "label", "n_ctx"])),
        st.recursive(
            st.one_of(st.integers(), st.booleans(), PIECES),
            lambda values: st.lists(values, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    ),
    change=CHANGES,
)
def test_configurations_of_models(
    here: Path, entries: dict[str, Any], change: Callable[[bytes], bytes]
) -> None:
    text = "".join(
        f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in entries.items()
    ).encode()
    for content in (text, change(text), change(b'path = "model.gguf"\nruntime = "gguf"\n')):
        (here / "c.toml").write_bytes(content)
        refused_or(lambda: parse_specs(["c.toml"]))
        (here / "hf" / "config.json").write_bytes(change(json.dumps(entries).encode()))
        refused_or(lambda: parse_specs(["hf"]))


@few
@given(change=CHANGES, junk=st.binary(max_size=200))
def test_weights_in_a_folder(here: Path, change: Callable[[bytes], bytes], junk: bytes) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": {"dtype": "F32"}}).encode()
    whole = len(header).to_bytes(8, "little") + header
    for content in (change(whole), junk, whole[:8] + junk, whole[:8] + b"[" * len(header)):
        (here / "weights" / "model.safetensors").write_bytes(content)
        refused_or(lambda: parse_specs(["weights"]))


@pytest.mark.parametrize("content", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, "9" * 10_000])
def test_configurations_that_are_nested_too_deep_or_too_long(here: Path, content: str) -> None:
    for name in ("hf", "c.toml", "weights"):
        (here / "hf" / "config.json").write_text(content)
        (here / "c.toml").write_text(f"path = {content}")
        header = content.encode()
        (here / "weights" / "model.safetensors").write_bytes(
            len(header).to_bytes(8, "little") + header
        )
        with pytest.raises(UsageError):
            parse_specs([name])


def test_a_configuration_beyond_any_is_not_read(here: Path) -> None:
    for name, spec in (("c.toml", "c.toml"), ("hf/config.json", "hf")):
        with (here / name).open("wb") as file:
            file.truncate(3_000_000_000)
        with pytest.raises(UsageError, match="longer than 10000000 bytes"):
            parse_specs([spec])


# -- data sets -------------------------------------------------------------------------------------

ROWS: dict[str, tuple[Any, dict[str, Any]]] = {
    "mmlu": (
        Mmlu("mmlu"),
        {"question": "Q?", "subject": "anatomy", "choices": [*"wxyz"], "answer": 1},
    ),
    "gsm8k": (Gsm8k("gsm8k"), {"question": "Q?", "answer": "so #### 1,000"}),
    "hellaswag": (
        HellaSwag("hellaswag"),
        {
            "ind": 4,
            "activity_label": "Removing ice",
            "ctx_a": "A man [header] stands.",
            "ctx_b": "he",
            "ctx": "A man stands. he",
            "endings": ["runs.", "sits.", "sings.", "falls."],
            "source_id": "a~b",
            "split": "val",
            "split_type": "indomain",
            "label": "2",
        },
    ),
}
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.just("anatomy")),
    lambda values: st.one_of(
        st.lists(values, max_size=4), st.dictionaries(TEXT, values, max_size=2)
    ),
    max_leaves=8,
)


def ask(name: str, folder: Path) -> None:
    """Prepares all questions of a benchmark, as a run does before it starts any model."""
    prepare(ROWS[name][0], DataSource(folder), shots=0, limit=5)


def write(folder: Path, name: str, ending: str, content: bytes) -> None:
    (folder / name).mkdir(exist_ok=True)
    for split in ("test", "validation", "dev", "train"):
        (folder / name / f"{split}.{ending}").write_bytes(content)


@pytest.mark.parametrize("name", ROWS)
@few
@given(change=CHANGES, count=st.integers(1, 4))
def test_json_lines(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], count: int
) -> None:
    whole = (json.dumps(ROWS[name][1]) + "\n").encode() * count
    write(tmp_path, name, "jsonl", change(whole))
    refused_or(lambda: ask(name, tmp_path))


@pytest.mark.parametrize("name", ROWS)
@few
@given(rows=st.lists(st.tuples(st.integers(0, 9), ANY_JSON), min_size=1, max_size=3))
def test_rows_of_other_types(tmp_path: Path, name: str, rows: list[tuple[int, Any]]) -> None:
    """Valid JSON, and valid rows but for one field."""
    lines = []
    for place, value in rows:
        row = dict(ROWS[name][1])
        row[[*row][place % len(row)]] = value
        lines.append(json.dumps(row))
    write(tmp_path, name, "jsonl", "\n".join(lines).encode())
    refused_or(lambda: ask(name, tmp_path))


@pytest.mark.parametrize("name", ROWS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(change=CHANGES)
def test_parquet(tmp_path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist([ROWS[name][1]] * 3), sink)
    write(tmp_path, name, "parquet", change(sink.getvalue().to_pybytes()))
    refused_or(lambda: ask(name, tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PAR1" * 2, b"PAR1" + b"\xff" * 100 + b"PAR1", b"\0" * 1000]
)
def test_parquet_that_is_none(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "gsm8k", "parquet", content)
    with pytest.raises(UsageError, match="is not a readable parquet file"):
        ask("gsm8k", tmp_path)


def test_parquet_with_other_columns_or_nested_ones(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    deep: Any = 1
    for _ in range(50):
        deep = [deep]
    for row in ({"x": 1}, {"question": deep, "answer": "#### 1"}, {"question": {"a": 1}}):
        sink = pyarrow.BufferOutputStream()
        parquet.write_table(pyarrow.Table.from_pylist([row]), sink)
        write(tmp_path, "gsm8k", "parquet", sink.getvalue().to_pybytes())
        with pytest.raises(UsageError, match=r"test.parquet(, row 1: | .*too deeply nested)"):
            ask("gsm8k", tmp_path)


def test_data_beyond_any_is_not_read(tmp_path: Path) -> None:
    """Neither a file of 2 GB, nor a line that never ends."""
    write(tmp_path, "gsm8k", "jsonl", b"")
    with (tmp_path / "gsm8k" / "test.jsonl").open("wb") as file:
        file.truncate(2_000_000_000)
    with pytest.raises(UsageError, match="has 2,000,000,000 bytes of data or more; a file of"):
        ask("gsm8k", tmp_path)
    with (tmp_path / "gsm8k" / "test.jsonl").open("wb") as file:
        file.write(b'{"question": "Q?", "answer": "#### 1"}\n')
        file.truncate(100_000_000)
    with pytest.raises(UsageError, match="line 2: longer than 64,000,000 bytes"):
        ask("gsm8k", tmp_path)


def test_a_small_file_that_unpacks_to_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("pajamas_eval.api.data.FILE_LIMIT_BYTES", 50_000_000)
    text = "x" * 100_000
    table = pyarrow.table({"question": [text] * 5000, "answer": ["#### 1"] * 5000})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    content = sink.getvalue().to_pybytes()
    assert len(content) < 1_000_000
    write(tmp_path, "gsm8k", "parquet", content)
    with pytest.raises(UsageError, match="bytes of data or more; a file of questions may have"):
        ask("gsm8k", tmp_path)


@pytest.mark.parametrize("depth", [100, 1000, 10_000, 1_000_000])
@pytest.mark.parametrize("field", ["question", "unknown"])
def test_rows_that_are_nested_too_deep(tmp_path: Path, depth: int, field: str) -> None:
    row = '{"question": "Q?", "answer": "#### 1", "' + field + '": ' + "[" * depth + "]" * depth
    write(tmp_path, "gsm8k", "jsonl", (row + "}\n").encode())
    refused_or(lambda: ask("gsm8k", tmp_path))


# -- result documents and stores -------------------------------------------------------------------


@few
@given(change=CHANGES)
def test_result_documents(example: bytes, change: Callable[[bytes], bytes]) -> None:
    refused_or(lambda: decode(change(example), "x.json"))


@pytest.fixture(scope="module")
def example() -> bytes:
    made = document([answer_set("base", {"a": 1.0}), answer_set("q\udcff", {"a": 0.0})])
    summarize(made)
    return encode(made)


@pytest.fixture(scope="module")
def whole_store(example: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store with two runs and some responses."""
    path = tmp_path_factory.mktemp("store") / "s.sqlite"
    with Store.open(path) as store:
        for result in (example, None):
            run = store.runs.begin(
                {"models": ["a", "b"], "benchmarks": "quiz", "data": None},
                machine={"cores": 2},
                versions={"x": "1"},
            )
            model = AnswerKey(weights="d" * 64, runtime="r", versions={}, settings={"a": [1]})
            responses = ModelResponses(store, run, model, "label")
            responses.keep(
                (b"%d" % i, LogLikelihoodResult(-float(i), True, 1, 1, 1)) for i in range(50)
            )
            responses.keep([(b"text", GenerationResult("text" * 50, "stop", 1, 1))])
            store.runs.finish(run, "finished" if result else "failed", result)
    return path.read_bytes()


def invoke(*arguments: object) -> Result:
    """Runs the command here; a traceback is a bug, and so is any other exit code."""
    result = CliRunner().invoke(main, [*map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 2, 4), result.stderr
    assert (result.exit_code == 0) == ("Error: " not in result.stderr)
    return result


def put(path: Path, content: bytes) -> None:
    for end in ("-wal", "-shm", "-journal"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    path.write_bytes(content)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(change=CHANGES)
def test_stores(
    tmp_path: Path,
    whole_store: bytes,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[bytes], bytes],
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.5)
    path, out = tmp_path / "s.sqlite", tmp_path / "out.jsonl"
    content = change(whole_store)
    for command in (
        ("runs",),
        ("show", 1),
        ("show", 2),
        ("compare", "run:1", "run:2"),
        ("store", "info"),
        ("store", "verify"),
        ("store", "export", out),
        ("store", "prune", "--older-than", 1),
        ("store", "prune", "--model", "label"),
    ):
        put(path, content)
        invoke(*command, "--store", path)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=300))
def test_stores_of_any_bytes(tmp_path: Path, whole_store: bytes, content: bytes) -> None:
    path = tmp_path / "s.sqlite"
    for data in (content, whole_store[:100] + content, whole_store[: -len(content) or None]):
        put(path, data)
        for command in (("runs",), ("store", "verify")):
            invoke(*command, "--store", path)


NUMBERS = st.one_of(
    st.integers().map(str), TEXT, st.floats().map(str), st.sampled_from(["0", "1", "3", "9" * 5000])
)


@few
@given(first=NUMBERS, second=NUMBERS)
def test_numbers_of_runs(tmp_path: Path, whole_store: bytes, first: str, second: str) -> None:
    path = tmp_path / "s.sqlite"
    put(path, whole_store)
    for command in (
        ("compare", f"run:{first}", f"run:{second}"),
        ("compare", f"run:{first}", second),
        ("compare", f"--resume={first}"),
        ("show", "--", first),
        ("store", "prune", f"--older-than={first}", f"--model={second}"),
    ):
        options = ("--store", path)
        place = 1 if command[0] != "store" else 2
        invoke(*command[:place], *options, *command[place:])


@few
@given(
    option=st.sampled_from(
        ["--limit", "--shots", "--seed", "--margin", "--confidence", "--timeout", "-b"]
    ),
    value=NUMBERS,
)
def test_options(option: str, value: str) -> None:
    """Refused as an option, or the model that is not there is."""
    result = CliRunner().invoke(
        main, ["compare", f"{option}={value}" if option[1] == "-" else f"{option}{value}",
               "gone.gguf", "gone too.gguf"],
    )  # fmt: skip
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_signals_of_the_host_are_as_before() -> None:
    """The command may run within a program of another's, as it does here."""
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    CliRunner().invoke(main, ["runs", "--store", os.devnull])
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
