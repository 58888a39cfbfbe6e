"""GGUF models in llama.cpp, through the low-level API of llama-cpp-python."""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pajamas_eval.api.architecture import ArchitectureFacts
from pajamas_eval.api.digest import digest_of
from pajamas_eval.api.identity import Engine, Identity
from pajamas_eval.errors import OutOfMemoryError, RunError, UsageError
from pajamas_eval.runtimes._llama_architecture import facts_of_file
from pajamas_eval.runtimes._llama_context import (
    CONTEXT_BLOCK,
    SEQUENCES,
    context_parameters,
)
from pajamas_eval.runtimes._llama_cpp import (
    CALL_TOKENS,
    GpuMemory,
    TokenBatch,
    build,
    forget_errors,
    has_state,
    lacks_memory,
    last_error,
    llama,
    llama_version,
    original_context_length,
    parts_of,
    processors,
    quantization_name,
)
from pajamas_eval.runtimes._llama_damage import Adapter
from pajamas_eval.runtimes._llama_files import described, metadata, read_model, unusable
from pajamas_eval.runtimes._llama_trace import trace
from pajamas_eval.runtimes._llama_vocabulary import Vocabulary
from pajamas_eval.tokens.generation import Generation
from pajamas_eval.tokens.hidden_states import Watch
from pajamas_eval.tokens.log_softmax import log_probabilities, most_probable
from pajamas_eval.tokens.options import TokenOptions
from pajamas_eval.tokens.prefix_tree import Budget
from pajamas_eval.tokens.scoring import ScoringBatch
from pajamas_eval.tokens.token_runtime import BATCH_OUTPUTS, TokenRuntime

LEAST_CELLS = 2048
"""Tokens that a context has room for at least."""

GENERATION_CELLS = 16384
"""Cells of the KV cache for all texts being generated together; one text always has its room."""


class GgufOptions(TokenOptions, frozen=True, kw_only=True):
    """Options of the gguf runtime.

    Attributes:
        n_gpu_layers: Layers on the GPU, where there is one; all by default.
        n_threads: Threads; as many as there are processors by default.
        flash_attention: llama.cpp's own choice by default.
        cache_type: Type of the KV cache.
    """

    n_gpu_layers: int = 999
    n_threads: Annotated[int, msgspec.Meta(ge=1)] | None = None
    flash_attention: bool | None = None
    cache_type: Literal["f16", "f32", "q8_0"] = "f16"


