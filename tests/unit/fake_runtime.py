"""A language model small enough to compute by hand: the stand-in for every engine."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.api.identity import Engine, Identity
from pajamas_eval.errors import OutOfMemoryError
from pajamas_eval.tokens.generation import Generation
from pajamas_eval.tokens.options import TokenOptions
from pajamas_eval.tokens.scoring import ScoringBatch
from pajamas_eval.tokens.token_runtime import TokenRuntime

BOS, EOS, UNKNOWN = 0, 1, 2
PIECES = ("<s>", "</s>", "�", *"abcdefghijklmnopqrstuvwxyz .:\n\0", "qu", "u:")
"""Every token's text. `qu` and `u:` are merges: `qu` is one token, as is `u:`, but `qu:` is `qu`
and `:`."""

IDS = {piece: i for i, piece in enumerate(PIECES)}
SPECIAL = {BOS, EOS}


def encode(text: str) -> list[int]:
    """Longest piece first, from the left."""
    tokens: list[int] = []
    while text:
        piece = max((p for p in PIECES if text.startswith(p)), key=len, default="")
        tokens.append(IDS[piece] if piece else UNKNOWN)
        text = text[len(piece) or 1 :]
    return tokens


def decode(tokens: Sequence[int], *, keep_special: bool) -> str:
    return "".join(PIECES[t] for t in tokens if keep_special or t not in SPECIAL)


@cache
def log_probabilities(prefix: tuple[int, ...]) -> NDArray[np.float64]:
    """`[vocabulary]`: a pure function of all tokens so far."""
    seed = hashlib.blake2b(bytes(prefix), digest_size=8).digest()
    logits = 3 * np.random.default_rng(int.from_bytes(seed)).normal(size=len(PIECES))
    return np.asarray(logits - np.log(np.exp(logits).sum()))


def expected(context: Sequence[int], continuation: Sequence[int]) -> float:
    """Log-probability of the continuation, token by token."""
    total, prefix = 0.0, tuple(context)
    for token in continuation:
        total += float(log_probabilities(prefix)[token])
        prefix += (token,)
    return total


def most_probable(prefix: Sequence[int], count: int) -> list[int]:
    """The greedy continuation, end tokens like any other."""
    tokens = list(prefix)
    for _ in range(count):
        tokens.append(int(log_probabilities(tuple(tokens)).argmax()))
    return tokens[len(prefix) :]


class FakeRuntime(TokenRuntime):
    """The model above behind the contract; what it was given is recorded.

    Attributes:
        scored: The rows of every batch that went through, as token lists.
        generated: The size of every batch of generations that went through.
        room: Tokens of a batch, padding included, that fit in memory.
        texts_at_once: Generations that fit in memory.
        longest_prompt: Tokens of a prompt that fit in memory.
        script: What every text continues with, instead of the most probable tokens.
    """

    name = "fake"

    def __init__(
        self,
        *,
        bos: int | None = BOS,
        eos: frozenset[int] = frozenset({EOS}),
        adds_bos: bool = True,
        context_length: int = 64,
        **options: Any,
    ) -> None:
        super().__init__(TokenOptions(path="fake", **options))
        self.bos_token_id = bos
        self.eos_token_ids = eos
        self.default_prefix = (bos,) if adds_bos and bos is not None else ()
        self.native_context_length = context_length
        self.bos_token, self.eos_token, self.chat_template = "<s>", "</s>", None
        self.scored: list[list[list[int]]] = []
        self.generated: list[int] = []
        self.room = self.texts_at_once = self.longest_prompt = 10**9
        self.poisoned: int | None = None
        self.script: list[int] | None = None
        self.base = np.empty(0, np.int32)

    @classmethod
    def engine(cls) -> Engine:
        return Engine({"fake": "1"}, "CPU")

    def digest(self) -> str:
        return "0" * 64

    def load(self) -> Identity:
        raise NotImplementedError

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        for text in texts:
            text.encode()  # as a real tokenizer would: it takes no lone surrogates
        return [encode(text) for text in texts]

    def decode(self, tokens: Sequence[int], *, keep_special: bool) -> str:
        return decode(tokens, keep_special=keep_special)

    def score(self, batch: ScoringBatch) -> int:
        rows, base = batch.rows, len(batch.base)
        ran = sum(stage.tokens.size for stage in batch.stages())
        if ran > self.room:
            raise OutOfMemoryError("no room")
        self.scored.append([row.tokens.tolist() for row in rows])
        for row in rows:
            tokens = tuple(row.tokens.tolist())
            assert tokens[:base] == tuple(batch.base.tolist())
            assert min(row.positions) >= base
            assert len(tokens) <= self.context_length
            values = [log_probabilities(tokens[: p + 1]) for p in row.positions]
            row.log_probabilities = np.array(
                [v[t] for v, t in zip(values, row.targets, strict=True)]
            )
            row.is_greedy = np.array(
                [v.argmax() == t for v, t in zip(values, row.targets, strict=True)], np.bool_
            )
            if self.poisoned in tokens:
                row.log_probabilities[:] = np.nan
        new = 0 if np.array_equal(batch.base, self.base) else base
        self.base = batch.base
        return new + ran

    def generate(self, generations: Sequence[Generation]) -> Iterator[Generation]:
        for start in range(0, len(generations), self.batch_sequences):
            batch = generations[start : start + self.batch_sequences]
            longest = max(len(g.prompt) for g in batch)
            too_large = len(batch) > self.texts_at_once or longest > self.longest_prompt
            for number, generation in enumerate(reversed(batch)):
                new: list[int] = []  # as engines do, it starts from the prompt
                while not generation.finished:
                    self.ran(0 if new else len(generation.prompt), 1 if new else 0)
                    new.append(self._next(generation.prompt, new))
                    so_far = (*generation.prompt, *new[:-1])
                    generation.push(new[-1], float(log_probabilities(so_far)[new[-1]]))
                    if too_large and number:  # in the middle: one text is done, another begun
                        raise OutOfMemoryError("no room")
            if too_large:
                raise OutOfMemoryError("no room")
            self.generated.append(len(batch))
            yield from reversed(batch)

    def _next(self, prompt: Sequence[int], new: Sequence[int]) -> int:
        if self.script is not None:
            return self.script[len(new)]
        return most_probable([*prompt, *new], 1)[0]
