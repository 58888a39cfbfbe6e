"""What every result of a request has."""

from typing import ClassVar

import msgspec


class Result(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True):
    """Base of all results. A kind has these fields, in any order, and fields of its own.

    Fields:
        token_count: Tokens that were scored or generated.
        prompt_tokens: Tokens that the model saw in front of them.
        truncated_tokens: Tokens cut from the left because the context was full.
        seconds: This request's share of its batch's time.
    """

    counts: ClassVar[tuple[str, ...]] = ("token_count", "prompt_tokens", "truncated_tokens")
    """Fields that count something."""

    def problem(self) -> str | None:
        """What is wrong with a result whose fields have the right types, if anything."""
        return None

    @property
    def log_probabilities(self) -> tuple[float, ...]:
        """Log-probabilities of the choices that it is about, if it is about any."""
        return ()


class Failure(msgspec.Struct, frozen=True):
    """A request that could not be answered: an error in the report, never a wrong answer.

    It is not stored: it is worth another try.
    """

    error: str
