"""Names of stored responses: equal keys mean that the same was asked of the same model."""

import json
from typing import Any

import msgspec
import numpy as np
from blake3 import blake3
from numpy.typing import ArrayLike

from pajamas_eval.api.requests import GenerateUntil, LogLikelihood, LogLikelihoodRolling, Request
from pajamas_eval.api.runtime import RuntimeOptions

METHOD = 1
"""How this program turns an engine's logits into a result. Raised by a change after which the same
tokens give other results: what was stored before is then no longer found."""

KEY_BYTES = 16
"""Length of fingerprints and request keys: no two of 10^12 are alike by chance."""


class ModelIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides what a model answers to given tokens.

    Attributes:
        digest: BLAKE3 of the weights and what lies with them, in hexadecimal.
        runtime: Name of the adapter.
        versions: Version of each package that affects the answer.
        settings: Every resolved setting that can change an answer, such as dtype, device, cache
            type, prefix tokens and context length; values are JSON. Never a path or a label.
        method: See `METHOD`.
    """

    digest: str
    runtime: str
    versions: dict[str, str]
    settings: dict[str, Any]
    method: int = METHOD


def canonical(identity: ModelIdentity) -> str:
    """The identity as JSON, the same whatever the order of its mappings; all of it is ASCII."""
    builtins = msgspec.to_builtins(identity, order="deterministic")
    return json.dumps(builtins, sort_keys=True, separators=(",", ":"))


def model_key(identity: ModelIdentity) -> bytes:
    """32 bytes that name a model."""
    return blake3(canonical(identity).encode()).digest()


def fingerprint(
    request: Request, context: ArrayLike, continuation: ArrayLike, context_length: int
) -> bytes:
    """16 bytes that name a request as a model reads it.

    Of the request's text only what a result repeats or depends on beyond its tokens goes in: the
    byte count of the scored text, which different texts of equal tokens need not share, and the
    stop strings and the token limit.

    Args:
        request: What is asked.
        context: `[n]` token ids in front of the scored ones; the whole prompt of a generation.
        continuation: `[m]` token ids to score; none for a generation.
        context_length: Tokens that the model may see, which matters where these are more.
    """
    details: tuple[object, ...]
    room = len(context) + len(continuation)  # type: ignore[arg-type]
    match request:
        case LogLikelihood():
            details = ("loglikelihood", _byte_count(request.continuation))
        case LogLikelihoodRolling():
            details = ("loglikelihood_rolling", _byte_count(request.text))
        case GenerateUntil():
            until = [stop.encode("utf-8", "surrogatepass") for stop in request.until]
            details = ("generate_until", until, request.max_tokens)
            room += request.max_tokens
    if room > context_length:
        details = (*details, context_length)
    # MessagePack gives every part its length, so none can run into the next.
    parts = (*details, _token_bytes(context), _token_bytes(continuation))
    return blake3(msgspec.msgpack.encode(parts)).digest(KEY_BYTES)


def request_key(model: bytes, fingerprint: bytes) -> bytes:
    """16 bytes that name one request to one model: both parts have a fixed length."""
    return blake3(model + fingerprint).digest(KEY_BYTES)


def _byte_count(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _token_bytes(tokens: ArrayLike) -> bytes:
    return np.asarray(tokens, np.int32).tobytes()


def answer_affecting_options(options: RuntimeOptions) -> dict[str, Any]:
    """Options that can change an answer, beyond what settings and digest say already."""
    told_otherwise = {"path", "n_ctx", "add_bos", "allow_pickle"}
    plain: dict[str, Any] = msgspec.to_builtins(options)
    return {name: value for name, value in plain.items() if name not in told_otherwise}
