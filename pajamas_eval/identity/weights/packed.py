"""De-quantizes what MLX and compressed-tensors pack, by their own routines."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from pajamas_eval.errors import UsageError
from pajamas_eval.identity.weights.arrays import Array, without_ones
from pajamas_eval.identity.weights.encodings import FLOATS, Encoding, uniform_encoding
from pajamas_eval.identity.weights.libraries import library
from pajamas_eval.identity.weights.safetensors_file import Stored
from pajamas_eval.identity.weights.tensor import Tensor

_MLX_BLOCKS = {"mxfp4": Encoding("mxfp4", 32, 16), "nvfp4": Encoding("nvfp4", 16, 16)}
_MLX_USUAL = {"affine": (4, 64), "mxfp4": (4, 32), "nvfp4": (4, 16), "mxfp8": (8, 32)}
"""Bits and group size where a folder names none (`mlx.core.quantize`)."""

_MLX_FLOATS = {"mxfp8": Encoding("mxfp8", 1, 2**4)}


def plain(stored: Stored) -> Tensor:
    """A tensor that is stored as it is."""
    shape = without_ones(stored.shape)
    rows = int(np.prod(shape[:-1]))

    def read(start: int, stop: int) -> Array:
        if rows == stored.rows:
            return stored.read_float(start, stop)
        return stored.read_float(0, stored.rows).reshape(rows, shape[-1])[start:stop]

    return Tensor(
        name=stored.name,
        stored_name=stored.name,
        shape=shape,
        encoding=FLOATS.get(stored.dtype),
        encoding_name=stored.dtype,
        stored_bytes=stored.bytes,
        read=read,
        refused=stored.refused,
    )


# -- MLX -----------------------------------------------------------------------------------


def mlx_tensor(module: str, parts: Mapping[str, Stored], settings: Mapping[str, Any]) -> Tensor:
    """A matrix, or several of experts, that `mlx.core.quantize` packed.

    Args:
        module: Its name without `.weight`.
        parts: `weight`, `scales` and, for affine quantization, `biases`.
        settings: `quantization` in the folder's `config.json`.
    """
    own = settings.get(module)
    settings = own if isinstance(own, Mapping) else settings
    mode = str(settings.get("mode") or "affine")
    usual_bits, usual_group = _MLX_USUAL.get(mode, _MLX_USUAL["affine"])
    bits = int(settings.get("bits") or usual_bits)
    group = int(settings.get("group_size") or usual_group)
    weight, scales, biases = parts["weight"], parts["scales"], parts.get("biases")
    columns = weight.shape[-1] * 32 // bits
    true_group = columns // scales.shape[-1] if scales.shape[-1] else group
    faults: tuple[str, ...] = ()
    if true_group != group:
        faults = (f"config.json says groups of {group}, its scales are for groups of {true_group}",)
    mx = library("mlx.core", weight.file)

    def read(start: int, stop: int) -> Array:
        # In float32: what bfloat16 scales would be rounded to again is not in the file.
        floats = mode == "affine"
        scale = scales.read_float(start, stop) if floats else scales.read(start, stop)
        offset = mx.array(biases.read_float(start, stop)) if biases else None
        values = mx.dequantize(
            mx.array(weight.read(start, stop)),
            mx.array(scale),
            offset,
            group_size=true_group,
            bits=bits,
            mode=mode,
            dtype=mx.float32,
        )
        return np.array(values)

    name = f"{bits}-bit, groups of {true_group}" if mode == "affine" else mode
    encoding = (_MLX_BLOCKS | _MLX_FLOATS).get(mode)
    if mode == "affine":
        encoding = uniform_encoding(name, bits, true_group, symmetric=False)
    return Tensor(
        name=f"{module}.weight",
        stored_name=weight.name,
        shape=without_ones((*weight.shape[:-1], columns)),
        encoding=encoding,
        encoding_name=name,
        stored_bytes=sum(part.bytes for part in parts.values()),
        read=read,
        refused="" if encoding else f"MLX's mode {mode!r} is not known here",
        faults=faults,
    )


# -- compressed-tensors --------------------------------------------------------------------


def compressed_tensor(
    module: str, parts: Mapping[str, Stored], config: Mapping[str, Any]
) -> Tensor:
    """A matrix that compressed-tensors packed.

    Args:
        module: Its name without `.weight`.
        parts: `weight` or `weight_packed`, `weight_scale` and what else goes with them.
        config: `quantization_config` in the folder's `config.json`.
    """
    packed = parts.get("weight_packed") or parts["weight"]
    group = _scheme_of(module, config, packed)
    weights = group.get("weights") or {}
    bits, symmetric = int(weights.get("num_bits", 8)), bool(weights.get("symmetric", True))
    size = weights.get("group_size") if weights.get("strategy") == "group" else 0
    columns = _columns(parts, bits)
    scales = parts["weight_scale"].shape
    faults: tuple[str, ...] = ()
    if size and len(scales) == 2 and scales[1] * size != columns:
        faults = (
            f"config.json says groups of {size}, its scales are for groups of "
            f"{columns // max(scales[1], 1)}",
        )
    encoding, name = _compressed_encoding(weights, group, bits, size or 0, symmetric)
    return Tensor(
        name=f"{module}.weight",
        stored_name=packed.name,
        shape=(packed.shape[0], columns),
        encoding=encoding,
        encoding_name=name,
        stored_bytes=sum(part.bytes for part in parts.values()),
        read=_Decompressed(parts, group).rows,
        refused="its groups are not those of its scales" if faults else "",
        faults=faults,
    )


def _columns(parts: Mapping[str, Stored], bits: int) -> int:
    if "weight_packed" not in parts:
        return parts["weight"].shape[1]
    packed = parts["weight_packed"]
    if "weight_shape" in parts:
        return int(parts["weight_shape"].read(0, 1)[0, 1])
    return packed.shape[1] * packed.bytes // (packed.shape[0] * packed.shape[1]) * 8 // bits


def _scheme_of(module: str, config: Mapping[str, Any], stored: Stored) -> Mapping[str, Any]:
    """The group of settings that names the module, or else its class."""
    groups = list((config.get("config_groups") or {}).values())
    for group in groups:
        for target in group.get("targets", ()):
            pattern = target.removeprefix("re:")
            if target == module or (pattern != target and re.match(pattern, module)):
                return {"format": config.get("format"), **_given(group)}
    if not groups:
        raise UsageError(f"{stored.file.parent}/config.json does not say how {module} is packed")
    return {"format": config.get("format"), **_given(groups[0])}


def _given(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if value is not None}


def _compressed_encoding(
    weights: Mapping[str, Any], group: Mapping[str, Any], bits: int, size: int, symmetric: bool
) -> tuple[Encoding | None, str]:
    if weights.get("type") == "float":
        if bits == 8:
            return FLOATS["F8_E4M3"], "FP8"
        block = int(weights.get("group_size") or 16)
        return Encoding(f"FP{bits}", block, 16), str(group.get("format"))
    name = f"{bits}-bit, " + (f"groups of {size}" if size else "whole rows")
    return uniform_encoding(name, bits, size, symmetric=symmetric), name


class _Decompressed:
    """A matrix in whole, as the library has no other way, kept until another is asked for."""

    _latest: "tuple[_Decompressed, Array] | None" = None

    def __init__(self, parts: Mapping[str, Stored], group: Mapping[str, Any]) -> None:
        self._parts, self._group = parts, group

    def rows(self, start: int, stop: int) -> Array:
        latest = _Decompressed._latest
        if latest is None or latest[0] is not self:
            latest = _Decompressed._latest = (self, self._decompress())
        return latest[1][start:stop]

    def _decompress(self) -> Array:
        file = next(iter(self._parts.values())).file
        torch = library("torch", file)
        compressors = library("compressed_tensors.compressors", file)
        quantization = library("compressed_tensors.quantization", file)
        scheme = quantization.QuantizationScheme.model_validate({**self._group, "targets": []})
        state = {name: _torch(torch, part) for name, part in self._parts.items()}
        compressor = compressors.BaseCompressor.get_value_from_registry(self._group["format"])
        weight: Array = compressor.decompress(state, scheme)["weight"].float().numpy()
        return weight


def _torch(torch: Any, stored: Stored) -> Any:
    """A stored tensor as torch's, in its own type: floats of 8 bits included."""
    kinds = {
        "BF16": torch.bfloat16,
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
    }
    values = torch.from_numpy(stored.read(0, max(stored.rows, 1)).copy())
    if stored.dtype in kinds:
        values = values.view(kinds[stored.dtype])
    return values.reshape(stored.shape)
