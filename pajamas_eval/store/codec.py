"""Results as bytes and back, exactly: every float, every character."""

from typing import Any, Union, get_args

import msgspec

from pajamas_eval.api.media import portable
from pajamas_eval.api.requests import Response


def _stored_form(kind: type[msgspec.Struct], number: int) -> type[msgspec.Struct]:
    """An array of the kind's number and fields; text is UTF-8 that may hold lone surrogates, which
    MessagePack's strings may not."""
    fields = [
        (field.name, bytes if field.type is str else field.type)
        for field in msgspec.structs.fields(kind)
    ]
    return msgspec.defstruct(kind.__name__, fields, tag=number, array_like=True)


# Numbers are on people's disks: kinds are added to the end of `Response` only.
_STORED_FORMS = {kind: _stored_form(kind, number) for number, kind in enumerate(get_args(Response))}
_KINDS = {form: kind for kind, form in _STORED_FORMS.items()}
_TEXTS = {
    kind: [i for i, field in enumerate(msgspec.structs.fields(kind)) if field.type is str]
    for kind in _STORED_FORMS
}

# Adapters may hand over numpy's scalars.
_encoder = msgspec.msgpack.Encoder(enc_hook=lambda scalar: scalar.item())
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Union[tuple(_KINDS)])  # noqa: UP007


def encode(result: Response) -> bytes:
    """The result as MessagePack: an array of its kind and its fields.

    Raises:
        TypeError: It is a failure, which is worth another try, or something else.
    """
    kind = type(result)
    if kind not in _STORED_FORMS:
        raise TypeError(f"a {kind.__name__} cannot be stored")
    values: list[Any] = [*msgspec.structs.astuple(result)]
    for i in _TEXTS[kind]:
        values[i] = portable(values[i])
    return _encoder.encode(_STORED_FORMS[kind](*values))


def decode(content: bytes) -> Response:
    """The result. Raises `ValueError` for anything that `encode` did not write."""
    stored = _decoder.decode(content)
    kind = _KINDS[type(stored)]
    values = [*msgspec.structs.astuple(stored)]
    for i in _TEXTS[kind]:
        values[i] = values[i].decode("utf-8", "surrogatepass")
    result: Response = kind(*values)
    return result
