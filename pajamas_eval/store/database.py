"""One SQLite file: how it is opened, how it is written, and its errors in words."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import quote

from pajamas_eval.errors import PajamasError, StoreError, UsageError
from pajamas_eval.store.schema import MIGRATIONS, Migration, check, migrate, schema_version

BUSY_SECONDS = 60.0
"""How long to wait for another process: its transactions are short, tidying up is not."""

DEAF_SECONDS = 0.1
"""How long SQLite itself waits, which meanwhile is deaf to signals."""

CHECKPOINT_PAGES = 8000
"""Length of the log, 32 MB, at which it goes into the file. Keys are random, so that new ones touch
pages all over their index: with SQLite's 1000 a page would be written, and flushed, again and
again."""

CACHE_KIB = 65_536
"""Pages kept in memory, for the same reason."""


class Database:
    """An open store file of the current schema.

    Writes go to a write-ahead log that is not flushed at every commit: a process that is killed
    loses nothing it committed; a power cut may lose the last transactions, each wholly, and never
    the file. To be used by the thread that opened it.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Migration] = MIGRATIONS,
        *,
        create: bool = True,
        only_read: bool = False,
    ) -> None:
        """Opens the file; creates it, unless told otherwise, or migrates it.

        Args:
            path: The file.
            migrations: What leads to the current schema.
            create: Whether it may be created.
            only_read: Whether a file will do that may not be written.

        Raises:
            UsageError: It cannot be opened or written, is not a store, or a newer one.
            StoreError: It is damaged or locked, or there is no room for it.
        """
        self.path = path
        try:
            if not create:
                path.stat()
            path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite would open it all the same, and leave a log behind that is read-only as well.
            writable = not os.access(path, os.F_OK) or os.access(path, os.W_OK)
            if only_read:
                writable = writable and os.access(path.parent, os.W_OK)
            elif not writable:
                raise _read_only(path)
        except FileNotFoundError:
            raise UsageError(f"there is not a response store at {path}") from None
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot open the response store {path}: {error}") from None
        with self._explained():
            self._connection = sqlite3.connect(
                path if writable else _uri_to_read(path),
                timeout=DEAF_SECONDS,
                isolation_level=None,
                uri=not writable,
            )
        try:
            if writable:
                self._prepare(migrations)
            else:
                self._check_readable(migrations)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection that reads: one state of the file, whatever others write meanwhile."""
        return self._transaction("BEGIN", None)

    def writing(self, timeout: float | None = None) -> AbstractContextManager[sqlite3.Connection]:
        """A connection that holds the write lock; all is committed at the end, or nothing.

        Args:
            timeout: Seconds to wait for the lock; `BUSY_SECONDS` if nothing.
        """
        return self._transaction("BEGIN IMMEDIATE", timeout)

    def shrink(self) -> None:
        """Gives the space of what was deleted back to the disk."""
        with self._explained():
            self._execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size_bytes(self) -> int:
        """What the file and its log take on disk."""
        log = Path(f"{self.path}-wal")
        return self.path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def _prepare(self, migrations: Sequence[Migration]) -> None:
        with self._explained():
            self._execute("SELECT count(*) FROM sqlite_schema")  # waits, if need be
            check(self._connection, self.path, migrations)
            if self._log_ahead():  # some network file systems cannot, and need every flush
                self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # Taken even where nothing is missing: a file that cannot be written is found now.
        with self.writing() as connection:
            check(connection, self.path, migrations)  # another process may have been faster
            migrate(connection, migrations)

    def _check_readable(self, migrations: Sequence[Migration]) -> None:
        """Raises `UsageError` for what cannot be read as it is."""
        with self._explained():
            self._execute("SELECT count(*) FROM sqlite_schema")
            check(self._connection, self.path, migrations)
            if schema_version(self._connection) < len(migrations):
                raise UsageError(
                    f"the response store {self.path} was written by an older pajamas-eval and is "
                    "read-only; make a copy that can be written, and name it with --store"
                )

    def _log_ahead(self) -> bool:
        """Switches to a write-ahead log, if the file has none; returns whether it has one now."""
        # Of two processes that create a file, SQLite refuses one rather than let it wait.
        (mode,) = self._execute("PRAGMA journal_mode = WAL").fetchone()
        return bool(mode == "wal")

    def _execute(self, statement: str, timeout: float | None = None) -> sqlite3.Cursor:
        """Executes what another process may be in the way of; waits so that signals are met."""
        deadline = time.monotonic() + (BUSY_SECONDS if timeout is None else timeout)
        waited = False
        while True:
            try:
                return self._connection.execute(statement)
            except sqlite3.OperationalError as error:
                busy = (error.sqlite_errorcode or 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                if not waited:  # to SQLite a lock that cannot be had is one that another has
                    _refuse_without_locks(self.path)
                waited = True
                time.sleep(0.01)

    @contextmanager
    def _transaction(self, begin: str, timeout: float | None) -> Iterator[sqlite3.Connection]:
        with self._explained():
            try:
                self._execute(begin, timeout)
                if begin == "BEGIN":  # which waits for nothing: the first look does
                    self._execute("SELECT count(*) FROM sqlite_schema")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # what made it fail may have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.Error as error:
            raise explanation(error, self.path) from None
        except UnicodeDecodeError as error:  # of a text in the file, or of what SQLite quotes
            raise damage(self.path, str(error)) from None


def _uri_to_read(path: Path) -> str:
    """What SQLite opens a file by that it may not write.

    Without a log nobody has it open, and all of it is in the file: SQLite need not lay a log beside
    it, which would stay, or could not be laid.
    """
    log = Path(f"{path}-wal")
    alone = not log.exists() or not (log.stat().st_size or os.access(path.parent, os.W_OK))
    immutable = "&immutable=1" if alone else ""
    return f"file:{quote(os.fsencode(path))}?mode=ro{immutable}"


def _refuse_without_locks(path: Path) -> None:
    """Raises `UsageError` where the file system has no locks, as some network ones.

    Another file is tried: to close one drops every lock that this process has on it.
    """
    with suppress(PermissionError, FileNotFoundError), TemporaryFile(dir=path.parent) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"the file system of the response store {path} has no locks ({error.strerror}); "
                "name another place with --store or PAJAMAS_EVAL_STORE, or use --no-store"
            ) from None


def explanation(error: sqlite3.Error, path: Path) -> PajamasError:
    """The error as one line that says what to do."""
    store = f"the response store {path}"
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF:  # the primary code
        case sqlite3.SQLITE_NOTADB:
            return UsageError(f"{path} is not a response store: it is not a database")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return UsageError(
                f"cannot open {store}: it is a folder, permission is denied or the disk is full"
            )
        case sqlite3.SQLITE_READONLY:
            return _read_only(path)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(f"{store} is locked: another process has kept it for too long")
        case sqlite3.SQLITE_FULL:
            return StoreError(
                f"no room for {store}: the disk is full; what was stored is safe, so make room and "
                "run it again"
            )
        case sqlite3.SQLITE_IOERR:
            return StoreError(
                f"cannot read or write {store}: {error}; what was stored is safe unless the disk "
                "is broken, so check its space and size limits and run it again"
            )
        case sqlite3.SQLITE_CORRUPT:
            return damage(path, str(error))
        case _:
            return StoreError(f"{store}: {error}")


def damage(path: Path, detail: str) -> StoreError:
    """The error for content that nothing of this program wrote."""
    return StoreError(
        f"the response store {path} is damaged ({detail}); see what is left of it with "
        "`pajamas-eval store verify`, or move it away"
    )


def _read_only(path: Path) -> UsageError:
    return UsageError(f"cannot write the response store {path}: it is read-only")
