"""The certificate of what real converters and quantizers make of the demo model: no alarm."""

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tiny
from safetensors.numpy import load_file, save_file

from pajamas_eval.identity.certificate import Comparison, Outcome
from pajamas_eval.identity.compare import compare_models
from pajamas_eval.identity.contents import contents_of
from pajamas_eval.identity.diagnosis import FaultKind
from pajamas_eval.identity.model_file import open_model

DEMO_MODEL = Path(__file__).parents[2] / "examples" / "demo_model"


def certify(base: Path, variant: Path) -> Comparison:
    return compare_models(open_model("base", base), open_model("variant", variant))


def assert_same(found: Comparison) -> None:
    assert [finding for finding in found.tensors if finding.fault] == []
    assert found.facts == ()
    assert found.unknown_facts == ()
    assert found.vocabulary is not None
    assert found.vocabulary.different == 0
    assert found.outcome is Outcome.SAME


RECIPES = ["f32.gguf", "f16.gguf", "q8_0.gguf", "q4_k_m.gguf", "q2_k.gguf"]
RECIPES += ["mlx", "mlx-8bit", "mlx-4bit", "mlx-2bit"]


@pytest.mark.parametrize("name", RECIPES)
def test_no_alarm_on_what_the_recipes_make(name: str, original: Path, variants: Path) -> None:
    assert_same(certify(original, variants / f"demo-{name}"))


LLAMA_TYPES = ["BF16", "Q5_0", "Q5_1", "Q4_0", "Q4_1", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S"]
LLAMA_TYPES += ["Q5_K_S", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_S", "IQ2_XXS"]
LLAMA_TYPES += ["TQ1_0", "TQ2_0", "MXFP4_MOE"]


@pytest.mark.parametrize("kind", LLAMA_TYPES)
def test_no_alarm_on_what_llama_cpp_quantizes(
    kind: str, original: Path, variants: Path, tmp_path: Path
) -> None:
    """With an importance matrix, without which it refuses the smallest types."""
    out = tmp_path / "model.gguf"
    quantize(variants / "demo-f32.gguf", out, kind)
    assert_same(certify(original, out))


def quantize(source: Path, out: Path, kind: str) -> None:
    """llama.cpp's own quantizer, with random weights for the columns of every matrix."""
    sys.path.insert(0, str(DEMO_MODEL))
    from llama_cpp import llama_cpp as llama
    from make_variants import silence_llama

    silence_llama(llama)
    llama.llama_backend_init()
    rng = np.random.default_rng(0)
    model = open_model("source", source)
    matrices = [tensor for tensor in model.tensors.values() if tensor.rows > 1]
    weights = [rng.lognormal(0, 1, tensor.columns).astype(np.float32) for tensor in matrices]

    items = (llama.llama_model_imatrix_data * (len(matrices) + 1))()  # the last, nameless, ends it
    for item, tensor, array in zip(items, matrices, weights, strict=False):
        item.name, item.size = tensor.stored_name.encode(), len(array)
        item.data = array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    settings = llama.llama_model_quantize_default_params()
    settings.nthread = 2
    settings.ftype = getattr(llama, f"LLAMA_FTYPE_MOSTLY_{kind}")
    settings.imatrix = items
    code = llama.llama_model_quantize(os.fsencode(source), os.fsencode(out), ctypes.byref(settings))
    assert code == 0


MLX: dict[str, dict[str, Any]] = {
    "3-bit, groups of 32": {"q_bits": 3, "q_group_size": 32},
    "5-bit, groups of 128": {"q_bits": 5, "q_group_size": 128},
    "6-bit": {"q_bits": 6},
    "8-bit of bfloat16": {"q_bits": 8, "dtype": "bfloat16"},
    "mxfp4": {"q_mode": "mxfp4"},
    "nvfp4": {"q_mode": "nvfp4"},
    "mxfp8": {"q_mode": "mxfp8"},
    "mixed_2_6": {"quant_predicate": "mixed_2_6"},
    "mixed_3_4": {"quant_predicate": "mixed_3_4"},
}


@pytest.mark.parametrize("options", MLX.values(), ids=MLX)
def test_no_alarm_on_what_mlx_quantizes(
    options: dict[str, Any], original: Path, tmp_path: Path
) -> None:
    from mlx_lm import convert

    convert(str(original), str(tmp_path / "q"), quantize=True, **options)
    assert_same(certify(original, tmp_path / "q"))


COMPRESSED: dict[str, dict[str, Any]] = {
    "int8 rows": {"num_bits": 8, "strategy": "channel"},
    "int4 groups of 32": {"num_bits": 4, "strategy": "group", "group_size": 32},
    "int4 groups of 64 with offsets": {
        "num_bits": 4,
        "strategy": "group",
        "group_size": 64,
        "symmetric": False,
    },
    "fp8 rows": {"num_bits": 8, "type": "float", "strategy": "channel"},
}


@pytest.fixture(scope="module")
def compress(
    original: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, Any]], Path]:
    """Writes a folder that compressed-tensors packed."""
    pytest.importorskip("compressed_tensors")

    def make(settings: dict[str, Any]) -> Path:
        import torch
        from compressed_tensors.compressors import ModelCompressor
        from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
        from compressed_tensors.quantization.utils import calculate_qparams
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(original, dtype=torch.float32)
        group = {"targets": ["Linear"], "weights": settings}
        config = QuantizationConfig(config_groups={"all": group}, ignore=["lm_head"])
        apply_quantization_config(model, config)
        for module in model.modules():
            if hasattr(module, "weight_scale"):
                scheme = module.quantization_scheme.weights
                size = scheme.group_size or module.weight.shape[1]
                blocks = module.weight.data.reshape(len(module.weight), -1, size)
                scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), scheme)
                module.weight_scale.data = scale.reshape(module.weight_scale.shape)
                if hasattr(module, "weight_zero_point"):
                    kind = module.weight_zero_point
                    kind.data = zero.to(kind.dtype).reshape(kind.shape)
        out = tmp_path_factory.mktemp("compressed") / "model"
        compressor = ModelCompressor.from_pretrained_model(model)
        compressor.compress_model(model)
        model.save_pretrained(out)
        compressor.update_config(out)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(original / name, out)
        return out

    return make


