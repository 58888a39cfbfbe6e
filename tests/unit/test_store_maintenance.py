"""A store can be looked at, tidied, copied out and checked."""

import io
import json
import re
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from test_store import HOSTILE, IDENTITY, SCORED, begin, fill, key, store

from pajamas_eval.api.requests import GenerationResult, LogLikelihoodResult
from pajamas_eval.errors import RunError, UsageError
from pajamas_eval.store import Store, export, info, prune, verify
from pajamas_eval.store.schema import MIGRATIONS

__all__ = ["store"]

OTHER = msgspec.structs.replace(IDENTITY, weights="cd" * 32)


def age(store: Store, days: int) -> None:
    """Makes all that is in the store look as old as that, and more."""
    with store.database.writing() as connection:
        connection.execute("UPDATE responses SET created = created - ?", (days * 86400,))
        connection.execute("UPDATE runs SET started = started - ?", (days * 86400,))


# -- info ----------------------------------------------------------------------------------


def test_info_counts_what_is_there(store: Store) -> None:
    store.add_model(msgspec.structs.replace(IDENTITY, runtime="mlx"), "without responses")
    store.runs.finish(fill(store, range(3)), "finished")
    fill(store, range(10, 15), OTHER)
    found = info(store)
    assert found.path == store.database.path
    assert found.size_bytes > 4096
    assert found.schema_version == len(MIGRATIONS)
    assert found.responses == 8
    assert [(m.label, m.key, m.responses) for m in found.models] == [
        ("some.gguf", IDENTITY, 3),
        ("some.gguf", OTHER, 5),
    ]
    assert found.runs == {"finished": 1, "running": 1}


# -- prune ---------------------------------------------------------------------------------


def test_old_responses_and_runs_are_removed(store: Store) -> None:
    store.runs.finish(fill(store, range(1000)), "finished", b"{}" * 1000)
    going_on = begin(store)
    age(store, days=30)
    new = fill(store, range(1000, 1010))
    store.runs.finish(new, "failed")
    pruned = prune(store, older_than=timedelta(days=7))
    assert (pruned.responses, pruned.runs) == (1000, 1)
    assert pruned.freed_bytes > 50_000
    assert info(store).responses == 10
    assert [run.id for run in store.runs.all()] == [going_on, new]
    assert verify(store).problems == []
    assert prune(store, older_than=timedelta(days=7)).responses == 0


@pytest.mark.parametrize("name", ["old.gguf", "ab" * 4, "ab" * 32])
def test_the_responses_of_one_model_are_removed(store: Store, name: str) -> None:
    run = fill(store, range(5))
    store.add_model(IDENTITY, "old.gguf")
    fill(store, range(5, 7), OTHER)
    assert prune(store, model=name).responses == 5
    assert [m.key for m in info(store).models] == [OTHER]
    assert len(store.runs.all()) == 2
    store.put(run, 1, [(key(0), SCORED)])
    assert info(store).responses == 3, "a run that goes on can still store what it computes"


def test_age_and_model_must_both_fit(store: Store) -> None:
    fill(store, range(3))
    fill(store, range(3, 6), OTHER)
    age(store, days=30)
    fill(store, range(6, 8))
    assert prune(store, older_than=timedelta(days=7), model="ab" * 32).responses == 3
    assert [m.responses for m in info(store).models] == [2, 3]


def test_a_model_that_is_not_there_is_named(store: Store) -> None:
    fill(store, range(3))
    for name in ("some.guff", "ab", "\udcff", ""):
        with pytest.raises(UsageError, match="the store has no responses of a model"):
            prune(store, model=name)
    with pytest.raises(UsageError, match=r"did you mean 'some\.gguf'"):
        prune(store, model="some.guff")


def test_nothing_is_removed_by_mistake(store: Store) -> None:
    fill(store, range(3))
    with pytest.raises(UsageError, match="say what to remove"):
        prune(store)
    assert info(store).responses == 3


# -- export --------------------------------------------------------------------------------


