"""What a benchmark asks of a runtime, and what it gets back."""

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
