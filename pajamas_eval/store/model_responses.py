"""The stored responses of one model, as a run sees them."""

import json
from collections.abc import Iterable, Sequence

import msgspec

from pajamas_eval.api.answer_key import AnswerKey, request_key
from pajamas_eval.api.identity import Identity
from pajamas_eval.api.requests import Response
from pajamas_eval.store.store import Store


class ModelResponses:
    """Finds what a model answered before, and keeps what it answers now."""

    def __init__(self, store: Store, run: int, key: AnswerKey, label: str) -> None:
        self._store, self._run = store, run
        self._key = key.digest()
        self._engine = msgspec.to_builtins(key)
        self._number = store.add_model(key, label)

    @property
    def description(self) -> Identity | None:
        """What was loaded when these weights were loaded last."""
        kept = self._store.description(self._number)
        try:
            return msgspec.json.decode(kept, type=Identity) if kept else None
        except msgspec.DecodeError:  # of a later or an earlier version of this program
            return None

    def describe(self, identity: Identity) -> None:
        """Keeps what was loaded."""
        self._store.describe(self._number, json.dumps(msgspec.to_builtins(identity)))

    def is_shared(self) -> bool:
        """Whether another run that goes on asks this model as well."""
        others = self._store.runs.settings_of_others(self._run)
        # One that has yet to open its models may turn out to be one.
        return any(s is None or self._engine in s.get("engines", {}).values() for s in others)

    def find(self, fingerprints: Sequence[bytes]) -> dict[bytes, Response]:
        """Stored responses, by the fingerprints of their requests."""
        keys = {request_key(self._key, f): f for f in fingerprints}
        return {keys[key]: response for key, response in self._store.get(keys).items()}

    def keep(self, responses: Iterable[tuple[bytes, Response]]) -> None:
        """Stores responses, each with its request's fingerprint, in one transaction."""
        self._store.put(
            self._run,
            self._number,
            [(request_key(self._key, f), response) for f, response in responses],
        )
