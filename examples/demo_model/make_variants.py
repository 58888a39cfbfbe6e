"""Makes real quantizations of the demo model, for llama.cpp and for MLX.

    python examples/demo_model/make_variants.py OUT_DIR

writes ``demo-f16.gguf`` and, from it, ``demo-q8_0.gguf``, ``demo-q4_k_m.gguf`` and
``demo-q2_k.gguf``, and the MLX folders ``demo-mlx-8bit``, ``demo-mlx-4bit`` and ``demo-mlx-2bit``.
``--f32`` adds the unquantized ``demo-f32.gguf`` and ``demo-mlx``, both float32. What already exists
and is newer than the model is left alone. Nothing is downloaded.

The demo model is a fixture that has memorised the bundled question sets; see README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import io
import json
import os
import resource
import shutil
import struct
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parents[1] / "quant_configs"
THREADS = 2

Array = npt.NDArray[Any]

# Names of the tensors in a GGUF file. A tied output matrix has no tensor of its own.
TOP_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


# ---------------------------------------------------------------------------------------------
# GGUF


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def permute(weight: Array, heads: int) -> Array:
    """Reorders the rows of a query or key matrix: llama.cpp rotates neighbouring pairs."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def convert_tensor(name: str, weight: Array, config: dict[str, Any]) -> tuple[str, Array]:
    """Name and content of a tensor in a GGUF file."""
    if name in TOP_NAMES:
        return TOP_NAMES[name], weight
    _, _, layer, rest = name.split(".", 3)
    part = LAYER_NAMES[rest.removesuffix(".weight")]
    if part == "attn_q":
        weight = permute(weight, config["num_attention_heads"])
    elif part == "attn_k":
        weight = permute(weight, config["num_key_value_heads"])
    return f"blk.{layer}.{part}.weight", weight


def rope_theta(config: dict[str, Any]) -> float:
    """The base of the rotary embedding, in either layout of the configuration."""
    return float(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])


