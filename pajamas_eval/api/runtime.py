"""The contract between the core and an inference engine."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pajamas_eval.api.identity import Engine, Identity, Settings
from pajamas_eval.api.requests import GenerateUntil, LogLikelihood, LogLikelihoodRolling, Request
from pajamas_eval.api.results import Result
from pajamas_eval.errors import RunError

Answers = Iterator[tuple[int, Result]]
"""Pairs of a request's index and its result, in any order, each index exactly once."""

TokenPair = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Token ids of a request's context and of its continuation."""


class RuntimeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options every language-model runtime takes; adapters add their own.

    Attributes:
        path: File, folder or hub id of the model.
        n_ctx: Upper bound on the context length, in tokens; the model's own by default.
        add_bos: Whether text starts with the BOS token; the model's own default if not given.
        trust_remote_code: Run Python code that comes with the model.
        allow_pickle: Load weights stored as Python pickles, which can run code.
        exact: Run one sequence at a time and share nothing: slow, and free of the small
            differences that an engine's kernels make between batches of different shape.
        batch_tokens: Most tokens of one batch, where that is less than the runtime's own number.
        batch_sequences: Most sequences of one batch, likewise.
    """

    path: str
    n_ctx: Annotated[int, msgspec.Meta(ge=1)] | None = None
    add_bos: bool | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    exact: bool = False
    batch_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    batch_sequences: Annotated[int, msgspec.Meta(ge=1)] | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a runtime can be asked."""

    requests: frozenset[type[Request]]
    modalities: frozenset[str] = frozenset({"text"})


@dataclass(slots=True)
class Usage:
    """What answering one list of requests cost so far.

    Attributes:
        evaluated_tokens: Tokens the engine ran, padding included.
        ideal_tokens: Tokens it would run if every distinct prefix were computed once.
        generated_tokens: New tokens, included in `evaluated_tokens`.
        engine_seconds: Wall time spent in the engine.
        device_memory_bytes: Peak memory on a device that the process's own does not include.
        batching: How much was run at once, in words.
        batch_digest: Of what was run together: with equal ones, an engine on the same machine gives
            the same bits.
        notes: What happened that a reader should know, such as smaller batches.
    """

    evaluated_tokens: int = 0
    ideal_tokens: int = 0
    generated_tokens: int = 0
    engine_seconds: float = 0.0
    device_memory_bytes: int = 0
    batching: str = ""
    batch_digest: str = ""
    notes: list[str] = field(default_factory=list)


class Runtime(ABC):
    """One model in one engine.

    Construction is cheap: it reads the tokenizer and metadata, not the weights. `load` reads the
    weights; the request methods call for it.
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

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this model can be asked."""

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """How this model reads text."""

    @abstractmethod
    def digest(self) -> str:
        """BLAKE3 of the model's files, in hexadecimal; needs no weights loaded."""

    @abstractmethod
    def limit_context(self, context_length: int) -> None:
        """Use at most `context_length` tokens per sequence, so that all models truncate alike."""

    @abstractmethod
    def load(self) -> Identity:
        """Read the weights, and say what exactly was loaded. Raises `UsageError`."""

    @abstractmethod
    def tokenize(self, requests: Sequence[Request]) -> Iterator[TokenPair]:
        """Context and continuation of each request as this model reads them, in order.

        A prompt is a context without continuation, a rolling text a continuation without context.
        """

    @abstractmethod
    def loglikelihood(self, requests: Sequence[LogLikelihood]) -> Answers:
        """Log-probability of each continuation after its context."""

    @abstractmethod
    def loglikelihood_rolling(self, requests: Sequence[LogLikelihoodRolling]) -> Answers:
        """Log-probability of each whole text."""

    @abstractmethod
    def generate_until(self, requests: Sequence[GenerateUntil]) -> Answers:
        """Greedy continuation of each prompt."""

    def close(self) -> None:  # noqa: B027 - most engines need nothing
        """Give back what the engine holds."""

    def answer(self, requests: Sequence[Request]) -> Answers:
        """Answers a mixed list of requests, each kind by its own method."""
        kinds = {
            LogLikelihood: self.loglikelihood,
            LogLikelihoodRolling: self.loglikelihood_rolling,
            GenerateUntil: self.generate_until,
        }
        for kind, method in kinds.items():
            indices = [i for i, request in enumerate(requests) if type(request) is kind]
            if indices:
                for i, result in method([requests[i] for i in indices]):  # type: ignore[operator]
                    if not 0 <= i < len(indices):
                        raise RunError(
                            f"the {self.name} runtime answered request {i} of {len(indices)}, "
                            "which it was not asked"
                        )
                    yield indices[i], result
