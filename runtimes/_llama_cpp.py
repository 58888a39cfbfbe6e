"""llama.cpp through the low-level API of llama-cpp-python: its log, its GPUs, its batches."""

import ctypes
import os
import resource
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from glob import escape
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.errors import MissingEngineError, UsageError
from pajamas_eval.tokens.token_runtime import BATCH_OUTPUTS

CALL_TOKENS = 512
"""Most tokens of one call, and so between two heartbeats; llama.cpp computes no more at once."""


_LOG_ERROR = 4

_NO_VOCABULARY = 0
"""A type of llama.cpp's vocabularies."""


_GPU, _INTEGRATED_GPU = 1, 2
"""Types of ggml's devices; the latter uses the machine's memory."""


class TokenBatch:
    """Tokens for llama.cpp in arrays that it reads in place.

    Token `i` belongs to sequences `first_sequence[i]` … `first_sequence[i] + sequences[i] - 1`.
    """

    def __init__(self, tokens: Any, positions: Any, first_sequence: Any, sequences: Any) -> None:
        self.tokens, self.positions, self.first_sequence, self.sequences = (
            np.ascontiguousarray(array, np.int32)
            for array in (tokens, positions, first_sequence, sequences)
        )
        self.wanted = np.zeros(len(self.tokens), np.int8)

    def part(self, start: int, end: int) -> "TokenBatch":
        """A run of the tokens, still in place."""
        part = TokenBatch(
            self.tokens[start:end],
            self.positions[start:end],
            self.first_sequence[start:end],
            self.sequences[start:end],
        )
        part.wanted = self.wanted[start:end]
        return part

    def in_place(self, sequences: NDArray[np.uint64]) -> Any:
        """llama.cpp's own batch of them, given the address of each token's list of sequences.

        It points into these arrays and those addresses, which must outlive it.
        """
        int_pointer, byte_pointer = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_int8)
        batch = llama().llama_batch()
        batch.n_tokens = len(self.tokens)
        batch.token = self.tokens.ctypes.data_as(int_pointer)
        batch.pos = self.positions.ctypes.data_as(int_pointer)
        batch.n_seq_id = self.sequences.ctypes.data_as(int_pointer)
        batch.seq_id = sequences.ctypes.data_as(ctypes.POINTER(int_pointer))
        batch.logits = self.wanted.ctypes.data_as(byte_pointer)
        return batch

    def cuts(self) -> Iterator[tuple[int, int]]:
        """Where to cut into calls: llama.cpp aborts on too many tokens or outputs in one."""
        outputs = np.concatenate([[0], np.cumsum(self.wanted, dtype=np.int64)])
        start = 0
        while start < len(self.tokens):
            most = int(np.searchsorted(outputs, outputs[start] + BATCH_OUTPUTS, side="right")) - 1
            end = min(start + CALL_TOKENS, max(most, start + 1), len(self.tokens))
            yield start, end
            start = end


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


ERRORS: deque[str] = deque(maxlen=50)
"""llama.cpp's latest errors."""


def last_error() -> str:
    """Why the last call failed, in llama.cpp's own words."""
    return ERRORS[0] if ERRORS else "it gave no reason"


def lacks_memory() -> bool:
    """Whether the last call failed for want of it, as far as llama.cpp gave a reason."""
    said = " ".join(ERRORS).lower()
    return not said or "alloc" in said or "memory" in said


@cache
def llama() -> ModuleType:
    """The low-level API, its log caught."""
    # Where it aborts, it would start a debugger that prints seventy lines and no reason.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    try:
        import llama_cpp.llama_cpp as library
    except ImportError:
        raise MissingEngineError("gguf", "llama-cpp-python") from None

    @library.llama_log_callback
    def log(level: int, text: bytes, _: ctypes.c_void_p) -> None:
        if level == _LOG_ERROR:
            message = text.decode("utf-8", "replace").strip()
            ERRORS.append(message)
            print(message, file=sys.stderr)

    _KEPT.append(log)
    library.llama_log_set(log, ctypes.c_void_p(0))
    library.llama_backend_init()
    return library


def forget_errors() -> None:
    """Makes `last_error` that of the next call, whoever took llama.cpp's log meanwhile."""
    ERRORS.clear()
    llama().llama_log_set(_KEPT[0], ctypes.c_void_p(0))


@dataclass(frozen=True)
class Gpu:
    """One of ggml's devices."""

    name: str
    has_own_memory: bool
    free_bytes: Callable[[], int]


