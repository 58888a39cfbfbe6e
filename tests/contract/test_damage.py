"""A model damaged on purpose: the same damage every time, worse the more there is of it."""

from pathlib import Path

import numpy as np
import pytest

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import LogLikelihood, LogLikelihoodResult
from pajamas_eval.errors import UsageError
from pajamas_eval.models.registry import open_runtime

TEXTS = [
    LogLikelihood(Prompt("The capital of France is"), f" {answer}")
    for answer in ("Paris", "London", "a city", "blue")
]


def answered(name: str, path: Path, **options: object) -> np.ndarray:
    runtime = open_runtime(name, {"path": str(path), **options})
    runtime.load()
    found = dict(runtime.answer(TEXTS))
    values = [found[i] for i in range(len(TEXTS))]
    return np.array([v.log_probability for v in values if isinstance(v, LogLikelihoodResult)])


@pytest.fixture(params=["hf", "mlx", "gguf"])
def model(request: pytest.FixtureRequest, original: Path, variants: Path) -> tuple[str, Path]:
    files = {"hf": original, "mlx": variants / "demo-mlx-8bit", "gguf": variants / "demo-q8_0.gguf"}
    return request.param, files[request.param]


def test_damage_is_the_same_every_time_and_grows(model: tuple[str, Path]) -> None:
    plain, little, much = (answered(*model, damage=damage) for damage in (0.0, 0.01, 0.3))
    assert len(plain) == len(TEXTS)
    assert np.array_equal(answered(*model, damage=0.3), much)
    assert np.array_equal(answered(*model), plain)
    assert 0 < np.abs(little - plain).mean() < np.abs(much - plain).mean()


def test_what_is_damaged_has_another_key_and_says_so(model: tuple[str, Path]) -> None:
    name, path = model
    whole, damaged = (
        open_runtime(name, {"path": str(path), "damage": damage}) for damage in (0.0, 0.2)
    )
    assert whole.answer_settings() != damaged.answer_settings()
    assert "damage" not in whole.answer_settings(), "answers that are stored stay valid"
    assert damaged.settings.notes == ("damaged on purpose: noise of 0.2 of its weights",)  # type: ignore[attr-defined]


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_groups_of_quantized_weights_are_damaged_by_that_share(bits: int) -> None:
    """On Metal weights stay quantized; on a CPU they are expanded before."""
    mx = pytest.importorskip("mlx.core")
    from mlx import nn

    from pajamas_eval.runtimes._mlx_damage import damage

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.QuantizedLinear(512, 512, bits=bits)
            self.norm = nn.RMSNorm(512)

    made = Model()

    def weights() -> np.ndarray:
        layer = made.layer
        return np.array(mx.dequantize(layer.weight, layer.scales, layer.biases, bits=bits))

    before, norm = weights(), np.array(made.norm.weight)
    damage(made, 0.2)
    error = np.sqrt(np.mean((weights() - before) ** 2) / np.mean(before**2))
    assert error == pytest.approx(0.2, rel=0.05)
    assert np.array_equal(np.array(made.norm.weight), norm)


def test_the_noise_has_the_size_that_is_asked_for(original: Path) -> None:
    from transformers import AutoModelForCausalLM

    from pajamas_eval.runtimes._hf_damage import damage

    whole, damaged = (AutoModelForCausalLM.from_pretrained(original).float() for _ in range(2))
    damage(damaged, 0.2)
    parameters = dict(whole.named_parameters())
    for name, after in damaged.named_parameters():
        before = parameters[name]
        error = ((after - before).square().mean() / before.square().mean()).sqrt().item()
        assert error == pytest.approx(0.2 if before.dim() > 1 else 0.0, rel=0.05)


def test_an_adapter_has_the_size_that_is_asked_for(variants: Path, tmp_path: Path) -> None:
    import gguf

    from pajamas_eval.runtimes._llama_damage import _write

    model, adapter = variants / "demo-q8_0.gguf", tmp_path / "damage.gguf"
    _write(adapter, [model], 0.2)
    parts = {t.name: np.array(t.data) for t in gguf.GGUFReader(adapter).tensors}
    matrices = 0
    for tensor in gguf.GGUFReader(model).tensors:
        if f"{tensor.name}.lora_a" in parts:
            noise = parts[f"{tensor.name}.lora_b"] @ parts[f"{tensor.name}.lora_a"]
            weights = gguf.dequantize(tensor.data, tensor.tensor_type)
            assert noise.shape == weights.shape
            ratio = np.sqrt(np.mean(noise**2) / np.mean(weights**2))
            assert ratio == pytest.approx(0.2, rel=0.25), tensor.name
            matrices += 1
    assert matrices > 20


def test_packed_weights_take_no_damage() -> None:
    import torch

    from pajamas_eval.runtimes._hf_damage import damage

    packed = torch.nn.Module()
    packed.weight = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(UsageError, match="damage takes plain weights, and weight is packed"):
        damage(packed, 0.2)