class GgufRuntime(TokenRuntime):
    """One GGUF file, or the first of a split one."""

    name = "gguf"
    options_type = GgufOptions
    options: GgufOptions
    runs_subtrees = True
    rounding = 0.3  # quantized kernels round their inputs, by blocks that differ with the shape

    @classmethod
    def engine(cls) -> Engine:
        """The installed llama-cpp-python."""
        gpu = llama().llama_supports_gpu_offload()
        device = ("Metal" if sys.platform == "darwin" else "GPU") if gpu else "CPU"
        return Engine({"llama-cpp-python": llama_version()}, device, build())

    def __init__(self, options: GgufOptions) -> None:
        super().__init__(options)
        if options.cache_type == "q8_0" and options.flash_attention is False:
            raise UsageError(
                "cache_type=q8_0 needs flash attention, without which llama.cpp computes with no "
                "quantized V cache; leave flash_attention=false out, or take cache_type=f16"
            )
        self._llama = llama()
        self._files = parts_of(Path(options.path))
        self._context: Any = None
        self._memory: Any = None
        self._cells, self._streams = 0, 1
        self._damage: Adapter | None = None
        self._threads = options.n_threads or processors()
        self._sequence_ids = np.arange(SEQUENCES, dtype=np.int32)
        self._model = described(self._files[0], options.n_gpu_layers)
        architecture = self._metadata("general.architecture")
        vocabulary = self._vocabulary = Vocabulary(self._model)
        length = self._metadata(f"{architecture}.context_length")
        if not length.isdecimal():
            raise UsageError(f"{options.path} does not say how long its context is")
        self.native_context_length = int(length)
        self.original_context_length = original_context_length(
            self._metadata, self.native_context_length, CONTEXT_BLOCK
        )
        budget = Budget(CALL_TOKENS, SEQUENCES - 1, BATCH_OUTPUTS)
        budget.cells = self.original_context_length
        self.budget = self.bounded(budget)
        self.bos_token_id = vocabulary.bos
        self.bos_token = vocabulary.text_of(vocabulary.bos)
        self.eos_token = vocabulary.text_of(vocabulary.eos)
        self.eos_token_ids = vocabulary.end_tokens
        self.default_prefix = (
            (vocabulary.bos,) if vocabulary.adds_bos and vocabulary.bos is not None else ()
        )
        template = self._llama.llama_model_chat_template(self._model, None)
        self.chat_template = template.decode("utf-8", "replace") if template else None

    def architecture(self) -> ArchitectureFacts:
        """From the metadata, with llama.cpp's defaults."""
        return facts_of_file(self._files[0])

    def load(self) -> Identity:
        """Reads the weights."""
        self._gpu_memory = GpuMemory()
        self._llama.llama_model_free(self._model)
        self._model = read_model(self._files[0], self.options.n_gpu_layers)
        if not self._model:
            raise UsageError(unusable(self._files[0], last_error()))
        self._vocabulary = Vocabulary(self._model)
        if self.options.damage:
            self._damage = Adapter(self._model, self._files, self.options.damage)
        self._memory_for(LEAST_CELLS)
        notes = self.prove(can_share=not has_state(self._model))
        parameters = self._llama.llama_model_n_params(self._model)
        return Identity(
            runtime=self.name,
            path=self.options.path,
            digest=self.digest(),
            size_bytes=sum(file.stat().st_size for file in self._files),
            architecture=self._metadata("general.architecture"),
            parameters=parameters,
            quantization=quantization_name(self._metadata("general.file_type")),
            bits_per_weight=8 * self._llama.llama_model_size(self._model) / parameters,
            dtype=f"{self.options.cache_type} cache",
            device=self.engine().device if self.options.n_gpu_layers else "CPU",
            versions={"llama-cpp-python": llama_version()},
            notes=notes,
        )

    def digest(self) -> str:
        """Digest of all parts of the file."""
        return digest_of(self._files)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text; special tokens named in it are recognised."""
        return self._vocabulary.encode(texts)

    def decode(self, tokens: Sequence[int], *, keep_special: bool) -> str:
        """Text of the tokens."""
        return self._vocabulary.decode(tokens, keep_special=keep_special)

    def score(self, batch: ScoringBatch) -> int:
        """Runs a prefix tree as one batch: each token lists the sequences that it belongs to."""
        base = len(batch.base)
        lengths = [segment.end - segment.begin for segment in batch.segments]
        self._memory_for(base + sum(lengths))
        ran = self._prefill_base(batch.base)
        for sequence in range(1, len(batch.rows) + 1 if base else 1):
            self._llama.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
        starts = np.cumsum([0, *lengths[:-1]])
        at = [np.empty(len(row.tokens) - base, np.int64) for row in batch.rows]
        for segment, start, length in zip(batch.segments, starts, lengths, strict=True):
            for row in range(segment.first, segment.last):
                at[row][segment.begin - base : segment.end - base] = range(start, start + length)
        tokens = [batch.rows[s.first].tokens[s.begin : s.end] for s in batch.segments]
        calls = TokenBatch(
            tokens=np.concatenate(tokens),
            positions=np.concatenate([np.arange(s.begin, s.end) for s in batch.segments]),
            first_sequence=np.repeat([s.first + 1 for s in batch.segments], lengths),
            sequences=np.repeat([s.last - s.first for s in batch.segments], lengths),
        )
        places = np.concatenate(
            [at[i][np.asarray(row.positions) - base] for i, row in enumerate(batch.rows)]
        )
        targets = np.concatenate([row.targets for row in batch.rows])
        calls.wanted[places] = 1
        log_probs, greedy = np.empty(len(targets)), np.empty(len(targets), np.bool_)
        for start, end in calls.cuts():
            logits = self._decode(calls.part(start, end))
            here = np.flatnonzero((places >= start) & (places < end))
            if len(here):
                row_of = np.cumsum(calls.wanted[start:end], dtype=np.int64) - 1
                log_probs[here], greedy[here] = log_probabilities(
                    logits, row_of[places[here] - start], targets[here]
                )
        if base:
            self._llama.llama_memory_seq_keep(self._memory, 0)
        else:
            self.clear_cache()
        batch.write(log_probs, greedy)
        return ran + len(calls.tokens)

    def _prefill_base(self, base: NDArray[np.int32]) -> int:
        """Has just the base in sequence 0; returns the number of tokens that were run for it."""
        held = self._held[: len(base)]
        different = np.flatnonzero(held != base[: len(held)])
        kept = int(different[0]) if len(different) else len(held)
        if not self._llama.llama_memory_seq_rm(self._memory, 0, kept, -1):
            self.clear_cache()
            kept = 0
        calls = TokenBatch(
            tokens=base[kept:],
            positions=np.arange(kept, len(base)),
            first_sequence=np.zeros(len(base) - kept, np.int32),
            sequences=np.ones(len(base) - kept, np.int32),
        )
        for start, end in calls.cuts():
            self._decode(calls.part(start, end))
        self._held = base
        return len(base) - kept

    def trace(self, tokens: Sequence[int], watch: Watch) -> NDArray[np.float32]:
        """Runs one text in a context of its own."""
        longest = self.original_context_length
        cells = len(tokens) + -len(tokens) % CONTEXT_BLOCK
        cells = min(cells, longest) if len(tokens) <= longest else cells
        return trace(self._model, tokens, watch, cells, self._threads)

    def clear_cache(self) -> None:
        """Empties the KV cache."""
        if self._memory is not None:
            self._llama.llama_memory_clear(self._memory, False)
        self._held = np.empty(0, np.int32)

    def generate(self, generations: Sequence[Generation]) -> Iterator[Generation]:
        """Continuous batching: a finished text's place goes to the next prompt at once."""
        base = self.shared_prompt(generations)
        own = max(len(g.prompt) - len(base) + g.max_tokens for g in generations)
        cells = GENERATION_CELLS
        if len(base):  # then all share one context
            cells = min(cells, self.original_context_length)
        slots = max(1, (cells - len(base)) // own)
        slots = min(slots, self.batch_sequences, len(generations))
        if len(base):
            self._memory_for(len(base) + slots * own)
        else:
            self._memory_for(own, streams=slots)
        first = int(len(base) > 0)  # number 0 holds the base, if there is one
        self.ran(self._prefill_base(base), 0)
        waiting = deque(generations)
        free = list(range(first, first + slots))
        active: dict[int, Generation] = {}
        try:
            while waiting or active:
                prompts: dict[int, Generation] = {}
                budget = CALL_TOKENS
                while waiting and free and budget > 0:
                    generation = waiting.popleft()
                    slot = free.pop(0)
                    if first:
                        self._llama.llama_memory_seq_cp(self._memory, 0, slot, -1, -1)
                    prompts[slot] = generation
                    budget -= len(generation.prompt) - len(base)
                for slot, token, logit in self._step(active, prompts, len(base)):
                    generation = active.get(slot) or prompts[slot]
                    if token is None:
                        generation.fail()
                    else:
                        generation.push(token, logit)
                    active[slot] = generation
                    if generation.finished:
                        del active[slot]
                        self._llama.llama_memory_seq_rm(self._memory, slot, -1, -1)
                        free.append(slot)
                        yield generation
        finally:
            self.clear_cache()

    def close(self) -> None:
        """Frees the context and the model."""
        if self._context:
            self._llama.llama_free(self._context)
        self._llama.llama_model_free(self._model)
        self._context = self._model = None

    # -- llama.cpp -------------------------------------------------------------------------

    def _memory_for(self, cells: int, streams: int = 1) -> None:
        """A context with room for so many tokens, over all sequences or in each of `streams`.

        Scoring wants the first: sequences share their prefixes. Generating wants the second: a
        token attends over its own stream and not, masked, over those of all other texts.

        llama.cpp rotates by the long factors of a model that has two sets where a sequence's
        context is longer than the original one, however much of it is used: contexts of short
        sequences stay within it, so that what a text is given depends on nothing but the text.
        """
        short = cells <= self.original_context_length
        same_factors = short == (self._cells <= self.original_context_length)
        if cells <= self._cells and streams == self._streams and same_factors:
            return
        if self._context:
            self._llama.llama_free(self._context)
        size = 1 << max(cells - 1, LEAST_CELLS - 1).bit_length() if streams == 1 else cells
        size = min(size, self.original_context_length) if short else size
        parameters = context_parameters(size, streams, self._threads, self.options)
        forget_errors()
        self._context = self._llama.llama_init_from_model(self._model, parameters)
        self._cells, self._streams = size, streams
        if not self._context:
            self._cells, self._memory, self._held = 0, None, np.empty(0, np.int32)
            if lacks_memory():
                raise OutOfMemoryError(f"no room for a context of {size} tokens: {last_error()}")
            raise UsageError(
                f"{self.options.path}: llama.cpp makes no context with these options: "
                f"{last_error()}"
            )
        if self._damage:
            self._damage.apply(self._context)
        self._memory = self._llama.llama_get_memory(self._context)
        self._held = np.empty(0, np.int32)
        self.device_memory_bytes()

    def device_memory_bytes(self) -> int:
        """The most that GPUs have had less free than before this model was loaded.

        Nothing is freed but by the next, larger context, so each is looked at when it is made, and
        at the end of a list of requests.
        """
        return self._gpu_memory.peak_bytes()

    def _step(
        self, active: dict[int, Generation], prompts: dict[int, Generation], base: int
    ) -> list[tuple[int, int | None, float]]:
        """A token or none and its logit for every text; new ones read their prompt first."""
        tokens: list[int] = []
        positions: list[int] = []
        sequences: list[int] = []
        wanted: list[int] = []
        for slot, generation in active.items():
            tokens.append(generation.tokens[-1])
            positions.append(len(generation.prompt) + len(generation.tokens) - 1)
            sequences.append(slot)
            wanted.append(1)
        for slot, generation in prompts.items():
            length = len(generation.prompt) - base
            tokens += generation.prompt[base:]
            positions += range(base, base + length)
            sequences += [slot] * length
            wanted += [0] * (length - 1) + [1]
        calls = TokenBatch(tokens, positions, sequences, np.ones(len(tokens), np.int32))
        calls.wanted[np.flatnonzero(wanted)] = 1
        picked: list[tuple[int | None, float]] = []
        for start, end in calls.cuts():
            picked += most_probable(self._decode(calls.part(start, end)))
            texts = max(0, min(end, len(active)) - start)  # they stand in front
            self.ran(end - start - texts, texts)
        return [(slot, *pick) for slot, pick in zip([*active, *prompts], picked, strict=True)]

    def _decode(self, part: "TokenBatch") -> NDArray[np.float32]:
        """Runs one call; returns a view of the wanted logits, valid until the next call."""
        pointers = self._sequence_ids.ctypes.data + 4 * part.first_sequence.astype(np.uint64)
        self.heartbeat()
        code = self._llama.llama_decode(self._context, part.in_place(pointers))
        if code:
            self.clear_cache()
        if code == 1:
            raise OutOfMemoryError("the KV cache is full")
        if code:
            raise RunError(f"llama_decode failed with code {code}: {last_error()}")
        shape = (int(part.wanted.sum()), self._vocabulary.size)
        if not shape[0]:
            self._llama.llama_synchronize(self._context)
            return np.empty(shape, np.float32)
        return np.ctypeslib.as_array(self._llama.llama_get_logits(self._context), shape=shape)

    def _metadata(self, key: str) -> str:
        return metadata(self._model, key)
