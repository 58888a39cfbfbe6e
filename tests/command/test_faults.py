"""Engines that misbehave, each in its own process of the real command: contained and named."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from faulty import EVERYTHING, Place

from pajamas_eval.results.document import AnswerRecord, Document
from pajamas_eval.statistics.verdicts import Verdict

NOT_REACHED = "the model did not get to this question"
STARTED_AGAIN = "its process died and was started again"


def answers(document: Document, label: str) -> list[AnswerRecord]:
    """All of a model's answers, those of MMLU first."""
    return [
        answer
        for record in document.benchmarks
        for answers in record.answer_sets
        if answers.label == label
        for answer in answers.answers
    ]


def errors(document: Document, label: str) -> dict[str, str]:
    """What became of the questions that have no answer, by their names."""
    return {a.doc_id: a.error for a in answers(document, label) if a.error is not None}


def all_else_is_right(document: Document, label: str) -> bool:
    """Whether every question is right or an error: an error is never a wrong answer."""
    return all(
        (a.scores == {}) if a.error is not None else all(a.scores.values())
        for a in answers(document, label)
    )


# -- a single answer that is none: an error of that request, and the model goes on -----------------

CHOICE, PROBLEM = "Q5?", "Question: Q1?"
NO_ANSWERS = {
    # what goes wrong: (at which requests, the question that is lost, what is said)
    "nan": (CHOICE, "anatomy/5", "the runtime gave a log-probability of nan"),
    "infinite": (CHOICE, "anatomy/5", "the runtime gave a log-probability of -inf"),
    "nothing": (CHOICE, "anatomy/5", "the runtime gave a NoneType for an answer"),
    "unsendable": (CHOICE, "anatomy/5", "the runtime gave a function for an answer"),
    "text_for_number": (CHOICE, "anatomy/5", "the runtime gave a GenerationResult for an answer"),
    "wrong_fields": (CHOICE, "anatomy/5", "an invalid answer: Expected `float`, got `str`"),
    "nan_seconds": (CHOICE, "anatomy/5", "the runtime gave an answer that took nan seconds"),
    "failure": (CHOICE, "anatomy/5", "the logits are \x1b[31mno numbers"),
    "left_out": (CHOICE, "anatomy/5", "the faulty runtime gave no answer"),
    "number_for_text": (PROBLEM, "1", "the runtime gave a LogLikelihoodResult for an answer"),
    "odd_finish": (PROBLEM, "1", "an invalid answer: Invalid enum value 'tired'"),
    "bytes_for_text": (PROBLEM, "1", "an invalid answer: Expected `str`, got `bytes`"),
}


@pytest.fixture(scope="module")
def no_answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Document, str]:
    """One comparison of a sound model with one for each kind of answer that is none."""
    place = Place(tmp_path_factory.mktemp("no_answers"))
    models = [place.model(fault, fault=fault, on=on) for fault, (on, _, _) in NO_ANSWERS.items()]
    document, result = place.compare(place.model("sound"), *models, place.model("n", fault="numpy"))
    return place, document, result.stdout


@pytest.mark.parametrize("fault", NO_ANSWERS)
def test_an_answer_that_is_none_is_an_error(
    no_answers: tuple[Place, Document, str], fault: str
) -> None:
    _, document, output = no_answers
    _, question, said = NO_ANSWERS[fault]
    (found,) = errors(document, fault).items()
    assert found[0] == question
    assert said in found[1]
    assert all_else_is_right(document, fault)
    assert document.model(fault).error is None
    assert f"{fault} failed on 1 question, not counted as wrong: " in output
    benchmark = document.benchmarks[question == "1"].name
    (comparison,) = (
        c
        for c in document.comparisons
        if (c.label, c.benchmark) == (fault, benchmark)
        and c.metric == document.benchmark(benchmark).headline.name
    )
    assert (comparison.unanswered, comparison.losses) == (1, 0)


def test_the_sound_model_has_all_its_answers(no_answers: tuple[Place, Document, str]) -> None:
    _, document, _ = no_answers
    assert errors(document, "sound") == {}
    assert all_else_is_right(document, "sound")


def test_numbers_of_numpy_are_numbers(no_answers: tuple[Place, Document, str]) -> None:
    _, document, _ = no_answers
    assert errors(document, "n") == {
        str(i): "the runtime gave a LogLikelihoodResult for an answer" for i in range(4)
    }
    assert answers(document, "n")[0].log_probabilities == [-0.25] * 4