def add_architecture(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """Writes the model's shape."""
    writer.add_name("Pajamas demo model")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(rope_theta(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def add_tokenizer(writer: gguf.GGUFWriter, model: Path, config: dict[str, Any]) -> None:
    """Writes the vocabulary, the merges, the special tokens and the chat template."""
    tokenizer = read_json(model / "tokenizer.json")
    settings = read_json(model / "tokenizer_config.json")
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    special: dict[str, int] = {
        token["content"]: token["id"] for token in tokenizer["added_tokens"] if token["special"]
    }
    by_id = {number: token for token, number in {**vocabulary, **special}.items()}
    tokens = [by_id[number] for number in range(config["vocab_size"])]
    types = [
        gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens
    ]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    splits_digits = '"Digits"' in json.dumps(tokenizer["pre_tokenizer"])
    writer.add_tokenizer_pre("smollm" if splits_digits else "gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(special[settings["bos_token"]])
    writer.add_eos_token_id(special[settings["eos_token"]])
    if "<|end|>" in special:
        writer.add_eot_token_id(special["<|end|>"])
    post_processor = json.dumps(tokenizer["post_processor"])
    writer.add_add_bos_token(settings["bos_token"] in post_processor)
    if template := settings.get("chat_template"):
        writer.add_chat_template(template)


def write_gguf(model: Path, out: Path, half: bool) -> None:
    """Writes the model as a GGUF file, matrices in float16 or all of it in float32."""
    config = read_json(model / "config.json")
    writer = gguf.GGUFWriter(out, "llama")
    add_architecture(writer, config)
    writer.add_file_type(
        gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32,
    )
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_tokenizer(writer, model, config)
    for name, weight in load_file(model / "model.safetensors").items():
        converted_name, converted = convert_tensor(name, weight, config)
        kind = np.float16 if half and converted.ndim == 2 else np.float32
        writer.add_tensor(converted_name, np.ascontiguousarray(converted, dtype=kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def silence_llama(llama: Any) -> None:
    """Drops llama.cpp's log. The callback has to outlive this call."""

    def drop(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
        del level, text, user_data

    llama.pajamas_drop_log = llama.llama_log_callback(drop)
    llama.llama_log_set(llama.pajamas_drop_log, ctypes.c_void_p(0))


def quantize_gguf(source: Path, out: Path, type_name: str) -> None:
    """Quantizes a GGUF file with llama.cpp: its usual mixture, no importance matrix."""
    from llama_cpp import llama_cpp as llama

    silence_llama(llama)
    llama.llama_backend_init()
    settings = llama.llama_model_quantize_default_params()
    settings.nthread = THREADS
    settings.ftype = getattr(llama, f"LLAMA_FTYPE_MOSTLY_{type_name}")
    settings.pure = False
    settings.imatrix = None
    code = llama.llama_model_quantize(os.fsencode(source), os.fsencode(out), ctypes.byref(settings))
    if code != 0:
        raise RuntimeError(f"llama.cpp could not quantize {source} to {type_name} (code {code})")


# ---------------------------------------------------------------------------------------------
# MLX


@contextlib.contextmanager
def quiet_mlx() -> Iterator[None]:
    """Offline and silent, and with the limit of open files that ``import mlx_lm`` lowers."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def convert_mlx(model: Path, out: Path, recipe: dict[str, Any] | None) -> None:
    """Converts with ``mlx_lm.convert`` as the recipe says, or to unquantized float32 for None."""
    with quiet_mlx():
        import mlx_lm

        if recipe is None:
            mlx_lm.convert(str(model), str(out), dtype="float32")
        else:
            mlx_lm.convert(
                str(model),
                str(out),
                quantize=True,
                q_bits=recipe["bits"],
                q_group_size=recipe["group_size"],
            )


# ---------------------------------------------------------------------------------------------
# Variants


@dataclass(frozen=True)
class Variant:
    """A file or folder to make, the package it needs, and how it is made."""

    name: str
    package: str
    make: Callable[[Path], None]


def variants(model: Path, out: Path, f32: bool) -> list[Variant]:
    """Everything to make: what the recipes in ``quant_configs/`` say, the F16 file first."""
    paths = [*sorted(RECIPES.glob("gguf/*.toml")), *sorted(RECIPES.glob("mlx/*.toml"))]
    half = out / "demo-f16.gguf"
    found = [Variant(half.name, "gguf", lambda to: write_gguf(model, to, half=True))]
    if f32:
        found.append(Variant("demo-f32.gguf", "gguf", lambda to: write_gguf(model, to, half=False)))
        found.append(Variant("demo-mlx", "mlx_lm", lambda to: convert_mlx(model, to, None)))
    for path in paths:
        recipe = tomllib.loads(path.read_text("utf-8"))
        if recipe["runtime"] == "mlx":
            found.append(
                Variant(
                    f"demo-mlx-{path.stem}",
                    "mlx_lm",
                    lambda to, recipe=recipe: convert_mlx(model, to, recipe),
                )
            )
        elif recipe["file_type"] != "F16":
            found.append(
                Variant(
                    f"demo-{path.stem}.gguf",
                    "llama_cpp",
                    lambda to, kind=recipe["file_type"]: quantize_gguf(half, to, kind),
                )
            )
    return found


def files_of(path: Path) -> list[Path]:
    """The file itself, or the files of a folder."""
    return [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]


def is_fresh(path: Path, model: Path) -> bool:
    """Whether a variant exists and no file of the model is newer."""
    made = [file.stat().st_mtime for file in files_of(path)]
    source = [file.stat().st_mtime for file in files_of(model)]
    return bool(made) and min(made) >= max(source)


def remove(path: Path) -> None:
    """Removes a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_atomically(variant: Variant, target: Path) -> None:
    """Makes the variant under a temporary name, so that a half-made one is never found."""
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        variant.make(temporary)
        for file in files_of(temporary):
            file.touch()
        if target.is_dir():
            remove(target)
        temporary.replace(target)
    finally:
        remove(temporary)


def safetensors_bytes(path: Path) -> int:
    """Bytes of tensor data in a safetensors file, without its header."""
    with path.open("rb") as file:
        (header,) = struct.unpack("<Q", file.read(8))
    return path.stat().st_size - 8 - int(header)


def bits_per_weight(path: Path, parameters: int) -> float:
    """Stored bits per parameter, scales and offsets included."""
    if path.is_file():
        stored = sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(path).tensors)
    else:
        stored = sum(safetensors_bytes(file) for file in path.glob("*.safetensors"))
    return 8 * stored / parameters


def describe(path: Path, parameters: int) -> str:
    """Name, size and bits per weight of a variant."""
    size = sum(file.stat().st_size for file in files_of(path)) / 1e6
    return (
        f"{path.name:<18}{size:6.2f} MB  {bits_per_weight(path, parameters):5.2f} bits per weight"
    )


def main() -> int:
    """Makes what is missing and prints a line for each variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="folder to write")
    parser.add_argument("--model", type=Path, default=HERE / "weights", help="Hugging Face folder")
    parser.add_argument("--f32", action="store_true", help="also the unquantized float32 variants")
    parser.add_argument("--force", action="store_true", help="make again what already exists")
    arguments = parser.parse_args()

    model: Path = arguments.model
    out: Path = arguments.out
    if not (model / "model.safetensors").is_file():
        print(f"{model} holds no model.safetensors", file=sys.stderr)
        return 1
    out.mkdir(parents=True, exist_ok=True)
    parameters = sum(weight.size for weight in load_file(model / "model.safetensors").values())
    for variant in variants(model, out, arguments.f32):
        target = out / variant.name
        fresh = is_fresh(target, model) and not arguments.force
        if not fresh and importlib.util.find_spec(variant.package) is None:
            print(f"{target.name:<18}skipped: the package {variant.package} is not installed")
            continue
        if not fresh:
            make_atomically(variant, target)
        print(describe(target, parameters) + ("  (unchanged)" if fresh else ""), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
