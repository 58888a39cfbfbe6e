"""One versioned file holds everything a run found; what it does not understand it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from handmade import answer_set, document, written
from handmade import choices as choosing
from hypothesis import given, settings
from hypothesis import strategies as st

from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.metrics import Margin
from pajamas_eval.errors import UsageError
from pajamas_eval.results.document import Document
from pajamas_eval.results.file import FORMAT_VERSION, decode, encode, json_schema, read, write
from pajamas_eval.results.findings import ScoreSummary
from pajamas_eval.statistics.paired import tango_interval
from pajamas_eval.statistics.proportions import wilson_interval

VERSION_3 = Path(__file__).parent / "data" / "document_v3.json"


def example() -> Document:
    made = document(
        [
            answer_set("base", {"a": 1.0, "b": 0.0, "c": 1.0, "d": 1.0, "e": "it broke"}),
            answer_set("q4", {"a": 1.0, "b": 1.0, "c": 0.0, "d": "no memory", "e": 1.0}),
        ],
        tags={"a": ("easy", "all"), "b": ("all",), "c": ("easy",), "e": ("hard",)},
    )
    summarize(made)
    return made


def verdicts_of_all_kinds() -> Document:
    """The baseline, its noise floor, and one variant for each verdict; two are ranked."""
    same = {str(i): 1.0 for i in range(100)}
    made = document(
        [
            answer_set("base", same),
            answer_set("base again", same | {"3": 0.0}),
            answer_set("no worse", same),
            answer_set("undecided", same | dict.fromkeys(map(str, range(3)), 0.0)),
            answer_set("worse", same | dict.fromkeys(map(str, range(30)), 0.0)),
        ]
    )
    for answers in made.benchmarks[0].answer_sets:
        for i, answer in enumerate(answers.answers):
            answer.parts = choosing(-1.0, -2.0 - i % 3 * answer.scores["acc"])
    made.benchmarks[0].has_choices = True
    made.models[1].noise_floor = True
    made.settings.margins = (Margin(5.0),)
    summarize(made)
    return made


def plain(made: Document | None = None) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(encode(made or example()))
    return content


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read(path)
    return str(caught.value)


# -- reading and writing -------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write(example(), tmp_path / "x.json")
    assert read(tmp_path / "x.json") == example()
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_verdicts_divergence_and_ranks_are_read_back(tmp_path: Path) -> None:
    made = verdicts_of_all_kinds()
    assert [(v.label, str(v.verdict)) for v in made.verdicts] == [
        (verdict, verdict) for verdict in ("no worse", "undecided", "worse")
    ]
    assert made.rankings
    assert all(c.choice_kl for c in made.comparisons)
    write(made, tmp_path / "x.json")
    assert read(tmp_path / "x.json") == made


values = st.sampled_from((0.0, 1.0, "it broke"))
choices = st.lists(st.sampled_from((0.0, -1.0, -800.0, -1e30)), min_size=2, max_size=2)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_computed_from_few_answers_is_read_back_equal(data: st.DataObject) -> None:
    """JSON has neither NaN nor infinity: of those nothing may be left."""
    ids = "abcd"[: data.draw(st.integers(1, 4))]
    sets = [answer_set(m, {d: data.draw(values) for d in ids}) for m in ("base", "again", "q4")]
    for answer in [a for answers in sets for a in answers.answers if a.error is None]:
        answer.parts = choosing(*data.draw(choices))
    made = document(sets)
    made.models[1].noise_floor = data.draw(st.booleans())
    for question in made.benchmarks[0].questions:
        question.cluster = data.draw(st.sampled_from(("", "a passage")))
    made.settings.until_decided = data.draw(st.booleans())
    made.settings.margins = (Margin(data.draw(st.sampled_from((1e-3, 1.0, 99.999)))),)
    made.settings.confidence = data.draw(st.sampled_from((0.500001, 0.95, 0.999999)))
    summarize(made)
    assert decode(encode(made), "x.json") == made


def test_the_file_is_json_for_people(tmp_path: Path) -> None:
    write(example(), tmp_path / "x.json")
    text = (tmp_path / "x.json").read_text("utf-8")
    assert text.startswith(f'{{\n "format_version": {FORMAT_VERSION},\n')
    assert text.endswith("}\n")


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("something long and old" * 1000)
    write(example(), tmp_path / "x.json")
    assert read(tmp_path / "x.json") == example()


def test_odd_text_survives(tmp_path: Path) -> None:
    made = example()
    made.models[0].error = 'nul \0, escape \x1b, snowman ☃, quote "\n'
    write(made, tmp_path / "x.json")
    assert read(tmp_path / "x.json") == made


HOSTILE = {
    "control sequences": "\x1b[2J\x1b]0;title\x07\r\x00\x7f\x9b31m",
    "bidi marks": "\u202egnp.exe\u202c\u2066\u200f",
    "markup": "<script>alert(1)</script>&amp;[red]x[/red]",
    "quotes": "'; DROP TABLE responses; --\"\\",
    "line ends": "a\r\nb\nc\u2028d\u2029e\x85f",
    "a path that is not UTF-8": "m\udcff.gguf",
    "lone surrogates": "\ud800x\udfff \udc80",
    "an escape that is none": r"\ud800 \\udfff \n",
    "beyond the basic plane": "😀\U0010ffff\ufffe\ufeff",
    "a long one": "x" * 10_000_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_any_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    """A model's output, a path, a label: whatever it is, the file is JSON and holds it."""
    made = example()
    made.models[0].spec = text
    made.models[0].error = text
    made.benchmarks[0].answer_sets[0].answers[0].parts = written(text)
    made.benchmarks[0].questions[0].doc_id = text
    write(made, tmp_path / "x.json")
    assert read(tmp_path / "x.json") == made
    raw = (tmp_path / "x.json").read_bytes()
    assert json.loads(raw.decode("utf-8"))["models"][0]["spec"] == text
    assert not {b for b in raw if b < 32} - {10}


