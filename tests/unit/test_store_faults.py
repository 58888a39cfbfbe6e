"""Processes are killed, disks are full, files are locked: what was stored stays, and is sound."""

import errno
import fcntl
import io
import multiprocessing
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from test_store import IDENTITY, begin, fill, key, response, store

from pajamas_eval.api.requests import GenerationResult
from pajamas_eval.errors import RunError, UsageError
from pajamas_eval.store import Store, database, export, info, verify

__all__ = ["store"]

NOBODY = 65534


def sound(path: Path, numbers: range) -> Store:
    """The store, which holds at least these responses and has no problems."""
    store = Store.open(path)
    assert verify(store).problems == []
    assert store.get(key(n) for n in numbers) == {key(n): response(n) for n in numbers}
    return store


# -- two processes -------------------------------------------------------------------------


def _write_in_pairs(path: Path, barrier: Barrier, numbers: range) -> None:
    barrier.wait()
    with Store.open(path) as store:  # both create it
        run, model = begin(store), store.add_model(IDENTITY, "some.gguf")
        for first in numbers[::2]:
            store.put(run, model, [(key(n), response(n)) for n in (first, first + 1)])
        store.runs.finish(run, "finished")


def test_two_processes_write_one_store_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2, timeout=60)
    processes = [
        context.Process(target=_write_in_pairs, args=(tmp_path / "x.sqlite", barrier, numbers))
        for numbers in (range(1000), range(500, 1500))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with sound(tmp_path / "x.sqlite", range(1500)) as store:
        assert [m.responses for m in info(store).models] == [1500]
        runs = store.runs.all()
    assert [(run.state, run.computed) for run in runs] == [("finished", 1000)] * 2
    assert sum(run.duplicates for run in runs) == 500


def test_readers_see_whole_transactions_while_others_write(store: Store) -> None:
    fill(store, range(2))
    with Store.open(store.database.path) as other, store.database.writing() as connection:
        connection.execute("DELETE FROM responses")
        assert len(other.get([key(0), key(1)])) == 2
    assert store.get([key(0), key(1)]) == {}


def test_a_store_that_stays_locked_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    run = fill(store, range(1))
    with Store.open(store.database.path) as other:
        model = other.add_model(IDENTITY, "some.gguf")
        with store.database.writing():
            with pytest.raises(RunError, match="is locked: another process"):
                other.put(run, model, [(key(1), response(1))])
            with pytest.raises(RunError, match="is locked: another process"):
                Store.open(store.database.path)
        assert other.put(run, model, [(key(1), response(1))]) == 1


def test_a_file_system_without_locks_is_named_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with store.database.writing():
        monkeypatch.setattr(fcntl, "lockf", no_locks)
        before = time.monotonic()
        with pytest.raises(UsageError, match=r"has no locks .*--store .*--no-store"):
            Store.open(store.database.path)
        assert time.monotonic() - before < database.BUSY_SECONDS / 4


# -- kill -9 -------------------------------------------------------------------------------


def _write_until_killed(path: Path, first: int, pipe: Connection) -> None:
    database.CHECKPOINT_PAGES = 20  # so that some are killed while the log goes into the file
    with Store.open(path) as store:
        run, model = begin(store), store.add_model(IDENTITY, "some.gguf")
        pipe.send(first)
        while True:
            store.put(run, model, [(key(n), response(n)) for n in range(first, first + 10)])
            first += 10
            pipe.send(first)


def test_what_was_stored_survives_kill_9_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    context = multiprocessing.get_context("fork")  # killed at work, not while it imports
    stored = 0
    for _ in range(12):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_write_until_killed, args=(path, stored, theirs))
        process.start()
        theirs.close()
        ours.recv()
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.join()
        while ours.poll():
            try:
                stored = ours.recv()
            except EOFError:
                break
        with sound(path, range(stored)) as store:
            stored = info(store).responses  # one put may have ended without a word
            assert stored % 10 == 0
            runs = store.runs.all()
            assert {run.state for run in runs} == {"interrupted"}
            assert sum(run.computed for run in runs) == stored
            assert sum(run.duplicates for run in runs) == 0
    assert stored > 500


# -- no room -------------------------------------------------------------------------------


def fill_up(path: Path) -> int:
    """Stores responses until there is no room; returns how many went in before."""
    with Store.open(path) as store:
        run, model = begin(store), store.add_model(IDENTITY, "some.gguf")
        for number in range(100_000):
            try:
                store.put(run, model, [(key(number), response(number))])
            except RunError as error:
                print(error)
                return number
    raise AssertionError("there was room for all")


