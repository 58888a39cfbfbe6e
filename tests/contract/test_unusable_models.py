"""What only a look at all tensors shows is found before any weights are read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as gguf_package
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_opening import changed_gguf, opened, quantized, refused

from pajamas_eval.errors import UsageError, WorkerDiedError
from pajamas_eval.models.spec import ModelSpec, parse_spec
from pajamas_eval.runtimes._llama_cpp import llama_version
from pajamas_eval.workers.local_worker import LocalWorker

LAYER = "model.layers.0.mlp.down_proj"
Tensors = dict[str, Any]


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the demo model."""
    return Path(shutil.copytree(original, tmp_path / "model"))


@pytest.fixture
def mlx_folder(variants: Path, tmp_path: Path) -> Path:
    """A copy of the demo model in four bits."""
    return Path(shutil.copytree(variants / "demo-mlx-4bit", tmp_path / "mlx"))


def changed(folder: Path, change: Callable[[Tensors], object]) -> Path:
    """The folder, with a change to its tensors."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


# -- folders ---------------------------------------------------------------------------------------


def drop(tensors: Tensors) -> None:
    del tensors[f"{LAYER}.weight"]


def shorten(tensors: Tensors) -> None:
    tensors[f"{LAYER}.weight"] = np.ascontiguousarray(tensors[f"{LAYER}.weight"][:, :-8])


def pack(tensors: Tensors) -> None:
    """As the exports of programs that transformers does not follow."""
    tensors[f"{LAYER}.weight_scale"] = np.ones(1, np.float32)


FAULTS: dict[str, tuple[Callable[[Tensors], None], str]] = {
    "missing": (drop, f"lacks weights that its architecture needs: {LAYER}.weight"),
    "other size": (
        shorten,
        f"holds weights of other sizes than its config.json says: {LAYER}.weight",
    ),
    "packed": (
        pack,
        "holds weights packed in a way that this transformers does not read, which has no use for: "
        f"{LAYER}.weight_scale",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_weights_that_do_not_fit_are_found_when_hf_opens_them(folder: Path, fault: str) -> None:
    change, said = FAULTS[fault]
    assert refused("hf", changed(folder, change)) == f"{folder} {said}"


@pytest.mark.parametrize("fault", FAULTS)
def test_without_accelerate_they_are_found_when_hf_loads_them(
    folder: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pajamas_eval.runtimes.hf.refuse_unloadable", lambda *_, **__: None)
    change, said = FAULTS[fault]
    runtime = opened("hf", changed(folder, change))
    with pytest.raises(UsageError) as refusal:
        runtime.load()
    assert str(refusal.value) == f"{folder} {said}"


def test_packed_weights_of_a_method_that_transformers_does_not_know_are_no_weights(
    folder: Path,
) -> None:
    """It would take the packed numbers for weights, without a word."""
    packed = quantized(changed(folder, pack), quant_method="modelopt", quant_algo="FP8")
    assert f"no use for: {LAYER}.weight_scale" in refused("hf", packed)


def test_what_no_layer_has_a_use_for_is_no_obstacle(folder: Path) -> None:
    def add(tensors: Tensors) -> None:
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
        tensors["mtp.layers.0.weight"] = np.ones(4, np.float32)

    opened("hf", changed(folder, add)).load()


@pytest.mark.parametrize("fault", ["lacks", "not in model"])
def test_weights_that_do_not_fit_are_found_when_mlx_opens_them(
    mlx_folder: Path, fault: str
) -> None:
    import mlx.core as mx

    file = str(mlx_folder / "model.safetensors")
    tensors: Any = mx.load(file)
    if fault == "lacks":
        del tensors[f"{LAYER}.weight"]
    else:
        tensors[f"{LAYER}.lora_a"] = mx.zeros((2, 2))
    mx.save_safetensors(file, tensors, metadata={"format": "mlx"})
    said = refused("mlx", mlx_folder)
    assert said.startswith(f"{mlx_folder} cannot be loaded by mlx-lm: ")
    assert fault in said
    assert LAYER in said


@pytest.mark.parametrize("name", ["hf", "mlx"])
@pytest.mark.parametrize("has_index", [True, False])
def test_a_missing_part_is_named(folder: Path, name: str, has_index: bool) -> None:
    """Also where the index is missing with it, and the files' names alone tell."""
    tensors = load_file(folder / "model.safetensors")
    first, second = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    save_file({n: tensors[n] for n in names[:9]}, folder / first, metadata={"format": "pt"})
    if has_index:
        weight_map = {n: first if n in names[:9] else second for n in names}
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert refused(name, folder) == (
        f"{folder} lacks {second}, a part of its weights; download it again"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda whole: whole[:-1], "is cut off: it has 10498407 of 10498408 bytes; download it"),
        (lambda whole: whole[:50], "is cut off: it has 50 of "),
        (lambda whole: whole[:5], "is cut off: it has 5 of "),
        (lambda whole: b"", "is cut off: it has 0 of 8 bytes"),
        (lambda whole: whole + b"\0", "is longer than its header says: it has 10498409 of "),
        (lambda whole: b"\x89PNG" * 99, "is not a readable safetensors file: its header is too lo"),
        (
            lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "stands for a file that Git LFS keeps: git lfs pull",
        ),
    ],
)
def test_a_broken_file_is_named_by_whoever_reads_it_first(
    folder: Path, content: Callable[[bytes], bytes], said: str
) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(content(file.read_bytes()))
    for name in ("hf", "mlx"):
        assert refused(name, folder).startswith(f"{file} {said}")
    with pytest.raises(UsageError) as refusal:
        parse_spec(str(folder))
    assert str(refusal.value).startswith(f"{file} {said}")


