"""`compare` with models that are not what they claim to be, from the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(sys.executable).with_name("pajamas-eval")
FEW = ("-b", "pajamas_knowledge", "--limit", 3)

pytestmark = pytest.mark.engine


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "2000"},
        timeout=300,
    )


def refusal(*arguments: object) -> str:
    """The one line that the command complains with."""
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, ""), result
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    return line


def changed(original: Path, folder: Path, **changes: Any) -> Path:
    """The demo model with another configuration."""
    shutil.copytree(original, folder)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


@pytest.fixture
def lost(original: Path, tmp_path: Path) -> Path:
    """The demo model, as if the epsilon of its norms had been lost."""
    return changed(original, tmp_path / "lost", rms_norm_eps=1e-2)


def test_a_variant_that_is_run_as_another_model_is_refused(lost: Path, variants: Path) -> None:
    file = variants / "demo-f16.gguf"
    line = refusal("compare", f"hf[path={lost}]", file, *FEW)
    assert "demo-f16 is run as another model than lost: norm epsilon 0.01 in lost (" in line
    assert "1e-05 in demo-f16 (llama.attention.layer_norm_rms_epsilon)" in line
    assert "--allow-different-models" in line


def test_it_is_compared_where_that_is_allowed(lost: Path, variants: Path, tmp_path: Path) -> None:
    file, written = variants / "demo-f16.gguf", tmp_path / "result.json"
    asked = ("compare", f"hf[path={lost}]", file, *FEW, "--json", written)
    result = run(*asked, "--allow-different-models")
    assert result.returncode == 0, result.stderr
    assert "demo-f16 is run as another model than the baseline, as allowed: norm eps" in (
        result.stdout
    )
    assert "KL over the choices" in result.stdout
    (check,) = json.loads(written.read_text())["fairness"]["architectures"]
    assert (check["label"], check["different_models"]) == ("demo-f16", False)


def test_stored_runs_are_held_to_the_same(lost: Path, variants: Path, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "store.sqlite")
    for model in (f"hf[path={lost}]", variants / "demo-f16.gguf"):
        assert run("run", model, *FEW, *store).returncode == 0
    line = refusal("compare", "run:1", "run:2", *store)
    assert "demo-f16 is run as another model than lost: norm epsilon 0.01 in lost (" in line
    allowed = run("compare", "run:1", "run:2", *store, "--allow-different-models")
    assert allowed.returncode == 0, allowed.stderr
    assert "as allowed: norm epsilon 0.01 in lost" in allowed.stdout


def test_two_models_are_called_so_and_no_divergence_is_told(
    original: Path, variants: Path, tmp_path: Path
) -> None:
    """Of another number of layers: nobody claims that they are one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    folder = changed(original, tmp_path / "other", num_hidden_layers=2)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    result = run("compare", f"hf[path={folder}]", variants / "demo-f16.gguf", *FEW)
    assert result.returncode == 0, result.stderr
    assert "demo-f16 and other are different models: layers 2 in other (" in result.stdout
    assert "KL over the choices" not in result.stdout


def test_a_folder_that_mlx_lm_misreads_is_refused_before_anything_runs(
    original: Path, tmp_path: Path
) -> None:
    theta = {"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}}
    folder = changed(original, tmp_path / "model", **theta)
    line = refusal("compare", f"a=hf[path={folder}]", f"b=mlx[path={folder}]", *FEW)
    assert "no rope_theta (100000.0 to transformers, 10000 to mlx-lm)" in line
    assert f"pajamas-eval verify --fix {folder}" in line
    given = "config='{\"rope_theta\": 100000.0}'"
    result = run("compare", f"a=hf[path={folder}]", f"b=mlx[path={folder},{given}]", *FEW)
    assert result.returncode == 0, result.stderr
    assert "b: the baseline's architecture, by 26 values known of both" in result.stdout
    assert 'b: its config.json is overridden: {"rope_theta": 100000.0}' in result.stdout


def test_the_missing_key_is_written_where_one_asks_for_it(original: Path, tmp_path: Path) -> None:
    theta = {"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}}
    folder = changed(original, tmp_path / "model", **theta)
    said = run("verify", "--fix", folder)
    config = folder / "config.json"
    assert said.stdout == f"{config}: rope_theta = 100000.0 (for mlx)\n"
    assert run("verify", "--fix", folder).stdout == f"{folder}: nothing is missing\n"
    result = run("compare", f"a=hf[path={folder}]", f"b=mlx[path={folder}]", *FEW)
    assert result.returncode == 0, result.stderr
    assert run("verify", "--fix", "--layers", folder).returncode == 2
