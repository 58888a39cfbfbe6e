"""What the terminal shows, to the character."""

import io
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from handmade import answer_set, document, identity, written
from rich.console import Console

from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.api.requests import LogLikelihoodResult
from pajamas_eval.report.terminal.comparison import show
from pajamas_eval.report.terminal.progress import BarProgress, PlainProgress, progress_for
from pajamas_eval.report.wording.comparison import of_benchmark, verdicts
from pajamas_eval.report.wording.figures import (
    device,
    percent,
    plural,
    points,
    printable,
    printable_lines,
    rate,
    size,
)
from pajamas_eval.results.document import AnswerSet, Document, TokenDifference

EVIL = "a\x1b[31mb\x07c\x9bd\u202ee\rf\x7fg"
"""Colour, bell, another escape, right-to-left override, carriage return, delete."""

HARMLESS = "a�[31mb�c�d�e�f�g"


def shown(made: Document, *, colour: bool = False, width: int = 120) -> str:
    stream = io.StringIO()
    show(made, Console(file=stream, width=width, force_terminal=colour, color_system=None))
    return stream.getvalue()


def quiz() -> Document:
    """A hundred questions: the variant gains 2 and loses 5, another fails twice."""
    ids = [f"q{i}" for i in range(100)]
    base = {d: float(i < 60) for i, d in enumerate(ids)}
    variant = base | dict.fromkeys(ids[:5], 0.0) | dict.fromkeys(ids[60:62], 1.0)
    failing = base | dict.fromkeys(ids[:2], "no room")
    made = document(
        [
            answer_set("base", base),
            answer_set("q4", variant, evaluated_tokens=100_000),
            answer_set("q2", failing, notes=["smaller batches", "smaller batches"]),
        ],
        available=250,
        notes=["this is made up"],
        fairness_notes=["context lengths differ"],
    )
    cut = made.benchmarks[0].answer_sets[1].answers[7]
    cut.parts = [LogLikelihoodResult(-1.0, True, 1, 1, 1, truncated_tokens=3)]
    made.models[1].identity = identity(size_bytes=4_000_000_000, notes=("expanded",))
    made.models[2].error = "q2: it stopped"
    made.fairness.tokens[1].identical = 6
    made.fairness.tokens[1].first_difference = TokenDifference(
        benchmark="quiz",
        doc_id="q3",
        text="What is [this]?",
        baseline_tokens=[1, 2, 3, 4],
        variant_tokens=[1, 2, 9, 4],
    )
    summarize(made)
    return made


def test_the_whole_report() -> None:
    lines = [line.rstrip() for line in shown(quiz()).splitlines()]
    assert (
        "\n".join(lines)
        == """\
quiz: 100 of 250 questions, 0-shot

         acc                 difference          flips   verdict                 prompt
 model   [95 %]              [90 %]                +/−   (margin 1)   errors   tokens/s
 ──────────────────────────────────────────────────────────────────────────────────────
 base    60.0 [50.2, 69.1]   baseline                                      0      2,000
 q4      57.0 [47.2, 66.3]   −3.0 [−8.3, +1.7]     2/5   undecided         0      2,000
 q2      59.2 [49.3, 68.4]   ±0.0 [−5.9, +5.9]     0/0   undecided         2      2,000

q4 is undecided: 7 of 100 questions flip (7.0 %, 95 % interval 3.4 to 13.7), 2 fixed, 5 \
broken (McNemar p = 0.45); difference −3.0 points, 90 % interval −8.3 to +1.7. About 354 \
further questions would decide; the benchmark has 150 more. With 100 questions and 7.0 % \
discordance the smallest margin this set can certify with 80 % power is 6.6 points.
q4: 1 prompt did not fit in the context and lost text on the left
q2 is undecided: same correctness on all 98 questions as the baseline; difference ±0.0 \
points, 90 % interval −5.9 to +5.9. 2 questions without an answer count against either verdict. \
About 170 further questions would decide; the benchmark has 150 more. With 98 questions and 0.0 % \
discordance the smallest margin this set can certify with 80 % power is 2.7 points.
q2 failed on 2 questions, not counted as wrong: no room
q2: smaller batches
Note: this is made up

models

                                  bits per                peak
 model   runtime   quantization     weight      size    memory   loaded in
 ─────────────────────────────────────────────────────────────────────────
 base    gguf      Q4_K_M             4.50   12.3 MB   1.50 GB       0.5 s
 q4      gguf      Q4_K_M             4.50   4.00 GB   1.50 GB       0.5 s
 q2      gguf      Q4_K_M             4.50   12.3 MB   1.50 GB       0.5 s

q4: tokenization identical on 8/8 requests
q2: tokenization identical on 6/8 requests; first in quiz q3, from token 2: [3, 4] against [9, \
4], in a text that ends 'What is [this]?'
prompts identical for all models (digest abcdef012345)
Note: context lengths differ
Batches of quiz (tokens run for each distinct one): up to 512 tokens and 127 sequences at once: \
base (1.20), q4 (40.00), q2 (1.20)
q4: expanded
FAILED q2: it stopped
A verdict is read from the difference's 90 % interval, each end of which holds at 95 % \
confidence, whatever the unanswered questions would have shown. Other intervals are two-sided at \
95 %.

Verdict at a margin of 1 point (default of quiz) and 95 % confidence, over all benchmarks:
  q4: undecided, on quiz
  q2: undecided, on quiz"""
    )