@cache
def gpus() -> list[Gpu]:
    """ggml's GPUs, which llama-cpp-python does not tell of."""
    library = ctypes.CDLL(llama()._lib._name)
    ggml = {
        name: getattr(library, f"ggml_backend_dev_{name}")
        for name in ("count", "get", "type", "name", "description", "memory")
    }
    ggml["count"].restype = ctypes.c_size_t
    ggml["get"].argtypes, ggml["get"].restype = [ctypes.c_size_t], ctypes.c_void_p
    ggml["type"].argtypes, ggml["type"].restype = [ctypes.c_void_p], ctypes.c_int
    for name in ("name", "description"):
        ggml[name].argtypes, ggml[name].restype = [ctypes.c_void_p], ctypes.c_char_p
    size = ctypes.POINTER(ctypes.c_size_t)
    ggml["memory"].argtypes, ggml["memory"].restype = [ctypes.c_void_p, size, size], None

    def free_bytes(device: int) -> int:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        ggml["memory"](device, free, total)
        return free.value

    gpus = []
    for device in map(ggml["get"], range(ggml["count"]())):
        kind = ggml["type"](device)
        if kind in (_GPU, _INTEGRATED_GPU):
            name = f"{ggml['name'](device).decode()}: {ggml['description'](device).decode()}"
            own = kind == _GPU and sys.platform != "darwin"
            gpus.append(Gpu(name, own, partial(free_bytes, device)))
    return gpus


_KEPT: list[Any] = []
"""llama.cpp keeps a bare pointer to the callback: it must never be collected."""


def llama_version() -> str:
    """The installed llama-cpp-python."""
    import llama_cpp

    return str(llama_cpp.__version__)


def build() -> str:
    """How llama.cpp was built, and the GPUs that it found."""
    kernels = " ".join(llama().llama_print_system_info().decode("utf-8", "replace").split())
    return "; ".join([kernels, *(gpu.name for gpu in gpus())])


class GpuMemory:
    """Memory that was taken from GPUs since this was made.

    ggml tells what is free and not what is held: what others take or give back meanwhile counts as
    well. Where a GPU uses the machine's memory, the process's own peak counts those pages that the
    CPU has touched, such as weights: that the larger of the two was held is all that is known.
    """

    def __init__(self) -> None:
        self._free_before = [gpu.free_bytes() for gpu in gpus()]
        self._peak = 0

    def peak_bytes(self) -> int:
        """The most that was taken whenever this was asked."""
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        taken = shared = 0
        for gpu, before in zip(gpus(), self._free_before, strict=True):
            if gpu.has_own_memory:
                taken += max(0, before - gpu.free_bytes())
            else:
                shared += before - gpu.free_bytes()
        taken += max(0, shared - own * (1 if sys.platform == "darwin" else 1024))
        self._peak = max(self._peak, taken)
        return self._peak


def quantization_name(file_type: str) -> str:
    """llama.cpp's name of what a file says it is, such as `Q4_K - Medium`."""
    name = llama().llama_ftype_name(int(file_type)) if file_type.isdecimal() else None
    text = name.decode().removeprefix("(guessed) ") if name else "unknown"
    return "unknown" if text.startswith("unknown") else text


def refuse_other_kinds(path: str, model: Any, metadata: Callable[[str], str]) -> None:
    """Raises `UsageError` for what is no causal language model; llama.cpp aborts on some of them.

    Args:
        path: The model's file, for the message.
        model: llama.cpp's pointer to it.
        metadata: Looks up a key of its metadata; empty where there is none.
    """
    library, architecture = llama(), metadata("general.architecture")
    if library.llama_vocab_type(library.llama_model_get_vocab(model)) == _NO_VOCABULARY:
        raise UsageError(f"{path} has no tokenizer; convert the model again, with its tokenizer")
    if library.llama_model_has_encoder(model):
        decodes = library.llama_model_has_decoder(model)
        kind = "an encoder-decoder" if decodes else "an encoder"
    elif library.llama_model_is_diffusion(model):
        kind = "a diffusion model"
    elif metadata(f"{architecture}.attention.causal") == "false":
        kind = "an encoder or an embedding model"
    else:
        return
    raise UsageError(f"{path} is {kind} ({architecture}), not a causal language model")


def has_state(model: Any) -> bool:
    """Whether a layer keeps a recurrent state, which sequences that part later cannot share."""
    library = llama()
    return bool(library.llama_model_is_recurrent(model) or library.llama_model_is_hybrid(model))


def original_context_length(metadata: Callable[[str], str], native: int, block: int) -> int:
    """Where the long factors of a model with two sets of them begin, in whole blocks."""
    rope = f"{metadata('general.architecture')}.rope.scaling"
    length = metadata(f"{rope}.original_context_length")
    one_set = metadata(f"{rope}.type") in ("linear", "yarn")
    if one_set or not length.isdecimal() or int(length) >= native:
        return sys.maxsize
    return int(length) // block * block or sys.maxsize


def parts_of(first: Path) -> list[Path]:
    """All files of a split model, whose first part names their number."""
    if first.is_dir():
        ggufs = sorted(path.name for path in first.glob("*.gguf"))
        hint = f"; it holds {', '.join(ggufs[:3])}: name that file" if ggufs else ""
        raise UsageError(f"{first} is a folder; the gguf runtime takes a file{hint}")
    stem, _, rest = first.name.partition("-00001-of-")
    if not rest:
        if not first.is_file():
            raise UsageError(f"{first}: no such file")
        return [first]
    return sorted(first.parent.glob(f"{escape(stem)}-[0-9][0-9][0-9][0-9][0-9]-of-{rest}"))
