"""What runtimes say of packed weights: the quantization's name, and the true bits per weight."""

import json
import shutil
from pathlib import Path

import pytest

from pajamas_eval.api.identity import Identity
from pajamas_eval.models.registry import open_runtime

QUANTIZED = 4_718_592
"""Weights of the demo model's six layers in matrices that are quantized; the rest stay 16-bit."""


def loaded(name: str, folder: Path) -> Identity:
    return open_runtime(name, {"path": str(folder)}).load()


@pytest.fixture(scope="module")
def parameters(original: Path) -> int:
    """As many as the model has before it is quantized."""
    count = loaded("hf", original).parameters
    assert count is not None
    return count


@pytest.mark.parametrize(
    ("kind", "said", "bits"), [("nf4", "bitsandbytes nf4", 4), ("int8", "bitsandbytes 8-bit", 8)]
)
def test_packed_weights_of_transformers_are_counted_one_by_one(
    original: Path, parameters: int, tmp_path: Path, kind: str, said: str, bits: int
) -> None:
    """Two 4-bit weights lie in one element."""
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=bits == 4, load_in_8bit=bits == 8, bnb_4bit_quant_type="nf4"
    )
    folder = tmp_path / kind
    shutil.copytree(original, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    AutoModelForCausalLM.from_pretrained(original, quantization_config=config).save_pretrained(
        folder
    )
    found = loaded("hf", folder)
    assert (found.quantization, found.parameters) == (said, parameters)
    assert found.bits_per_weight is not None
    saved = (16 - found.bits_per_weight) * parameters / QUANTIZED
    assert 16 - saved == pytest.approx(bits, abs=0.6), "the rest are scales"


@pytest.mark.parametrize(
    ("options", "said", "bits"),
    [
        ({}, "4-bit, groups of 64", 4.5),
        ({"q_mode": "mxfp4"}, "mxfp4, groups of 32", 4.25),
        ({"q_mode": "nvfp4"}, "nvfp4, groups of 16", 4.5),
        ({"quant_predicate": "mixed_2_6"}, "2-bit and 6-bit, groups of 64", None),
    ],
)
def test_a_quantization_of_mlx_is_called_by_its_mode_and_true_bits(
    original: Path,
    parameters: int,
    tmp_path: Path,
    options: dict[str, str],
    said: str,
    bits: float | None,
) -> None:
    from mlx_lm import convert

    convert(str(original), str(tmp_path / "q"), quantize=True, **options)
    found = loaded("mlx", tmp_path / "q")
    assert (found.quantization, found.parameters) == (said, parameters)
    size = (tmp_path / "q" / "model.safetensors").stat().st_size
    assert found.bits_per_weight == pytest.approx(8 * size / parameters, rel=0.01)
    if bits:
        assert found.bits_per_weight == pytest.approx(bits, abs=0.05)
    else:
        stated = json.loads((tmp_path / "q" / "config.json").read_text())["quantization"]["bits"]
        assert found.bits_per_weight < stated, "the configuration names another number"
