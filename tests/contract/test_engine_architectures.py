"""Architectures as engines resolve them: equal for one model, told apart where one is misread."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pajamas_eval.api.architecture import ArchitectureFacts
from pajamas_eval.errors import UsageError
from pajamas_eval.identity.architectures import compare_architectures
from pajamas_eval.identity.facts import compare_facts
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.models.remedies import mend
from pajamas_eval.results.document import ArchitectureCheck

SIZE: dict[str, Any] = {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
WINDOW = {"sliding_window": 32}
ALIKE: dict[str, dict[str, Any]] = {
    "Llama": {"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 4.0}},
    "Qwen2": {},
    "Qwen3": {"head_dim": 32},
    "Gemma": {"head_dim": 16},
    "Gemma3": {"head_dim": 16, "sliding_window": 32, "query_pre_attn_scalar": 16},
    "Olmo3": WINDOW,
    "Phi": {"num_key_value_heads": 4},
    "Phi3": {"sliding_window": None, "pad_token_id": 1},
    "StableLm": {},
    "Granite": {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 8.0},
    "Starcoder2": {"sliding_window": None},
    "Cohere2": {"sliding_window": 32, "head_dim": 16},
}
MISREAD = {
    "Glm": ({"head_dim": 16, "pad_token_id": 1}, "rotary_share", 0.5, 1.0),
    "Gemma2": ({"head_dim": 16, "sliding_window": 32}, "sliding_window", 32, 0),
    "Mistral": (WINDOW, "sliding_window", 32, 0),
    "Mixtral": (WINDOW, "sliding_window", 32, 0),
    "Phi3": ({**WINDOW, "pad_token_id": 1}, "sliding_window", 32, 0),
}
"""By mlx-lm 0.32: what it computes otherwise than transformers, whatever is written where."""


def folder(name: str, settings: dict[str, Any], original: Path, out: Path) -> Path:
    """A random model with the demo's tokenizer."""
    import transformers

    kind = getattr(transformers, f"{name}ForCausalLM")
    kind(kind.config_class(**{**SIZE, **settings})).save_pretrained(out)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(original / file, out)
    mend(out)
    return out


def facts(runtime: str, path: Path, **options: Any) -> ArchitectureFacts:
    found = open_runtime(runtime, {"path": str(path), **options}).architecture()
    assert found is not None
    return found


@pytest.mark.parametrize("name", ALIKE)
def test_engines_that_run_one_model_say_so(name: str, original: Path, tmp_path: Path) -> None:
    path = folder(name, ALIKE[name], original, tmp_path / "model")
    hf, mlx = facts("hf", path), facts("mlx", path)
    (check,) = compare_architectures("hf", {"hf": hf, "mlx": mlx}, 512, allow_different=False)
    assert (check.differences, check.different_models) == ([], False)
    assert check.known >= 15


@pytest.mark.parametrize("name", MISREAD)
def test_what_mlx_lm_computes_otherwise_is_named(name: str, original: Path, tmp_path: Path) -> None:
    settings, field, right, wrong = MISREAD[name]
    path = folder(name, settings, original, tmp_path / "model")
    hf, mlx = facts("hf", path), facts("mlx", path)
    found = {d.name: (d.base.value, d.variant.value) for d in compare_facts(hf, mlx).differences}
    assert found[field] == (right, wrong)
    both = {"hf": hf, "mlx": mlx}
    with pytest.raises(UsageError, match=r"mlx is run as another model than hf: .* in hf \(trans"):
        compare_architectures("hf", both, 512, allow_different=False)
    (allowed,) = compare_architectures("hf", both, 512, allow_different=True)
    assert allowed.differences
    assert not allowed.different_models
    if field == "sliding_window":
        (short,) = compare_architectures("hf", both, 32, allow_different=False)
        assert short.differences == [], "no text is longer than the window"


def test_the_demo_model_is_one_in_every_engine(original: Path, variants: Path) -> None:
    """Quantized or not."""
    found = {"base": facts("hf", original)}
    for path in sorted(variants.glob("demo-*")):
        found[path.name] = facts("gguf" if path.suffix == ".gguf" else "mlx", path)
    checks = compare_architectures("base", found, 1024, allow_different=False)
    assert len(checks) > 6
    assert all(c.differences == [] and c.known >= 20 for c in checks)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("rms_norm_eps", 1e-6, "norm epsilon 1e-06 in base"),
        ("rope_theta", 50000.0, "rope base 50000 in base"),
        ("head_dim", 32, None),
        ("num_hidden_layers", 5, None),
    ],
)
def test_a_gguf_file_of_another_configuration_is_told_apart(
    original: Path, variants: Path, tmp_path: Path, key: str, value: Any, said: str | None
) -> None:
    path = Path(shutil.copytree(original, tmp_path / "model"))
    config = json.loads((path / "config.json").read_text())
    if key == "rope_theta":
        config["rope_parameters"] = {**config["rope_parameters"], key: value}
    else:
        config[key] = value
    (path / "config.json").write_text(json.dumps(config))
    from transformers import AutoConfig, AutoModelForCausalLM

    # Random weights, for those of the original would not fit other shapes.
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path)).save_pretrained(path)
    both = {"base": facts("hf", path), "q8": facts("gguf", variants / "demo-q8_0.gguf")}

    def checks() -> list[ArchitectureCheck]:
        return compare_architectures("base", both, 1024, allow_different=False)

    if said is None:  # another shape: nobody claims that it is the same model
        (check,) = checks()
        assert check.different_models
        return
    with pytest.raises(UsageError) as refusal:
        checks()
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
