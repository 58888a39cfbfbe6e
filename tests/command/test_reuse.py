"""What is stored is used again where it is truly the same, and nowhere else: others' mistakes."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from faulty import EVERYTHING, Place

from pajamas_eval.results.document import Document
from pajamas_eval.results.file import read


def scores(document: Document, label: str) -> list[float]:
    """Each question's headline score, in order."""
    return [
        answer.scores[record.headline.name]
        for record in document.benchmarks
        for answers in record.answer_sets
        if answers.label == label
        for answer in answers.answers
    ]


def reused(document: Document, label: str) -> int:
    """How many of a model's responses were stored before."""
    return sum(
        answers.cached_responses
        for record in document.benchmarks
        for answers in record.answer_sets
        if answers.label == label
    )


def answered(document: Document) -> Any:
    """All that models answered, without what it cost."""
    return [
        (record.name, answers.label, [(a.doc_id, a.scores, a.prediction) for a in answers.answers])
        for record in document.benchmarks
        for answers in record.answer_sets
    ]


def stored(place: Place) -> int:
    with closing(sqlite3.connect(place.store)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM responses").fetchone()
    return int(count)


# -- one run and the next --------------------------------------------------------------------------


def test_a_smoke_run_is_not_the_full_run(place: Place) -> None:
    models = (place.model("a"), place.model("b", "wrong 2"))
    smoke, _ = place.documented("compare", *models, *EVERYTHING, "--limit", 2)
    assert len(scores(smoke, "a")) == 4
    asked_first = place.computed("a")
    full, result = place.compare(*models)
    assert len(scores(full, "a")) == 10
    assert "mmlu_anatomy: 6 questions, 0-shot" in result.stdout
    for label in ("a", "b"):
        assert place.computed(label).total() == len(place.computed(label)) == 28
        assert reused(full, label) == asked_first.total() == 10
        assert scores(full, label) == [
            float(label == "a" or n >= 2) for n in [*range(6), *range(4)]
        ]
    fresh, _ = place.compare(*models, PAJAMAS_EVAL_STORE=str(place.folder / "fresh.sqlite"))
    assert answered(full) == answered(fresh)


def test_the_full_run_holds_the_smoke_run(place: Place) -> None:
    model = place.model("a")
    place.documented("run", model, *EVERYTHING)
    place.forget_calls()
    document, result = place.documented("run", model, *EVERYTHING, "--limit", 2)
    assert place.calls("a") == []
    assert len(scores(document, "a")) == 4
    assert "not loaded" in result.stdout
    identity = document.model("a").identity
    assert identity is not None
    assert (identity.runtime, identity.dtype) == ("faulty", "f32"), "as it was when it was loaded"


def test_the_name_of_the_benchmark_is_no_part_of_it(place: Place) -> None:
    model = place.model("a")
    place.documented("run", model, "-b", "mmlu_anatomy", "--shots", 0)
    place.forget_calls()
    document, _ = place.documented("run", model, "-b", "mmlu_stem", "--shots", 0)
    assert place.calls("a") == []
    assert scores(document, "a") == [1.0] * 6


def test_the_same_run_again_computes_nothing(place: Place) -> None:
    models = (place.model("a"), place.model("b", "wrong 2"))
    first, _ = place.compare(*models)
    place.forget_calls()
    again, _ = place.compare(*models)
    assert place.calls("a") == place.calls("b") == []
    assert answered(again) == answered(first)
    assert again.comparisons == first.comparisons
    assert again.verdicts == first.verdicts


def test_more_few_shot_examples_are_other_requests(place: Place) -> None:
    train = place.folder / "data" / "gsm8k" / "train.jsonl"
    train.write_text('{"question": "E?", "answer": "#### 1"}\n' * 3)
    model = place.model("a")
    for shots, total in ((0, 4), (1, 8), (2, 12), (1, 12)):
        place.documented("run", model, "-b", "gsm8k", "--shots", shots)
        assert place.computed("a").total() == total


def test_a_corrected_key_changes_the_score_and_computes_nothing(place: Place) -> None:
    model = place.model("a")
    place.documented("run", model, "-b", "mmlu_anatomy", "--shots", 0)
    place.forget_calls()
    place.write_mmlu([{"question": f"Q{i}?", "answer": 0} for i in range(6)])
    document, _ = place.documented("run", model, "-b", "mmlu_anatomy", "--shots", 0)
    assert scores(document, "a") == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert place.calls("a") == []


def test_a_corrected_question_is_asked_again_and_no_other(place: Place) -> None:
    model = place.model("a")
    place.documented("run", model, "-b", "mmlu_anatomy", "--shots", 0)
    place.forget_calls()
    rows = [{"question": f"Q{i}?", "answer": i % 4} for i in range(6)]
    rows[3] = {"question": "Truly, Q3?", "answer": 3}
    place.write_mmlu(rows)
    document, _ = place.documented("run", model, "-b", "mmlu_anatomy", "--shots", 0)
    assert scores(document, "a") == [1.0] * 6
    assert place.computed("a").total() == 4
    assert all("Truly" in call for call in place.computed("a"))


def test_a_question_that_stands_twice_is_asked_once(place: Place) -> None:
    place.write_mmlu([{"question": f"Q{i % 2}?", "answer": i % 2} for i in range(6)])
    document, _ = place.documented("run", place.model("a"), "-b", "mmlu_anatomy", "--shots", 0)
    assert scores(document, "a") == [1.0] * 6
    assert place.computed("a").total() == stored(place) == 8


# -- one model and another -------------------------------------------------------------------------


def test_another_model_of_the_same_name_gets_none_of_its_answers(place: Place) -> None:
    model = place.model("m", "wrong 1")
    first, _ = place.documented("run", model, *EVERYTHING)
    place.forget_calls()
    place.model("m", "wrong 4")  # the same path, label and size
    second, _ = place.documented("run", model, *EVERYTHING)
    assert scores(first, "m") == [0, 1, 1, 1, 1, 1, 0, 1, 1, 1]
    assert scores(second, "m") == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]
    assert (place.computed("m").total(), reused(second, "m")) == (28, 0)
    place.forget_calls()
    place.model("m", "wrong 1")  # and back again
    third, _ = place.documented("run", model, *EVERYTHING)
    assert answered(third) == answered(first)
    assert place.calls("m") == []


