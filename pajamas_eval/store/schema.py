"""The tables, and how a file of any earlier version becomes one of this version."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from blake3 import blake3

from pajamas_eval.errors import UsageError

APPLICATION_ID = 0x504A4556
"""Marks a SQLite file as a response store: `PJEV`."""

Migration = tuple[str | Callable[[sqlite3.Connection], None], ...]
"""Statements, or functions, that lead from one version to the next."""


def _name_models_by_answer_keys(connection: sqlite3.Connection) -> None:
    """Models are known by other parts since.

    Their responses stay, to be listed, exported and pruned; requests have other keys as well, so
    that a new run computes them again.
    """
    rows = connection.execute("SELECT id, identity FROM models").fetchall()
    for number, text in rows:
        former = json.loads(text)
        if "weights" in former:
            continue
        settings = former.get("settings", {})
        parts = {
            "weights": former.get("digest"),
            "runtime": former.get("runtime", ""),
            "versions": former.get("versions", {}),
            "build": str(settings.pop("build", "")),
            "device": str(settings.pop("device", "")),
            "options": settings.pop("options", {}),
            "settings": settings,
            "method": former.get("method", 1),
        }
        identity = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        connection.execute(
            "UPDATE models SET identity = ?, key = ? WHERE id = ?",
            (identity, blake3(identity.encode()).digest(), number),
        )


MIGRATIONS: tuple[Migration, ...] = (
    (
        # Models are never deleted: a run that goes on while the store is pruned refers to them.
        """
        CREATE TABLE models (
            id INTEGER PRIMARY KEY,
            key BLOB NOT NULL UNIQUE,
            identity TEXT NOT NULL,     -- canonical JSON; `key` is its digest
            label TEXT NOT NULL         -- what it was last called: for people, never looked up
        )
        """,
        # Keys are random: with an index of their own, only that is written all over.
        """
        CREATE TABLE responses (
            key BLOB NOT NULL PRIMARY KEY,
            model INTEGER NOT NULL REFERENCES models (id),
            run INTEGER NOT NULL,       -- that computed it
            created REAL NOT NULL,      -- seconds since 1970
            result BLOB NOT NULL        -- MessagePack
        )
        """,
        """
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            started REAL NOT NULL,      -- seconds since 1970
            finished REAL,
            state TEXT NOT NULL,
            asked TEXT NOT NULL,        -- JSON, as are the next three
            settings TEXT NOT NULL,
            machine TEXT NOT NULL,
            versions TEXT NOT NULL,
            computed INTEGER NOT NULL DEFAULT 0,    -- responses that this run handed over
            duplicates INTEGER NOT NULL DEFAULT 0,  -- of these, already there
            document BLOB               -- zlib
        )
        """,
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
    (
        # JSON of what a report says of a model, for runs that find everything here.
        "ALTER TABLE models ADD COLUMN description TEXT",
    ),
    (
        # What a run failed of as a whole, in words.
        "ALTER TABLE runs ADD COLUMN error TEXT",
    ),
    (_name_models_by_answer_keys,),
)
"""The migration at index n leads from version n to n + 1; a released one is never changed."""


def check(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Raises `UsageError` for a file that is not a store, or a newer one. Writes nothing."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise UsageError(f"{path} is a database of something else, not a response store")
    version = schema_version(connection)
    if version > len(migrations):
        raise UsageError(
            f"the response store {path} was written by a newer pajamas-eval (its schema is "
            f"{version}, this program knows {len(migrations)}); update pajamas-eval, or choose "
            "another file"
        )


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Applies what is missing, in the caller's transaction: all of it, or nothing."""
    for migration in migrations[schema_version(connection) :]:
        for step in migration:
            if isinstance(step, str):
                connection.execute(step)
            else:
                step(connection)
    connection.execute(f"PRAGMA user_version = {len(migrations)}")


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of migrations that led to this file; 0 for an empty one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
