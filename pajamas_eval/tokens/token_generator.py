"""Texts generated in batches: prompts are cut to fit, and what they share is read once.

An adapter advances texts; which of them run together, and what happens where there is no room for
them, is decided here.
"""

import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from pajamas_eval.api.requests import GenerateUntil, GenerationResult
from pajamas_eval.api.results import Failure
from pajamas_eval.api.runtime import Answers
from pajamas_eval.errors import OutOfMemoryError
from pajamas_eval.tokens.generation import Generation
from pajamas_eval.tokens.options import TokenOptions
from pajamas_eval.tokens.prefix_tree import MIN_BASE, PrefixTree, common_prefix
from pajamas_eval.tokens.token_reader import ENCODE_AT_ONCE, TokenReader

BATCH_SEQUENCES = 32
"""Sequences of one scoring or generation batch."""


class TokenGenerator(TokenReader):
    """Prompts in, tokens through an engine, texts out."""

    shares_prefix: bool = True
    """Whether many sequences may be scored from one cache; `prove` finds out."""
    shares_prompts: bool = True
    """Whether many texts may be generated from one cache; `prove` finds out."""
    least_shared_prompt: int = MIN_BASE
    """Tokens from which on that is worth a call of its own."""
    original_context_length: int = sys.maxsize
    """Most tokens of a sequence that the model rotates by its short factors, where it has two sets
    of them (LongRoPE). Engines choose a set for all that they run at once, so longer sequences are
    run apart from shorter ones and share nothing: the choice is a sequence's own, whatever is run
    before or beside it."""

    def __init__(self, options: TokenOptions) -> None:
        super().__init__(options)
        most = options.batch_sequences or BATCH_SEQUENCES
        self.batch_sequences = 1 if options.exact else min(most, BATCH_SEQUENCES)
        self._ran_until = time.perf_counter()
        self._seconds_a_text: float | None = None

    @abstractmethod
    def generate(self, generations: Sequence[Generation]) -> Iterator[Generation]:
        """Advance each until it is finished, yielding each then; tell `ran` of every call.

        Raises:
            OutOfMemoryError: There was no room.
        """

    def ran(self, prompts: int, texts: int) -> None:
        """To be told by `generate` of each call of the engine, once its tokens are there.

        Where one call reads prompts and advances texts, these are taken to have cost what they did
        in the latest call that did nothing else; without one, each token costs the same.

        Args:
            prompts: Tokens of prompts that were run, padding included.
            texts: Texts that were advanced by a token, finished ones included.
        """
        self.heartbeat()
        now = time.perf_counter()
        seconds, self._ran_until = now - self._ran_until, now
        generating = seconds * texts / max(1, prompts + texts)
        if not prompts and texts:
            self._seconds_a_text = seconds / texts
        elif self._seconds_a_text is not None:
            generating = min(seconds, texts * self._seconds_a_text)
        self.usage.evaluated_tokens += prompts + texts
        self.usage.generation_seconds += generating
        self.usage.prompt_seconds += seconds - generating

    def device_memory_bytes(self) -> int:
        """Peak memory on a device, beyond what the process's own includes."""
        return 0

    def is_long(self, length: int) -> bool:
        """Whether a sequence of so many tokens is rotated by the long factors."""
        return length > self.original_context_length

    def generate_until(self, requests: Sequence[GenerateUntil]) -> Answers:
        """Continuation of each prompt by the most probable token each time.

        The prompt is cut from the left so that prompt and new tokens fit in the context. A prompt
        without tokens starts from BOS (or EOS, where there is none).
        """
        generations: list[Generation] = []
        truncated: dict[int, int] = {}
        for start in range(0, len(requests), ENCODE_AT_ONCE):
            chunk = requests[start : start + ENCODE_AT_ONCE]
            for offset, encoded in enumerate(self.encode_clean([r.prompt.text for r in chunk])):
                i = start + offset
                tokens = self.with_prefix(encoded) or list(self.empty_context)
                room = self.context_length - requests[i].max_tokens
                if requests[i].sampling:
                    yield i, Failure(f"the {self.name} runtime does not sample")
                elif not requests[i].max_tokens:
                    yield i, GenerationResult("", "length", 0, len(tokens))
                elif not tokens:
                    yield i, Failure("the prompt is empty and the model has no BOS or EOS token")
                elif room < 1:
                    yield (
                        i,
                        Failure(
                            f"{requests[i].max_tokens} new tokens leave no room for a prompt in "
                            f"the context length of {self.context_length}"
                        ),
                    )
                else:
                    truncated[i] = max(0, len(tokens) - room)
                    generations.append(
                        Generation(
                            index=i,
                            prompt=tokens[truncated[i] :],
                            until=requests[i].until,
                            max_tokens=requests[i].max_tokens,
                            end_tokens=self.eos_token_ids,
                            decode=self.decode,
                            heartbeat=self.heartbeat,
                        )
                    )
        generations.sort(key=lambda g: -len(g.prompt))
        for generation, error in self._generate(generations):
            if error:
                yield generation.index, Failure(error)
                continue
            assert generation.finish_reason is not None
            yield (
                generation.index,
                GenerationResult(
                    text=generation.text,
                    finish_reason=generation.finish_reason,
                    token_count=len(generation.tokens),
                    prompt_tokens=len(generation.prompt),
                    truncated_tokens=truncated[generation.index],
                    seconds=generation.seconds,
                ),
            )

    def shared_prompt(self, generations: Sequence[Generation]) -> NDArray[np.int32]:
        """What all prompts start with, if it is worth a call of its own; never a whole prompt."""
        prompts = [np.asarray(g.prompt, np.int32) for g in generations]
        if len(prompts) < 2 or not self.shares_prompts or self.options.exact:
            return np.empty(0, np.int32)
        length = min(len(prompt) for prompt in prompts) - 1
        for prompt in prompts[1:]:
            length = common_prefix(prompts[0][:length], prompt)
        return prompts[0][: length if length >= self.least_shared_prompt else 0]

    def _generate(
        self, generations: Sequence[Generation]
    ) -> Iterator[tuple[Generation, str | None]]:
        """Where memory runs out, what is unfinished starts again: fewer at once, at last alone.

        Yields (generation, error or nothing).
        """
        waiting = {generation.index: generation for generation in generations}
        prompts = {bytes(p): p for p in (np.asarray(g.prompt, np.int32) for g in generations)}
        ends = [len(prompt) for prompt in prompts.values()]
        self.usage.prompt_tokens += PrefixTree([*prompts.values()], ends, ends).distinct_tokens
        batch_digest = blake3()
        alone = False
        started = self._ran_until = time.perf_counter()
        while waiting:
            left = list(waiting.values())
            short = [g for g in left if not self.is_long(len(g.prompt) + g.max_tokens)]
            # A long one may change its factors where it grows past the limit, so it goes alone.
            group = (short or left[:1])[: 1 if alone else None]
            base = len(self.shared_prompt(group))
            batch_digest.update(repr((base, self.batch_sequences, len(group))).encode())
            for generation in group:
                batch_digest.update(np.asarray(generation.prompt, np.int32).tobytes() + b"\n")
            try:
                for generation in self.generate(group):
                    now = time.perf_counter()
                    generation.seconds = now - started
                    self.usage.generated_tokens += generation.steps
                    del waiting[generation.index]
                    yield generation, generation.error
                    started = time.perf_counter()
                    self._ran_until += started - now
            except OutOfMemoryError as error:
                if alone:
                    yield waiting.pop(group[0].index), f"out of memory: {error}"
                    continue
                alone = self.batch_sequences == 1
                self.batch_sequences = max(1, self.batch_sequences // 2)
                self.usage.notes.append(
                    f"out of memory ({error}): generating {self.batch_sequences} texts at once now"
                )
                for generation in waiting.values():  # some may be finished, but not handed over
                    generation.restart()
            else:
                missing = [g.index for g in group if g.index in waiting]
                assert not missing, f"the engine left out requests {missing}"
        self.usage.batching = (
            "one text at a time"
            if self.batch_sequences == 1
            else f"up to {self.batch_sequences} texts at once"
        )
        self.usage.batch_digest = batch_digest.hexdigest()
        self.usage.device_memory_bytes = self.device_memory_bytes()
