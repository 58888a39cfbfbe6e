"""Configurations that mlx-lm reads as other models' are refused, and their remedy is right.

What is right is what transformers computes from the same folder.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pajamas_eval.api.digest import model_files
from pajamas_eval.api.requests import LogLikelihoodResult, LogLikelihoodRolling
from pajamas_eval.errors import UsageError
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.models.remedies import mend
from pajamas_eval.models.spec import parse_spec
from pajamas_eval.runtimes.mlx import MlxRuntime

TEXT = "In the morning the river carries leaves past the old mill, and nobody counts them. " * 3
SIZE: dict[str, Any] = {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def rope(theta: float = 777777.0, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **more}}


CASES: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "the base": ("Llama", rope(), {"rope_theta"}),
    "the scaling": ("Llama", {"rope_parameters": LLAMA3}, {"rope_scaling"}),
    "a linear scaling": (
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
        {"rope_scaling"},
    ),
    "Qwen 2": ("Qwen2", rope(), {"rope_theta"}),
    "Qwen 3 with experts": (
        "Qwen3Moe",
        {**rope(), **EXPERTS, "num_key_value_heads": 2},
        {"rope_theta", "num_experts", "head_dim"},
    ),
    "OLMo 2": ("Olmo2", rope(), {"rope_theta"}),
    "Cohere": ("Cohere", rope(), {"rope_theta"}),
    "SmolLM 3": ("SmolLM3", {**rope(), "pad_token_id": 1}, {"rope_theta"}),
    "StarCoder 2": ("Starcoder2", {**rope(), "sliding_window": None}, {"rope_theta"}),
    "Granite": ("Granite", rope(), {"rope_theta"}),
    "a share that is rotated": (
        "Phi",
        {**rope(partial_rotary_factor=0.75), "num_key_value_heads": 4},
        {"rope_theta", "partial_rotary_factor"},
    ),
    "StableLM": (
        "StableLm",
        rope(partial_rotary_factor=0.5),
        {"rope_theta", "partial_rotary_factor"},
    ),
    "GPT-NeoX": (
        "GPTNeoX",
        {**rope(partial_rotary_factor=0.5), "intermediate_size": 256},
        {"rotary_emb_base", "rotary_pct"},
    ),
    "Gemma 3, two bases": (
        "Gemma3",
        {
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 777.0},
                "full_attention": {"rope_type": "default", "rope_theta": 777777.0},
            },
            "num_hidden_layers": 6,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
        },
        {"rope_theta", "rope_local_base_freq"},
    ),
}


def made(name: str, settings: dict[str, Any], original: Path, folder: Path) -> Path:
    """A random model as transformers saves it, with the demo model's tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    model_type = getattr(transformers, f"{name}ForCausalLM")
    model = model_type(model_type.config_class(**{**SIZE, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 2 * parameter.shape[1] ** -0.5)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(original / file, folder)
    return folder


def score(runtime: str, folder: Path, **options: Any) -> float:
    """Log-likelihood of a text, in nats a token."""
    model = open_runtime(runtime, {"path": str(folder), **options})
    model.load()
    ((_, result),) = model.answer([LogLikelihoodRolling(TEXT)])
    assert isinstance(result, LogLikelihoodResult)
    return result.log_probability / result.token_count


@pytest.mark.parametrize("case", CASES)
def test_what_mlx_lm_does_not_find_is_named_and_the_remedy_is_right(
    case: str, original: Path, tmp_path: Path
) -> None:
    name, settings, keys = CASES[case]
    folder = made(name, settings, original, tmp_path / "model")
    with pytest.raises(UsageError) as refusal:
        open_runtime("mlx", {"path": str(folder)})
    assert all(f"no {key} (" in str(refusal.value) for key in keys)
    assert f"verify --fix {folder}" in str(refusal.value)
    remedy = MlxRuntime.remedy(folder)
    assert set(remedy) == keys
    expected = score("hf", folder)
    assert score("mlx", folder, config=json.dumps(remedy)) == pytest.approx(expected, abs=1e-4)
    assert len(mend(folder)) == len(keys)
    assert mend(folder) == []
    assert score("mlx", folder) == pytest.approx(expected, abs=1e-4)
    assert score("hf", folder) == expected


def test_the_old_configuration_is_kept_and_is_no_part_of_the_model(
    original: Path, tmp_path: Path
) -> None:
    folder = made("Llama", rope(100000.0), original, tmp_path / "model")
    before = (folder / "config.json").read_bytes()
    assert mend(folder) == [f"{folder / 'config.json'}: rope_theta = 100000.0 (for mlx)"]
    kept = folder / "config.json.orig"
    assert kept.read_bytes() == before
    assert kept not in model_files(folder)
    after = json.loads((folder / "config.json").read_bytes())
    assert after == {**json.loads(before), "rope_theta": 100000.0}
    with pytest.raises(UsageError, match="it has no config"):
        mend(tmp_path)


@pytest.mark.parametrize("model_type", ["olmo", "bloom"])
def test_what_mlx_lm_cannot_load_needs_no_remedy(
    original: Path, tmp_path: Path, model_type: str
) -> None:
    """For one it wants a package and ends the process, the other it does not have."""
    folder = Path(shutil.copytree(original, tmp_path / "model"))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert mend(folder) == []


def test_the_shown_option_is_one_that_can_be_typed(original: Path, tmp_path: Path) -> None:
    folder = made("Llama", rope(100000.0), original, tmp_path / "model")
    with pytest.raises(UsageError) as refusal:
        open_runtime("mlx", {"path": str(folder)})
    said = str(refusal.value)
    assert "no rope_theta (100000.0 to transformers, 10000 to mlx-lm)" in said
    typed = said[said.index("mlx[") :].replace("…", str(folder))
    spec = parse_spec(typed)
    assert spec.options["config"] == '{"rope_theta": 100000.0}'
    model = open_runtime(spec.runtime, spec.options)
    assert model.load().notes[0] == 'its config.json is overridden: {"rope_theta": 100000.0}'


@pytest.mark.parametrize(
    ("given", "said"),
    [("rope_theta", "is not JSON: "), ("[1]", "is not a JSON object"), ("{", "is not JSON: ")],
)
def test_what_is_no_configuration_is_refused(original: Path, given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_runtime("mlx", {"path": str(original), "config": given})


def test_what_transformers_does_not_know_either_cannot_be_mended(
    original: Path, tmp_path: Path
) -> None:
    folder = made("Llama", rope(10000.0), original, tmp_path / "model")
    file = folder / "config.json"
    config = json.loads(file.read_text())
    del config["hidden_size"]
    config["model_type"] = "mimo_v2_flash"
    file.write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"its config.json has no .*moe_layer_freq.* needs"):
        open_runtime("mlx", {"path": str(folder)})