def test_what_was_generated_has_a_speed_of_its_own_and_what_was_disturbed_a_mark() -> None:
    base = answer_set("base", {"a": 1.0}, generated_tokens=300, generation_seconds=6.0)
    stored = answer_set("q8", {"a": 1.0}, cached_responses=1, prompt_seconds=0.0, prompt_tokens=0)
    slow = answer_set(
        "q4",
        {"a": 1.0},
        generated_tokens=300,
        generation_seconds=3.0,
        disturbance=0.375,
        disturbed=True,
    )
    for answers in (base, stored, slow):
        answers.answers[0].parts = written("7")
    made = document([base, stored, slow])
    summarize(made)
    text = shown(made)
    cells = [line.split() for line in text.splitlines()[2:]]
    assert cells[0][-2:] == ["prompt", "generated"]
    assert cells[1][-2:] == ["tokens/s", "tokens/s"]
    assert cells[3][-2:] == ["2,000", "50.0"]
    assert cells[4][-2:] == ["stored", "stored"]
    assert cells[5][-4:] == ["*", "2,000", "*", "100"]
    assert (
        "* Other programs had the processors for some of the time, so that the model is faster "
        "than shown: q4 (38 %). End them and measure again with --no-store.\n" in text
    )
    slow.disturbed = False
    assert "*" not in shown(made)


def test_a_narrow_terminal_shows_whole_names_and_verdicts() -> None:
    console = Console(width=80, emoji=False)
    with console.capture() as capture:
        show(quiz(), console)
    table = [line.rstrip() for line in capture.get().partition("\n\n\n")[0].splitlines()[:9]]
    assert "\n".join(table[3:]).rstrip() == (
        " model    acc   difference     +/−   (margin 1)   errors   tokens/s\n"
        " ──────────────────────────────────────────────────────────────────\n"
        " base    60.0     baseline                             0      2,000\n"
        " q4      57.0         −3.0     2/5   undecided         0      2,000\n"
        " q2      59.2         ±0.0     0/0   undecided         2      2,000"
    )


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_shows_whole_models(width: int) -> None:
    made = document(
        [answer_set(label, {"a": 1.0}) for label in ("original-16bit", "demo-mlx-8bit")]
    )
    for model in made.models:
        model.identity = identity(runtime="mlx", quantization="8-bit, groups of 64")
    summarize(made)
    table = [
        line.rstrip() for line in shown(made, width=width).partition("\nmodels\n")[2].split("\n")
    ]
    assert table[1:8] == [
        "                  bits per                peak",
        " model              weight      size    memory   loaded in",
        " ─────────────────────────────────────────────────────────",
        " original-16bit       4.50   12.3 MB   1.50 GB       0.5 s",
        " demo-mlx-8bit        4.50   12.3 MB   1.50 GB       0.5 s",
        "",
        "original-16bit: mlx, 8-bit, groups of 64",
    ]


def test_the_narrowest_terminal_shows_whole_headings_and_verdicts() -> None:
    made = quiz()
    record = made.benchmarks[0]
    record.metrics = [Metric("exact_match_strict")]
    for answers in record.answer_sets:
        for given in answers.answers:
            if given.error is None:
                given.scores = {"exact_match_strict": given.scores["acc"]}
    summarize(made)
    table = [line.rstrip() for line in shown(made, width=54).splitlines()[2:9]]
    assert "\n".join(table) == (
        "          exact\n"
        "          match                verdict        prompt\n"
        " model   strict   difference   (margin 1)   tokens/s\n"
        " ───────────────────────────────────────────────────\n"
        " base      60.0     baseline                   2,000\n"
        " q4        57.0         −3.0   undecided       2,000\n"
        " q2        59.2         ±0.0   undecided       2,000"
    )


