"""The wheel: one top-level name, and everything that a user needs in it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files in a wheel built from this checkout's tracked and untracked sources."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_one_top_level_name(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pajamas_eval"}


@pytest.mark.parametrize(
    "name",
    [
        "pajamas_eval/cli/__init__.py",
        "pajamas_eval/py.typed",
        "pajamas_eval/report/terminal/comparison.py",
        "pajamas_eval/statistics/paired.py",
        "pajamas_eval/runtimes/gguf.py",
        "pajamas_eval/benchmarks/mmlu.py",
        "pajamas_eval/benchmarks/data/pajamas_knowledge/test.jsonl",
        "pajamas_eval/benchmarks/data/pajamas_knowledge/dev.jsonl",
        "pajamas_eval/benchmarks/data/pajamas_commonsense/test.jsonl",
        "pajamas_eval/benchmarks/data/pajamas_arithmetic/test.jsonl",
        "pajamas_eval/benchmarks/data/pajamas_arithmetic/train.jsonl",
        "pajamas_eval/quant_configs/gguf/q4_k_m.toml",
        "pajamas_eval/quant_configs/gates/release.toml",
        "pajamas_eval/quant_configs/gates/gate.schema.json",
        "pajamas_eval/gate/judge.py",
    ],
)
def test_nothing_is_missing(names: list[str], name: str) -> None:
    assert name in names


def test_nothing_else_is_packed(names: list[str]) -> None:
    assert not [name for name in names if "test_" in name or "examples" in name]
    assert not [name for name in names if name.endswith((".safetensors", ".gguf"))]
