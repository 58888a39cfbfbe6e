"""The store itself: responses by their keys."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.api.requests import Response
from pajamas_eval.errors import StoreError
from pajamas_eval.store.codec import decode, encode
from pajamas_eval.store.database import Database, damage
from pajamas_eval.store.runs import Runs

DAMAGE = (ValueError, TypeError, OverflowError, RecursionError)
"""What content of another form than was written raises."""

_AT_ONCE = 1000
"""Keys of one look-up; SQLite takes up to 32,766."""


class Store:
    """An open response store.

    Any number of processes may have the same file open, each with a `Store` of its own; so may
    threads. Every method raises `RunError` where the file is full, locked or damaged, and
    `UsageError` where it may not be written; what was committed before stays.

    Attributes:
        runs: The runs recorded in it.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.runs = Runs(database)

    @classmethod
    def open(cls, path: Path, *, create: bool = True, only_read: bool = False) -> Self:
        """Opens a store; creates its file, unless told otherwise, or migrates it.

        Where it is only to be read, a file or folder will do that may not be written.

        Raises:
            UsageError: It cannot be opened or written, is not a store, or a newer one.
            RunError: It is damaged or locked, or there is no room for it.
        """
        return cls(Database(path, create=create, only_read=only_read))

    def close(self) -> None:
        """Closes the file. Runs of this store that have not finished count as interrupted."""
        self.runs.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add_model(self, key: AnswerKey, label: str) -> int:
        """Makes a model known, once; returns its number, which `put` takes.

        Args:
            key: What its responses depend on.
            label: What to call it in lists; the last one given is kept.
        """
        with self.database.writing() as connection:
            (number,) = connection.execute(
                "INSERT INTO models (key, identity, label) VALUES (?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET label = excluded.label RETURNING id",
                (key.digest(), key.canonical(), printable(label)),
            ).fetchone()
        return int(number)

    def describe(self, model: int, description: str) -> None:
        """Keeps JSON that describes a model, for those that do not load it."""
        with self.database.writing() as connection:
            connection.execute(
                "UPDATE models SET description = ? WHERE id = ?", (description, model)
            )

    def description(self, model: int) -> str | None:
        """What `describe` kept, if anything."""
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT description FROM models WHERE id = ?", (model,)
            ).fetchone()
        return None if row is None or row[0] is None else str(row[0])

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Response]:
        """Those of the keys that have a response, with it."""
        wanted = sorted(set(keys))  # neighbours share a page
        found: dict[bytes, Response] = {}
        with self.database.reading() as connection:
            for start in range(0, len(wanted), _AT_ONCE):
                chunk = wanted[start : start + _AT_ONCE]
                places = ",".join("?" * len(chunk))
                query = f"SELECT key, result FROM responses WHERE key IN ({places})"
                for key, result in connection.execute(query, chunk):
                    try:  # `intact` would cost as much as the rest
                        found[key] = decode(result)
                    except DAMAGE as error:
                        raise self._damage(f"response {shown(key)}", error) from None
        return found

    def put(self, run: int, model: int, responses: Iterable[tuple[bytes, Response]]) -> int:
        """Stores responses in one transaction: once this returns they survive the process.

        A key that is there already keeps its response; it is counted as a duplicate of the run.

        Args:
            run: The run that computed them.
            model: The model's number, from `add_model`.
            responses: Request keys and results.

        Returns:
            How many were new.
        """
        now = time.time()
        rows = [(key, model, run, now, encode(result)) for key, result in responses]
        with self.database.writing() as connection:
            new = connection.executemany(
                "INSERT INTO responses (key, model, run, created, result) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (key) DO NOTHING",
                rows,
            ).rowcount
            connection.execute(
                "UPDATE runs SET computed = computed + ?, duplicates = duplicates + ? WHERE id = ?",
                (len(rows), len(rows) - new, run),
            )
        return new

    @contextmanager
    def intact(self, what: str) -> Iterator[None]:
        """Raises `StoreError` where something that was read turns out to be damaged."""
        try:
            yield
        except DAMAGE as error:
            raise self._damage(what, error) from None

    def _damage(self, what: str, error: Exception) -> StoreError:
        return damage(self.database.path, f"{what}: {error}")


def shown(key: object) -> str:
    """A key in hexadecimal; in a damaged file it may be anything."""
    return key.hex() if isinstance(key, bytes) else repr(key)


def printable(text: str) -> str:
    """Lone surrogates, which a database's text cannot hold, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()