def test_a_copy_is_the_same_model(place: Place) -> None:
    place.documented("run", place.model("a", "wrong 1"), *EVERYTHING)
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(place.folder / "a.bin", elsewhere / "renamed.gguf")
    document, _ = place.documented("run", "faulty[path=elsewhere/renamed.gguf]", *EVERYTHING)
    assert not (elsewhere / "renamed.gguf.calls").exists()
    assert reused(document, "renamed") == 28
    assert document.model("renamed").spec == "elsewhere/renamed.gguf"


def test_an_option_that_can_change_an_answer_is_a_miss(place: Place) -> None:
    changed: dict[str, dict[str, Any]] = {
        "plain": {},
        "dtype": {"dtype": "f16"},
        "exact": {"exact": "true"},
        "batch": {"batch_tokens": 7},
    }
    models = [place.model(label, "the same", **options) for label, options in changed.items()]
    place.compare(*models)
    for label in changed:
        assert place.computed(label).total() == 28
    place.forget_calls()
    place.compare(*models)
    assert not any(place.calls(label) for label in changed), "each is stored on its own"


@pytest.mark.parametrize(
    ("changed", "environment"),
    [
        ({"add_bos": "true"}, {}),
        ({"n_ctx": 40}, {}),
        ({}, {"FAULTY_VERSION": "2"}),
        ({}, {"FAULTY_BUILD": "AVX"}),
    ],
    ids=["BOS", "a context that cuts", "version", "build"],
)
def test_what_all_models_must_share_is_a_miss_where_it_changes(
    place: Place, changed: dict[str, Any], environment: dict[str, str]
) -> None:
    place.documented("run", place.model("a"), "-b", "gsm8k", "--shots", 0)
    for total in (8, 8):
        place.documented(
            "run", place.model("a", **changed), "-b", "gsm8k", "--shots", 0, **environment
        )
        assert place.computed("a").total() == total


