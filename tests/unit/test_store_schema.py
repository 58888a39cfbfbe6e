"""Files of earlier versions are taken along; those of later ones, and of others, are left alone."""

import json
import multiprocessing
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest
from blake3 import blake3
from test_store import begin, fill, key, response

from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.errors import RunError, UsageError
from pajamas_eval.store import Store, info, verify
from pajamas_eval.store.database import Database
from pajamas_eval.store.schema import APPLICATION_ID, MIGRATIONS, Migration

ADDED: Migration = (
    "ALTER TABLE responses ADD COLUMN device TEXT NOT NULL DEFAULT 'CPU'",
    "CREATE INDEX responses_by_run ON responses (run)",
)
BROKEN: Migration = (
    "DELETE FROM responses",
    "DROP TABLE runs",
    "INSERT INTO responses SELECT no_such_column FROM models",
)


def raw(path: Path) -> AbstractContextManager[sqlite3.Connection]:
    return closing(sqlite3.connect(path, isolation_level=None))


def version_1(path: Path) -> Path:
    """A store as the first version leaves it, with 50 responses and a run."""
    database = Database(path, MIGRATIONS[:1])
    try:
        fill(Store(database), range(50))
    finally:
        database.close()
    return path


def test_a_new_store_has_the_newest_schema(tmp_path: Path) -> None:
    with Store.open(tmp_path / "x.sqlite") as store:
        assert info(store).schema_version == len(MIGRATIONS)
    with raw(tmp_path / "x.sqlite") as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").touch()
    with Store.open(tmp_path / "x.sqlite") as store:
        assert info(store).responses == 0


def test_a_store_of_the_first_version_is_read_by_this_one(tmp_path: Path) -> None:
    with Store.open(version_1(tmp_path / "x.sqlite")) as store:
        assert store.get(key(n) for n in range(50)) == {key(n): response(n) for n in range(50)}
        assert info(store).schema_version == len(MIGRATIONS)
        assert verify(store).problems == []


def test_an_older_store_is_migrated(tmp_path: Path) -> None:
    path = version_1(tmp_path / "x.sqlite")
    for _ in range(2):  # the second time there is nothing left to do
        store = Store(Database(path, [*MIGRATIONS, ADDED]))
        with store:
            assert info(store).schema_version == len(MIGRATIONS) + 1
            assert store.get([key(7)]) == {key(7): response(7)}
            with store.database.reading() as connection:
                devices = connection.execute("SELECT DISTINCT device FROM responses").fetchall()
    assert devices == [("CPU",)]


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = version_1(tmp_path / "x.sqlite")
    with pytest.raises(RunError, match="no_such_column"):
        Database(path, [*MIGRATIONS, ADDED, BROKEN])
    with Store.open(path) as store:
        assert info(store).schema_version == len(MIGRATIONS)
        assert info(store).responses == 50
        assert verify(store).problems == []
        begin(store)


def _migrate(path: Path, migrations: Sequence[Migration]) -> None:
    Database(path, migrations).close()


def test_two_processes_migrate_a_store_once(tmp_path: Path) -> None:
    path = version_1(tmp_path / "x.sqlite")
    migrations = [*MIGRATIONS, ADDED]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_migrate, args=(path, migrations)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with Store(Database(path, migrations)) as store:
        assert info(store).responses == 50


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = version_1(tmp_path / "x.sqlite")
    newer = [*MIGRATIONS, ADDED]
    Database(path, newer).close()
    before = path.read_bytes()
    message = f"newer pajamas-eval .its schema is {len(newer)}, this program knows {len(newer) - 1}"
    with pytest.raises(UsageError, match=message):
        Store.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mark", ["CREATE TABLE digests (path)", "PRAGMA application_id = 7"])
def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "digests.sqlite"
    with raw(path) as connection:
        connection.execute(mark)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="a database of something else, not a response store"):
        Store.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"hello", b"no database " * 1000, b"\0" * 5000, b"SQLite format 3"]
)
def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not a response store: it is not a database"):
        Store.open(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


FORMER_IDENTITY = {
    "digest": "ab" * 32,
    "method": 1,
    "runtime": "gguf",
    "settings": {
        "build": "AVX2",
        "device": "CPU",
        "options": {"exact": False, "cache_type": "f16"},
        "prefix_tokens": [1],
    },
    "versions": {"llama-cpp-python": "0.3.36"},
}


def test_models_of_the_third_version_are_known_by_what_decides_their_answers(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.sqlite"
    database = Database(path, MIGRATIONS[:3])
    identity = json.dumps(FORMER_IDENTITY, sort_keys=True, separators=(",", ":"))
    with database.writing() as connection:
        connection.execute(
            "INSERT INTO models (key, identity, label) VALUES (?, ?, 'old')",
            (blake3(identity.encode()).digest(), identity),
        )
    database.close()
    with Store.open(path) as store:
        run = begin(store)
        store.put(run, 1, [(key(1), response(1))])
        (model,) = info(store).models
        assert model.key == AnswerKey(
            weights="ab" * 32,
            runtime="gguf",
            versions={"llama-cpp-python": "0.3.36"},
            build="AVX2",
            device="CPU",
            options={"exact": False, "cache_type": "f16"},
            settings={"prefix_tokens": [1]},
            method=1,
        )
        assert verify(store).problems == []
        assert store.add_model(model.key, "the same") == model.number