def test_what_is_no_answer_is_not_stored_and_asked_again(
    no_answers: tuple[Place, Document, str],
) -> None:
    place, _, _ = no_answers
    place.forget_calls()
    faults = ("nan", "wrong_fields", "left_out", "number_for_text")
    wells = {fault: NO_ANSWERS[fault][0] for fault in faults}
    models = [place.model(fault, fault=fault, on=on) for fault, on in wells.items()]
    document, _ = place.compare(*models, FAULTY_WELL="1")
    for fault, on in wells.items():
        assert errors(document, fault) == {}
        assert all(on in call for call in place.computed(fault))
        assert set(place.computed(fault).values()) == {1}


# -- a model that fails: the others go on, and what it answered stays ------------------------------

DEATHS = {
    "abort": "abort: the worker process died (killed by SIGABRT): "
    "ggml.c:1234: GGML_ASSERT(everything) failed",
    "abort_in_debugger": "died (killed by SIGABRT): ggml.c:1234: GGML_ASSERT(n > 0) failed",
    "uncaught": "died (killed by SIGABRT): what(): std::bad_alloc",
    "failed_assertion": "died (killed by SIGABRT): python: x.c:12: f: Assertion `a == b' failed.",
    "killed": "died (killed by SIGKILL, as the system does when memory runs out)",
    "real_time_signal": "the worker process died (killed by signal 40)",
    "exit": "the worker process died (exit code 7)",
    "cut": "the worker process died (exit code 9)",
    "garbage": "the worker process sent what cannot be read (UnpicklingError) and was killed",
    "memory_error": "the worker process ran out of memory (MemoryError)",
    "out_of_memory": "ran out of memory (OutOfMemoryError: no room for the batch)",
    "load_killed": "died (killed by SIGKILL, as the system does when memory runs out)",
}
OTHER_FAILURES = {
    "exception": "exception: RuntimeError: the kernel is \x1b[31mred\x1b[0m",
    "unsayable": "unsayable: RuntimeError: \udcff\u202exxx",
    "load_exception": "load_exception: RuntimeError: the kernel is \x1b[31mred\x1b[0m",
    "twice": "the faulty runtime answered request 12 of 20 twice, or was never asked it",
    "beyond": "the faulty runtime answered request 20 of 20, which it was not asked",
    "before": "the faulty runtime answered request -1 of 20, which it was not asked",
}
FAILURES = {**DEATHS, **OTHER_FAILURES}


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Document, str, str]:
    """One comparison of a sound model with one for each way to fail at the fourth question."""
    place = Place(tmp_path_factory.mktemp("failures"), choices=5, problems=1)
    models = [place.model(f, fault=f, on="Q3?", seconds=0.02) for f in FAILURES]
    document, result = place.compare(place.model("sound"), *models, code=4)
    return place, document, result.stdout, result.stderr


@pytest.mark.parametrize("fault", FAILURES)
def test_a_model_that_fails_is_named_with_the_reason(
    failures: tuple[Place, Document, str, str], fault: str
) -> None:
    _, document, output, progress = failures
    error = document.model(fault).error
    assert error is not None
    assert FAILURES[fault] in error
    assert "#1" not in error
    assert "bye" not in error
    assert len(error) < 5000
    assert f"FAILED {fault}: " in output
    assert f"failed: {fault}: " in progress


@pytest.mark.parametrize("fault", FAILURES)
def test_what_it_answered_stays_and_the_rest_is_an_error(
    failures: tuple[Place, Document, str, str], fault: str
) -> None:
    _, document, _, _ = failures
    lost = errors(document, fault)
    assert set(lost.values()) == {NOT_REACHED}
    assert {"anatomy/3", "anatomy/4", "0"} <= set(lost)
    assert all_else_is_right(document, fault)
    if not fault.startswith("load_"):
        assert "anatomy/0" not in lost
    if fault in OTHER_FAILURES and not fault.startswith("load_"):
        assert "anatomy/2" not in lost, "an error that is told loses nothing that came before it"


@pytest.mark.parametrize("fault", FAILURES)
def test_it_is_started_again_once_where_it_died(
    failures: tuple[Place, Document, str, str], fault: str
) -> None:
    place, document, output, progress = failures
    died = fault in DEATHS
    assert document.model(fault).notes == [STARTED_AGAIN] * died
    assert place.calls(fault).count("load") == 1 + died
    assert (f"{fault}: {STARTED_AGAIN}\n" in progress) == died
    assert (f"{fault}: {STARTED_AGAIN}\n" in output) == died


