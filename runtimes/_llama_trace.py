"""Watches a model of llama.cpp by its evaluation callback."""

import ctypes
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.errors import OutOfMemoryError, RunError
from pajamas_eval.runtimes._llama_cpp import TokenBatch, last_error, llama
from pajamas_eval.tokens.hidden_states import BEFORE_LAYERS, LOGIT_ROWS, OUTPUT, Watch

_NAME = re.compile(rb"(?P<name>.+)-(?P<layer>\d+)")
_LAYER_OUTPUT = b"l_out"


def trace(
    model: Any, tokens: Sequence[int], watch: Watch, cells: int, threads: int
) -> NDArray[np.float32]:
    """Logits `[rows, vocabulary]` of the last tokens of a text, run in a context of its own.

    Without flash attention, and with a cache in float32, attention adds no rounding of its own.

    Args:
        model: llama.cpp's pointer to it.
        tokens: The text.
        watch: Is told of every tensor as wide as the hidden states.
        cells: Length of the context.
        threads: How many to use.
    """
    library, count = llama(), len(tokens)
    tap = _Tap(watch, count, library.llama_model_n_embd(model))
    parameters = library.llama_context_default_params()
    parameters.n_ctx, parameters.swa_full = cells, True
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.n_batch = parameters.n_ubatch = count
    parameters.n_seq_max, parameters.n_outputs_max = 1, min(LOGIT_ROWS, count)
    parameters.flash_attn_type = library.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.type_k = parameters.type_v = library.GGML_TYPE_F32
    parameters.cb_eval = tap.callback
    context = library.llama_init_from_model(model, parameters)
    if not context:
        raise OutOfMemoryError(f"no room for a context of {count} tokens: {last_error()}")
    zero = np.zeros(1, np.int32)
    batch = TokenBatch(tokens, range(count), np.zeros(count), np.ones(count))
    batch.wanted[-LOGIT_ROWS:] = 1
    try:
        pointers = np.full(count, zero.ctypes.data, np.uint64)
        code = library.llama_decode(context, batch.in_place(pointers))
        tap.raise_error()
        if code:
            raise RunError(f"llama_decode failed with code {code}: {last_error()}")
        size = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
        logits = library.llama_get_logits(context)
        return np.ctypeslib.as_array(logits, shape=(min(LOGIT_ROWS, count), size)).copy()
    finally:
        library.llama_free(context)


class _Tap:
    """llama.cpp's evaluation callback, told to a watch.

    llama.cpp first asks about each tensor of a graph, computes as far as one that is wanted, and
    then shows it. What is written into it there is what the following ones are computed from.

    Attributes:
        callback: For the parameters of a context, which must not outlive it.
    """

    def __init__(self, watch: Watch, tokens: int, width: int) -> None:
        self._watch = watch
        self._tokens, self._width = tokens, width
        self._layer = BEFORE_LAYERS
        self._error: BaseException | None = None
        self.callback = llama().ggml_backend_sched_eval_callback(self._call)

    def raise_error(self) -> None:
        """Raises what the watch raised: ctypes would print it and go on."""
        if self._error is not None:
            raise self._error

    def _call(self, tensor: int, ask: bool, _: Any) -> bool:
        if self._error is not None:
            return not ask  # nothing is wanted any more
        try:
            layer, name = self._place(_ggml().get_name(tensor))
            wanted = self._has_shape(tensor) and self._watch.wants(layer, name)
            if wanted and not ask:
                self._show(tensor, layer, name)
        except BaseException as error:
            self._error = error
            return False
        return wanted or not ask

    def _place(self, name: bytes) -> tuple[int, str]:
        """Layer and name of a tensor: `ffn_out-3` is of layer 3.

        Those without a number are of the layer whose output comes next.
        """
        found = _NAME.fullmatch(name)
        if not found:
            return self._layer, name.decode("utf-8", "replace")
        layer, base = int(found["layer"]), found["name"]
        if base == _LAYER_OUTPUT:
            self._layer = layer + 1
            return layer, OUTPUT
        self._layer = layer
        return layer, base.decode("utf-8", "replace")

    def _has_shape(self, tensor: int) -> bool:
        """Whether it is a float32 array as wide as the hidden states, if not with as many rows."""
        ggml = _ggml()
        elements, rows = ggml.nelements(tensor), ggml.nrows(tensor)
        return (
            elements == rows * self._width
            and 0 < rows <= self._tokens
            and ggml.nbytes(tensor) == 4 * elements
            and ggml.is_contiguous(tensor)
        )

    def _show(self, tensor: int, layer: int, name: str) -> None:
        ggml = _ggml()
        states: NDArray[np.float32] = np.empty((ggml.nrows(tensor), self._width), np.float32)
        ggml.tensor_get(tensor, states.ctypes.data, 0, states.nbytes)
        instead = self._watch.show(layer, name, states)
        if instead is not None:
            content = np.ascontiguousarray(instead, np.float32)
            ggml.tensor_set(tensor, content.ctypes.data, 0, content.nbytes)


class _Ggml:
    """The functions of ggml that llama-cpp-python does not declare."""

    def __init__(self) -> None:
        library = ctypes.CDLL(llama()._lib._name)
        pointer, size = ctypes.c_void_p, ctypes.c_size_t

        def declared(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
            function = getattr(library, f"ggml_{name}")
            function.argtypes, function.restype = [pointer, *arguments], result
            return function  # type: ignore[no-any-return]

        self.get_name = declared("get_name", ctypes.c_char_p)
        self.nelements = declared("nelements", ctypes.c_int64)
        self.nrows = declared("nrows", ctypes.c_int64)
        self.nbytes = declared("nbytes", size)
        self.is_contiguous = declared("is_contiguous", ctypes.c_bool)
        self.tensor_get = declared("backend_tensor_get", None, pointer, size, size)
        self.tensor_set = declared("backend_tensor_set", None, pointer, size, size)


@cache
def _ggml() -> _Ggml:
    return _Ggml()
