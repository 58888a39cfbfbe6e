"""Stored tensors of safetensors files, read in part.

The library itself maps whole files, whose pages count as memory, and has no bfloat16 and no float8
for numpy; so the header, a length and JSON, is read by itself (huggingface/safetensors, "Format").
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.api import safetensors
from pajamas_eval.errors import UsageError
from pajamas_eval.identity.weights.arrays import Array
from pajamas_eval.identity.weights.encodings import FLOATS
from pajamas_eval.identity.weights.libraries import library

_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "u1",
    "F8_E4M3": "u1",
    "F8_E5M2": "u1",
    "F8_E8M0": "u1",
}
"""Type to read each as; of those that numpy lacks, the bits."""


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in a file, scales and packed values included."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    bytes: int

    @property
    def rows(self) -> int:
        """All leading dimensions together; a vector is one row."""
        return math.prod(self.shape[:-1])

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows as they are stored, `[rows, columns]`."""
        size = self.bytes // max(self.rows, 1)
        with self.file.open("rb") as stream:
            stream.seek(self.start + start * size)
            data = np.fromfile(stream, np.uint8, (stop - start) * size)
        return data.view(_NUMPY[self.dtype]).reshape(stop - start, -1)

    def read_float(self, start: int, stop: int) -> Array:
        """The same of floating-point numbers, as float32."""
        stored = self.read(start, stop)
        if self.dtype == "BF16":
            gguf = library("gguf", self.file)
            wide: Array = gguf.dequantize(stored.view(np.uint8), gguf.GGMLQuantizationType.BF16)
            return wide
        return stored.astype(np.float32, copy=False)

    @property
    def refused(self) -> str:
        """Why its values are not numbers that `read_float` gives, if they are not."""
        if self.dtype in FLOATS and not self.dtype.startswith("F8"):
            return ""
        return f"values of type {self.dtype} stand for others that are not read here"


def read_header(file: Path) -> tuple[dict[str, Stored], Mapping[str, str]]:
    """The tensors of a file by name, and its metadata. Raises `UsageError`."""
    header = safetensors.read_header(file)
    metadata = header.pop("__metadata__", {})
    # No byte follows the last tensor.
    start = file.stat().st_size - max((t["data_offsets"][1] for t in header.values()), default=0)
    try:
        return {name: _stored(file, name, t, start) for name, t in header.items()}, metadata
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{file} is not a readable safetensors file: {error}") from None


def _stored(file: Path, name: str, described: Mapping[str, Any], data: int) -> Stored:
    begin, end = described["data_offsets"]
    dtype, shape = str(described["dtype"]), tuple(int(n) for n in described["shape"])
    if dtype in _NUMPY and np.dtype(_NUMPY[dtype]).itemsize * int(np.prod(shape)) != end - begin:
        raise ValueError(f"{name} has {end - begin} bytes, which is not its shape's")
    return Stored(file, name, dtype, shape, data + begin, end - begin)


def read_folder(folder: Path) -> tuple[dict[str, Stored], Mapping[str, str]]:
    """The tensors of all of a folder's files that its index names, or of its only ones.

    Raises:
        UsageError: There are none, or one is missing or broken.
    """
    index = folder / "model.safetensors.index.json"
    files = [folder / name for name in _indexed(index)] if index.is_file() else []
    for pattern in ("model.safetensors", "model*.safetensors", "*.safetensors"):
        files = files or sorted(folder.glob(pattern))
    if not files:
        raise UsageError(f"{folder} holds no weights: there is no .safetensors file in it")
    tensors: dict[str, Stored] = {}
    metadata: Mapping[str, str] = {}
    for file in files:
        if not file.is_file():
            raise UsageError(f"{folder} lacks {file.name}, a part of its weights")
        found, metadata = read_header(file)
        tensors |= found
    return tensors, metadata


def _indexed(index: Path) -> list[str]:
    try:
        return sorted(set(map(str, json.loads(index.read_text("utf-8"))["weight_map"].values())))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"{index} is not a readable index: {error}") from None