@given(st.text(st.characters(exclude_categories=())))
def test_any_characters_come_back(text: str) -> None:
    made = example()
    made.models[0].error = text
    # The one form that JSON lacks: a pair is its character.
    paired = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert decode(encode(made), "x").models[0].error == paired


def test_a_file_with_surrogates_is_laid_out_like_any_other(tmp_path: Path) -> None:
    made = example()
    plain_lines = encode(made).decode().splitlines()
    made.models[0].spec += "\udcff"
    lines = encode(made).decode().splitlines()
    different = [(a, b) for a, b in zip(plain_lines, lines, strict=True) if a != b]
    assert different == [('   "spec": "base.gguf",', '   "spec": "base.gguf\\udcff",')]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_surrogate_lets_nothing_else_through(tmp_path: Path, constant: str) -> None:
    content = plain() | {"baseline": "\ud800"}
    text = json.dumps(content).replace('"confidence": 0.95', f'"confidence": {constant}')
    assert constant in text
    (tmp_path / "x.json").write_text(text)
    assert refused(tmp_path / "x.json").endswith(f"{constant} is not JSON")


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0])
def test_another_format_version_is_refused(tmp_path: Path, version: int) -> None:
    (tmp_path / "x.json").write_text(json.dumps(plain() | {"format_version": version}))
    file = tmp_path / "x.json"
    assert refused(file) == (
        f"{file} has format version {version}; this program reads 3 to {FORMAT_VERSION}"
    )


def test_a_newer_version_is_refused_as_such_whatever_else_it_holds(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"format_version": 99, "all": "new"}')
    assert "has format version 99" in refused(tmp_path / "x.json")


@pytest.mark.parametrize("place", ["document", "model", "question", "answer"])
def test_an_unknown_field_is_refused(tmp_path: Path, place: str) -> None:
    content = plain()
    benchmark = content["benchmarks"][0]
    {
        "document": content,
        "model": content["models"][0],
        "question": benchmark["questions"][0],
        "answer": benchmark["answer_sets"][0]["answers"][0],
    }[place]["surprise"] = 1
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert "unknown field `surprise`" in refused(tmp_path / "x.json")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"format_version": "1"}',
        b'{"format_version": 4}',
        b'{"format_version": 4',
        b"\xff\xfe\x00",
        b'{"format_version": 4, "baseline": "\xff"}',
        b'{"format_version": 4, "models": ' + b"[" * 100_000,
    ],
)
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert refused(tmp_path / "x.json").startswith(
        f"{tmp_path / 'x.json'} is not a result document:"
    )


