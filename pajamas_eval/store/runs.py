"""Runs: what was asked, where, how it ended, and what came out."""

import fcntl
import json
import os
import time
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from pajamas_eval.errors import UsageError
from pajamas_eval.store.database import Database, damage

RunEnd = Literal["finished", "interrupted", "failed"]
RunState = RunEnd | Literal["running"]

_LARGEST = 2**63 - 1
"""Number that SQLite can hold."""

_COLUMNS = (
    "id, started, finished, state, asked, settings, machine, versions, computed, duplicates, error"
)


class Run(msgspec.Struct, frozen=True, array_like=True):
    """One run.

    Attributes:
        finished: When it ended; nothing where its process died.
        state: `interrupted` also where its process died without a word.
        asked: What the user asked for, as JSON values; so are the next three.
        settings: As resolved; nothing where the run did not get that far.
        computed: Responses that this run handed over to the store.
        duplicates: Of these, how many were there already: work done twice.
        error: What it failed of as a whole; what a model failed of is in the document.
    """

    id: int
    started: datetime
    finished: datetime | None
    state: RunState
    asked: Any
    settings: Any
    machine: Any
    versions: Any
    computed: int
    duplicates: int
    error: str | None = None


class Runs:
    """The runs of one store.

    A process holds a lock on a file next to the store for each run it has begun. The system drops
    it when the process ends, however it ends, so that a run marked as running whose lock is free
    was interrupted; unlike a process id, a lock cannot come to mean another process.

    Attributes:
        begun: The number that this process began a run with last, whatever came of it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locks: dict[int, int] = {}
        self.begun: int | None = None

    def begin(
        self, asked: object, *, settings: object = None, machine: object, versions: object
    ) -> int:
        """Records a run of this process; returns its number. Numbers are never used again.

        Args:
            asked: What the user asked for; this and the others are anything with a JSON form.
            settings: As resolved, where they are known already.
            machine: Where it runs.
            versions: Of the program and its engines.
        """
        values = [_to_json(value) for value in (asked, settings, machine, versions)]
        run = None
        try:
            with self._database.writing() as connection:
                (run,) = connection.execute(
                    "INSERT INTO runs (started, state, asked, settings, machine, versions) "
                    "VALUES (?, 'running', ?, ?, ?, ?) RETURNING id",
                    (time.time(), *values),
                ).fetchone()
                self.begun = int(run)
                self._locks[run] = self._lock(run)  # before anyone else can see the run
        except BaseException:
            if run in self._locks:
                self._release(run)
            raise
        return int(run)

    def resolve(self, run: int, settings: object) -> None:
        """Records a run's settings once they are known."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE runs SET settings = ? WHERE id = ?", (_to_json(settings), run)
            )

    def finish(
        self,
        run: int,
        state: RunEnd,
        document: bytes | None = None,
        *,
        error: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Records how a run of this process ended.

        Args:
            run: Its number.
            state: What is to be told of it.
            document: Its result, as far as it got.
            error: What it failed of as a whole.
            timeout: Seconds to wait for another process, if there is no time for the usual ones.
        """
        packed = None if document is None else zlib.compress(document, 1)
        text = None if error is None else error.encode("utf-8", "backslashreplace").decode()
        with self._database.writing(timeout) as connection:
            connection.execute(
                "UPDATE runs SET finished = ?, state = ?, document = ?, error = ? WHERE id = ?",
                (time.time(), state, packed, text, run),
            )
        self._release(run)

    def discard(self, run: int) -> bool:
        """Forgets a run of this process that computed nothing; returns whether that was so."""
        with self._database.writing() as connection:
            gone = connection.execute(
                "DELETE FROM runs WHERE id = ? AND computed = 0", (run,)
            ).rowcount
        if gone:
            self._release(run)
        return bool(gone)

    def all(self) -> list[Run]:
        """Every run, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM runs ORDER BY id").fetchall()
        return [self._run(row) for row in rows]

    def get(self, run: int) -> Run:
        """One run. Raises `UsageError` where there is none of that number."""
        return self._run(self._row(_COLUMNS, run))

    def exists(self, run: int) -> bool:
        """Whether a run of that number is recorded."""
        with suppress(UsageError):
            self._row("id", run)
            return True
        return False

    def document(self, run: int) -> bytes | None:
        """A run's result document, where it has one. Raises `UsageError` as `get` does."""
        (packed,) = self._row("document", run)
        try:
            return None if packed is None else zlib.decompress(packed)
        except zlib.error as error:
            raise damage(self._database.path, f"document of run {run}: {error}") from None

    def settings_of_others(self, run: int) -> list[Any]:
        """Settings, as JSON values, of the runs beside this one that other processes work on."""
        with self._database.reading() as connection:
            query = "SELECT id, settings FROM runs WHERE state = 'running' AND id != ?"
            rows = connection.execute(query, (run,)).fetchall()
        return [json.loads(text) for other, text in rows if self._is_alive(other)]

    def close(self) -> None:
        """Lets go of the runs of this process that have not finished."""
        for run in list(self._locks):
            self._release(run)

    def _row(self, columns: str, run: int) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = None
        if 0 < run <= _LARGEST:
            with self._database.reading() as connection:
                query = f"SELECT {columns} FROM runs WHERE id = ?"
                row = connection.execute(query, (run,)).fetchone()
        if row is None:
            raise UsageError(f"there is no run {run} in {self._database.path}")
        return row

    def _run(self, row: tuple[Any, ...]) -> Run:
        run, started, finished, state, asked, settings, machine, versions, *others = row
        if state == "running" and not self._is_alive(run):
            state = "interrupted"
        try:
            return msgspec.convert(
                (
                    run,
                    datetime.fromtimestamp(started, UTC),
                    None if finished is None else datetime.fromtimestamp(finished, UTC),
                    state,
                    *(json.loads(text) for text in (asked, settings, machine, versions)),
                    *others,
                ),
                Run,
            )
        except (ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
            raise damage(self._database.path, f"run {run}: {error}") from None

    def _lock_path(self, run: int) -> Path:
        return Path(f"{self._database.path}-run{run}.lock")

    def _lock(self, run: int) -> int:
        path = self._lock_path(run)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(handle)
                raise
        except OSError as error:
            raise UsageError(f"cannot lock {path}: {error.strerror}") from None
        return handle

    def _release(self, run: int) -> None:
        self._lock_path(run).unlink(missing_ok=True)
        os.close(self._locks.pop(run))

    def _is_alive(self, run: int) -> bool:
        path = self._lock_path(run)
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            # Shared, so that two who look at once do not take each other for the run.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        with suppress(OSError):
            path.unlink()
        return False


def _to_json(value: object) -> str:
    # ASCII: a path that is not UTF-8 has lone surrogates, which a database's text cannot hold.
    return json.dumps(msgspec.to_builtins(value))
