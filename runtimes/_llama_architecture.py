"""A GGUF file's architecture as llama.cpp resolves it: metadata, and its own defaults.

Read with ggml's own reader, the one that llama.cpp loads models with.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pajamas_eval.api.architecture import ArchitectureFacts
from pajamas_eval.errors import UsageError
from pajamas_eval.tokens.architecture.gguf import facts_of_gguf

_SCALARS: dict[int, tuple[str, Any]] = {
    0: ("u8", ctypes.c_uint8),
    1: ("i8", ctypes.c_int8),
    2: ("u16", ctypes.c_uint16),
    3: ("i16", ctypes.c_int16),
    4: ("u32", ctypes.c_uint32),
    5: ("i32", ctypes.c_int32),
    6: ("f32", ctypes.c_float),
    7: ("bool", ctypes.c_bool),
    8: ("str", ctypes.c_char_p),
    10: ("u64", ctypes.c_uint64),
    11: ("i64", ctypes.c_int64),
    12: ("f64", ctypes.c_double),
}
"""Types of values by their numbers in a GGUF file."""

_STRING, _ARRAY = 8, 9
_FLOAT32 = 0
"""Number of that type of tensors."""


class _Parameters(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


def facts_of_file(file: Path) -> ArchitectureFacts:
    """What llama.cpp makes of a GGUF file's metadata. Raises `UsageError`."""
    with _opened(file) as (library, gguf):
        metadata = {
            library.gguf_get_key(gguf, i).decode("utf-8", "replace"): _value(library, gguf, i)
            for i in range(library.gguf_get_n_kv(gguf))
        }

        def tensor(name: str) -> list[float] | None:
            return _floats(library, gguf, file, name)

        longer = tensor("rope_factors_long.weight")
        return facts_of_gguf(
            metadata,
            has_head=library.gguf_find_tensor(gguf, b"output.weight") >= 0,
            rope_factors=longer or tensor("rope_freqs.weight"),
            rope_short_factors=tensor("rope_factors_short.weight"),
        )


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, Any]]:
    library = _library()
    gguf = library.gguf_init_from_file(str(file).encode(), _Parameters(no_alloc=True))
    if not gguf:
        raise UsageError(f"{file} is not a readable GGUF file")
    try:
        yield library, gguf
    finally:
        library.gguf_free(gguf)


def _library() -> Any:
    from llama_cpp._ggml import libggml_base_path

    (path,) = sorted(libggml_base_path.glob("libggml-base.[sd][oy]*"))[:1]
    library = ctypes.CDLL(str(path))
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "gguf_init_from_file": (ctypes.c_void_p, [ctypes.c_char_p, _Parameters]),
        "gguf_free": (None, [ctypes.c_void_p]),
        "gguf_get_n_kv": (ctypes.c_int64, [ctypes.c_void_p]),
        "gguf_get_data_offset": (ctypes.c_size_t, [ctypes.c_void_p]),
        "gguf_find_tensor": (ctypes.c_int64, [ctypes.c_void_p, ctypes.c_char_p]),
        "gguf_get_key": (ctypes.c_char_p, _PLACE),
        "gguf_get_kv_type": (ctypes.c_int, _PLACE),
        "gguf_get_arr_type": (ctypes.c_int, _PLACE),
        "gguf_get_arr_n": (ctypes.c_size_t, _PLACE),
        "gguf_get_arr_data": (ctypes.c_void_p, _PLACE),
        "gguf_get_tensor_offset": (ctypes.c_size_t, _PLACE),
        "gguf_get_tensor_size": (ctypes.c_size_t, _PLACE),
        "gguf_get_tensor_type": (ctypes.c_int, _PLACE),
        **{f"gguf_get_val_{name}": (kind, _PLACE) for name, kind in _SCALARS.values()},
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_PLACE = [ctypes.c_void_p, ctypes.c_int64]


def _value(library: Any, gguf: Any, place: int) -> Any:
    """A value; of an array of texts, such as the tokens, only how many there are."""
    kind = library.gguf_get_kv_type(gguf, place)
    if kind != _ARRAY:
        value = getattr(library, f"gguf_get_val_{_SCALARS[kind][0]}")(gguf, place)
        return value.decode("utf-8", "replace") if kind == _STRING else value
    kind, count = library.gguf_get_arr_type(gguf, place), library.gguf_get_arr_n(gguf, place)
    if kind in (_STRING, _ARRAY):
        return [None] * count
    return list((_SCALARS[kind][1] * count).from_address(library.gguf_get_arr_data(gguf, place)))


def _floats(library: Any, gguf: Any, file: Path, name: str) -> list[float] | None:
    place = library.gguf_find_tensor(gguf, name.encode())
    if place < 0 or library.gguf_get_tensor_type(gguf, place) != _FLOAT32:
        return None
    offset = library.gguf_get_data_offset(gguf) + library.gguf_get_tensor_offset(gguf, place)
    count = library.gguf_get_tensor_size(gguf, place) // 4
    values: list[float] = np.fromfile(file, np.float32, count, offset=offset).tolist()
    return values