def test_a_document_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(encode(example())[:-100])
    assert "is not a result document" in refused(tmp_path / "x.json")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "x.json") == (
        f"cannot read {tmp_path / 'x.json'}: No such file or directory"
    )
    assert "cannot read" in refused(tmp_path)


def test_the_schema_describes_a_written_document() -> None:
    schema = json_schema()
    named = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    assert set(named["required"]) <= set(plain()) <= set(named["properties"])
    assert named["additionalProperties"] is False


@pytest.mark.parametrize("make", [example, verdicts_of_all_kinds])
def test_a_written_document_is_valid_by_its_schema(make: Callable[[], Document]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    content = plain(make())
    jsonschema.validate(content, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | {"surprise": 1}, json_schema())


@pytest.mark.parametrize("place", ["comparisons", "verdicts"])
def test_a_verdict_of_another_kind_is_refused(tmp_path: Path, place: str) -> None:
    content = plain(verdicts_of_all_kinds())
    content[place][-1]["verdict"] = "good"
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert "Invalid enum value 'good'" in refused(tmp_path / "x.json")


# -- summaries -----------------------------------------------------------------------------


def scores(made: Document, subset: str | None = None) -> dict[str, ScoreSummary]:
    return {s.label: s for s in made.scores if s.subset == subset}


def test_errors_count_neither_as_right_nor_as_wrong() -> None:
    found = scores(example())
    assert (found["base"].count, found["base"].value) == (4, 0.75)
    assert (found["q4"].count, found["q4"].value) == (4, 0.75)
    assert (found["q4"].lower, found["q4"].upper) == wilson_interval(3, 4, 0.95)


def test_every_subset_has_a_score_of_its_own() -> None:
    made = example()
    assert [s.subset for s in made.scores if s.label == "q4"] == [None, "all", "easy", "hard"]
    assert (scores(made, "easy")["q4"].count, scores(made, "easy")["q4"].value) == (2, 0.5)
    assert (scores(made, "all")["base"].count, scores(made, "all")["base"].value) == (2, 0.5)


def test_a_subset_without_answers_has_no_value_and_knows_nothing() -> None:
    hard = scores(example(), "hard")["base"]
    assert (hard.count, hard.value, hard.lower, hard.upper) == (0, 0.0, 0.0, 1.0)


def test_an_error_on_either_side_leaves_the_question_out_of_the_comparison() -> None:
    lower, _ = tango_interval(1, 1 + 2, 3 + 2, 0.9)
    _, upper = tango_interval(1 + 2, 1, 3 + 2, 0.9)
    (found,) = example().comparisons
    assert (found.benchmark, found.label, found.metric) == ("quiz", "q4", "acc")
    assert (found.count, found.gains, found.losses, found.unanswered) == (3, 1, 1, 2)
    assert (found.difference, found.lower, found.upper) == (0.0, lower, upper)
    assert found.interval_confidence == 0.9, "two-sided, so 95 % on either side"


def test_gains_are_the_variants_and_losses_the_baselines() -> None:
    made = document(
        [
            answer_set("base", dict.fromkeys("abcde", 0.0)),
            answer_set("better", dict.fromkeys("abcde", 1.0)),
            answer_set("same", dict.fromkeys("abcde", 0.0)),
        ]
    )
    summarize(made)
    found = [(c.label, c.gains, c.losses, c.difference) for c in made.comparisons]
    assert found == [("better", 5, 0, 1.0), ("same", 0, 0, 0.0)]


def test_models_without_a_question_in_common_have_an_empty_comparison() -> None:
    made = document(
        [answer_set("base", {"a": "x", "b": 1.0}), answer_set("q4", {"a": 1.0, "b": "x"})]
    )
    summarize(made)
    (comparison,) = made.comparisons
    assert (comparison.count, comparison.difference) == (0, 0.0)
    assert (comparison.lower, comparison.upper) == (-1.0, 1.0)


def test_without_a_baseline_there_is_nothing_to_compare_with() -> None:
    made = document([answer_set("base", {"a": 1.0}), answer_set("q4", {"a": 1.0})])
    del made.benchmarks[0].answer_sets[0]
    summarize(made)
    assert made.comparisons == []
    assert [s.label for s in made.scores] == ["q4"]


def test_the_confidence_is_the_runs() -> None:
    made = example()
    made.settings.confidence = 0.6
    summarize(made)
    assert (scores(made)["q4"].lower, scores(made)["q4"].upper) == wilson_interval(3, 4, 0.6)
    lower, _ = tango_interval(1, 1 + 2, 3 + 2, 0.2)
    assert (made.comparisons[0].lower, made.comparisons[0].interval_confidence) == (lower, 0.2)


# -- earlier versions ----------------------------------------------------------------------


def test_a_document_of_version_3_is_read_as_one_of_this_version(tmp_path: Path) -> None:
    """It was written by the program of that version, for two real models and nine questions."""
    made = read(VERSION_3)
    assert made.format_version == FORMAT_VERSION
    assert made.settings.margins == (Margin(5.0),)
    assert [m.name for m in made.benchmark("pajamas_commonsense").metrics] == ["acc_norm", "acc"]
    assert [record.has_choices for record in made.benchmarks] == [True, True, False]
    former = json.loads(VERSION_3.read_text("utf-8"))
    for record, before in zip(made.benchmarks, former["benchmarks"], strict=True):
        for answers, was in zip(record.answer_sets, before["answer_sets"], strict=True):
            assert answers.reading_digests == [""] * was["requests"], "unknown one by one"
            assert answers.batch_digest == was["packing"]
            distinct = answers.prompt_tokens + answers.generated_tokens
            assert (answers.evaluated_tokens, distinct) == (
                was["evaluated_tokens"],
                was["ideal_tokens"],
            )
            both = bool(was["generated_tokens"])  # which were not timed apart
            assert answers.prompt_seconds == (0 if both else was["engine_seconds"])
            assert answers.generated_tokens_per_second == 0
            for answer, had in zip(answers.answers, was["answers"], strict=True):
                assert answer.scores == had["scores"]
                assert answer.log_probabilities == (had["log_probabilities"] or [])
                assert answer.texts == ([] if had["text"] is None else [had["text"]])
                assert answer.seconds == pytest.approx(had["seconds"])
    comparisons = [(c.unanswered, c.p_different, c.difference) for c in made.comparisons]
    assert comparisons == [
        (c["missing"], c["mcnemar_p"], c["difference"]) for c in former["comparisons"]
    ]
    assert {c.interval_confidence for c in made.comparisons} == {0.95}, "it was two-sided then"
    assert not any(c.margin_is_default for c in made.comparisons)
    intervals = [(c.lower, c.upper) for c in made.comparisons]
    assert intervals == [(c["lower"], c["upper"]) for c in former["comparisons"]]
    computed = (made.scores, made.comparisons, made.verdicts)
    summarize(made)
    for now, before in zip(made.comparisons, computed[1], strict=True):
        assert now.interval_confidence == 0.9
        assert None not in (now.lower, now.upper, before.lower, before.upper)
        assert before.lower < now.lower < now.upper < before.upper  # type: ignore[operator]
        before.lower, before.upper, before.interval_confidence = now.lower, now.upper, 0.9
    assert (made.scores, made.comparisons, made.verdicts) == computed
    write(made, tmp_path / "x.json")
    assert read(tmp_path / "x.json") == made


@pytest.mark.parametrize("lost", ["settings", "benchmarks", "fairness"])
def test_a_damaged_document_of_version_3_is_refused(tmp_path: Path, lost: str) -> None:
    former = json.loads(VERSION_3.read_text("utf-8"))
    del former[lost]
    (tmp_path / "x.json").write_text(json.dumps(former))
    assert "is not a result document" in refused(tmp_path / "x.json")