def _fill_up_to_a_limit(path: Path, pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # Python ignores SIGXFSZ
    with Store.open(path) as store:
        assert info(store).responses == 0
    pipe.send(fill_up(path))


def test_a_limit_on_the_size_of_files_costs_nothing_stored(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_fill_up_to_a_limit, args=(tmp_path / "x.sqlite", theirs))
    process.start()
    theirs.close()
    count = ours.recv()
    process.join()
    (message,) = capfd.readouterr().out.splitlines()
    assert message.startswith(f"cannot read or write the response store {tmp_path}")
    assert "what was stored is safe" in message
    assert count > 10
    with sound(tmp_path / "x.sqlite", range(count)) as store:
        assert info(store).responses == count
        assert [(run.state, run.computed) for run in store.runs.all()] == [("interrupted", count)]
        fill(store, range(count, count + 10))


def test_a_full_disk_costs_nothing_stored(tmp_path: Path) -> None:
    """On a file system of 500 kB of its own, which needs Linux's user namespaces."""
    small = tmp_path / "small"
    small.mkdir()
    inside = f"mount -t tmpfs -o size=500k tmpfs '{small}' && "
    if subprocess.run(["unshare", "-Urm", "sh", "-c", inside + "true"], check=False).returncode:
        pytest.skip("cannot mount a small file system")
    program = f"import test_store_faults as t; print(t.fill_up(t.Path('{small}/x.sqlite')))"
    inside += f"'{sys.executable}' -c \"{program}\" && cp '{small}'/* '{tmp_path}'"
    output = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", inside],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    ).stdout
    message, count = output.splitlines()
    assert message == (
        f"no room for the response store {small}/x.sqlite: the disk is full; what was stored is "
        "safe, so make room and run it again"
    )
    with sound(tmp_path / "x.sqlite", range(int(count))) as store:
        assert info(store).responses == int(count) > 10


def test_what_fits_is_stored_after_what_does_not(store: Store) -> None:
    run = fill(store, range(10))
    with store.database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 20")
    too_large = [(key(10), response(10)), (key(11), GenerationResult("x" * 100_000, "end", 1, 1))]
    with pytest.raises(RunError, match=r"no room for the response store .*: the disk is full"):
        store.put(run, 1, too_large)
    assert store.put(run, 1, too_large[:1]) == 1
    assert store.runs.get(run).computed == 11
    sound(store.database.path, range(11)).close()


# -- no permission -------------------------------------------------------------------------


@pytest.fixture
def own() -> Iterator[Path]:
    """A store with 10 responses in a folder of its own; root, who may do all, becomes nobody."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.sqlite"
        with Store.open(path) as store:
            fill(store, range(10))
        root = os.geteuid() == 0
        if root:
            shutil.chown(path, NOBODY)
            shutil.chown(folder, NOBODY)
            os.setresuid(NOBODY, NOBODY, 0)
        yield path
        path.parent.chmod(0o755)
        if root:
            os.setresuid(0, 0, 0)


def test_a_file_that_may_only_be_read_is_named_at_once(own: Path) -> None:
    own.chmod(0o444)
    with pytest.raises(UsageError, match=r"cannot write the response store .*it is read-only"):
        Store.open(own)
    own.chmod(0o644)
    sound(own, range(10)).close()


def read_only(path: Path, numbers: Sequence[int]) -> None:
    """All that only reads works, and nothing is changed or left."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with Store.open(path, create=False, only_read=True) as store:
        assert len(store.runs.all()) == 1
        assert info(store).responses == len(numbers)
        assert export(store, io.StringIO()) == 1 + len(numbers)
        assert not verify(store).problems
        with pytest.raises(UsageError, match=r"cannot write the response store .*read-only"):
            store.runs.finish(1, "finished")
    after = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert {**after, "x.sqlite-shm": b""} == {**before, "x.sqlite-shm": b""}


@pytest.mark.parametrize(("file", "folder"), [(0o644, 0o555), (0o444, 0o755), (0o444, 0o555)])
def test_a_store_that_may_only_be_read_can_be_read(own: Path, file: int, folder: int) -> None:
    own.chmod(file)
    own.parent.chmod(folder)
    read_only(own, range(10))


def test_a_log_that_another_process_has_yet_to_put_into_a_read_only_file_is_read(
    own: Path,
) -> None:
    with Store.open(own) as store:
        store.put(1, 1, [(key(n), response(n)) for n in range(10, 15)])
        own.chmod(0o444)
        read_only(own, range(15))


def test_an_older_store_that_may_only_be_read_is_named(own: Path) -> None:
    with closing(sqlite3.connect(own)) as connection:
        connection.execute("PRAGMA user_version = 3")
    own.chmod(0o444)
    with pytest.raises(UsageError, match="was written by an older pajamas-eval and is read-only"):
        Store.open(own, create=False, only_read=True)


def test_a_folder_that_may_only_be_read_is_named_at_once(own: Path) -> None:
    own.parent.chmod(0o555)
    with pytest.raises(UsageError, match=r"response store .*(permission is denied|read-only)"):
        Store.open(own)
    with pytest.raises(UsageError, match=r"cannot open the response store .*permission is denied"):
        Store.open(own.with_name("new.sqlite"))


def test_what_may_not_be_looked_at_is_named(own: Path) -> None:
    own.chmod(0)
    with pytest.raises(UsageError, match=r"cannot write the response store .*it is read-only"):
        Store.open(own)
    own.parent.chmod(0)
    with pytest.raises(UsageError, match=r"cannot open the response store .*permission is denied"):
        Store.open(own)
