"""Results as bytes and back, exactly: every float, every character."""

from typing import assert_never

import msgspec

from pajamas_eval.api.results import FinishReason, GenerationResult, LogLikelihoodResult, Response


class _LogLikelihood(msgspec.Struct, array_like=True, tag=0):
    log_probability: float
    is_greedy: bool
    token_count: int
    byte_count: int
    prompt_tokens: int
    truncated_tokens: int
    seconds: float


class _Generation(msgspec.Struct, array_like=True, tag=1):
    text: bytes  # UTF-8 that may hold lone surrogates, which MessagePack's strings may not
    finish_reason: FinishReason
    token_count: int
    prompt_tokens: int
    truncated_tokens: int
    seconds: float


# Adapters may hand over numpy's scalars.
_encoder = msgspec.msgpack.Encoder(enc_hook=lambda scalar: scalar.item())
_decoder = msgspec.msgpack.Decoder(_LogLikelihood | _Generation)


def encode(result: Response) -> bytes:
    """The result as MessagePack: an array of its kind and its fields."""
    stored: _LogLikelihood | _Generation
    match result:
        case LogLikelihoodResult():
            stored = _LogLikelihood(
                result.log_probability,
                result.is_greedy,
                result.token_count,
                result.byte_count,
                result.prompt_tokens,
                result.truncated_tokens,
                result.seconds,
            )
        case GenerationResult():
            stored = _Generation(
                result.text.encode("utf-8", "surrogatepass"),
                result.finish_reason,
                result.token_count,
                result.prompt_tokens,
                result.truncated_tokens,
                result.seconds,
            )
        case _:
            assert_never(result)
    return _encoder.encode(stored)


def decode(content: bytes) -> Response:
    """The result. Raises `ValueError` for anything that `encode` did not write."""
    stored = _decoder.decode(content)
    if isinstance(stored, _LogLikelihood):
        return LogLikelihoodResult(*msgspec.structs.astuple(stored))
    text, *others = msgspec.structs.astuple(stored)
    return GenerationResult(text.decode("utf-8", "surrogatepass"), *others)
