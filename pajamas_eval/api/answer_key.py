"""What answers are stored under: equal keys mean that the same was asked of the same model."""

import json
from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec
from blake3 import blake3

from pajamas_eval.api.options import NO_EFFECT
from pajamas_eval.api.requests import Request
from pajamas_eval.api.runtime import Runtime
from pajamas_eval.api.validation import validate_statement

METHOD = 2
"""How this program turns an engine's logits into a result. Raised by a change after which the same
tokens give other results: what was stored before is then no longer found."""

KEY_BYTES = 16
"""Length of fingerprints and request keys: no two of 10^12 are alike by chance."""


class AnswerKey(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides what a model answers to what it reads, as its runtime states it.

    Attributes:
        weights: BLAKE3 of the weights and what lies with them, in hexadecimal; nothing where it
            cannot be known, as behind a server.
        runtime: Name of the adapter.
        versions: Version of each package that affects the answer.
        build: How the engine was built, and for which hardware.
        device: The device it uses.
        options: Options that affect answers, as they were given or are by default.
        settings: What else decides answers, such as prefix tokens; values are JSON.
        method: See `METHOD`.
    """

    weights: str | None
    runtime: str
    versions: dict[str, str]
    build: str = ""
    device: str = ""
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    method: int = METHOD

    def canonical(self) -> str:
        """All of it as JSON in ASCII, the same whatever the order of its mappings."""
        builtins = msgspec.to_builtins(self, order="deterministic")
        return json.dumps(builtins, sort_keys=True, separators=(",", ":"))

    def digest(self) -> bytes:
        """32 bytes that name the model."""
        return blake3(self.canonical().encode()).digest()


def answer_key(runtime: Runtime) -> AnswerKey:
    """The key of a runtime's answers, from what it states of itself; needs no weights loaded.

    Raises:
        RunError: What it states is of other types.
    """
    engine = runtime.engine()
    key = AnswerKey(
        weights=runtime.digest(),
        runtime=runtime.name,
        versions=engine.versions,
        build=engine.build,
        device=engine.device,
        options=answer_affecting_options(runtime.options),
        settings=dict(runtime.answer_settings()),
    )
    return validate_statement(AnswerKey, key, "the runtime gave an invalid answer key")


def answer_affecting_options(options: msgspec.Struct) -> dict[str, Any]:
    """The fields that affect answers: those that are not declared with `NO_EFFECT`."""
    plain: Mapping[str, Any] = msgspec.to_builtins(options)
    hints = get_type_hints(type(options), include_extras=True)
    return {
        name: value
        for name, value in plain.items()
        if NO_EFFECT not in getattr(hints[name], "__metadata__", ())
    }


def fingerprint(request: Request, reading: bytes | None) -> bytes:
    """16 bytes that name a request as a model reads it.

    Args:
        request: What is asked.
        reading: Digest of what the model reads; nothing where it is not known how it reads: then
            the request itself is taken for it.
    """
    if reading is None:
        parts: tuple[object, ...] = ("as asked", *request.content())
    else:
        images = [image.digest for image in request.images()]
        parts = (request.kind(), *request.key_parts(), reading, images)
    # MessagePack gives every part its length, so none can run into the next.
    return blake3(msgspec.msgpack.encode(parts)).digest(KEY_BYTES)


def request_key(model: bytes, fingerprint: bytes) -> bytes:
    """16 bytes that name one request to one model: both parts have a fixed length."""
    return blake3(model + fingerprint).digest(KEY_BYTES)