@pytest.mark.parametrize("settings", COMPRESSED.values(), ids=COMPRESSED)
def test_no_alarm_on_what_compressed_tensors_packs(
    settings: dict[str, Any], original: Path, compress: Callable[[dict[str, Any]], Path]
) -> None:
    folder = compress(settings)
    assert_same(certify(original, folder))
    contents = contents_of(open_model("x", folder))
    assert contents.format == "compressed-tensors"
    assert contents.parameters == contents_of(open_model("x", original)).parameters


def test_faults_in_compressed_tensors_are_named(
    original: Path, compress: Callable[[dict[str, Any]], Path]
) -> None:
    folder = compress(COMPRESSED["int4 groups of 32"])
    weights = load_file(folder / "model.safetensors")
    for part in ("weight_packed", "weight_scale"):
        one, other = (f"model.layers.{i}.mlp.up_proj.{part}" for i in (1, 2))
        weights[one], weights[other] = weights[other], weights[one]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    found = certify(original, folder)
    faults = {f.name: f.fault.kind for f in found.tensors if f.fault}
    assert faults == {f"blk.{i}.ffn_up.weight": FaultKind.SWAPPED for i in (1, 2)}

    config = json.loads((folder / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"].values()
    for group in groups:
        group["weights"]["group_size"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    found = certify(original, folder)
    assert found.outcome is Outcome.DIFFERS
    kinds = {f.fault.kind for f in found.tensors if f.fault}
    assert kinds == {FaultKind.PACKING}


def test_a_label_that_the_content_does_not_bear_out_is_said(tmp_path: Path) -> None:
    """llama.cpp takes other types where rows are no multiples of 256 values, as SmolLM2's 576."""
    source = tiny.write_gguf(tiny.llama(), tmp_path / "f32.gguf", "F32", "F32")
    quantize(source, tmp_path / "q2_k.gguf", "Q2_K")
    contents = contents_of(open_model("q2_k", tmp_path / "q2_k.gguf"))
    assert contents.stated_type == "Q2_K"
    assert "Q2_K" not in {share.name for share in contents.types}
    (note,) = contents.notes
    assert note.startswith("it calls itself Q2_K and holds no Q2_K at all: ")
    assert_same(certify(source, tmp_path / "q2_k.gguf"))