def test_what_changes_no_answer_is_a_hit(place: Place) -> None:
    place.documented("run", place.model("a"), "-b", "gsm8k", "--shots", 0)
    place.forget_calls()
    for changed in ({"allow_pickle": "true"}, {"add_bos": "false"}, {"n_ctx": 5000}):
        other = place.model("a", **changed)
        document, _ = place.documented("run", other, "-b", "gsm8k", "--shots", 0)
        assert reused(document, "a") == 4
    assert place.calls("a") == []


def test_a_file_that_changes_during_the_run_is_found_out(place: Place) -> None:
    """Answers of the new weights would be stored under the digest of the old ones."""
    model = place.model("a", "wrong 1", seconds=0.2)
    process = place.start("compare", place.model("b"), model, *EVERYTHING)
    assert process.stderr is not None
    for line in process.stderr:
        if "loading b" in line:
            place.model("a", "wrong 4")
            break
    _, progress = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "failed: a: its files were changed during the run" in progress
    assert place.computed("a").total() == 0


# -- two at once -----------------------------------------------------------------------------------


def test_two_runs_at_once_share_a_store(place: Place) -> None:
    models = [place.model(label, seconds=0.01) for label in ("a", "b")]
    processes = [
        place.start("compare", *order, *EVERYTHING, "--json", place.folder / f"{i}.json")
        for i, order in enumerate((models, models, models[::-1]))
    ]
    for process in processes:
        output, progress = process.communicate(timeout=60)
        assert process.returncode == 0, progress
        assert "Traceback" not in output + progress
    assert stored(place) == 56, "what several computed is there once"
    assert place.run("store", "verify").stdout == "whole: 56 responses, 3 runs\n"
    documents = [json.loads((place.folder / f"{i}.json").read_text()) for i in range(3)]
    for document in documents:
        for record in document["benchmarks"]:
            for answers in record["answer_sets"]:
                assert all(next(iter(a["scores"].values())) == 1.0 for a in answers["answers"])
    place.forget_calls()
    place.compare(*models)
    assert place.calls("a") == place.calls("b") == []


# -- several runs at once --------------------------------------------------------------------------


def test_runs_at_once_share_what_each_finds(tmp_path: Path) -> None:
    """Two real processes with one model, one of which starts when the other has begun."""
    place = Place(tmp_path, choices=80, problems=1)
    model = place.model("m", seconds=0.02)
    command = ("run", model, "-b", "mmlu_anatomy", "--shots", 0, "--json")
    processes = [place.start(*command, f"{number}.json") for number in (1, 2)]
    printed = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    computed = place.computed("m")
    assert len(computed) == 320
    with closing(sqlite3.connect(place.store)) as connection:
        rows = connection.execute("SELECT computed, duplicates FROM runs").fetchall()
    assert all(60 < done < 300 for done, _ in rows), "both had a share in it"
    assert sum(done for done, _ in rows) == computed.total()
    assert sum(twice for _, twice in rows) == computed.total() - 320
    assert computed.total() - 320 <= 80, "little was done twice"
    documents = [read(place.folder / f"{number}.json") for number in (1, 2)]
    sets = [document.benchmarks[0].answer_sets[0] for document in documents]
    assert sets[0].answers == sets[1].answers
    assert sum(s.cached_responses for s in sets) == 640 - computed.total()
    assert sorted(320 - s.cached_responses for s in sets) == sorted(done for done, _ in rows)
    assert place.run("store", "verify").stdout == "whole: 320 responses, 2 runs\n"