def test_the_others_results_stand(failures: tuple[Place, Document, str, str]) -> None:
    _, document, output, progress = failures
    assert errors(document, "sound") == {}
    assert all_else_is_right(document, "sound")
    assert progress.endswith("did not run to the end; the others' results stand\n")
    verdicts = {v.verdict for v in document.verdicts}
    assert verdicts <= {Verdict.UNDECIDED, Verdict.CANNOT_TELL}, "what failed has proven nothing"
    assert len(output) < 200_000


def test_the_run_is_recorded_as_failed_and_goes_on_when_the_engine_is_well(
    failures: tuple[Place, Document, str, str],
) -> None:
    place, _, _, _ = failures
    assert run_states(place) == {1: ("failed", 0)}
    shown = place.run("show", 1)
    assert shown.returncode == 0
    assert "to resume: pajamas-eval compare --resume 1\n" in shown.stdout
    stored = {fault: stored_of(place, fault) for fault in FAILURES}
    assert all(stored[f] >= 4 for f in FAILURES if not f.startswith("load_"))

    place.forget_calls()
    document, result = place.documented("compare", "--resume", 1, FAULTY_WELL="1")
    for fault in FAILURES:
        assert errors(document, fault) == {}
        assert document.model(fault).error is None
        assert place.computed(fault).total() == 21 - stored[fault]
        assert set(place.computed(fault).values()) == {1}
    assert run_states(place) == {1: ("failed", 0), 2: ("finished", 0)}
    assert "FAILED" not in result.stdout


def test_engines_print_into_logs(failures: tuple[Place, Document, str, str]) -> None:
    place, _, _, _ = failures
    logs = place.logs()
    assert "GGML_ASSERT(everything) failed" in logs["run1-abort.log"]
    assert "Traceback" in logs["run1-exception.log"], "for whoever mends the engine"
    assert "run1-sound.log" not in logs, "an empty log is removed"


def run_states(place: Place) -> dict[int, tuple[str, int]]:
    """State, and responses computed twice, of every run."""
    with closing(sqlite3.connect(place.store)) as connection:
        rows = connection.execute("SELECT id, state, duplicates FROM runs").fetchall()
    return {run: (state, duplicates) for run, state, duplicates in rows}


def stored_of(place: Place, label: str) -> int:
    with closing(sqlite3.connect(place.store)) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM responses JOIN models ON model = id WHERE label = ?", (label,)
        ).fetchone()
    return int(count)


# -- a model that fails before anything is asked ---------------------------------------------------


def test_a_variant_that_dies_when_it_is_opened_fails_and_the_others_go_on(place: Place) -> None:
    faults = ("open_abort", "open_exit", "open_out_of_memory")
    models = [place.model(fault, fault=fault) for fault in faults]
    document, result = place.compare(place.model("sound"), *models, place.model("last"), code=4)
    for fault, said in zip(
        faults, ("killed by SIGABRT", "exit code 7", "ran out of memory"), strict=True
    ):
        assert said in str(document.model(fault).error)
        assert set(errors(document, fault).values()) == {NOT_REACHED}
        assert len(errors(document, fault)) == 10
    for label in ("sound", "last"):
        assert errors(document, label) == {}
    assert "open_abort, open_exit, open_out_of_memory did not run to the end" in result.stderr


def test_one_that_dies_once_when_it_is_opened_is_opened_again(place: Place) -> None:
    models = [place.model(label, fault="open_abort", once="true") for label in ("a", "b")]
    document, _ = place.compare(*models)
    for label in ("a", "b"):
        assert errors(document, label) == {}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "open_abort",
            "Error: m: the worker process died (killed by SIGABRT): "
            "ggml.c:1234: GGML_ASSERT(everything) failed\n",
        ),
        ("open_exception", "Error: m: RuntimeError: the kernel is �[31mred�[0m\n"),
        ("open_unsayable", "Error: m: RuntimeError: ��xxx"),
    ],
)
def test_without_the_baseline_there_is_nothing_to_go_on_with(
    place: Place, fault: str, said: str
) -> None:
    result = place.run("compare", place.model("m", fault=fault), place.model("n"), *EVERYTHING)
    assert (result.returncode, result.stdout) == (4, "")
    assert said in result.stderr
    assert len(result.stderr) < 6000
    assert run_states(place) == {1: ("failed", 0)}


# -- what passes when it is tried again ------------------------------------------------------------


