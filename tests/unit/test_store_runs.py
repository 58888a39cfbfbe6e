"""What was asked is recorded, and how it ended; a dead process is not a running one."""

import multiprocessing
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from test_store import begin, fill, store

from pajamas_eval.errors import RunError, StoreError, UsageError
from pajamas_eval.results.machine import Machine
from pajamas_eval.store import Store

__all__ = ["store"]

MACHINE = Machine(system="Linux", processor="P", cores=2, memory_bytes=1, python="3.11")


def test_a_run_is_recorded_from_beginning_to_end(store: Store) -> None:
    asked = {"models": ["a.gguf", "\udcff.gguf"], "limit": None, "margin": 0.5}
    run = store.runs.begin(asked, machine=MACHINE, versions={"pajamas-eval": "1"})
    begun = store.runs.get(run)
    assert (begun.state, begun.settings, begun.finished) == ("running", None, None)
    assert begun.asked == asked
    assert begun.machine["memory_bytes"] == 1
    assert begun.versions == {"pajamas-eval": "1"}
    assert timedelta() <= datetime.now(UTC) - begun.started < timedelta(minutes=1)
    assert store.runs.document(run) is None
    store.runs.resolve(run, {"context_length": 2048})
    store.runs.finish(run, "finished", b'{"format_version": 2}\n')
    ended = store.runs.get(run)
    assert (ended.state, ended.settings) == ("finished", {"context_length": 2048})
    assert ended.finished is not None
    assert ended.finished >= ended.started == begun.started
    assert store.runs.document(run) == b'{"format_version": 2}\n'


def test_runs_are_listed_in_order(store: Store) -> None:
    runs = [begin(store) for _ in range(3)]
    store.runs.finish(runs[1], "failed")
    assert [(run.id, run.state) for run in store.runs.all()] == [
        (runs[0], "running"),
        (runs[1], "failed"),
        (runs[2], "running"),
    ]


def test_a_run_that_is_not_there_is_named(store: Store) -> None:
    for ask in (store.runs.get, store.runs.document):
        with pytest.raises(UsageError, match=f"there is no run 12 in {store.database.path}"):
            ask(12)


def test_a_document_that_is_damaged_is_named(store: Store) -> None:
    run = begin(store)
    store.runs.finish(run, "finished", b"{}")
    with store.database.writing() as connection:
        connection.execute("UPDATE runs SET document = x'00'")
    with pytest.raises(RunError, match=f"is damaged .document of run {run}"):
        store.runs.document(run)


def test_a_run_of_another_store_object_is_seen_as_running(store: Store) -> None:
    run = begin(store)
    for _ in range(2):  # to look does not take the lock away
        with Store.open(store.database.path) as other:
            assert other.runs.get(run).state == "running"
    store.runs.finish(run, "finished")
    with Store.open(store.database.path) as other:
        assert other.runs.get(run).state == "finished"


def test_a_store_that_closes_interrupts_its_runs(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with Store.open(path) as store:
        run = begin(store)
    with Store.open(path) as store:
        assert store.runs.get(run).state == "interrupted"
    assert [p.name for p in tmp_path.iterdir()] == ["x.sqlite"], "no lock is left"


def _begin_and_wait(path: Path, pipe: Connection) -> None:
    with Store.open(path) as store:
        pipe.send(begin(store))
        signal.pause()


def test_a_run_whose_process_was_killed_was_interrupted(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_begin_and_wait, args=(store.database.path, theirs))
    process.start()
    run = ours.recv()
    assert store.runs.get(run).state == "running"
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert store.runs.get(run).state == "interrupted"
    assert store.runs.get(run).finished is None
    assert not list(store.database.path.parent.glob("*.lock")), "what it left is tidied up"
    assert begin(store) > run


def test_a_run_that_cannot_be_locked_is_not_begun(store: Store) -> None:
    first = begin(store)
    obstacle = Path(f"{store.database.path}-run{first + 1}.lock")
    obstacle.mkdir()
    with pytest.raises(UsageError, match="cannot lock"):
        begin(store)
    assert [run.id for run in store.runs.all()] == [first]
    obstacle.rmdir()
    assert begin(store) == first + 1


def test_a_run_that_could_not_be_written_is_not_locked(store: Store) -> None:
    with store.database.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(RunError, match="no room"):
        store.runs.begin("x" * 100_000, machine={}, versions={})
    assert not list(store.database.path.parent.glob("*.lock"))
    assert store.runs.get(begin(store)).state == "running"


def test_what_a_run_failed_of_is_kept(store: Store) -> None:
    run = begin(store)
    store.runs.finish(run, "failed", error="q4: \ud800 no room")
    assert store.runs.get(run).error == "q4: \\ud800 no room"


def test_a_run_that_computed_nothing_is_forgotten(store: Store) -> None:
    idle, busy = begin(store), fill(store, range(1))
    assert store.runs.discard(idle)
    assert not store.runs.discard(busy)
    assert [run.id for run in store.runs.all()] == [busy]
    assert begin(store) > busy


def test_whoever_ends_a_run_in_haste_does_not_wait(store: Store) -> None:
    with Store.open(store.database.path) as other:
        run = begin(other)
        with store.database.writing():
            started = time.monotonic()
            with pytest.raises(StoreError, match="locked"):
                other.runs.finish(run, "interrupted", timeout=0.2)
            assert time.monotonic() - started < 5
    assert store.runs.get(run).state == "interrupted"
