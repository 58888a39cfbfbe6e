"""Files that llama.cpp reads models from, and what to do about those that it cannot use."""

import ctypes
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pajamas_eval.errors import UsageError
from pajamas_eval.runtimes._llama_cpp import (
    forget_errors,
    last_error,
    llama,
    llama_version,
    refuse_other_kinds,
)

_DAMAGED = "it is cut off or damaged, so download or convert it again"
_TOO_NEW = "a newer llama-cpp-python may know it ({version} is installed)"
_REMEDIES = {
    "invalid magic characters: 'vers'": "it stands for a file that Git LFS keeps: git lfs pull",
    "only supports up to version": _TOO_NEW,
    "unknown model architecture": _TOO_NEW,
    "unknown pre-tokenizer": _TOO_NEW,
    "unknown tokenizer": _TOO_NEW,
    "endianness": "convert it on a machine of this byte order",
    "CLIP cannot be used": "it is the part of a model that sees, so name the language model's file",
    "key not found in model: tokenizer": "it has no tokenizer, so convert the model with its own",
    "data is not within the file bounds": _DAMAGED,
    "failed to read": _DAMAGED,
    "' not found": "it lacks a part of the model, so convert it again",
    "wrong shape": "its tensors are not those of its metadata, so convert it again",
    "key not found": "its metadata are not whole, so convert it again",
    "loading model hyperparameters": "its metadata contradict one another, so convert it again",
}
"""What to do about an error of llama.cpp, by a part of it."""

_OTHER_TYPES = {
    "adapter": "an adapter, whose base lies elsewhere; merge the two into one model first",
    "imatrix": "an importance matrix, not a model",
    "mmproj": "the part of a model that sees or hears; name the language model's file",
}
"""Files that are no models, by what `general.type` says."""


def read_model(file: Path, gpu_layers: int, **parameters: object) -> Any:
    """llama.cpp's pointer to a model; null where it cannot be loaded, which `last_error` explains.

    Args:
        file: The model's file, or the first of them.
        gpu_layers: Layers on the GPU.
        parameters: Others of `llama_model_params`.
    """
    library = llama()
    given = library.llama_model_default_params()
    for name, value in {"n_gpu_layers": gpu_layers, **parameters}.items():
        setattr(given, name, value)
    forget_errors()
    return library.llama_model_load_from_file(os.fsencode(file), given)


def described(file: Path, gpu_layers: int) -> Any:
    """llama.cpp's pointer to a model without its weights, which are known to be there and to fit.

    Raises:
        UsageError: It is not a causal language model, or llama.cpp cannot load it.
    """
    library = llama()
    model = read_model(file, gpu_layers, no_alloc=True, load_mode=library.LLAMA_LOAD_MODE_NONE)
    reason = last_error()
    # A file of another kind need not have what a language model needs.
    if known := model or read_model(file, gpu_layers, vocab_only=True):
        refuse_other_kinds(str(file), known, partial(metadata, known))
    if not model:
        if known:
            library.llama_model_free(known)
        raise UsageError(unusable(file, reason))
    return model


def metadata(model: Any, key: str) -> str:
    """A value of a model's metadata as text; empty where there is none."""
    buffer = ctypes.create_string_buffer(4096)
    length = llama().llama_model_meta_val_str(model, key.encode(), buffer, 4096)
    return buffer.value.decode("utf-8", "replace") if length >= 0 else ""


def unusable(file: Path, reason: str) -> str:
    """Why llama.cpp cannot load a file, and what to do."""
    if what := _OTHER_TYPES.get(_general_type(file)):
        return f"{file} is {what}"
    reason = re.sub(r"^(\w+: )+(error loading model: )?", "", reason)
    remedies = (advice for part, advice in _REMEDIES.items() if part in reason)
    remedy = next((f"; {advice.format(version=llama_version())}" for advice in remedies), "")
    return f"{file} is not a GGUF model that llama.cpp can load: {reason}{remedy}"


def _general_type(file: Path) -> str:
    """What a file says that it is; empty where it says nothing, or cannot be read."""
    library = ctypes.CDLL(llama()._lib._name)  # the Python part does not tell of these functions
    read = _function(library, "init_from_file", ctypes.c_void_p, ctypes.c_char_p, _GgufParameters)
    find = _function(library, "find_key", ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p)
    text = _function(library, "get_val_str", ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64)
    free = _function(library, "free", None, ctypes.c_void_p)
    content = read(os.fsencode(file), _GgufParameters(True, None))
    if not content:
        return ""
    try:
        key = find(content, b"general.type")
        said: bytes = text(content, key) if key >= 0 else b""
        return said.decode("utf-8", "replace")
    finally:
        free(content)


def _function(library: Any, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function: Any = getattr(library, f"gguf_{name}")
    function.restype, function.argtypes = result, arguments
    return function  # type: ignore[no-any-return]


class _GgufParameters(ctypes.Structure):
    """`gguf_init_params`: read no tensors."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))