def test_all_is_written_as_json_lines(store: Store) -> None:
    run = fill(store, range(1))
    text = "".join(f"{hostile}|" for hostile in HOSTILE)
    infinite = LogLikelihoodResult(float("-inf"), False, 1, 2, 3)
    store.put(run, 1, [(key(1), GenerationResult(text, "stop", 5, 6)), (key(2), infinite)])
    file = io.StringIO()
    assert export(store, file) == 4
    assert file.getvalue().isascii()
    assert "\0" not in file.getvalue()
    model, *responses = [
        json.loads(line, parse_constant=pytest.fail) for line in file.getvalue().splitlines()
    ]
    assert model == {
        "record": "model",
        "model": 1,
        "label": "some.gguf",
        **msgspec.to_builtins(IDENTITY),
    }
    created = [datetime.fromisoformat(response.pop("created")) for response in responses]
    assert created == sorted(created)
    assert responses[0] == {
        "record": "response",
        "key": key(0).hex(),
        "model": 1,
        "run": run,
        "kind": "loglikelihood",
        "log_probability": 0.0,
        "is_greedy": True,
        "token_count": 3,
        "byte_count": 12,
        "prompt_tokens": 500,
        "truncated_tokens": 7,
        "seconds": 0.125,
    }
    assert responses[1] == {
        "record": "response",
        "key": key(1).hex(),
        "model": 1,
        "run": run,
        "kind": "generation",
        "text": text,
        "finish_reason": "stop",
        "token_count": 5,
        "prompt_tokens": 6,
        "truncated_tokens": 0,
        "seconds": 0.0,
    }
    assert responses[2]["log_probability"] == "-inf"


def test_a_file_that_takes_no_more_does_not_keep_the_store(store: Store) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    fill(store, range(3))
    with pytest.raises(OSError, match="No space left"):
        export(store, Full())
    assert export(store, io.StringIO()) == 4


# -- verify --------------------------------------------------------------------------------


def test_a_sound_store_has_no_problems(store: Store) -> None:
    store.runs.finish(fill(store, range(3)), "finished", b"{}")
    found = verify(store)
    assert (found.responses, found.models, found.runs, found.problems) == (3, 1, 1, [])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE responses SET result = x'c1' WHERE rowid = 2", f"response {key(1).hex()} cannot"),
        ("UPDATE responses SET result = substr(result, 1, 9)", "response .* cannot be read"),
        ("UPDATE responses SET result = 'text'", "response .* cannot be read"),
        ("UPDATE models SET identity = replace(identity, 'ab', 'ac')", "model 1 is not what"),
        ("UPDATE runs SET document = x'00'", "the document of run 1 cannot be read"),
        ("UPDATE runs SET asked = '{'", "run 1 cannot be read"),
        ("UPDATE responses SET model = 9", "a row of responses refers to nothing"),
    ],
)
def test_damage_is_found(tmp_path: Path, damage: str, problem: str) -> None:
    with Store.open(tmp_path / "x.sqlite") as store:
        store.runs.finish(fill(store, range(3)), "finished", b"{}")
    with closing(sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)) as connection:
        connection.execute(damage)
    with Store.open(tmp_path / "x.sqlite") as store:
        found = verify(store)
    assert (found.responses, found.models, found.runs) == (3, 1, 1), "it reads on"
    assert re.match(problem, found.problems[0])


def test_overwritten_pages_are_found_and_named(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with Store.open(path) as store:
        run, model = begin(store), store.add_model(IDENTITY, "m")
        store.put(run, model, [(key(n), SCORED) for n in range(5000)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    with Store.open(path) as store:
        assert verify(store).problems
        with pytest.raises(RunError, match=r"is damaged .*see what is left .* store verify"):
            store.get(key(n) for n in range(5000))


def test_a_response_that_is_damaged_is_named(store: Store) -> None:
    fill(store, range(3))
    with store.database.writing() as connection:
        connection.execute("UPDATE responses SET result = x'93' WHERE rowid = 2")
    with pytest.raises(RunError, match=f"is damaged .response {key(1).hex()}"):
        store.get([key(0), key(1)])
    assert len(store.get([key(0), key(2)])) == 2
