"""Tensors of a model folder: plain, or packed by MLX or compressed-tensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pajamas_eval.errors import UsageError
from pajamas_eval.identity.weights.names import expert_of
from pajamas_eval.identity.weights.packed import compressed_tensor, mlx_tensor, plain
from pajamas_eval.identity.weights.safetensors_file import Stored, read_folder
from pajamas_eval.identity.weights.tensor import Tensor, stacked

_SCALE_PARTS = (
    "weight",
    "weight_packed",
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_global_scale",
    "weight_g_idx",
)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises `UsageError`."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not readable JSON: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{file} holds no JSON object")
    return content


def read_tensors(folder: Path, config: Mapping[str, Any]) -> tuple[str, dict[str, Tensor]]:
    """The format of a folder and its tensors by their own names, experts together.

    Raises:
        UsageError: They cannot be read, or are packed in a way that is not known here.
    """
    stored, metadata = read_folder(folder)
    packing = config.get("quantization_config") or {}
    is_mlx = "quantization" in config or metadata.get("format") == "mlx"
    if is_mlx:
        return "MLX", _with_experts(_mlx(stored, config.get("quantization") or packing))
    method = packing.get("quant_method") if isinstance(packing, Mapping) else None
    if method is None:
        return "transformers", _with_experts({name: plain(t) for name, t in stored.items()})
    if method != "compressed-tensors":
        raise UsageError(
            f"{folder} is packed by {method}, which verify cannot read; it reads plain weights and "
            "those of MLX and compressed-tensors"
        )
    return "compressed-tensors", _with_experts(_compressed(stored, packing))


def _mlx(stored: Mapping[str, Stored], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    tensors, used = {}, set()
    for name in stored:
        module, _, last = name.rpartition(".")
        if last != "scales" or f"{module}.weight" not in stored:
            continue
        keys = [key for key in ("weight", "scales", "biases") if f"{module}.{key}" in stored]
        parts = {key: stored[f"{module}.{key}"] for key in keys}
        tensors[f"{module}.weight"] = mlx_tensor(module, parts, settings)
        used |= {part.name for part in parts.values()}
    return tensors | {name: plain(t) for name, t in stored.items() if name not in used}


def _compressed(stored: Mapping[str, Stored], config: Mapping[str, Any]) -> dict[str, Tensor]:
    tensors, used = {}, set()
    for name in stored:
        module, _, last = name.rpartition(".")
        if last != "weight_scale":
            continue
        keys = [key for key in _SCALE_PARTS if f"{module}.{key}" in stored]
        parts = {key: stored[f"{module}.{key}"] for key in keys}
        tensors[f"{module}.weight"] = compressed_tensor(module, parts, config)
        used |= {part.name for part in parts.values()}
    scales = ("input_scale", "input_zero_point", "output_scale", "input_global_scale")
    rest = {n: t for n, t in stored.items() if n not in used and not n.endswith(scales)}
    return tensors | {name: plain(t) for name, t in rest.items()}


def _with_experts(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Experts that lie in tensors of their own are put together, as GGUF and MLX have them."""
    found: dict[str, Tensor] = {}
    experts: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        if expert := expert_of(name):
            experts.setdefault(expert[0], {})[expert[1]] = tensor
        else:
            found[name] = tensor
    for name, parts in experts.items():
        ordered = [parts[number] for number in sorted(parts)]
        same = {part.shape for part in ordered}
        if len(same) == 1 and sorted(parts) == list(range(len(parts))):
            found[name] = stacked(name, name, ordered)
        else:  # one is missing or of another shape: by themselves, that is seen
            found |= {f"{name}#{number}": part for number, part in parts.items()}
    return found
