"""Tensors and metadata of a GGUF file, whole or split. Format: ggml, `docs/gguf.md`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pajamas_eval.errors import UsageError
from pajamas_eval.identity.weights.arrays import Array, without_ones
from pajamas_eval.identity.weights.encodings import gguf_encoding
from pajamas_eval.identity.weights.libraries import library
from pajamas_eval.identity.weights.tensor import Tensor

_SPLIT = re.compile(r"(?P<stem>.+)-00001-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True)
class GgufContent:
    """What a GGUF file holds."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_gguf(path: Path) -> GgufContent:
    """Metadata of the first part, tensors of all parts. Raises `UsageError`."""
    metadata: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for part in _parts(path):
        gguf = library("gguf", part)
        try:
            reader = _reader_type()(part)
            metadata = metadata or _metadata(reader.fields)
            for tensor in reader.tensors:
                tensors[tensor.name] = _tensor(part, tensor, gguf.dequantize)
        except (ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as error:
            cut = "reshape" in str(error)  # of what there is into what there should be
            what = "it is cut off" if cut else str(error) or type(error).__name__
            raise UsageError(f"{part} is not a readable GGUF file: {what}") from None
        except OSError as error:
            raise UsageError(f"cannot read {part}: {error.strerror}") from None
    return GgufContent(metadata, tensors)


_LONG = ("tokenizer.ggml.merges", "tokenizer.ggml.scores")
"""Lists that nothing here needs."""


def _metadata(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: field.contents() for key, field in fields.items() if key not in _LONG}


def _parts(path: Path) -> list[Path]:
    split = _SPLIT.fullmatch(path.name)
    if not split:
        return [path]
    count = int(split["count"])
    name = f"{split['stem']}-{{:05}}-of-{count:05}.gguf"
    return [path.with_name(name.format(number)) for number in range(1, count + 1)]


def _tensor(part: Path, tensor: Any, dequantize: Callable[[Any, Any], Any]) -> Tensor:
    kind = tensor.tensor_type
    shape = without_ones(tuple(int(n) for n in reversed(tensor.shape)))
    row_bytes = int(tensor.n_bytes) // (int(tensor.n_elements) // shape[-1])
    encoding = gguf_encoding(kind.name)
    return Tensor(
        name=tensor.name,
        stored_name=tensor.name,
        shape=shape,
        encoding=encoding,
        encoding_name=kind.name,
        stored_bytes=int(tensor.n_bytes),
        read=partial(_read, part, int(tensor.data_offset), row_bytes, kind, dequantize),
        refused="" if encoding else f"values of type {kind.name} cannot be de-quantized here",
    )


def _read(
    part: Path,
    offset: int,
    row_bytes: int,
    kind: Any,
    dequantize: Callable[[Any, Any], Any],
    start: int,
    stop: int,
) -> Array:
    # Read rather than mapped: pages of a mapped file count as memory of the process.
    with part.open("rb") as stream:
        stream.seek(offset + start * row_bytes)
        stored = np.fromfile(stream, np.uint8, (stop - start) * row_bytes)
    rows = stored.reshape(stop - start, row_bytes)
    if kind.name == "F64":
        return rows.view(np.float64).astype(np.float32)
    found: Array = dequantize(rows, kind)
    return found


@cache
def _reader_type() -> Any:
    """The library's reader, with arrays read at once.

    It makes several numpy arrays of each of a vocabulary's tokens: two seconds and 200 MB for
    49,152 of them, six times as much for Gemma's.
    """
    import gguf

    kinds = gguf.GGUFValueType

    class Reader(gguf.GGUFReader):
        def _get_field_parts(
            self, orig_offs: int, raw_type: int
        ) -> tuple[int, list[Any], list[int], list[Any]]:
            item_type = int(self._get(orig_offs, np.uint32)[0]) if raw_type == kinds.ARRAY else -1
            if item_type in (-1, kinds.ARRAY):
                found: tuple[int, list[Any], list[int], list[Any]] = super()._get_field_parts(
                    orig_offs, raw_type
                )
                return found
            count = int(self._get(orig_offs + 4, np.uint64)[0])
            start = orig_offs + 12
            types = [kinds.ARRAY, kinds(item_type)]
            if item_type != kinds.STRING:
                values = self._get(start, self.gguf_scalar_to_np[kinds(item_type)], count)
                if len(values) < count:
                    raise ValueError("it is cut off")
                return 12 + values.nbytes, [values], [0], types
            texts, end = self._texts(start, count)
            return end - orig_offs, texts, list(range(count)), types

        def _texts(self, at: int, count: int) -> tuple[list[memoryview], int]:
            data, texts = self.data.data, []
            order = "little" if self.endianess == gguf.GGUFEndian.LITTLE else "big"
            for _ in range(count):
                length = int.from_bytes(data[at : at + 8], order)  # type: ignore[arg-type]
                at += 8 + length
                if at > len(data):
                    raise ValueError("it is cut off")
                texts.append(data[at - length : at])
            return texts, at

    return Reader
