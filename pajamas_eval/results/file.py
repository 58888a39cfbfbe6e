"""Result documents as JSON files."""

import json
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pajamas_eval.errors import UsageError
from pajamas_eval.files import write_whole
from pajamas_eval.results.document import Document
from pajamas_eval.results.migrations import MIGRATIONS

FORMAT_VERSION = 6

_SURROGATES = re.compile("[\ud800-\udfff]")


_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


_AnyStruct = TypeVar("_AnyStruct", bound=msgspec.Struct)


def write(document: Document, path: Path) -> None:
    """Writes the document as JSON, whole or not at all."""
    write_whole(encode(document), path)


def encode(document: Document) -> bytes:
    """The document as indented JSON.

    Lone surrogates, as in a path that is not UTF-8, are escaped, and `decode` gives them back; two
    of them that make a pair become its character, as JSON has no other form for them.
    """
    try:
        return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(document), ensure_ascii=False, indent=1)
        escaped = _SURROGATES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        return escaped.encode() + b"\n"


def read(path: Path) -> Document:
    """Reads a document. Raises `UsageError` for anything it does not understand."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return decode(raw, str(path))


def decode(raw: bytes, name: str) -> Document:
    """A document from its JSON, of this version or an earlier one.

    Raises:
        UsageError: It holds anything that this program does not understand.
    """
    try:
        version = _parse(raw, _Versioned).format_version
        if version == FORMAT_VERSION:
            return _parse(raw, Document)
        if version in MIGRATIONS:
            return msgspec.convert(_migrated(json.loads(raw), version), Document)
        raise UsageError(
            f"{name} has format version {version}; this program reads "
            f"{min(MIGRATIONS)} to {FORMAT_VERSION}"
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{name} is not a result document: {error}") from None


def _migrated(document: Any, version: int) -> Any:
    for step in range(version, FORMAT_VERSION):
        MIGRATIONS[step](document)
        document["format_version"] = step + 1
    return document


def _parse(raw: bytes, kind: type[_AnyStruct]) -> _AnyStruct:
    if not _ESCAPED_SURROGATE.search(raw):
        return msgspec.json.decode(raw, type=kind)
    # msgspec takes no lone ones, and the standard library takes constants that JSON lacks.
    return msgspec.convert(json.loads(raw, parse_constant=_refuse), kind)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class _Versioned(msgspec.Struct):
    format_version: int


def json_schema() -> dict[str, Any]:
    """The document's JSON Schema."""
    return msgspec.json.schema(Document)
