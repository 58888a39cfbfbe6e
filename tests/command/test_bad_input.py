"""Bad input, tested by running the command: one clear line, exit code 2, no traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("pajamas-eval")


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the installed command."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )


def complaint(*arguments: object, **environment: str) -> str:
    """The one line that the command complains with, after asserting its manners."""
    result = run(*arguments, **environment)
    assert result.returncode == 2, result
    assert "Traceback" not in result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    assert result.stderr.rstrip().endswith(lines[0]), "the complaint must be the last line"
    assert result.stdout == ""
    return lines[0]


def test_missing_file(tmp_path: Path) -> None:
    assert "absent.gguf: no such file" in complaint("run", tmp_path / "absent.gguf")


def test_missing_folder(tmp_path: Path) -> None:
    line = complaint("run", tmp_path / "absent-folder")
    assert "absent-folder" in line
    assert "check the path" in line


@pytest.mark.engine
@pytest.mark.parametrize("share", [0.0, 0.0005, 0.1, 0.9, 0.999])
def test_truncated_gguf(tmp_path: Path, variants: Path, share: float) -> None:
    whole = (variants / "demo-q8_0.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * share)])
    line = complaint("run", cut, "--limit", 1)
    assert "cut.gguf" in line
    assert "not a GGUF model that llama.cpp can load" in line


@pytest.mark.engine
def test_gguf_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "picture.gguf").write_bytes(b"\x89PNG" * 1000)
    assert "picture.gguf" in complaint("run", tmp_path / "picture.gguf")


def test_part_of_a_split_model_missing(tmp_path: Path) -> None:
    (tmp_path / "m-00001-of-00003.gguf").write_bytes(b"GGUF")
    (tmp_path / "m-00003-of-00003.gguf").write_bytes(b"GGUF")
    line = complaint("run", tmp_path / "m-00003-of-00003.gguf")
    assert "m-00002-of-00003.gguf" in line
    assert "missing" in line


def test_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    assert "no config.json" in complaint("run", tmp_path)


def test_folder_of_gguf_files(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    line = complaint("run", tmp_path)
    assert "model.gguf" in line
    assert "name that file" in line


@pytest.mark.engine
def test_folder_without_weights(tmp_path: Path, original: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((original / name).read_bytes())
    assert "holds no weights" in complaint("run", tmp_path)


@pytest.mark.engine
def test_pickled_weights_are_refused(tmp_path: Path, original: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((original / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    line = complaint("run", tmp_path)
    assert "allow_pickle=true" in line


@pytest.mark.engine
@pytest.mark.parametrize("runtime", ["hf", "mlx"])
def test_remote_code_is_refused(tmp_path: Path, original: Path, runtime: str) -> None:
    for file in original.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((original / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    line = complaint("run", f"{runtime}[path={tmp_path}]", "--limit", 1)
    assert "trust_remote_code=true" in line
    assert not (tmp_path / "ran").exists()


@pytest.mark.engine
@pytest.mark.parametrize("runtime", ["hf", "mlx"])
def test_truncated_safetensors(tmp_path: Path, original: Path, runtime: str) -> None:
    for file in original.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    line = complaint("run", f"{runtime}[path={tmp_path}]", "--limit", 1)
    assert str(tmp_path) in line


@pytest.mark.engine
def test_weights_missing_from_a_whole_file(tmp_path: Path, original: Path) -> None:
    """transformers would fill them with random numbers, and the model score at chance."""
    from safetensors.numpy import load_file, save_file

    for file in original.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(original / "model.safetensors")
    del weights["model.layers.0.mlp.down_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    line = complaint("compare", original, f"bad={tmp_path}", "--limit", 1, "--no-store")
    assert line.endswith(
        "lacks weights that its architecture needs: model.layers.0.mlp.down_proj.weight"
    )


@pytest.mark.engine
def test_tensors_missing_from_a_gguf_file(tmp_path: Path, variants: Path) -> None:
    """Found before the model beside it is asked anything."""
    whole = (variants / "demo-q8_0.gguf").read_bytes()
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(whole.replace(b"blk.0.ffn_down.weight", b"blk.9.ffn_down.weight"))
    line = complaint("compare", variants / "demo-f16.gguf", bad, "--limit", 1, "--no-store")
    assert "tensor 'blk.0.ffn_down.weight' not found; it lacks a part of the model" in line


@pytest.mark.engine
@pytest.mark.parametrize("length", [0, -1])
def test_impossible_context_length(variants: Path, length: int) -> None:
    line = complaint("run", f"gguf[path={variants / 'demo-q8_0.gguf'},n_ctx={length}]")
    assert "n_ctx" in line


def test_broken_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    line = complaint("run", tmp_path)
    assert "config.json is not readable JSON" in line


def test_unknown_benchmark() -> None:
    line = complaint("run", "gguf[path=x.gguf]", "--benchmarks", "mmlu_anatomi")
    assert "unknown benchmark 'mmlu_anatomi'; did you mean 'mmlu_anatomy'?" in line


def test_unknown_runtime() -> None:
    assert "did you mean 'gguf'?" in complaint("run", "ggfu[path=x.gguf]")


@pytest.mark.engine
def test_unknown_option(variants: Path) -> None:
    line = complaint("run", f"gguf[path={variants / 'demo-q8_0.gguf'},n_ctxx=512]")
    assert "no option 'n_ctxx'; did you mean 'n_ctx'?" in line


@pytest.mark.engine
def test_option_of_the_wrong_kind(variants: Path) -> None:
    line = complaint("run", f"gguf[path={variants / 'demo-q8_0.gguf'},n_ctx=many]")
    assert "n_ctx" in line


@pytest.mark.engine
@pytest.mark.parametrize(
    ("runtime", "module", "file"),
    [("gguf", "llama_cpp", "demo-q8_0.gguf"), ("mlx", "mlx", "demo-mlx-4bit"), ("hf", "torch", "")],
)
def test_engine_not_installed(
    tmp_path: Path, variants: Path, original: Path, runtime: str, module: str, file: str
) -> None:
    (tmp_path / f"{module}.py").write_text("raise ImportError('not here')")
    path = variants / file if file else original
    line = complaint("run", f"{runtime}[path={path}]", PYTHONPATH=str(tmp_path))
    assert f"pip install 'pajamas-eval[{runtime}]'" in line


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"question": "Q", "subject": "anatomy", "choices": ["a", "b", "c", "d"]}', "answer"),
        ('{"question": "Q", "subject": "anatomy", "choices": ["a", "b"], "answer": 1}', "length"),
        ('{"question": "Q", "subject": "anatomy"', "truncated"),
        ("\udcff not JSON", "malformed"),
        ("[" * 100_000, "nested"),
    ],
)
def test_malformed_data(tmp_path: Path, line: str, reason: str) -> None:
    good = '{"question": "Q", "subject": "anatomy", "choices": ["a", "b", "c", "d"], "answer": 1}'
    file = tmp_path / "mmlu" / "test.jsonl"
    file.parent.mkdir()
    file.write_bytes(f"{good}\n{line}\n".encode("utf-8", "surrogateescape"))
    said = complaint("run", "gguf[path=x.gguf]", "-b", "mmlu", "--data", tmp_path)
    assert f"{file}, line 2" in said


def test_missing_data(tmp_path: Path) -> None:
    line = complaint("run", "gguf[path=x.gguf]", "-b", "gsm8k", "--data", tmp_path)
    assert "test.jsonl" in line
    line = complaint("run", "gguf[path=x.gguf]", "-b", "gsm8k", "--data", tmp_path / "no")
    assert "cannot read the data folder" in line


def test_hub_out_of_reach() -> None:
    line = complaint("run", "gguf[path=x.gguf]", "-b", "gsm8k", HF_DATASETS_OFFLINE="1")
    assert "--data DIR" in line


def test_two_labels_alike(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.gguf").write_bytes(b"GGUF")
    line = complaint("compare", tmp_path / "a/model.gguf", tmp_path / "b/model.gguf")
    assert "two models have the label 'model'" in line
    assert "other=" in line


def test_unknown_baseline(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.gguf").write_bytes(b"GGUF")
    models = (tmp_path / "one.gguf", tmp_path / "two.gguf")
    line = complaint("compare", *models, "--baseline", "tow")
    assert "did you mean 'two'?" in line


def test_compare_needs_two() -> None:
    result = run("compare", "a.gguf")
    assert result.returncode == 2
    assert "two models or more" in result.stderr


def test_unwritable_json_is_found_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    line = complaint("run", tmp_path / "m.gguf", "--json", tmp_path / "no" / "out.json")
    assert "does not exist" in line


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("m.toml", "path = ", "TOMLDecodeError"),
        ("m.toml", "runtime = 'gguf'", "names no model"),
        ("m.toml", "runtime = 'guff'\npath = 'x.gguf'", "unknown runtime 'guff'"),
        ("m.py", "model = 3", "dictionary named model"),
        ("m.py", "raise RuntimeError('boom')", "RuntimeError: boom"),
    ],
)
def test_broken_config_files(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (tmp_path / name).write_text(text)
    assert reason in complaint("run", tmp_path / name)


@pytest.mark.engine
def test_bos_on_one_side_only(variants: Path) -> None:
    """Scores of the two could not be compared: one model would read every text without its BOS."""
    file = variants / "demo-q8_0.gguf"
    line = complaint("compare", file, f"bare=gguf[path={file},add_bos=false]", "--limit", 2)
    assert "not comparable" in line
    assert "add_bos=true" in line


def test_shots_beyond_the_pool() -> None:
    line = complaint(
        "run", "gguf[path=x.gguf]", "-b", "pajamas_knowledge", "--shots", 6, "--limit", 1
    )
    assert "at most 5 few-shot examples" in line


@pytest.mark.engine
def test_interrupt_leaves_no_worker_behind(variants: Path) -> None:
    """Ctrl-C reaches the whole group, as in a terminal."""
    process = subprocess.Popen(
        [COMMAND, "run", variants / "demo-q8_0.gguf", "--no-store"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "loading" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in stdout + stderr
    for _ in range(50):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a process of the interrupted command still runs")