def test_a_title_is_not_wrapped_at_the_width_of_its_table() -> None:
    made = document([answer_set("q", {"a": 1.0})], available=1319)
    made.benchmarks[0].name = "pajamas_knowledge [x]"
    summarize(made)
    assert shown(made).startswith("pajamas_knowledge [x]: 1 of 1,319 questions, 0-shot\n")


def test_a_single_model_is_compared_with_nothing() -> None:
    made = document([answer_set("only", {"a": 1.0})])
    summarize(made)
    output = shown(made)
    assert "quiz: 1 question, 0-shot" in output
    for word in ("difference", "flips", "baseline", "tokenization", "errors"):
        assert word not in output


def test_what_became_of_generated_texts_is_counted_at_any_width() -> None:
    values: dict[str, float | str] = {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": "no room"}
    made = document([answer_set("base", values), answer_set("q[4]", dict.fromkeys(values, 1.0))])
    for answers in made.benchmarks[0].answer_sets:
        for given in answers.answers:
            given.parts = written("so 4")
    _, _, unparsed, cut_off, _ = made.benchmarks[0].answer_sets[0].answers
    unparsed.parsed = False
    cut_off.parts = written("so 4", "length")
    summarize(made)
    for width in (60, 200):
        lines = [line.split() for line in shown(made, width=width).splitlines()]
        start = lines.index(["quiz:", "answer", "extraction"])
        table = lines[start : start + 8]
        assert ["cut"] in table
        assert ["model", "correct", "wrong", "unparsed", "off", "errors"] in table
        assert ["base", "1", "1", "1", "1", "1"] in table
        assert ["q[4]", "5", "0", "0", "0", "0"] in table


def test_a_model_without_answers_has_no_score() -> None:
    made = document([answer_set("base", {"a": 1.0}), answer_set("q4", {"a": "no room"})])
    made.models[1].identity = None
    summarize(made)
    row, described = (x for x in shown(made).splitlines() if x.startswith(" q4 "))
    assert row.split() == ["q4", "no", "answers", "1", "2,000"]
    assert described.split() == ["q4", "?", "?", "?", "?", "1.50", "GB", "0.5", "s"]
    assert "q4 and the baseline answered no question in common." in shown(made)


@pytest.mark.parametrize("colour", [False, True])
def test_no_control_character_reaches_the_terminal(colour: bool) -> None:
    """Whatever a model's files, a data set or an engine put into a text."""
    made = quiz()
    labels = {"base": f"base {EVIL}", "q4": f"q4 {EVIL}", "q2": f"q2 {EVIL}"}
    made.baseline = labels[made.baseline]
    for part in [*made.models, *made.fairness.tokens, *made.benchmarks[0].answer_sets]:
        part.label = labels[part.label]
    made.models[2].error = EVIL
    made.models[1].identity = identity(notes=(EVIL,))
    made.fairness.notes = [EVIL]
    record = made.benchmarks[0]
    record.notes = [EVIL]
    record.answer_sets[1].notes = [EVIL]
    record.answer_sets[2].answers[0].error = EVIL
    difference = made.fairness.tokens[1].first_difference
    assert difference
    difference.doc_id = difference.text = EVIL
    summarize(made)
    output = shown(made, colour=colour)
    assert HARMLESS in output
    assert {char for char in output if not char.isprintable()} <= {"\n"}


def test_markup_in_a_label_is_text() -> None:
    made = document([answer_set("[red]base[/red]", {"a": 1.0}), answer_set("[/]", {"a": 1.0})])
    summarize(made)
    output = shown(made)
    assert "[red]base[/red]" in output
    assert "\n [/] " in output


# -- sentences -----------------------------------------------------------------------------


def pairs(gains: int, losses: int, same: int, *, wrong: int = 0) -> list[AnswerSet]:
    """The baseline and q4 with so many gains, losses, questions right for both, and wrong."""
    values = [(0.0, 1.0)] * gains + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * same
    values += [(0.0, 0.0)] * wrong
    return [
        answer_set(label, {str(i): pair[side] for i, pair in enumerate(values)})
        for side, label in enumerate(("base", "q4"))
    ]


def sentence(sets: list[AnswerSet], **settings: Any) -> str:
    """What is said of q4."""
    made = document(sets)
    if "margin" in settings:
        settings["margins"] = (Margin(100 * settings.pop("margin")),)
    made.settings = msgspec.structs.replace(made.settings, **settings)
    summarize(made)
    return next(x for x in of_benchmark(made, made.benchmarks[0]) if x.startswith("q4"))


@pytest.mark.parametrize(
    ("sets", "margin", "words"),
    [
        (
            pairs(2, 5, 93),
            0.01,
            "q4 is undecided: 7 of 100 questions flip (7.0 %, 95 % interval 3.4 to 13.7), 2 "
            "fixed, 5 broken (McNemar p = 0.45); difference −3.0 points, 90 % "
            "interval −8.3 to +1.7. About 354 further questions would decide; the benchmark "
            "has no more. With 100 questions and 7.0 % discordance the smallest margin this set "
            "can certify with 80 % power is 6.6 points.",
        ),
        (
            pairs(0, 0, 100),
            0.05,
            "q4 is no worse: same correctness on all 100 questions as the baseline; "
            "difference ±0.0 points, 90 % interval −2.7 to +2.7.",
        ),
        (
            pairs(0, 30, 70),
            0.01,
            "q4 is worse: 30 of 100 questions flip (30.0 %, 95 % interval 21.9 to 39.6), 0 "
            "fixed, 30 broken (McNemar p < 0.001); difference −30.0 points, 90 % "
            "interval −38.0 to −23.0.",
        ),
        (
            pairs(0, 0, 1),
            0.01,
            "q4 is undecided: same correctness on all 1 question as the baseline; "
            "difference ±0.0 points, 90 % interval −73.1 to +73.1. About 267 further "
            "questions would decide; the benchmark has no more. With 1 question and 0.0 % "
            "discordance the smallest margin this set can certify with 80 % power is 73.0 points.",
        ),
    ],
)
def test_a_comparison_in_words(sets: list[AnswerSet], margin: float, words: str) -> None:
    assert sentence(sets, margin=margin) == words


def test_a_sentence_names_the_confidence() -> None:
    said = sentence(pairs(2, 5, 93), confidence=0.999)
    assert "7.0 %, 99.9 % interval" in said
    assert "points, 99.8 % interval" in said


def two_benchmarks(*defaults: float | None) -> Document:
    """The same questions under two names, with these default margins."""
    made = document(pairs(0, 0, 200))
    made.benchmarks = [
        msgspec.structs.replace(
            made.benchmarks[0], name=name, metrics=[Metric("acc", default_margin=margin)]
        )
        for name, margin in zip(("quiz", "riddles"), defaults, strict=True)
    ]
    return made


@pytest.mark.parametrize(
    ("defaults", "margins", "words"),
    [
        ((4.0, 6.0), (), "margins of 4 points (default of quiz), 6 points (default of riddles)"),
        ((4.0, 4.0), (), "a margin of 4 points (default of quiz, riddles)"),
        ((None, None), (), "a margin of 1 point (default of quiz, riddles)"),
        ((4.0, 6.0), (Margin(2.5),), "a margin of 2.5 points"),
    ],
)
def test_the_verdict_names_the_margins_and_whose_they_are(
    defaults: tuple[float | None, ...], margins: tuple[Margin, ...], words: str
) -> None:
    made = two_benchmarks(*defaults)
    made.settings.margins = margins
    summarize(made)
    assert next(verdicts(made)) == f"Verdict at {words} and 95 % confidence, over all benchmarks:"


def test_each_table_has_its_own_margin() -> None:
    made = two_benchmarks(4.0, 6.0)
    summarize(made)
    output = shown(made)
    assert [output.count(f"(margin {margin})") for margin in (4, 6, 1)] == [1, 1, 0]


def test_questions_asked_until_decided_have_no_interval_beside_their_verdict() -> None:
    """That of a fixed number of questions may say the opposite."""
    made = document(pairs(2, 5, 193))
    made.settings = msgspec.structs.replace(
        made.settings, until_decided=True, margins=(Margin(5.0),)
    )
    summarize(made)
    (found,) = made.comparisons
    assert (found.lower, found.upper, found.interval_confidence) == (None, None, None)
    output = shown(made)
    assert "difference −1.5 points. " in output
    assert "[90 %]" not in output
    assert "is read from" not in output
    assert "differences have no interval" in output


def test_nothing_in_common_is_said() -> None:
    sets = [answer_set("base", {"a": "broke"}), answer_set("q4", {"a": 1.0})]
    made = document(sets)
    summarize(made)
    lines = list(of_benchmark(made, made.benchmarks[0]))
    assert lines[0].startswith("base failed on 1 question")
    assert lines[1] == "q4 and the baseline answered no question in common."


def test_wrong_answers_that_changed_are_counted() -> None:
    sets = pairs(0, 0, 5, wrong=3)
    sets[1].answers[6].prediction = "another"
    assert "1 different wrong answer: 1 answer changed at all." in sentence(sets)


def test_the_noise_floor_is_set_beside_the_flips() -> None:
    base, q4 = pairs(1, 1, 198)
    again = answer_set("base again", {a.doc_id: a.scores["acc"] for a in q4.answers})
    made = document([base, again, q4])
    made.models[1].noise_floor = True
    summarize(made)
    floor, variant = of_benchmark(made, made.benchmarks[0])
    assert floor.startswith("base again is a noise floor (baseline re-run in other batches")
    assert "No more than the engine's own noise (1.0 %)." in variant
    assert [v.label for v in made.verdicts] == ["q4"]
    row, _ = (x for x in shown(made).splitlines() if x.startswith(" base again "))
    assert " noise " in row


def test_a_noise_floor_that_failed_shows_no_noise() -> None:
    base, q4 = pairs(0, 0, 200)
    again = answer_set("base again", dict.fromkeys((a.doc_id for a in q4.answers), "no room"))
    made = document([base, again, q4])
    made.models[1].noise_floor = True
    summarize(made)
    lines = list(of_benchmark(made, made.benchmarks[0]))
    assert "base again and the baseline answered no question in common." in lines
    assert not any("own noise" in line for line in lines)


def test_a_flip_more_than_the_noise_is_not_called_noise() -> None:
    base, q4 = pairs(1, 2, 197)
    _, again = pairs(1, 1, 198)
    again.label = "base again"
    made = document([base, again, q4])
    made.models[1].noise_floor = True
    summarize(made)
    assert not any("own noise" in line for line in of_benchmark(made, made.benchmarks[0]))


def test_a_p_value_too_small_for_a_float_is_small_all_the_same() -> None:
    assert "(McNemar p < 0.001)" in sentence(pairs(0, 1200, 10))


@pytest.mark.parametrize(
    ("same", "available", "words"),
    [
        (267, 267, "About 1 further question would decide; the benchmark has no more."),
        (266, 267, "About 2 further questions would decide; the benchmark has 1 more."),
        (266, 268, "About 2 further questions would decide."),
    ],
)
def test_what_would_decide_is_set_beside_what_the_benchmark_has(
    same: int, available: int, words: str
) -> None:
    made = document(pairs(0, 0, same), available=available)
    summarize(made)
    (line,) = of_benchmark(made, made.benchmarks[0])
    assert f" {words} With " in line


def test_an_early_verdict_says_how_many_questions_it_saved() -> None:
    base, q4 = pairs(0, 0, 200)
    base.answers, q4.answers = base.answers[:150], q4.answers[:150]
    made = document(pairs(0, 0, 200))
    made.benchmarks[0].answer_sets = [base, q4]
    made.settings.until_decided, made.settings.margins = True, (Margin(5.0),)
    summarize(made)
    (line,) = of_benchmark(made, made.benchmarks[0])
    assert line.startswith("q4 is no worse: ")
    assert line.endswith(" Asked 150 of 200 questions, 50 saved.")
    assert "McNemar" not in line
    assert "Questions were asked in random order" in shown(made)


def test_questions_that_a_failure_left_unasked_are_not_called_saved() -> None:
    made = document(pairs(0, 0, 200))
    for answers in made.benchmarks[0].answer_sets:
        del answers.answers[50:]
    made.settings.until_decided, made.settings.margins = True, (Margin(5.0),)
    made.models[1].error = "q4: it stopped"
    summarize(made)
    (line,) = of_benchmark(made, made.benchmarks[0])
    assert line.startswith("q4 is undecided: ")
    assert " Asked 50 of 200 questions. " in line
    assert "saved" not in line


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (0, "no worse"),
        (3, "undecided, on quiz"),
        (9, "undecided, on quiz (worse before Holm correction)"),
        (30, "worse, on quiz (Holm-corrected)"),
    ],
)
def test_the_last_line_is_the_verdict_over_all_benchmarks(losses: int, words: str) -> None:
    base, q4 = pairs(0, losses, 100 - losses)
    q8 = answer_set("q8", dict.fromkeys((a.doc_id for a in q4.answers), 1.0))
    made = document([base, q4, q8])
    made.settings.margins = (Margin(5.0),)
    summarize(made)
    assert list(verdicts(made)) == [
        "Verdict at a margin of 5 points and 95 % confidence, over all benchmarks:",
        f"  q4: {words}",
        "  q8: no worse",
    ]


