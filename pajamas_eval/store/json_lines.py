"""A whole store as text, for other programs."""

import json
import math
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import IO, Any

import msgspec
from msgspec.structs import asdict

from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.store.codec import decode
from pajamas_eval.store.store import Store, shown


def export(store: Store, file: IO[str]) -> int:
    """Writes a store as JSON lines, all of it ASCII; returns the number of lines.

    First one line for each model: `record` ("model"), `model` (its number), `label`, and the fields
    of `AnswerKey`. Then one for each response, the oldest first: `record` ("response"), `key`
    (hexadecimal), `model`, `run`, `created` (ISO 8601), `kind` (such as "loglikelihood"),
    and the fields of the result. Lone surrogates are escaped (a reader joins two that make a pair);
    a float that JSON lacks is the string "inf", "-inf" or "nan".

    Raises:
        OSError: The file does not take it.
    """
    lines = 0
    with store.database.reading() as connection:
        for record in chain(_models(connection, store), _responses(connection, store)):
            file.write(json.dumps(_finite(record), allow_nan=False) + "\n")
            lines += 1
    return lines


def _models(connection: sqlite3.Connection, store: Store) -> Iterator[dict[str, Any]]:
    for number, label, identity in connection.execute(
        "SELECT id, label, identity FROM models ORDER BY id"
    ):
        with store.intact(f"model {number}"):
            fields = msgspec.to_builtins(msgspec.json.decode(identity, type=AnswerKey))
        yield {"record": "model", "model": number, "label": label, **fields}


def _responses(connection: sqlite3.Connection, store: Store) -> Iterator[dict[str, Any]]:
    for key, number, run, created, content in connection.execute(
        "SELECT key, model, run, created, result FROM responses ORDER BY rowid"
    ):
        with store.intact(f"response {shown(key)}"):
            result = decode(content)
            at = datetime.fromtimestamp(created, UTC).isoformat()
        yield {
            "record": "response",
            "key": key.hex(),
            "model": number,
            "run": run,
            "created": at,
            "kind": result.__struct_config__.tag,
            **asdict(result),
        }


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }
