"""One text being generated: its tokens so far and whether it is finished."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pajamas_eval.api.requests import FinishReason

NOT_NUMBERS = "the engine returned logits that are not numbers"
"""The error of an answer that such logits have no say in."""


class Decode(Protocol):
    """Text of tokens, special tokens spelled out or left out."""

    def __call__(self, tokens: Sequence[int], *, keep_special: bool) -> str: ...  # noqa: D102


@dataclass(slots=True, eq=False)
class Generation:
    """An adapter calls `push` with each new token, or `fail`, until it is `finished`.

    Attributes:
        index: Which request this answers.
        prompt: The prompt's tokens.
        until: Stop strings.
        max_tokens: Most new tokens.
        end_tokens: Tokens that end the text and are no part of it.
        decode: The runtime's detokenizer.
        heartbeat: Told of each token.
        logits: Where it is a list, `push` appends what it is told of each token.
        tokens: New tokens so far, the end token excluded.
        finish_reason: Set once the text is finished.
        text: Set once it is finished; what comes before the first stop string.
        error: Why there is no text.
    """

    index: int
    prompt: list[int]
    until: tuple[str, ...]
    max_tokens: int
    end_tokens: frozenset[int]
    decode: Decode
    heartbeat: Callable[[], None] = lambda: None
    logits: list[float] | None = None
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    text: str = ""
    error: str | None = None
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether nothing more is to come, be it a text or an error."""
        return self.finish_reason is not None or self.error is not None

    @property
    def steps(self) -> int:
        """Tokens that were run to get the next one: the first of a text comes with its prompt."""
        has_last = self.finish_reason == "end" or self.error is not None
        return len(self.tokens) if has_last else max(0, len(self.tokens) - 1)

    def push(self, token: int, logit: float = 0.0) -> None:
        """Take one new token, and decide whether the text ends here.

        Its logit, or its log-probability, is needed only where `logits` is a list.
        """
        self.heartbeat()
        if self.logits is not None:
            self.logits.append(logit)
        if token in self.end_tokens:
            self._finish("end")
            return
        self.tokens.append(token)
        if self._stop_in_tail():
            self._finish("stop")
        elif len(self.tokens) >= self.max_tokens:
            self._finish("length")

    def fail(self) -> None:
        """Take note that the logits of the next token are not numbers: none is the largest."""
        self.error = NOT_NUMBERS

    def restart(self) -> None:
        """Forget every new token."""
        self.tokens.clear()
        self.finish_reason, self.text, self.error = None, "", None

    def _stop_in_tail(self) -> bool:
        """Whether a stop string ends in the newest token, looking only at the last few tokens."""
        longest = max((len(s.encode()) for s in self.until), default=0)
        if not longest:
            return False
        # Every token adds a byte or more, save a few that decode to nothing: hence the slack.
        tail = self.decode(self.tokens[-(longest + 8) :], keep_special=True)
        return any(s in tail for s in self.until if s)

    def _finish(self, reason: FinishReason) -> None:
        self.finish_reason = reason
        self.text = self.decode(self.tokens, keep_special=False)
        # A stop string that is itself a special token shows only where those are spelled out.
        for text in (self.text, self.decode(self.tokens, keep_special=True)):
            if cuts := [at for s in self.until if s and (at := text.find(s)) >= 0]:
                self.text = text[: min(cuts)]
                return
