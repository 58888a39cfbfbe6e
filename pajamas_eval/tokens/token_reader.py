"""How a language model reads text: everything that needs a tokenizer and no weights."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from pajamas_eval.api.identity import Settings
from pajamas_eval.api.requests import LogLikelihood, Request
from pajamas_eval.api.runtime import TextRuntime, TokenPair, Usage
from pajamas_eval.tokens.options import TokenOptions
from pajamas_eval.tokens.scoring import move_spaces

ENCODE_AT_ONCE = 512
"""Texts handed to a tokenizer in one call: enough for its own parallelism."""

KEPT_TOKENS = 16_000_000
"""Tokens kept between tokenizing and scoring: 64 MB, less where requests share a context."""

_NO_TOKENS = np.empty(0, np.int32)

_SURROGATES = re.compile("[\ud800-\udfff]")


class TokenReader(TextRuntime):
    """Joins context and continuation, puts BOS in front exactly once, keeps what it tokenized.

    An adapter sets the attributes below in its constructor and implements the abstract methods.
    """

    bos_token_id: int | None
    eos_token_ids: frozenset[int]
    default_prefix: tuple[int, ...]
    """What the model's own tokenizer puts in front of a text."""
    native_context_length: int
    bos_token: str
    eos_token: str
    chat_template: str | None
    options: TokenOptions

    def __init__(self, options: TokenOptions) -> None:
        self.options = options
        self.usage = Usage()
        self._context_limit: int | None = None
        self._kept: dict[LogLikelihood, TokenPair] = {}
        self._kept_tokens = 0

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, nothing added; special tokens named in a text are recognised."""

    @abstractmethod
    def decode(self, tokens: Sequence[int], *, keep_special: bool) -> str:
        """Text of the tokens; special tokens are spelled out or left out."""

    @property
    def settings(self) -> Settings:
        """How this model reads text."""
        return Settings(
            context_length=self.context_length,
            prefix_tokens=self.prefix_tokens,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
            end_tokens=tuple(
                self.decode([token], keep_special=True) or f"token {token}"
                for token in sorted(self.eos_token_ids)
            ),
            chat_template=self.chat_template,
            notes=(*self._capped(), *self._damaged()),
        )

    def _damaged(self) -> tuple[str, ...]:
        ratio = self.options.damage
        return (f"damaged on purpose: noise of {ratio:g} of its weights",) if ratio else ()

    def _capped(self) -> tuple[str, ...]:
        """Says so where the user's bound on the context is beyond the model's."""
        asked, own = self.options.n_ctx, self.native_context_length
        if asked is None or asked <= own:
            return ()
        return (f"n_ctx={asked} is more than the model's context length; {own} tokens are used",)

    @property
    def context_length(self) -> int:
        """Tokens a sequence may have: the least of the model's, the user's and the run's bound."""
        bounds = (self.native_context_length, self.options.n_ctx, self._context_limit)
        return min(b for b in bounds if b is not None)

    def limit_context(self, context_length: int) -> None:
        """Use at most `context_length` tokens per sequence."""
        self._context_limit = context_length

    @property
    def prefix_tokens(self) -> tuple[int, ...]:
        """What stands in front of every text."""
        if self.options.add_bos is None:
            return self.default_prefix
        if self.options.add_bos and self.bos_token_id is not None:
            return (self.bos_token_id,)
        return ()

    @property
    def empty_context(self) -> tuple[int, ...]:
        """What a text without anything before it is conditioned on: the prefix, BOS, or EOS."""
        bos = (self.bos_token_id,) if self.bos_token_id is not None else ()
        return self.prefix_tokens or bos or tuple(sorted(self.eos_token_ids))[:1]

    def encode_clean(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens without prefix. Lone surrogates, which no UTF-8 text can hold, become U+FFFD."""
        clean = [text if text.isascii() else _SURROGATES.sub("�", text) for text in texts]
        return self.encode(clean) if clean else []

    def with_prefix(self, tokens: list[int]) -> list[int]:
        """The prefix in front, exactly once: a rendered chat template brings its own BOS."""
        prefix = list(self.prefix_tokens)
        return tokens if prefix and tokens[: len(prefix)] == prefix else prefix + tokens

    def tokenize(self, requests: Sequence[Request]) -> Iterator[TokenPair]:
        """Context and continuation tokens of each request, in order; kept for scoring."""
        for start in range(0, len(requests), ENCODE_AT_ONCE):
            chunk = requests[start : start + ENCODE_AT_ONCE]
            pairs = iter(self._encode_pairs([r for r in chunk if isinstance(r, LogLikelihood)]))
            texts = ["".join(r.texts()) for r in chunk if not isinstance(r, LogLikelihood)]
            singles = iter(self.encode_clean(texts))
            for request in chunk:
                if isinstance(request, LogLikelihood):
                    pair = next(pairs)
                    self._keep(request, pair)
                    yield pair
                else:
                    tokens = np.asarray(self.with_prefix(next(singles)), np.int32)
                    scored = request.texts()[1]
                    yield (_NO_TOKENS, tokens) if scored else (tokens, _NO_TOKENS)

    def _keep(self, request: LogLikelihood, pair: TokenPair) -> None:
        """What was tokenized for a comparison need not be again for scoring."""
        if request not in self._kept and self._kept_tokens < KEPT_TOKENS:
            self._kept[request] = pair
            self._kept_tokens += pair[0].size + pair[1].size

    def pairs(self, requests: Sequence[LogLikelihood]) -> Iterator[TokenPair]:
        """Context and continuation of each request; what was kept is handed over."""
        kept = {r: self._kept.pop(r) for r in set(requests) if r in self._kept}
        self._kept_tokens -= sum(a.size + b.size for a, b in kept.values())
        others = iter(self._encode_pairs([r for r in requests if r not in kept]))
        for request in requests:
            yield kept[request] if request in kept else next(others)

    def _encode_pairs(self, requests: Sequence[LogLikelihood]) -> list[TokenPair]:
        """Context and continuation tokens of each request.

        Trailing spaces of the context move to the continuation; the continuation's tokens are
        those of the whole text beyond the context's. Where that leaves nothing of a continuation
        that has text (the tokenizer merged it into the context), it is encoded on its own.
        """
        pairs = [move_spaces(*r.texts()) for r in requests]
        distinct = {context: i for i, context in enumerate(dict.fromkeys(c for c, _ in pairs))}
        contexts = self.encode_clean(list(distinct))
        prefixed = [np.asarray(self.with_prefix(tokens), np.int32) for tokens in contexts]
        wholes = self.encode_clean([context + continuation for context, continuation in pairs])
        result = []
        for (context, continuation), whole in zip(pairs, wholes, strict=True):
            if context:
                head = prefixed[distinct[context]]
                tail = whole[len(contexts[distinct[context]]) :]
                if not tail and continuation:
                    tail = self.encode_clean([continuation])[0]
            else:
                start = list(self.empty_context)
                head = np.asarray(start, np.int32)
                # A text may spell out its own BOS.
                tail = whole[len(start) :] if start and whole[: len(start)] == start else whole
            result.append((head, np.asarray(tail, np.int32)))
        return result
