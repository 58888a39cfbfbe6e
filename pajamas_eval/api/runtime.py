"""The contract between the core and an inference engine."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from blake3 import blake3
from numpy.typing import ArrayLike, NDArray

from pajamas_eval.api.architecture import ArchitectureFacts
from pajamas_eval.api.hidden_states import Observer
from pajamas_eval.api.identity import Engine, Identity, Settings
from pajamas_eval.api.media import Prompt
from pajamas_eval.api.options import RuntimeOptions
from pajamas_eval.api.requests import AnyResult, GenerateUntil, Request
from pajamas_eval.api.validation import validate_place
from pajamas_eval.errors import UsageError

Answers = Iterator[tuple[int, AnyResult]]
"""Pairs of a request's index and its result, in any order, each index exactly once."""

TokenPair = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Token ids of a request's context and of its continuation."""

READING_BYTES = 16
"""Length of the digest of what a model reads."""

_SAMPLE_TEXT = (
    "The quick brown fox jumps over the lazy dog; 12 boxing wizards hold 345 jugs of wine."
)
"""Any two vocabularies that differ divide it otherwise, or into other numbers."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a runtime can be asked.

    Attributes:
        requests: Kinds of requests that it answers.
        modalities: What its prompts may hold: `text`, `image`.
        sampling: Whether it draws tokens at random where a request asks for it.
    """

    requests: frozenset[type[Request]]
    modalities: frozenset[str] = frozenset({"text"})
    sampling: bool = False


@dataclass(slots=True)
class Usage:
    """What answering one list of requests cost so far.

    Attributes:
        evaluated_tokens: Tokens the engine ran, with padding, prefixes that were run again, and
            what was run for texts of a batch that were finished.
        prompt_tokens: Tokens that it would run for all that it read, scored texts included, if
            every distinct prefix were computed once.
        generated_tokens: Tokens that it would run to generate: all new ones, an end token included,
            but the first of each text, which comes with its prompt.
        prompt_seconds: Wall time that the engine took to read.
        generation_seconds: Wall time that it took to generate.
        device_memory_bytes: Peak memory on a device that the process's own does not include.
        batching: How much was run at once, in words.
        batch_digest: Of what was run together: with equal ones, an engine on the same machine gives
            the same bits.
        notes: What happened that a reader should know, such as smaller batches.
    """

    evaluated_tokens: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    prompt_seconds: float = 0.0
    generation_seconds: float = 0.0
    device_memory_bytes: int = 0
    batching: str = ""
    batch_digest: str = ""
    notes: list[str] = field(default_factory=list)


