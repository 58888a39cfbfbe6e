"""What a run asks of a model, wherever that model is."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pajamas_eval.api.hidden_states import Observer
from pajamas_eval.api.requests import AnyResult, Request
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.workers.messages import Finished, Loaded, Opened, Readings

TIMEOUT_SECONDS = 300.0
"""How long an engine may show no heartbeat while it answers."""


class Worker(Protocol):
    """One model that is opened, loaded and asked, apart from this process.

    A worker begins to open its model when it is made; `open` waits for that. One that died or hung
    is of no further use until it is restarted. Every method but `close` raises `UsageError` where
    the model or its options are at fault, `WorkerDiedError` where the worker ended by itself,
    `WorkerHungError` where it was killed because it showed no heartbeat, and `RunError` where
    the engine failed otherwise.
    """

    @property
    def label(self) -> str:
        """The model's name in the report."""

    @property
    def spec(self) -> ModelSpec:
        """The model."""

    def open(self) -> Opened:
        """Reads tokenizer and metadata; cheap, save for a digest that is not yet known.

        Raises:
            RunError: Files, engine or settings are others than when it was opened before.
        """

    def start_reading(self, requests: Sequence[Request], context_length: int | None) -> None:
        """Begins to read requests, while other workers do; see `load` for the length."""

    def readings(self) -> Readings:
        """How the model reads the requests of `start_reading`."""

    def tokenize(self, requests: Sequence[Request]) -> list[list[int]]:
        """The tokens of each request, context and continuation in one list."""

    def load(self, context_length: int | None) -> Loaded:
        """Reads the weights; sequences will have at most `context_length` tokens.

        Raises:
            RunError: The files are others than when it was opened.
        """

    def answer(
        self, requests: Sequence[Request]
    ) -> Iterator[Sequence[tuple[int, AnyResult]] | Finished]:
        """Groups of results as they come, and what they cost at the end.

        Results are pairs of an index into `requests` and the answer to that request, in any order;
        nothing warrants that each index comes, or only once.
        """

    def hidden_states(self, tokens: Sequence[int], observe: Observer) -> None:
        """Has the model that is loaded run a text, and shows an observer here its states.

        Where the observer raises, the worker is left in the middle and can only be closed.
        """

    def restart(self) -> None:
        """Replaces a worker that died or hung by a new one; the model is to be opened again."""

    def close(self) -> None:
        """Ends it, whatever it is doing, and all that it started; more than once does no harm."""