def test_a_single_test_needs_no_correction_and_names_none() -> None:
    made = document(pairs(0, 9, 91))
    made.settings.margins = (Margin(5.0),)
    summarize(made)
    assert list(verdicts(made))[1:] == ["  q4: worse, on quiz"]


def test_a_ranking_is_shown_where_the_questions_separate_the_models() -> None:
    made = document(pairs(0, 30, 70))
    summarize(made)
    words = "Ranking, as far as the questions separate the models: base; then q4"
    assert words in list(of_benchmark(made, made.benchmarks[0]))


# -- figures -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.0"), (1, "100.0"), (0.12345, "12.3"), (0.9999, "100.0")]
)
def test_percent(value: float, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "±0.0"),
        (-0.0, "±0.0"),
        (0.0004, "±0.0"),
        (-0.0004, "±0.0"),
        (0.0006, "+0.1"),
        (-0.0006, "−0.1"),
        (1.0, "+100.0"),
        (-1.0, "−100.0"),
    ],
)
def test_points(value: float, text: str) -> None:
    assert points(value) == text


def test_points_with_more_decimals() -> None:
    assert [points(x, 2) for x in (0.0, 0.0004, -0.0004)] == ["±0.00", "+0.04", "−0.04"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (1_500_000_000, "1.50 GB"),
        (1_234_000_000_000, "1234.00 GB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0"), (7.25, "7.2"), (99.94, "99.9"), (100, "100"), (12345.6, "12,346")],
)
def test_rate(value: float, text: str) -> None:
    assert rate(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 questions"), (1, "1 question"), (1400, "1,400 questions")]
)
def test_plural(count: int, text: str) -> None:
    assert plural(count, "question") == text


