"""Checks a whole store."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from pajamas_eval.errors import PajamasError
from pajamas_eval.store.codec import decode
from pajamas_eval.store.store import DAMAGE, Store, shown


@dataclass(slots=True)
class Verification:
    """What was read, and what is wrong with it: nothing, where `problems` is empty."""

    responses: int = 0
    models: int = 0
    runs: int = 0
    problems: list[str] = field(default_factory=list)


def verify(store: Store) -> Verification:
    """Reads everything: pages and references, responses, models, runs with their documents."""
    found = Verification()
    try:
        with store.database.reading() as connection:
            for (problem,) in connection.execute("PRAGMA integrity_check"):
                if problem != "ok":
                    found.problems.append(problem)
            for table, *_ in connection.execute("PRAGMA foreign_key_check"):
                found.problems.append(f"a row of {table} refers to nothing")
            for key, result in connection.execute("SELECT key, result FROM responses"):
                found.responses += 1
                if not _readable(decode, result):
                    found.problems.append(f"response {shown(key)} cannot be read")
            for number, key, identity in connection.execute("SELECT id, key, identity FROM models"):
                found.models += 1
                if not _readable(_digest, identity) or _digest(identity) != key:
                    found.problems.append(f"model {number} is not what its key says")
            for run, document, *texts in connection.execute(
                "SELECT id, document, asked, settings, machine, versions FROM runs"
            ):
                found.runs += 1
                if not all(_readable(json.loads, text) for text in texts):
                    found.problems.append(f"run {run} cannot be read")
                if document is not None and not _readable(zlib.decompress, document):
                    found.problems.append(f"the document of run {run} cannot be read")
    except PajamasError as error:  # a page so damaged that reading ends there
        found.problems.append(str(error))
    return found


def _readable(read: Callable[[Any], object], content: object) -> bool:
    try:
        read(content)
    except (*DAMAGE, zlib.error):
        return False
    return True


def _digest(identity: str) -> bytes:
    return blake3(bytes(identity, "utf-8")).digest()
