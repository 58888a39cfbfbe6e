"""Stored runs, compared, shown and listed without loading a model; and the store's own commands."""

import json
import os
import re
import sqlite3
import stat
import subprocess
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from faulty import COMMAND, EVERYTHING, Place, assert_fit_for_a_terminal

from pajamas_eval.results.document import Document

MMLU = ("-b", "mmlu_anatomy", "--shots", 0)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A store with runs that were asked alike, and runs that were not.

    1: a and b; 2: c; 3: c on two questions; 4: c with one example; 5: c with another seed; 6: b;
    7: c dies when it is opened; 8: c on MMLU only; 9: c, exactly.
    """
    place = Place(tmp_path_factory.mktemp("stored"), choices=40)
    train = place.folder / "data" / "gsm8k" / "train.jsonl"
    train.write_text('{"question": "E?", "answer": "#### 1"}\n')
    dev = place.folder / "data" / "mmlu" / "dev.jsonl"
    dev.write_text(
        '{"subject": "anatomy", "question": "E?", "choices": ["w", "x", "y", "z"], "answer": 1}\n'
    )
    a, b, c = place.model("a"), place.model("b", "wrong 3"), place.model("c", "wrong 30")
    for number, (arguments, code) in enumerate(
        [
            (("compare", a, b, *EVERYTHING), 0),
            (("run", c, *EVERYTHING), 0),
            (("run", c, *EVERYTHING, "--limit", 2), 0),
            (("run", c, *EVERYTHING[:2], "--shots", 1), 0),
            (("run", c, *EVERYTHING, "--seed", 7), 0),
            (("run", b, *EVERYTHING), 0),
            (("run", place.model("c", fault="open_abort"), *EVERYTHING), 4),
            (("run", c, *MMLU), 0),
            (("run", c, *EVERYTHING, "--exact"), 0),
        ],
        1,
    ):
        result = place.run(*arguments)
        assert result.returncode == code, (number, result.stderr)
    place.forget_calls()
    return place


def refused(place: Place, *arguments: object) -> str:
    """The one line that a command complains with."""
    result = place.run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = (x for x in result.stderr.splitlines() if x.startswith("Error: "))
    assert result.stderr.endswith(line + "\n")
    return line.removeprefix("Error: ")


def results(document: Document) -> object:
    """What was found of each variant, whatever it cost."""
    return (document.comparisons, document.scores, document.verdicts, document.rankings)


# -- comparing stored runs -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--margin", 20), ("--confidence", 0.6)], ids=str)
def test_stored_runs_are_judged_like_models_asked_together(
    stored: Place, options: tuple[object, ...]
) -> None:
    models = [stored.model(label) for label in "abc"]
    direct, _ = stored.documented("compare", *models, *EVERYTHING, *options)
    merged, result = stored.documented("compare", "run:1", "run:2", *options)
    assert results(merged) == results(direct)
    assert len(merged.verdicts) == 2
    assert [m.label for m in merged.models] == ["a", "b", "c"]
    for record, expected in zip(merged.benchmarks, direct.benchmarks, strict=True):
        assert record.questions == expected.questions
        for answers, asked in zip(record.answer_sets, expected.answer_sets, strict=True):
            assert answers.answers == asked.answers
    assert "tokenization identical on 164/164 requests" in result.stdout
    assert not any(stored.calls(label) for label in "abc"), "no model was loaded"


def test_the_baseline_may_be_any_model(stored: Place) -> None:
    merged, _ = stored.documented("compare", "run:1", "run:2", "--baseline", "c")
    assert merged.baseline == "c"
    assert [m.label for m in merged.models] == ["c", "a", "b"]
    assert {c.label for c in merged.comparisons} == {"a", "b"}
    assert refused(stored, "compare", "run:1", "run:2", "--baseline", "d") == (
        "no model has the label 'd' (labels: a, b, c)"
    )


def test_models_of_equal_labels_are_told_apart(stored: Place) -> None:
    merged, _ = stored.documented("compare", "run:1", "run:6")
    assert [m.label for m in merged.models] == ["a", "b", "run:6:b"]
    ours, theirs = (c for c in merged.comparisons if c.benchmark == "gsm8k"
                    and c.metric == "exact_match_strict")  # fmt: skip
    assert (ours.losses, theirs.losses) == (3, 3)
    again, _ = stored.documented("compare", "run:6", "run:1", "--baseline", "run:1:b")
    assert again.baseline == "run:1:b"


def test_benchmarks_that_only_one_run_asked_are_left_out_and_named(stored: Place) -> None:
    merged, result = stored.documented("compare", "run:1", "run:8")
    assert [record.name for record in merged.benchmarks] == ["mmlu_anatomy"]
    assert "gsm8k of run:1 is left out: not all runs asked it" in result.stdout


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("run:1", "run:3"), "not comparable: run:1 and run:3 asked different questions of "
                             "mmlu_anatomy (another --limit, or other data)"),
        (("run:3", "run:1"), "not comparable: run:3 and run:1 asked different questions of "
                             "mmlu_anatomy (another --limit, or other data)"),
        (("run:1", "run:4"), "not comparable: --shots 0 in run:1 and --shots 1 in run:4"),
        (("run:1", "run:5"), "not comparable: --seed 1234 in run:1 and --seed 7 in run:5"),
        (("run:1", "run:9"), "not comparable: no --exact in run:1 and --exact in run:9"),
        (("run:1", "run:2", "run:5"), "not comparable: --seed 1234 in run:1 and --seed 7 in run:5"),
        (("run:1", "run:1"), "duplicate run 1"),
        (("run:1", "run:01"), "duplicate run 1"),
        (("run:1", "run:7"), "run 7 has no result; resume it with: pajamas-eval compare "
                             "--resume 7"),
        (("run:1", "c.bin"), "c.bin: stored runs can be compared with stored runs only (run:12 "
                             "run:15)"),
        (("a.gguf", "run:1"), "a.gguf: stored runs can be compared with stored runs only (run:12 "
                              "run:15)"),
        (("run:1", "run:"), "run:: a run has a number; see `pajamas-eval runs`"),
        (("run:1", "run:x"), "run:x: a run has a number; see `pajamas-eval runs`"),
        (("run:1", "run:-2"), "run:-2: a run has a number; see `pajamas-eval runs`"),
        (("run:1", "run:2.0"), "run:2.0: a run has a number; see `pajamas-eval runs`"),
        (("run:1", "run:" + "9" * 30), f"run:{'9' * 30}: a run has a number; see `pajamas-eval "
                                       "runs`"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_one_line(
    stored: Place, names: Sequence[str], complaint: str
) -> None:
    assert refused(stored, "compare", *names) == complaint


@pytest.mark.parametrize("name", ["run:0", "run:99", "run:999999999999999"])
def test_a_run_that_is_not_there_is_named(stored: Place, name: str) -> None:
    number = name.removeprefix("run:")
    complaint = f"there is no run {number} in {stored.store}"
    assert refused(stored, "compare", "run:1", name) == complaint
    assert refused(stored, "show", number) == complaint
    assert refused(stored, "compare", "--resume", number) == complaint


@pytest.mark.parametrize(
    "options",
    [("--limit", 3), ("--shots", 0), ("--seed", 5), ("-b", "gsm8k"), ("--exact",),
     ("--until-decided",), ("--noise-floor",), ("--no-store",), ("--timeout", 3),
     ("--data", "x"), ("--apply-chat-template",), ("--same-weights", "b")],
    ids=str,
)  # fmt: skip
def test_options_that_would_change_nothing_are_refused(
    stored: Place, options: tuple[object, ...]
) -> None:
    if options[0] != "-b":
        assert str(options[0]) in refused(stored, "compare", "run:1", "run:2", *options)
    if options[0] != "--timeout":
        name = "--benchmarks" if options[0] == "-b" else options[0]
        assert str(name) in refused(stored, "compare", "--resume", 1, *options)


def test_a_resumed_run_is_asked_no_models(stored: Place) -> None:
    assert "name no models" in refused(stored, "compare", "a", "b", "--resume", 1)


# -- listing and showing ---------------------------------------------------------------------------


def test_runs_are_listed(stored: Place) -> None:
    lines = stored.run("runs").stdout.splitlines()
    found = {int(m[1]): m[2] for line in lines if (m := re.match(r" +(\d+) .* (\w+ed) ", line))}
    assert [found[i] for i in range(1, 10)] == [*["finished"] * 6, "failed", *["finished"] * 2]
    assert any("a=faulty[path=a.bin]" in line for line in lines)


def test_a_run_is_shown_as_it_was(stored: Place) -> None:
    first = stored.run("show", 1)
    assert first.returncode == 0
    assert first.stdout.startswith("run 1: finished, started ")
    assert "computed 328 responses, 0 of them twice\n" in first.stdout
    assert "to resume" not in first.stdout
    assert "3 of 4 questions flip" in first.stdout
    failed = stored.run("show", 7)
    assert failed.returncode == 0
    assert failed.stdout.endswith("to resume: pajamas-eval compare --resume 7\n")


def test_a_run_of_a_former_version_is_shown_with_the_intervals_of_this_one(place: Place) -> None:
    models = place.model("a"), place.model("b", "wrong 3")
    place.run("compare", *models, *MMLU)
    with closing(sqlite3.connect(place.store)) as connection:
        (packed,) = connection.execute("SELECT document FROM runs").fetchone()
        document = json.loads(zlib.decompress(packed))
        document["format_version"] = 4
        for comparison in document["comparisons"]:
            del comparison["interval_confidence"], comparison["margin_is_default"]
            comparison["lower"], comparison["upper"] = -0.9, 0.9
        for record in document["benchmarks"]:
            for metric in record["metrics"]:
                del metric["default_margin"]
        former = zlib.compress(json.dumps(document).encode())
        connection.execute("UPDATE runs SET document = ?", (former,))
        connection.commit()
    shown = place.run("show", 1)
    assert shown.returncode == 0, shown.stderr
    assert "[90 %]" in shown.stdout
    assert "+90.0" not in shown.stdout, "what was stored"
    assert "A verdict is read from the difference's 90 % interval" in shown.stdout
    assert "1 point (default of mmlu_anatomy)" in shown.stdout


def test_a_finished_run_may_be_gone_on_with(stored: Place) -> None:
    document, _ = stored.documented("compare", "--resume", 1)
    assert [m.label for m in document.models] == ["a", "b"]
    assert not any(stored.calls(label) for label in "ab")


def test_a_run_of_one_model_may_be_gone_on_with_from_anywhere(stored: Place) -> None:
    elsewhere = stored.folder / "elsewhere"
    elsewhere.mkdir()
    stored.folder, home = elsewhere, stored.folder
    try:
        result = stored.run("compare", "--resume", 2)
    finally:
        stored.folder = home
    assert result.returncode == 0
    assert "c" in result.stdout
    assert stored.calls("c") == []


def test_a_run_whose_folder_is_gone_says_so(place: Place) -> None:
    gone = place.folder / "gone"
    gone.mkdir()
    place.model("a")
    (place.folder / "a.bin").rename(gone / "a.bin")
    place.folder, home = gone, place.folder
    place.run("run", "a=faulty[path=a.bin]", *EVERYTHING)
    place.folder = home
    for file in gone.iterdir():
        file.unlink()
    gone.rmdir()
    assert refused(place, "compare", "--resume", 1) == (
        f"run 1 was started in {gone}, which is no longer there"
    )


# -- the store's own commands ----------------------------------------------------------------------


def test_a_store_says_what_it_holds(stored: Place) -> None:
    lines = stored.run("store", "info").stdout.splitlines()
    assert lines[0].startswith(f"{stored.store}: ")
    assert re.fullmatch(r"[\d,]+ responses; runs: 1 failed, \d+ finished", lines[1])
    assert any(
        re.fullmatch(r"  a: 164 responses \(faulty, digest [0-9a-f]{12}\)", x) for x in lines
    )
    whole = stored.run("store", "verify").stdout
    assert re.fullmatch(r"whole: [\d,]+ responses, \d+ runs\n", whole)


def test_runs_with_other_right_answers_cannot_be_compared(place: Place) -> None:
    """Equal answers would look like flips."""
    asked = ("-b", "mmlu_anatomy", "--shots", 0)
    assert place.run("run", place.model("a"), *asked).returncode == 0
    place.write_mmlu([{"question": f"Q{i}?", "answer": (i + (i == 2)) % 4} for i in range(6)])
    assert place.run("run", place.model("b"), *asked).returncode == 0
    said = "run:1 and run:2 asked mmlu_anatomy with other data, such as other right answers"
    assert refused(place, "compare", "run:1", "run:2") == f"not comparable: {said}"


def test_no_store(place: Place) -> None:
    """A name that is misspelt is not the name of a new one."""
    commands = (["info"], ["verify"], ["prune", "--older-than", 0], ["export", "x.jsonl"])
    said = f"there is not a response store at {place.store}"
    for command in (*(["store", *c] for c in commands), ["runs"], ["show", 1]):
        assert refused(place, *command) == said
    assert refused(place, "compare", "--resume", 1) == said
    assert refused(place, "compare", "run:1", "run:2") == said
    assert not place.store.exists()


def test_what_cannot_be_asked_is_no_run(place: Place) -> None:
    """Only what began can go on."""
    model = place.model("a")
    asked = ["run", model, "-b", "mmlu_anatomy", "--data", place.folder / "data"]
    assert "few-shot" in refused(place, *asked, "--shots", 9999)
    assert "no runs" in place.run("runs").stdout
    assert not list(place.folder.rglob("run*.log"))


def test_why_a_run_failed_is_shown(place: Place) -> None:
    models = [place.model("a", fault="open_abort"), place.model("b")]
    assert place.run("compare", *models, *EVERYTHING).returncode == 4
    shown = place.run("show", 1).stdout
    assert re.search("^failed: .*the worker process died", shown, re.MULTILINE), shown


def test_an_empty_store(place: Place) -> None:
    place.store.parent.mkdir()
    place.store.touch()
    assert place.run("store", "info").stdout.endswith("0 responses; runs: none\n")
    assert place.run("store", "verify").stdout == "whole: 0 responses, 0 runs\n"
    assert place.run("runs").returncode == 0
    assert place.run("store", "prune", "--older-than", 0).stdout == (
        "removed 0 responses and 0 runs, 0 B freed\n"
    )
    file = place.folder / "out.jsonl"
    assert place.run("store", "export", file).stdout == f"wrote 0 records to {file}\n"
    assert file.read_text() == ""
    assert refused(place, "show", 1) == f"there is no run 1 in {place.store}"
    assert "the store has no responses of a model 'a'" in refused(
        place, "store", "prune", "--model", "a"
    )
    assert "say what to remove" in refused(place, "store", "prune")


def test_what_is_pruned_is_computed_again(place: Place) -> None:
    models = (place.model("a", fault="chatter"), place.model("b", "wrong 1"))
    place.compare(*models)
    place.forget_calls()
    assert place.run("store", "prune", "--model", "b").stdout.startswith(
        "removed 28 responses and 0 runs, "
    )
    place.compare(*models)
    assert (place.calls("a"), place.computed("b").total()) == ([], 28)
    assert sorted(place.logs()) == ["run1-a.log"]
    assert place.run("store", "prune", "--older-than", 0).stdout.startswith(
        "removed 56 responses and 2 runs, "
    )
    assert place.logs() == {}, "of a run that is gone"
    assert place.run("store", "verify").stdout == "whole: 0 responses, 0 runs\n"
    place.forget_calls()
    place.compare(*models)
    assert place.computed("a").total() == 28
    assert "3" in place.run("runs").stdout, "a number is never used again"


def test_a_store_is_copied_out(stored: Place) -> None:
    file = stored.folder / "copy.jsonl"
    result = stored.run("store", "export", file)
    lines = [json.loads(line) for line in file.read_text("ascii").splitlines()]
    assert result.stdout == f"wrote {len(lines)} records to {file}\n"
    models = {line["model"]: line["label"] for line in lines if line["record"] == "model"}
    responses = [line for line in lines if line["record"] == "response"]
    with closing(sqlite3.connect(stored.store)) as connection:
        assert len(responses) == connection.execute("SELECT count(*) FROM responses").fetchone()[0]
    assert {"a", "b", "c"} <= set(models.values())
    assert {r["text"] for r in responses if r["kind"] == "generation" and models[r["model"]] == "a"}
    assert not list(stored.folder.glob("*.partial"))


def test_nothing_is_written_over_the_store(stored: Place) -> None:
    """A slip of the keyboard would cost weeks of answers."""
    before = stored.run("store", "info").stdout
    link = stored.folder / "link"
    link.symlink_to(stored.store)
    for target in (link, *(Path(f"{stored.store}{end}") for end in ("", "-wal", "-shm"))):
        complaint = f"{target} is the response store; name another file to write"
        assert refused(stored, "store", "export", target) == complaint
    complaint = f"{stored.store} is the response store; name another file to write"
    for asked in (("compare", "run:1", "run:2"), ("run", stored.model("a"), *MMLU)):
        assert refused(stored, *asked, "--json", stored.store) == complaint
    assert stored.run("store", "info").stdout == before


def test_a_copy_that_fails_leaves_the_former_one(place: Place) -> None:
    place.documented("run", place.model("a"), *EVERYTHING)
    with closing(sqlite3.connect(place.store)) as connection, connection:
        connection.execute("UPDATE responses SET result = x'00' WHERE rowid = 9")
    file = place.folder / "copy.jsonl"
    file.write_text("former")
    result = place.run("store", "export", file)
    assert result.returncode == 4
    assert "is damaged (response " in result.stderr
    assert file.read_text() == "former"
    assert not list(place.folder.glob("*.partial"))


def test_damage_is_found_and_has_its_own_exit_code(place: Place) -> None:
    place.documented("run", place.model("a"), *EVERYTHING)
    with closing(sqlite3.connect(place.store)) as connection, connection:
        connection.execute("UPDATE responses SET result = x'00' WHERE rowid = 9")
    result = place.run("store", "verify")
    assert result.returncode == 4
    assert re.fullmatch(r"response [0-9a-f]{32} cannot be read\n", result.stdout)
    assert result.stderr == "Error: 1 problem in the store\n"
    used = place.run("run", place.model("a"), *EVERYTHING)
    assert used.returncode == 4
    assert "see what is left of it with `pajamas-eval store verify`, or move it away" in used.stderr


# -- places that are no store ----------------------------------------------------------------------


def _folder(path: Path) -> str:
    path.mkdir()
    return "is a directory"


def _text(path: Path) -> str:
    path.write_text("This is no database. " * 100)
    return "it is not a database"


def _another_database(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE something (else_)")
    return "is a database of something else, not a response store"


def _newer(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 0x504A4556")
        connection.execute("PRAGMA user_version = 999")
    return "was written by a newer pajamas-eval"


def _beyond_a_file(path: Path) -> str:
    path.parent.rmdir()
    path.parent.write_text("")
    return "cannot open the response store"


def _locked_up(path: Path) -> str:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    return "cannot open the response store"


@pytest.mark.parametrize(
    "spoil", [_folder, _text, _another_database, _newer, _beyond_a_file, _locked_up]
)
def test_what_is_no_store_is_refused_before_anything_is_run(place: Place, spoil: object) -> None:
    path = place.folder / "place" / "store"
    path.parent.mkdir()
    complaint = spoil(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else None
    for arguments in (
        ("run", place.model("a"), *EVERYTHING),
        ("compare", "run:1", "run:2"),
        ("store", "info"),
    ):
        assert complaint in refused(place, *arguments, "--store", path)
    if spoil is not _folder:  # which SQLite describes in words of its own
        assert complaint in place.run("runs", PAJAMAS_EVAL_STORE=str(path)).stderr
    assert (path.read_bytes() if path.is_file() else None) == before
    assert place.calls("a") == []


# -- without a store -------------------------------------------------------------------------------


def test_without_a_store_nothing_is_kept(place: Place) -> None:
    model = place.model("a")
    for total in (28, 56):
        place.documented("run", model, *EVERYTHING, "--no-store")
        assert place.computed("a").total() == total
    left = {p.relative_to(place.folder).parts[0] for p in place.folder.rglob("*")}
    assert left == {"a.bin", "a.bin.calls", "data", "home", "out.json"}
    kept = [p.name for p in (place.folder / "home").rglob("*") if p.is_file()]
    assert [name for name in kept if not name.startswith("digests.sqlite")] == []


def test_a_store_and_no_store_contradict_each_other(place: Place) -> None:
    assert refused(
        place, "run", place.model("a"), *EVERYTHING, "--no-store", "--store", "x.sqlite"
    ) == ("--store and --no-store contradict each other")


def test_a_store_without_room_ends_the_run_and_not_one_model_after_the_other(place: Place) -> None:
    place.documented("run", place.model("b"), *EVERYTHING)
    models = [place.model("a", fault="endless", on="Question: Q1?"), place.model("c")]
    result = subprocess.run(
        ["sh", "-c", 'ulimit -f 8000; exec "$@"', "sh", COMMAND, "compare", *models, *EVERYTHING],
        capture_output=True,
        text=True,
        cwd=place.folder,
        env=place.environment,
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (4, "")
    assert_fit_for_a_terminal(result.stderr)
    errors = [line for line in result.stderr.splitlines() if "response store" in line]
    assert len(errors) == 1
    assert re.match(r"Error: (no room for|cannot read or write) the response store ", errors[0])
    assert place.calls("c") == [], "it would fare no better"
    assert re.match(r"whole: [\d,]+ responses, 2 runs\n", place.run("store", "verify").stdout)
    assert "failed" in place.run("runs").stdout


# -- how the models read the questions -------------------------------------------------------------


@pytest.mark.parametrize("with_bos", [1, 2])
def test_a_bos_token_on_one_side_only_is_refused_of_stored_runs_too(
    place: Place, with_bos: int
) -> None:
    """A live comparison refuses it; what each run stored of its model says as much."""
    for run in (1, 2):
        options = {"add_bos": "true"} if run == with_bos else {}
        place.documented("run", place.model(f"m{run}", **options), *EVERYTHING)
    complaint = refused(place, "compare", "run:1", "run:2")
    assert complaint.startswith("not comparable: m1 starts every text with ")
    assert "m2 with " in complaint
    assert ("[1], m2 with no BOS token" in complaint) == (with_bos == 1)
    live = refused(
        place,
        "compare",
        *(place.model(f"m{r}", **({"add_bos": "true"} if r == with_bos else {})) for r in (1, 2)),
        *EVERYTHING,
    )
    assert live == complaint


def test_what_answers_depend_on_is_in_the_document(place: Place) -> None:
    document, _ = place.documented(
        "run", place.model("m", dtype="f16", add_bos="true"), *EVERYTHING
    )
    key = document.models[0].key
    assert key is not None
    assert key.options["dtype"] == "f16"
    assert "path" not in key.options
    assert key.settings["prefix_tokens"] == [1]
    assert (key.runtime, key.versions, key.device) == ("faulty", {"faulty": "1"}, "CPU")
