"""What a benchmark asks of a runtime, and what it gets back."""

from typing import Literal

import msgspec


class LogLikelihood(msgspec.Struct, frozen=True):
    """How probable is `continuation` after `context`?"""

    context: str
    continuation: str


class LogLikelihoodRolling(msgspec.Struct, frozen=True):
    """How probable is the whole of `text`, from its first token on?"""

    text: str


class GenerateUntil(msgspec.Struct, frozen=True):
    """Continue `prompt` greedily until a stop string, the end token or `max_tokens` new tokens."""

    prompt: str
    until: tuple[str, ...]
    max_tokens: int


Request = LogLikelihood | LogLikelihoodRolling | GenerateUntil


class LogLikelihoodResult(msgspec.Struct, frozen=True):
    """Answer to `LogLikelihood` and `LogLikelihoodRolling`.

    Attributes:
        log_probability: Sum over the scored tokens, natural logarithm.
        is_greedy: Whether every scored token is the most probable one at its place.
        token_count: Number of scored tokens.
        byte_count: UTF-8 length of the scored text.
        prompt_tokens: Tokens in front of the scored ones (windows of a rolling text: 1 each).
        truncated_tokens: Tokens cut from the left because the context was full.
        seconds: This request's share of its batch's time.
    """

    log_probability: float
    is_greedy: bool
    token_count: int
    byte_count: int
    prompt_tokens: int
    truncated_tokens: int = 0
    seconds: float = 0.0


FinishReason = Literal["stop", "end", "length"]


class GenerationResult(msgspec.Struct, frozen=True):
    """Answer to `GenerateUntil`.

    Attributes:
        text: The generated text, without the stop string and what follows it.
        finish_reason: `stop` (a stop string), `end` (an end token) or `length` (token limit).
        token_count: Number of generated tokens.
        prompt_tokens: Number of tokens of the prompt that the model saw.
        truncated_tokens: Tokens cut from the left of the prompt because the context was full.
        seconds: Time since the text that was finished before this one: they run together.
    """

    text: str
    finish_reason: FinishReason
    token_count: int
    prompt_tokens: int
    truncated_tokens: int = 0
    seconds: float = 0.0


class Failure(msgspec.Struct, frozen=True):
    """A request that could not be answered: an error in the report, never a wrong answer."""

    error: str


Response = LogLikelihoodResult | GenerationResult
"""An answer. It can be stored, which a failure is not: that is worth another try."""

Result = Response | Failure