def test_what_happens_once_costs_nothing_but_time(place: Place) -> None:
    faults = ("abort", "killed", "memory_error", "load_abort")
    models = [
        place.model(fault, fault=fault, on="Q3?", once="true", seconds=0.02) for fault in faults
    ]
    document, _ = place.compare(place.model("sound"), *models)
    for fault in faults:
        assert errors(document, fault) == {}
        assert all_else_is_right(document, fault)
        assert document.model(fault).notes == [STARTED_AGAIN]
        assert document.model(fault).error is None
        computed = place.computed(fault)
        assert len(computed) == 28
        # Twice only what was on its way when the process died, for a twentieth of a second.
        assert computed.total() - len(computed) <= 6
    assert run_states(place) == {1: ("finished", 0)}


def test_a_hang_on_one_request_loses_that_request(place: Place) -> None:
    hangs = place.model("hangs", fault="hang", on="Question: Q1?")
    slow = place.model("slow", fault="slow", on="Question: Q2?")
    steady = place.model("steady", seconds=0.06)
    document, result = place.documented(
        "compare", place.model("sound"), hangs, slow, steady, *EVERYTHING, "--timeout", 1
    )
    lost = errors(document, "hangs")
    assert set(lost) == {"1"}
    assert "showed no heartbeat for 1 seconds and was killed" in lost["1"]
    assert "about to hang" in lost["1"]
    assert all_else_is_right(document, "hangs")
    assert document.model("hangs").error is None
    assert document.model("hangs").notes == ["its process hung and was started again"] * 2
    assert place.computed("hangs").total() == 27, "nothing was computed twice"
    for label in ("slow", "steady"):  # one that says it is alive, and one whose answers do
        assert errors(document, label) == {}
        assert document.model(label).notes == []
    assert "hangs failed on 1 question, not counted as wrong" in result.stdout


def test_a_verdict_is_refused_where_errors_could_change_it(tmp_path: Path) -> None:
    place = Place(tmp_path, choices=400, problems=1)
    lossy = place.model("lossy", fault="nan", on="Q39")
    document, result = place.documented(
        "compare", place.model("sound"), place.model("alike"), lossy,
        "-b", "mmlu_anatomy", "--shots", 0, "--margin", 2,
    )  # fmt: skip
    assert {v.label: v.verdict for v in document.verdicts} == {
        "alike": Verdict.NO_WORSE,
        "lossy": Verdict.UNDECIDED,
    }
    assert len(errors(document, "lossy")) == 11
    assert "11 questions without an answer count against either verdict" in result.stdout


# -- what engines print, and how much they answer --------------------------------------------------


def test_chatter_goes_to_the_log_and_not_to_the_terminal(place: Place) -> None:
    _, result = place.compare(place.model("loud", fault="chatter"), place.model("quiet"))
    assert "chatter" not in result.stdout + result.stderr
    (log,) = place.logs().values()
    for line in ("on stdout", "on stderr \x1b[31m", "of C", "of Python", "of Python's"):
        assert f"chatter {line}\n" in log
    assert "run1-loud.log" in place.run("show", 1).stdout


def test_without_a_store_chatter_goes_nowhere_and_nothing_is_left(place: Place) -> None:
    temporary = place.folder / "temporary"
    temporary.mkdir()
    result = place.run(
        "compare", place.model("loud", fault="chatter"), place.model("quiet"), *EVERYTHING,
        "--no-store", TMPDIR=str(temporary),
    )  # fmt: skip
    assert result.returncode == 0
    assert "chatter" not in result.stdout + result.stderr
    assert list(temporary.iterdir()) == []
    assert not place.store.parent.exists()


def test_an_endless_text_is_an_answer_like_any_other(place: Place) -> None:
    endless = place.model("endless", fault="endless", on="Question: Q1?")
    document, result = place.compare(place.model("sound"), endless)
    (found,) = (a for a in answers(document, "endless") if a.finish_reasons == ["length"])
    assert found.texts == ["x" * 10_000_000]
    assert len(result.stdout) < 10_000
    (audit,) = (a for a in document.audits if a.label == "endless")
    assert (audit.correct, audit.cut_off, audit.wrong) == (3, 1, 0)


def test_models_whose_names_look_alike_have_logs_of_their_own(place: Place) -> None:
    labels = ("模型", "型模", "a.b", "a+b", "Q4", "q4")  # some file systems know no capitals
    specs = [
        place.model("m", fault="chatter", dtype=label).replace("m=", f"{label}=", 1)
        for label in labels
    ]
    place.compare(*specs)
    assert len({name.casefold() for name in place.logs()}) == 6
    assert all("chatter" in log for log in place.logs().values())