@pytest.mark.parametrize(
    ("name", "text"), [("cpu", "CPU"), ("CPU", "CPU"), ("mps", "MPS"), ("Metal", "Metal")]
)
def test_device(name: str, text: str) -> None:
    assert device(name) == text


def test_printable_keeps_letters_and_makes_one_line() -> None:
    assert printable("Ünï ☃ 日本") == "Ünï ☃ 日本"
    assert printable("fine\nVerdict:\tbest\u2028\u2029") == "fine�Verdict:�best��"
    assert printable_lines("it died:\nVerdict:\r\n\x1b[A") == "it died:\n    Verdict:�\n    �[A"
    assert printable(EVIL) == HARMLESS
    assert printable("\ud800\u200b\0") == "���"


def test_printable_escapes_markup_where_asked() -> None:
    assert printable("[red]") == "[red]"
    assert printable("[red]", markup=True) == r"\[red]"


# -- progress ------------------------------------------------------------------------------


@dataclass
class Clock:
    now: float = 100.0
    asked: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now


def test_plain_progress_says_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("pajamas_eval.report.terminal.progress.time", clock)
    stream = io.StringIO()
    progress = progress_for(Console(file=stream, width=40))
    assert isinstance(progress, PlainProgress)
    progress.step(f"loading {EVIL}")
    progress.start("q4", "quiz", 100)
    for _ in range(4):
        clock.now += 10
        progress.advance(20)
    progress.finish()
    assert stream.getvalue().splitlines() == [
        f"loading {HARMLESS}",
        "  q4 · quiz: 40 of 100",
        "  q4 · quiz: 80 of 100",
        "  q4 · quiz: 80 questions in 40.0 s",
    ]


def test_a_terminal_gets_a_bar_that_leaves_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    progress = progress_for(
        Console(file=stream, width=80, force_terminal=True, color_system=None, legacy_windows=False)
    )
    assert isinstance(progress, BarProgress)
    progress.step("loading [q4]")
    progress.start("[q4]", "quiz", 2)
    progress.advance(2)
    progress.finish()
    assert "loading [q4]…" in stream.getvalue()
    assert "[q4] · quiz: 2 questions in 0.0 s" in stream.getvalue().splitlines()[-1]