def test_a_configuration_that_contradicts_itself_is_not_taken_for_a_missing_tokenizer(
    folder: Path,
) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_attention_heads": 7}))
    said = refused("hf", folder)
    assert said.startswith(f"{folder} cannot be loaded by transformers: Class validation error")
    assert "hidden size (256) is not a multiple" in said


@pytest.mark.parametrize("name", ["hf", "mlx"])
def test_what_to_do_about_a_missing_tokenizer(name: str, folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert refused(name, folder) == (
        f"{folder} has no tokenizer that transformers can load: there is none; copy "
        "tokenizer.json and its like from the original model into it"
    )


@pytest.mark.parametrize("n_ctx", [None, 5000])
def test_where_nobody_else_names_a_limit_the_user_does(folder: Path, n_ctx: int | None) -> None:
    for name, key in (
        ("config.json", "max_position_embeddings"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        content = json.loads((folder / name).read_text())
        del content[key]
        (folder / name).write_text(json.dumps(content))
    from pajamas_eval.runtimes.hf import HfRuntime

    class Unchecked(HfRuntime):
        def _refuse_unusable(self) -> None:
            self._quantization = {}

    runtime = Unchecked(HfRuntime.options_type(path=str(folder), n_ctx=n_ctx))
    assert runtime.context_length == (n_ctx or 2048)
    assert runtime.settings.notes == ()


# -- GGUF ------------------------------------------------------------------------------------------


def without(source: Path, file: Path, tensor: str, change: Callable[[Any], Any] | None) -> Path:
    """A GGUF file in which a tensor is another, or is missing."""
    reader = gguf_package.GGUFReader(source)
    writer = gguf_package.GGUFWriter(file, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf_package.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for each in reader.tensors:
        data = each.data
        if each.name == tensor:
            if change is None:
                continue
            data = change(data)
        writer.add_tensor(each.name, data, raw_dtype=each.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        (None, "tensor 'blk.0.ffn_down.weight' not found", "it lacks a part of the model"),
        (
            lambda data: data[:-8],
            "tensor 'blk.0.ffn_down.weight' has wrong shape",
            "its tensors are not those of its metadata",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_found_when_llama_cpp_opens_them(
    variants: Path, tmp_path: Path, change: Callable[[Any], Any] | None, said: str, remedy: str
) -> None:
    source = variants / "demo-q8_0.gguf"
    file = without(source, tmp_path / "x.gguf", "blk.0.ffn_down.weight", change)
    refusal = refused("gguf", file)
    assert refusal.startswith(f"{file} is not a GGUF model that llama.cpp can load: ")
    assert said in refusal
    assert refusal.endswith(f"; {remedy}, so convert it again")


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"architecture": "of_tomorrow"}, f"may know it ({llama_version()} is installed)"),
        ({"tokenizer__ggml__pre": "of_tomorrow"}, f"may know it ({llama_version()} is installed)"),
        ({"tokenizer__ggml__model": None}, "it has no tokenizer, so convert the model with its"),
        ({"llama__context_length": None}, "its metadata are not whole, so convert it again"),
        ({"llama__attention__head_count": 7}, "contradict one another, so convert it again"),
        ({"architecture": "clip"}, "name the language model's file"),
    ],
)
def test_what_to_do_about_a_gguf_file(
    variants: Path, tmp_path: Path, changes: dict[str, Any], remedy: str
) -> None:
    file = changed_gguf(variants / "demo-q8_0.gguf", tmp_path / "x.gguf", **changes)
    said = refused("gguf", file)
    assert said.startswith(f"{file} is not a GGUF model that llama.cpp can load: ")
    assert remedy in said.rpartition("; ")[2]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("adapter", "is an adapter, whose base lies elsewhere; merge the two into one model first"),
        ("imatrix", "is an importance matrix, not a model"),
        ("mmproj", "is the part of a model that sees or hears; name the language model's file"),
    ],
)
def test_a_gguf_file_that_is_no_model_is_named(tmp_path: Path, kind: str, said: str) -> None:
    file = tmp_path / "x.gguf"
    writer = gguf_package.GGUFWriter(file, "llama")
    writer.add_type(kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert refused("gguf", file) == f"{file} {said}"


def test_a_gguf_file_that_is_not_there_yet_says_how_to_get_it(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert refused("gguf", file).endswith("; it stands for a file that Git LFS keeps: git lfs pull")


def test_an_assertion_of_llama_cpp_is_one_line(variants: Path, tmp_path: Path) -> None:
    """A real one: it takes the process with it, whatever Python would do."""
    file = changed_gguf(variants / "demo-q8_0.gguf", tmp_path / "x.gguf", llama__block_count=0)
    worker = LocalWorker(ModelSpec("m", "gguf", {"path": str(file)}))
    try:
        with pytest.raises(WorkerDiedError) as death:
            worker.open()
    finally:
        worker.close()
    said = str(death.value)
    assert said.startswith("m: the worker process died (killed by SIGABRT): llama-model.cpp:")
    assert said.endswith(") failed")
    assert "GGML_ASSERT(hparams.n_layer" in said
    assert "\n" not in said
