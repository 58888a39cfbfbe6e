"""How a model of llama.cpp turns text into tokens and back."""

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pajamas_eval.runtimes._llama_cpp import llama, processors


class Vocabulary:
    """The vocabulary of a model, which may have been read without its weights.

    Attributes:
        size: Number of tokens.
        bos, eos: Their ids; nothing where there is none.
        end_tokens: Ids of all tokens that end a text.
        adds_bos: Whether the model's own tokenizer puts BOS in front of a text.
    """

    def __init__(self, model: Any) -> None:
        library = self._llama = llama()
        vocabulary = self._vocabulary = library.llama_model_get_vocab(model)
        self.size: int = library.llama_vocab_n_tokens(vocabulary)
        bos = library.llama_vocab_bos(vocabulary)
        eos = library.llama_vocab_eos(vocabulary)
        self.bos: int | None = bos if bos >= 0 else None
        self.eos: int | None = eos if eos >= 0 else None
        self.adds_bos = bool(library.llama_vocab_get_add_bos(vocabulary)) and bos >= 0

    @property
    def end_tokens(self) -> frozenset[int]:
        """See the class."""
        is_end = self._llama.llama_vocab_is_eog
        return frozenset(token for token in range(self.size) if is_end(self._vocabulary, token))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text; special tokens named in it are recognised."""
        with ThreadPoolExecutor(processors()) as pool:  # llama.cpp runs outside Python's lock
            return list(pool.map(self._encode_one, [text.encode() for text in texts]))

    def decode(self, tokens: Sequence[int], *, keep_special: bool) -> str:
        """Text of the tokens."""
        if not tokens:
            return ""
        given = (ctypes.c_int32 * len(tokens))(*tokens)
        room = 16 * len(tokens)
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = self._llama.llama_detokenize(
                self._vocabulary, given, len(tokens), buffer, room, False, keep_special
            )
            if length >= 0:
                return buffer.raw[:length].decode("utf-8", "replace")
            room = -length

    def text_of(self, token: int | None) -> str:
        """A token spelled out; empty where there is none."""
        return "" if token is None else self.decode([token], keep_special=True)

    def _encode_one(self, text: bytes) -> list[int]:
        room = len(text) + 8
        while True:
            buffer = (ctypes.c_int32 * room)()
            count = self._llama.llama_tokenize(
                self._vocabulary, text, len(text), buffer, room, False, True
            )
            if count >= 0:
                return buffer[:count]
            room = -count