class Runtime(ABC):
    """One model in one engine, or behind a server.

    Construction, from its options, is cheap: it reads metadata, not the weights. `load` reads the
    weights; answering calls for it.
    """

    name: ClassVar[str]
    options_type: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    options: RuntimeOptions
    usage: Usage

    def heartbeat(self) -> None:  # noqa: B027 - nobody need listen
        """To be called now and then while answering: silence is taken for an engine that hangs.

        The worker process puts its own function here.
        """

    @classmethod
    @abstractmethod
    def engine(cls) -> Engine:
        """The installed engine. Raises `MissingEngineError` if it is not installed."""

    @classmethod
    def remedy(cls, folder: Path) -> Mapping[str, Any]:
        """What a folder's `config.json` must be given for this engine to read the model rightly.

        Keys of the object, or of objects in it; nothing of a model that it reads as it is.
        """
        del folder
        return {}

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this model can be asked."""

    @abstractmethod
    def digest(self) -> str | None:
        """BLAKE3 of the model's files, in hexadecimal; needs no weights loaded.

        Nothing where they are out of reach: answers are then stored under the options alone.
        """

    def architecture(self) -> ArchitectureFacts | None:
        """The model's architecture as this engine resolved it; needs no weights loaded.

        Nothing where it cannot be known. Two variants of one model that differ in it are not
        compared: one of them is misread.
        """
        return None

    def answer_settings(self) -> Mapping[str, Any]:
        """What else decides its answers, beyond weights, engine and options; values are JSON."""
        return {}

    @abstractmethod
    def load(self) -> Identity:
        """Read the weights, and say what exactly was loaded. Raises `UsageError`."""

    def readings(self, requests: Sequence[Request]) -> Iterator[bytes | None]:
        """How this model reads each request, in order: a digest, or nothing where it cannot know.

        Two models that read a request alike, such as with the same tokens or as the same pixels,
        give equal digests.
        """
        return (None for _ in requests)

    def answer(self, requests: Sequence[Request]) -> Answers:
        """Answers a mixed list of requests, each kind by the method of its name.

        These methods, such as `loglikelihood` or `generate_until`, take a list of requests of one
        kind and return `Answers`.
        """
        for kind in {type(request): None for request in requests}:
            indices = [i for i, request in enumerate(requests) if type(request) is kind]
            for answer in getattr(self, kind.kind())([requests[i] for i in indices]):
                i, result = validate_place(answer, len(indices), self.name)
                yield indices[i], result

    def hidden_states(self, tokens: Sequence[int], observe: Observer) -> None:
        """Runs a text, and shows an observer the embedding, every layer, and the logits, in order.

        A layer whose attention and feed-forward part cannot be told apart shows its output alone;
        nothing is shown that was not proven to be what it is called. The weights are loaded.

        Raises:
            UsageError: The places cannot be found in this engine or in this model.
        """
        raise UsageError(f"the {self.name} runtime does not show hidden states")

    def close(self) -> None:  # noqa: B027 - most engines need nothing
        """Give back what the engine holds."""


class TextRuntime(Runtime):
    """A runtime that knows how its model turns text into tokens."""

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """How this model reads text."""

    @abstractmethod
    def limit_context(self, context_length: int) -> None:
        """Use at most `context_length` tokens per sequence, so that all models truncate alike."""

    @abstractmethod
    def tokenize(self, requests: Sequence[Request]) -> Iterator[TokenPair]:
        """Context and continuation of each request as this model reads them, in order.

        A prompt is a context without continuation, a rolling text a continuation without context.
        """

    def readings(self, requests: Sequence[Request]) -> Iterator[bytes | None]:
        """Digests of each request's tokens, and of the context's length where that cuts them."""
        length = self.settings.context_length
        for request, pair in zip(requests, self.tokenize(requests), strict=True):
            yield token_reading(request, *pair, length)

    def answer_settings(self) -> Mapping[str, Any]:
        """The prefix of every text, and a digest that models of one vocabulary share."""
        prefix = list(self.settings.prefix_tokens)
        ((tokens, _),) = self.tokenize([GenerateUntil(Prompt(_SAMPLE_TEXT), (), 1)])
        bare = np.asarray(tokens[len(prefix) :], np.int32)
        return {"prefix_tokens": prefix, "vocabulary": blake3(bare.tobytes()).hexdigest()[:16]}


def token_reading(
    request: Request,
    context: ArrayLike,
    continuation: ArrayLike,
    context_length: int | None,
) -> bytes:
    """Digest of a request's tokens, and of the context's length where that cuts them.

    Args:
        request: What is asked.
        context: `[n]` token ids in front of the scored ones; the whole prompt of a generation.
        continuation: `[m]` token ids to score; none for a generation.
        context_length: Tokens that the model may see, where that is known.
    """
    parts = [np.asarray(tokens, np.int32).tobytes() for tokens in (context, continuation)]
    room = len(context) + len(continuation) + request.new_tokens()  # type: ignore[arg-type]
    cut = context_length if context_length is not None and room > context_length else None
    # MessagePack gives every part its length, so none can run into the next.
    return blake3(msgspec.msgpack.encode((parts, cut))).digest(READING_BYTES)
