"""Noise on the weights of a GGUF model, through an adapter: llama.cpp lets nobody change them."""

import ctypes
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.errors import UsageError, install_command
from pajamas_eval.runtimes._llama_cpp import forget_errors, last_error, llama
from pajamas_eval.tokens.damage import seed_of

RANK = 16
"""Of the noise on each matrix: an adapter adds B · A, with so many rows in A."""

_ROWS_LOOKED_AT = 64
"""Of each matrix, for its root mean square."""


class Adapter:
    """Gaussian noise of low rank on every matrix of a model's layers.

    The elements of B · A have a variance of rank · σ², with those of A from N(0, 1) and of B from
    N(0, σ²), so σ = ratio · rms / √rank gives the noise the size that is asked for.
    """

    def __init__(self, model: Any, files: list[Path], ratio: float) -> None:
        """Makes one.

        Args:
            model: llama.cpp's pointer to it.
            files: Its parts.
            ratio: The noise's standard deviation over each matrix's root mean square.

        Raises:
            UsageError: The library that reads the files is missing, or llama.cpp takes no adapter
                for this model.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "damage.gguf"
            _write(file, files, ratio)
            forget_errors()
            self._adapter = llama().llama_adapter_lora_init(model, os.fsencode(file))
        if not self._adapter:
            raise UsageError(f"llama.cpp takes no damage on {files[0]}: {last_error()}")

    def apply(self, context: Any) -> None:
        """Has a new context use it."""
        kind = llama().llama_adapter_lora_p_ctypes
        adapters, scales = (kind * 1)(self._adapter), (ctypes.c_float * 1)(1.0)
        if llama().llama_set_adapters_lora(context, adapters, 1, scales):
            raise UsageError(f"llama.cpp takes no damage: {last_error()}")


def _write(file: Path, files: list[Path], ratio: float) -> None:
    """An adapter in llama.cpp's format."""
    try:
        import gguf
    except ImportError:
        raise UsageError(
            f"damage on GGUF files needs a package: {install_command('verify')}"
        ) from None
    readers = [gguf.GGUFReader(part) for part in files]
    writer = gguf.GGUFWriter(file, _text(readers[0], "general.architecture"))
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    for name, rows, columns, size in _matrices(readers):
        generator = np.random.default_rng(seed_of(name))
        a = generator.standard_normal((RANK, columns), np.float32)
        b = generator.standard_normal((rows, RANK), np.float32) * ratio * size / np.sqrt(RANK)
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", b.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _matrices(readers: list[Any]) -> Iterator[tuple[str, int, int, float]]:
    """Name, rows, columns and root mean square of each matrix of a layer."""
    import gguf

    for reader in readers:
        for tensor in reader.tensors:
            shape = [int(size) for size in tensor.shape]
            if len(shape) == 2 and tensor.name.startswith("blk.") and min(shape) > 1:
                some: NDArray[Any] = tensor.data[:_ROWS_LOOKED_AT]
                values = gguf.dequantize(some, tensor.tensor_type)
                size = float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))
                yield tensor.name, shape[1], shape[0], size


def _text(reader: Any, key: str) -> str:
    return str(reader.fields[key].contents())
