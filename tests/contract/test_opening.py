"""What a runtime says of its engine, its device and its files before weights are loaded."""

import json
import resource
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gguf as gguf_package
import pytest

from pajamas_eval.api.identity import Engine
from pajamas_eval.errors import OutOfMemoryError, UsageError
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.models.spec import parse_spec
from pajamas_eval.runtimes import _hf_quantization, _llama_cpp, gguf, hf, mlx
from pajamas_eval.tokens.token_runtime import TokenRuntime


def opened(name: str, path: Path | str, **options: Any) -> TokenRuntime:
    runtime = open_runtime(name, {"path": str(path), **options})
    assert isinstance(runtime, TokenRuntime)
    return runtime


def refused(name: str, path: Path | str, **options: Any) -> str:
    with pytest.raises(UsageError) as error:
        opened(name, path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the demo model."""
    return Path(shutil.copytree(original, tmp_path / "model"))


# -- files ---------------------------------------------------------------------------------


def test_a_folder_is_no_gguf_file(tmp_path: Path) -> None:
    plain = f"{tmp_path} is a folder; the gguf runtime takes a file"
    assert refused("gguf", tmp_path) == plain
    for name in ("b.gguf", "a.gguf"):
        (tmp_path / name).touch()
    assert refused("gguf", tmp_path) == f"{plain}; it holds a.gguf, b.gguf: name that file"


@pytest.mark.parametrize("name", ["hf", "mlx"])
def test_a_file_is_no_model_folder(name: str, variants: Path) -> None:
    file = variants / "demo-f16.gguf"
    said = refused(name, file)
    assert said == f"{file} is a file; the {name} runtime takes a model folder or a hub id"


@pytest.mark.parametrize("name", ["hf", "mlx"])
def test_what_is_no_folder_may_be_a_hub_id(name: str) -> None:
    assert refused(name, "nosuch/demo-mlx-9bit").startswith(
        "cannot get nosuch/demo-mlx-9bit from the Hugging Face hub, and there is no such folder "
        "here: "
    )


def _sharded(folder: Path, weights: str) -> None:
    """Moves the weights elsewhere, and says so in an index."""
    (folder / weights).parent.mkdir(exist_ok=True)
    (folder / "model.safetensors").rename(folder / weights)
    index = {"metadata": {}, "weight_map": {"model.norm.weight": weights}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["hf", "mlx"])
@pytest.mark.parametrize(
    "weights", ["sub/model.safetensors", "../model.safetensors", ".hidden.safetensors"]
)
def test_weights_that_the_digest_leaves_out_are_refused(
    name: str, weights: str, folder: Path
) -> None:
    _sharded(folder, weights)
    assert f"index.json names {weights}, which does not lie beside it" in refused(name, folder)


@pytest.mark.parametrize("name", ["hf", "mlx"])
def test_an_adapter_is_no_model(name: str, folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    said = refused(name, folder)
    assert said.startswith(f"{folder} holds an adapter (adapter_config.json), whose base lies")


def test_weights_that_an_index_names_are_in_the_digest(folder: Path) -> None:
    _sharded(folder, "part-1.safetensors")
    before = opened("hf", folder).digest()
    with (folder / "part-1.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    assert opened("hf", folder).digest() != before


# -- engines -------------------------------------------------------------------------------


def test_llama_cpp_says_how_it_was_built() -> None:
    from llama_cpp import llama_cpp

    engine = gguf.GgufRuntime.engine()
    for feature in llama_cpp.llama_print_system_info().decode().split(" | "):
        assert feature.strip(" |") in engine.build


def test_a_gpu_of_llama_cpp_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gguf.GgufRuntime.engine()
    monkeypatch.setattr(
        _llama_cpp, "gpus", lambda: [_llama_cpp.Gpu("CUDA0: NVIDIA H200", True, lambda: 0)]
    )
    assert gguf.GgufRuntime.engine() == Engine(
        before.versions, before.device, f"{before.build}; CUDA0: NVIDIA H200"
    )


def test_hf_names_its_device_and_hardware(original: Path) -> None:
    import torch

    engine = opened("hf", original, device="cpu").engine()
    assert (engine.device, engine.build) == ("cpu", torch.backends.cpu.get_cpu_capability())


def test_a_gpu_of_torch_is_named(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the GPU at {device}")
    for device in ("cuda", "cuda:1"):
        engine = opened("hf", original, device=device).engine()
        assert (engine.device, engine.build) == (device, f"the GPU at {device}")
    assert refused("hf", original, device="cuda:2") == (
        "device=cuda:2: torch finds cuda:0, cuda:1 here"
    )


def test_the_package_that_computes_a_quantized_model_is_a_part_of_the_engine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = opened("hf", folder).engine().versions
    installed = {"bitsandbytes": "0.50.2", "gptqmodel": "7.0"}
    monkeypatch.setattr(hf, "refuse_unusable", lambda *_: None)  # the latter is not here
    monkeypatch.setattr(
        _hf_quantization, "version", lambda package: installed.get(package) or version(package)
    )
    config = json.loads((folder / "config.json").read_text())
    for method, added in (
        ("bitsandbytes", {"bitsandbytes": "0.50.2"}),
        ("awq", {"gptqmodel": "7.0"}),
        ("a method of transformers", {}),
    ):
        config["quantization_config"] = {"quant_method": method}
        (folder / "config.json").write_text(json.dumps(config))
        assert opened("hf", folder).engine().versions == plain | added


# -- devices -------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cud", "cuda:", "cuda:x", "cpu:0", "xpu", "CPU", ""])
def test_an_unknown_device_is_refused_at_once(device: str) -> None:
    assert refused("hf", "no/model", device=device) == (
        f"device={device}: the hf runtime takes auto, cpu, mps, cuda or cuda:N"
    )


def test_a_device_that_is_not_here_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device in ("cuda", "cuda:1"):
        assert refused("hf", "no/model", device=device) == (
            f"device={device}: torch finds no CUDA device here"
        )
    assert "no Apple GPU" in refused("hf", "no/model", device="mps")


# -- memory --------------------------------------------------------------------------------


def test_memory_of_gpus_counts(variants: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model and its context take 3 GB of one GPU and 1 of another, then give some back."""
    free = {"a": 10, "b": 10}
    gpus = [_llama_cpp.Gpu(name, True, lambda name=name: free[name] * 10**9) for name in free]
    monkeypatch.setattr(_llama_cpp, "gpus", lambda: gpus)
    runtime = opened("gguf", variants / "demo-f16.gguf")
    runtime.load()
    assert runtime.device_memory_bytes() == 0
    free |= {"a": 7, "b": 9}
    assert runtime.device_memory_bytes() == 4 * 10**9
    free |= {"a": 8, "b": 11}
    assert runtime.device_memory_bytes() == 4 * 10**9
    runtime.close()


def test_memory_that_a_gpu_shares_counts_once(
    variants: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10**12
    shared = _llama_cpp.Gpu("integrated", False, lambda: free)
    monkeypatch.setattr(_llama_cpp, "gpus", lambda: [shared])
    runtime = opened("gguf", variants / "demo-f16.gguf")
    runtime.load()
    free -= 10**6
    assert runtime.device_memory_bytes() == 0, "less than the process has"
    free -= 10**11
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    assert runtime.device_memory_bytes() == pytest.approx(10**11 + 10**6 - own, abs=10**8)
    runtime.close()


def test_memory_of_metal_counts_once(variants: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = opened("mlx", variants / "demo-mlx")
    mx = mlx.modules().mx
    monkeypatch.setattr(mx, "get_peak_memory", lambda: 10**12)
    if not mx.metal.is_available():
        assert runtime.device_memory_bytes() == 0
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert runtime.device_memory_bytes() == 10**12 - own
    monkeypatch.setattr(mx, "get_peak_memory", lambda: 1)
    assert runtime.device_memory_bytes() == 0


def test_metal_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    mx = mlx.modules().mx
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "device_info", lambda: {"device_name": "Apple M5"})
    engine = mlx.MlxRuntime.engine()
    assert (engine.device, engine.build) == ("Metal", "Apple M5")


@pytest.mark.parametrize(
    ("file_type", "name"),
    [("1", "F16"), ("15", "Q4_K - Medium"), ("", "unknown"), ("999", "unknown"), ("-1", "unknown")],
)
def test_a_quantization_that_llama_cpp_does_not_know_is_unknown(file_type: str, name: str) -> None:
    assert _llama_cpp.quantization_name(file_type) == name


def test_all_engines_end_the_demo_models_texts_alike(original: Path, variants: Path) -> None:
    ends = {
        opened(name, path).settings.end_tokens
        for name, path in (
            ("hf", original),
            ("gguf", variants / "demo-f16.gguf"),
            ("mlx", variants / "demo-mlx"),
        )
    }
    assert len(ends) == 1
    assert all(ends.pop())


# -- options that cannot be followed ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["gguf", "hf", "mlx"])
def test_a_context_beyond_the_models_own_is_said(name: str, variants: Path, original: Path) -> None:
    path = {"gguf": variants / "demo-f16.gguf", "hf": original, "mlx": variants / "demo-mlx"}[name]
    own = opened(name, path).settings
    assert own.context_length is not None
    assert own.notes == ()
    assert opened(name, path, n_ctx=own.context_length).settings.notes == ()
    beyond = opened(name, path, n_ctx=own.context_length + 1).settings
    assert beyond.context_length == own.context_length
    assert beyond.notes == (
        f"n_ctx={own.context_length + 1} is more than the model's context length; "
        f"{own.context_length} tokens are used",
    )


def test_a_quantized_cache_without_flash_attention_is_refused(variants: Path) -> None:
    said = refused("gguf", variants / "demo-f16.gguf", cache_type="q8_0", flash_attention="false")
    assert said.startswith("cache_type=q8_0 needs flash attention")


def test_what_is_no_lack_of_memory_is_not_called_so(
    variants: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp itself refuses the context, for a reason that is not looked for up front."""
    runtime = opened("gguf", variants / "demo-f16.gguf")
    library = _llama_cpp.llama()

    def fails(model: object, parameters: object) -> None:
        _llama_cpp.ERRORS.append(reason)

    monkeypatch.setattr(library, "llama_init_from_model", fails)
    for reason, raised in (
        ("K cache type q8_0 does not divide the head", UsageError),
        ("failed to allocate buffer of size 1", OutOfMemoryError),
    ):
        with pytest.raises(raised, match=reason):
            runtime.load()


# -- what makes a model unusable is found before any weights are read ------------------------------


def quantized(folder: Path, **quantization: object) -> Path:
    """The demo model with a configuration as if its weights were packed."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["quantization_config"] = quantization
    file.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("package", "quantization"),
    [
        ("optimum", {"quant_method": "gptq", "bits": 4, "group_size": 128}),
        ("gptqmodel", {"quant_method": "awq", "bits": 4, "group_size": 128}),
        ("hqq", {"quant_method": "hqq", "quant_config": {}}),
        ("quanto", {"quant_method": "quanto", "weights": "int8"}),
        ("aqlm", {"quant_method": "aqlm"}),
    ],
)
def test_a_missing_quantization_package_is_named(
    folder: Path, package: str, quantization: dict[str, object]
) -> None:
    said = refused("hf", quantized(folder, **quantization))
    assert f"is quantized ({quantization['quant_method']}" in said
    assert "cannot be loaded here: " in said
    assert package in said.partition("cannot be loaded here: ")[2].lower()


@pytest.mark.parametrize("missing", ["accelerate", "bitsandbytes"])
def test_bitsandbytes_needs_two_packages(
    folder: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.quantizers import quantizer_bnb_4bit as module

    for package in ("accelerate", "bitsandbytes"):
        there = package != missing
        monkeypatch.setattr(module, f"is_{package}_available", lambda there=there: there)
    packed = quantized(folder, quant_method="bitsandbytes", load_in_4bit=True)
    said = refused("hf", packed)
    assert said.startswith(f"{folder} is quantized (bitsandbytes 4-bit) and cannot be loaded here:")
    assert f"requires {missing}: `pip install" in said


def test_a_configuration_that_transformers_does_not_follow_is_no_obstacle(folder: Path) -> None:
    opened("hf", quantized(folder, quant_method="of tomorrow"))


@pytest.mark.parametrize("method", ["bitsandbytes", "hqq", None])
def test_mlx_does_not_read_what_others_packed(folder: Path, method: str | None) -> None:
    quantization = {"quant_method": method, "bits": 4} if method else {"bits": 4}
    said = refused("mlx", quantized(folder, **quantization))
    assert said == (
        f"{folder} is quantized ({method or 'by no method that is named'}), which mlx-lm does not "
        "read; convert the original model with mlx_lm.convert"
    )


@pytest.mark.parametrize("name", ["hf", "mlx"])
def test_a_folder_with_nothing_but_an_adapter_is_no_model(
    name: str, folder: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "adapters.safetensors").touch()
    for place in (folder, bare):
        (place / "adapter_config.json").write_text("{}")
        assert "holds an adapter (adapter_config.json)" in refused(name, place)
    with pytest.raises(UsageError, match="it holds an adapter: merge it with its base"):
        parse_spec(str(bare))


@pytest.mark.parametrize("name", ["hf", "mlx"])
def test_a_folder_without_a_tokenizer_is_refused(name: str, folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "has no tokenizer that transformers can load" in refused(name, folder)


def changed_gguf(source: Path, file: Path, architecture: str = "llama", **changed: object) -> Path:
    """A GGUF file with other metadata; nothing in place of a value drops it."""
    reader = gguf_package.GGUFReader(source)
    writer = gguf_package.GGUFWriter(file, architecture)
    changed = {name.replace("__", "."): value for name, value in changed.items()}
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        name = field.name.replace("llama.", f"{architecture}.")
        value = changed.get(name, field.contents())
        kind = field.types[0]
        if value is not None:
            is_array = kind == gguf_package.GGUFValueType.ARRAY
            writer.add_key_value(name, value, kind, sub_type=field.types[-1] if is_array else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "of_tomorrow"}, "unknown model architecture: 'of_tomorrow'"),
        ({"tokenizer__ggml__model": "of_tomorrow"}, "unknown tokenizer: 'of_tomorrow'"),
        ({"tokenizer__ggml__model": None}, "key not found in model: tokenizer.ggml.model"),
        ({"tokenizer__ggml__model": "no_vocab"}, "has no tokenizer; convert the model again"),
    ],
)
def test_a_gguf_file_that_llama_cpp_cannot_use_is_refused(
    variants: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    file = changed_gguf(variants / "demo-q8_0.gguf", tmp_path / "x.gguf", **changes)
    assert said in refused("gguf", file)


def test_a_gguf_file_that_is_cut_off_is_refused(variants: Path, tmp_path: Path) -> None:
    whole = (variants / "demo-q8_0.gguf").read_bytes()
    (tmp_path / "x.gguf").write_bytes(whole[:-100])
    assert "data is not within the file bounds" in refused("gguf", tmp_path / "x.gguf")
