"""What every model is asked, to the last character, and how the answers are judged."""

import json
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from pajamas_eval.api.data import DataSource
from pajamas_eval.api.media import Prompt
from pajamas_eval.api.multiple_choice import ChoiceDoc
from pajamas_eval.api.requests import (
    GenerateUntil,
    GenerationResult,
    LogLikelihood,
    LogLikelihoodResult,
)
from pajamas_eval.benchmarks.gsm8k import (
    Gsm8k,
    PajamasArithmetic,
    extract_flexible,
    extract_strict,
    normalize,
)
from pajamas_eval.benchmarks.hellaswag import HellaSwag, PajamasCommonsense, clean
from pajamas_eval.benchmarks.mmlu import GROUPS, SUBJECTS, Mmlu, PajamasKnowledge
from pajamas_eval.errors import UsageError
from pajamas_eval.questions.chat_template import ChatTemplate
from pajamas_eval.questions.prepare import Question, QuestionSet, prepare

Row = Mapping[str, Any]


def write(folder: Path, **splits: Sequence[Row]) -> DataSource:
    """A data folder with one set's splits as JSON lines; `folder` is the set's own."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        lines = [json.dumps(row) + "\n" for row in rows]
        (folder / f"{split}.jsonl").write_text("".join(lines), "utf-8")
    return DataSource(folder.parent)


def mmlu_row(subject: str, question: str, answer: int = 0) -> Row:
    return {
        "question": question,
        "subject": subject,
        "choices": ["one", "two", " three", "four "],
        "answer": answer,
    }


def gsm8k_row(number: int) -> Row:
    return {"question": f"What is {number} + 1?", "answer": f"It is.\n#### {number + 1}"}


HELLASWAG_ROW = {
    "ind": 24,
    "activity_label": "Roof removal",
    "ctx_a": "A man is sitting on a roof.",
    "ctx_b": "he",
    "ctx": "A man is sitting on a roof. he",
    "endings": ["wraps skis.", "rips [title] tiles.", "[step] holds  a cube.", "pulls."],
    "label": "3",
}


def texts(questions: QuestionSet) -> list[tuple[str, ...]]:
    """Context and continuations, or the prompt, of every question."""
    found = []
    for question in questions.questions:
        first = question.requests[0]
        if isinstance(first, LogLikelihood):
            found.append(
                (
                    first.context.text,
                    *(r.continuation for r in question.requests if isinstance(r, LogLikelihood)),
                )
            )
        else:
            assert isinstance(first, GenerateUntil)
            found.append((first.prompt.text,))
    return found


# -- subsets -------------------------------------------------------------------------------


def test_a_subset_holds_every_subject_in_proportion_and_smaller_ones_lie_within(
    tmp_path: Path,
) -> None:
    subjects = ["anatomy"] * 60 + ["astronomy"] * 30 + ["virology"] * 10
    data = write(
        tmp_path / "mmlu",
        test=[
            {"question": f"{i}?", "subject": subject, "choices": list("wxyz"), "answer": i % 4}
            for i, subject in enumerate(subjects)
        ],
    )
    chosen = [
        [q.doc_id for q in prepare(Mmlu("mmlu"), data, shots=0, limit=limit).questions]
        for limit in (10, 50, 100)
    ]
    for docs, share in zip(chosen, (1, 5, 10), strict=True):
        counts = Counter(doc.partition("/")[0] for doc in docs)
        assert counts == {"anatomy": 6 * share, "astronomy": 3 * share, "virology": share}
    assert set(chosen[0]) < set(chosen[1]) < set(chosen[2])
    everything = [q.doc_id for q in prepare(Mmlu("mmlu"), data, shots=0).questions]
    assert chosen[1] == [doc for doc in everything if doc in set(chosen[1])]


def test_shuffled_questions_are_the_same_in_random_order(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k", test=[gsm8k_row(i) for i in range(100)])
    straight, other = (
        [q.doc_id for q in prepare(Gsm8k("gsm8k"), data, shots=0, shuffled=x).questions]
        for x in (False, True)
    )
    assert straight != other
    assert sorted(straight) == sorted(other)
    fewer = prepare(Gsm8k("gsm8k"), data, shots=0, shuffled=True, limit=10).questions
    assert [q.doc_id for q in fewer] == other[:10]


def test_the_first_hundred_of_five_hundred_are_the_same_questions(tmp_path: Path) -> None:
    data = write(
        tmp_path / "gsm8k",
        test=[gsm8k_row(i) for i in range(600)],
        train=[gsm8k_row(i) for i in range(1000, 1020)],
    )
    small, large = (prepare(Gsm8k("gsm8k"), data, limit=n).questions for n in (100, 500))
    by_id = {q.doc_id: q for q in large}
    assert (len(small), len(large)) == (100, 500)
    for question in small:
        assert by_id[question.doc_id].prompt_hash == question.prompt_hash
        assert by_id[question.doc_id].requests == question.requests


def test_few_shot_examples_are_fixed_before_a_subset_is_drawn(tmp_path: Path) -> None:
    train = [gsm8k_row(i) for i in range(100, 112)]
    data = write(tmp_path / "gsm8k", test=[gsm8k_row(i) for i in range(30)], train=train)
    whole = prepare(Gsm8k("gsm8k"), data, shots=3)
    part = prepare(Gsm8k("gsm8k"), data, shots=3, limit=5)
    by_id = {q.doc_id: q.requests for q in whole.questions}
    assert [q.requests for q in part.questions] == [by_id[q.doc_id] for q in part.questions]
    # lm-eval's rule: one generator draws for every question in turn.
    generator = random.Random(1234)
    for (prompt,) in texts(whole):
        shots = generator.sample(train, 3)
        assert [prompt.index(f"{s['question']}\nAnswer: {s['answer']}\n\n") for s in shots] == (
            sorted(prompt.index(str(s["question"])) for s in shots)
        )


def test_a_limit_above_the_number_of_questions_takes_all(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k", test=[gsm8k_row(i) for i in range(3)])
    questions = prepare(Gsm8k("gsm8k"), data, shots=0, limit=10)
    assert [q.doc_id for q in questions.questions] == ["0", "1", "2"]
    assert questions.available == 3


def test_the_number_before_the_limit_is_kept(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k", test=[gsm8k_row(i) for i in range(30)])
    questions = prepare(Gsm8k("gsm8k"), data, shots=0, limit=10)
    assert (len(questions.questions), questions.available, questions.shots) == (10, 30, 0)


def test_hashes_tell_prompts_and_docs_apart(tmp_path: Path) -> None:
    data = write(
        tmp_path / "gsm8k",
        test=[gsm8k_row(1), gsm8k_row(2), gsm8k_row(1)],
        train=[gsm8k_row(i) for i in range(9)],
    )
    bare = prepare(Gsm8k("gsm8k"), data, shots=0).questions
    shown = prepare(Gsm8k("gsm8k"), data, shots=2).questions
    assert bare[0].prompt_hash == bare[2].prompt_hash != bare[1].prompt_hash
    assert bare[0].prompt_hash != shown[0].prompt_hash
    assert [q.doc_hash for q in bare] == [q.doc_hash for q in shown]


# -- prompts -------------------------------------------------------------------------------


def test_the_prompt_of_mmlu(tmp_path: Path) -> None:
    data = write(
        tmp_path / "mmlu",
        test=[mmlu_row("high_school_us_history", " Who?\n", 2)],
        dev=[
            mmlu_row("anatomy", "Not asked here."),
            mmlu_row("high_school_us_history", "When?", 3),
            mmlu_row("high_school_us_history", "Where?", 1),
            mmlu_row("high_school_us_history", "One too many.", 1),
        ],
    )
    questions = prepare(Mmlu("mmlu_high_school_us_history"), data, shots=2)
    assert texts(questions) == [
        (
            "The following are multiple choice questions (with answers) about "
            "high school us history.\n"
            "\n"
            "When?\n"
            "A. one\n"
            "B. two\n"
            "C.  three\n"
            "D. four \n"
            "Answer: D\n"
            "\n"
            "Where?\n"
            "A. one\n"
            "B. two\n"
            "C.  three\n"
            "D. four \n"
            "Answer: B\n"
            "\n"
            "Who?\n"
            "A. one\n"
            "B. two\n"
            "C.  three\n"
            "D. four \n"
            "Answer:",
            " A",
            " B",
            " C",
            " D",
        )
    ]
    (question,) = questions.questions
    assert question.gold == "2"
    assert question.doc_id == "high_school_us_history/0"
    assert question.tags == ("high_school_us_history", "humanities")


def test_the_prompt_of_hellaswag(tmp_path: Path) -> None:
    whole_context = HELLASWAG_ROW | {"ctx_a": " [header] How to nap. [title] Lie. ", "ctx_b": ""}
    data = write(tmp_path / "hellaswag", validation=[HELLASWAG_ROW, whole_context])
    endings = (" wraps skis.", " rips. tiles.", "  holds a cube.", " pulls.")
    assert texts(prepare(HellaSwag("hellaswag"), data)) == [
        ("Roof removal: A man is sitting on a roof. He", *endings),
        ("Roof removal:  How to nap.. Lie.", *endings),
    ]


def test_the_prompt_of_hellaswag_with_an_example(tmp_path: Path) -> None:
    train = [HELLASWAG_ROW | {"activity_label": f"Task {i}"} for i in range(2)]
    data = write(tmp_path / "hellaswag", validation=[HELLASWAG_ROW], train=train)
    ((context, *_),) = texts(prepare(HellaSwag("hellaswag"), data, shots=1))
    first = random.Random(1234).sample(range(2), 2)[0]
    assert context == (
        f"Task {first}: A man is sitting on a roof. He pulls.\n"
        "\n"
        "Roof removal: A man is sitting on a roof. He"
    )


def test_hellaswag_never_shows_the_question_as_its_own_example(tmp_path: Path) -> None:
    rows = [HELLASWAG_ROW | {"activity_label": f"Task {i}"} for i in range(6)]
    data = write(tmp_path / "hellaswag", validation=rows, train=rows)
    for i, (context, *_) in enumerate(texts(prepare(HellaSwag("hellaswag"), data, shots=4))):
        assert context.count("Task ") == 5
        assert context.count(f"Task {i}:") == 1


def test_the_prompt_of_gsm8k(tmp_path: Path) -> None:
    data = write(
        tmp_path / "gsm8k",
        test=[{"question": "How many eggs?\n", "answer": "9 + 9\n#### 1,018"}],
        train=[{"question": "How much?", "answer": "2/2=<<2/2=1>>1\n#### 3"}] * 2,
    )
    questions = prepare(Gsm8k("gsm8k"), data, shots=2)
    example = "Question: How much?\nAnswer: 2/2=<<2/2=1>>1\n#### 3\n\n"
    (question,) = questions.questions
    assert question.requests == (
        GenerateUntil(
            Prompt(example + example + "Question: How many eggs?\n\nAnswer:"),
            ("Question:", "</s>", "<|im_end|>"),
            256,
        ),
    )
    assert question.gold == "1018"


def test_benchmarks_have_their_usual_number_of_examples() -> None:
    assert (Mmlu.default_shots, HellaSwag.default_shots, Gsm8k.default_shots) == (0, 0, 5)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (" a ", "a"),
        ("a [title] b", "a. b"),
        ("[title] b", " b"),
        ("a [step] b", "a b"),
        ("[header] How to [step] nap", " How to nap"),
        ("a [b [c] d]", "a d]"),
        ("a [not closed", "a [not closed"),
        ("a   b", "a  b"),
        ("a    b", "a  b"),
        ("", ""),
    ],
)
def test_hellaswags_markup_is_removed_in_lm_evals_order(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


# -- chat templates ------------------------------------------------------------------------

TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<' + message['role'] + '>' + message['content'] + eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"""

STRICT = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"


def test_a_chat_has_the_description_as_system_message_and_examples_as_turns(
    tmp_path: Path,
) -> None:
    data = write(
        tmp_path / "mmlu",
        test=[mmlu_row("anatomy", "Who?")],
        dev=[mmlu_row("anatomy", "When?", 3)],
    )
    chat = ChatTemplate(TEMPLATE, "[B]", "[E]")
    choices = "A. one\nB. two\nC.  three\nD. four \nAnswer:"
    assert texts(prepare(Mmlu("mmlu_anatomy"), data, shots=1, chat=chat)) == [
        (
            "[B]<system>The following are multiple choice questions (with answers) about anatomy."
            f"\n\n[E]<user>When?\n{choices}[E]<assistant>D[E]<user>Who?\n{choices}[E]<assistant>",
            "A",  # without the space that stands in front of it elsewhere
            "B",
            "C",
            "D",
        )
    ]


def test_a_chat_without_description_has_no_system_message(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k", test=[gsm8k_row(1)])
    chat = ChatTemplate(TEMPLATE, "", "")
    assert texts(prepare(Gsm8k("gsm8k"), data, shots=0, chat=chat)) == [
        ("<user>Question: What is 1 + 1?\nAnswer:<assistant>",)
    ]


def test_a_template_that_refuses_system_messages_gets_none() -> None:
    chat = ChatTemplate(STRICT + TEMPLATE, "", "")
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert chat.render(messages) == "<user>u<assistant>"
    assert len(messages) == 2


def test_a_template_that_refuses_everything_is_an_error() -> None:
    chat = ChatTemplate("{{ raise_exception('never') }}", "", "")
    with pytest.raises(UsageError, match="chat template failed: never"):
        chat.render([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append('x') }}",
        "{{ raise_exception.__globals__ }}",
        "{% for i in range(10**9) %}{% endfor %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(source: str) -> None:
    """Jinja's sandbox gives an undefined value for private attributes: calling on fails."""
    chat = ChatTemplate(source + "{{ nothing.at.all }}", "", "")
    with pytest.raises(UsageError, match="chat template failed"):
        chat.render([{"role": "user", "content": "u"}])


def test_a_template_reaches_no_attribute_of_python() -> None:
    chat = ChatTemplate("[{{ messages.__class__ is defined }}]", "", "")
    assert chat.render([]) == "[False]"


def test_a_template_that_is_no_jinja() -> None:
    with pytest.raises(UsageError, match="not valid Jinja"):
        ChatTemplate("{% if %}", "", "")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ {'a': 'ü<'} | tojson }}", '{"a": "ü<"}'),
        (
            "{{ {'b': 1, 'a': 'ü'} | tojson(ensure_ascii=true, sort_keys=true) }}",
            '{"a": "\\u00fc", "b": 1}',
        ),
        ("{% generation %}\n{{ messages[0]['content'] }}{% endgeneration %}!", "u!"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% if tools is not none %}tools{% endif %}", ""),
        ("{% if documents %}documents{% endif %}", ""),
        ("    {% if true %}\nx\n    {% endif %}\ny", "x\ny"),
    ],
)
def test_a_template_finds_what_transformers_would_give_it(source: str, text: str) -> None:
    chat = ChatTemplate(source + "|{{ messages[0]['content'] }}", "", "")
    assert chat.render([{"role": "user", "content": "u"}]) == f"{text}|u"


PARTS = """\
{% for message in messages %}<{{ message.role }}>{% for part in message.content %}
{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}
{% endfor %}<assistant>"""


def test_a_template_of_parts_is_given_parts(tmp_path: Path) -> None:
    data = write(tmp_path / "mmlu", test=[mmlu_row("anatomy", f"Where {i}?") for i in range(2)])
    plain = texts(prepare(Mmlu("mmlu_anatomy"), data, chat=ChatTemplate(TEMPLATE, "", "")))
    asked = texts(prepare(Mmlu("mmlu_anatomy"), data, chat=ChatTemplate(PARTS, "", "")))
    assert asked == plain


@pytest.mark.parametrize(
    "source",
    [
        "hello",
        "{{ messages[0].content[:3] }}",
        "{% for m in messages %}{{ m.text }}{% endfor %}",
        "{{ messages[-1].content }}",
    ],
)
def test_a_template_that_leaves_a_question_out_is_refused(source: str) -> None:
    turns = [{"role": "user", "content": "first?"}, {"role": "assistant", "content": "yes"}]
    with pytest.raises(UsageError, match="leaves the question out of the prompt"):
        ChatTemplate(source, "", "").render([*turns, {"role": "user", "content": "second?"}])


def test_a_template_is_told_the_date_it_is_given() -> None:
    source = "{{ strftime_now('%d %b %Y %H:%M') }}{{ messages[0].content }}"
    chat = ChatTemplate(source, "", "", date(2026, 2, 3))
    assert not chat.reads_clock
    assert chat.render([{"role": "user", "content": "?"}]) == "03 Feb 2026 00:00?"
    assert chat.reads_clock
    today = ChatTemplate(source, "", "").render([{"role": "user", "content": "?"}])
    assert today == date.today().strftime("%d %b %Y 00:00?")


# -- data ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files", [["test.parquet"], ["test-00000-of-00002.parquet", "test-00001-of-00002.parquet"]]
)
def test_parquet_gives_what_json_lines_give(tmp_path: Path, files: list[str]) -> None:
    rows = [dict(mmlu_row("anatomy", f"Question {i}?", i % 4)) for i in range(7)]
    lines = write(tmp_path / "lines" / "mmlu", test=rows)
    folder = tmp_path / "parquet" / "mmlu"
    folder.mkdir(parents=True)
    cut = 4 if len(files) > 1 else len(rows)
    for name, part in zip(files, (rows[:cut], rows[cut:]), strict=False):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(part), folder / name)
    benchmark = Mmlu("mmlu_anatomy")
    theirs = prepare(benchmark, DataSource(tmp_path / "parquet")).questions
    ours = prepare(benchmark, lines).questions
    assert len(ours) == 7
    assert [q.doc_hash for q in theirs] == [q.doc_hash for q in ours]
    assert [q.requests for q in theirs] == [q.requests for q in ours]


def refused(benchmark: Any, data: DataSource, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        prepare(benchmark, data, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"question": "q"', "truncated"),
        ("no json", "malformed"),
        ('{"question": "q"}', "missing required field `answer`"),
        ('{"question": 1, "answer": "a"}', "Expected `str`, got `int` - at `$.question`"),
        ('"text"', "Expected `object`"),
        ('{"question": "\\ud800", "answer": "a"}', "surrogate"),
        ("[" * 5000, "Expected `object`"),
        ('{"x": ' + "[" * 100_000, "recursion"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    data = write(tmp_path / "gsm8k", test=[gsm8k_row(1)])
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.write_text(file.read_text() + "\n" + line + "\n")
    message = refused(Gsm8k("gsm8k"), data, shots=0)
    assert message.startswith(f"{file}, line 3: ")
    assert complaint in message


def test_a_line_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k")
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.write_bytes(b'{"question": "\xff", "answer": "a"}\n')
    assert refused(Gsm8k("gsm8k"), data, shots=0).startswith(f"{file}, line 1: ")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"answer": 4}, "Expected `int` <= 3 - at `$.answer`"),
        ({"answer": -1}, "Expected `int` >= 0 - at `$.answer`"),
        ({"choices": ["a", "b", "c"]}, "length >= 4 - at `$.choices`"),
        ({"choices": ["a"] * 5}, "length <= 4 - at `$.choices`"),
    ],
)
def test_a_question_without_four_choices_and_one_answer_is_named(
    tmp_path: Path, change: Row, complaint: str
) -> None:
    data = write(tmp_path / "mmlu", test=[{**mmlu_row("anatomy", "q"), **change}])
    message = refused(Mmlu("mmlu_anatomy"), data)
    assert "test.jsonl, line 1: " in message
    assert complaint in message


@pytest.mark.parametrize("label", ["", "4", "-1", "x"])
def test_a_label_that_names_no_ending_is_named(tmp_path: Path, label: str) -> None:
    data = write(
        tmp_path / "hellaswag", validation=[HELLASWAG_ROW, HELLASWAG_ROW | {"label": label}]
    )
    assert refused(HellaSwag("hellaswag"), data) == (
        f"hellaswag validation, row 2: label {label!r} names none of the 4 endings"
    )


def test_a_bad_row_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k")
    file = tmp_path / "gsm8k" / "test.parquet"
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([gsm8k_row(1), {"question": "q", "answer": None}]), file
    )
    message = refused(Gsm8k("gsm8k"), data, shots=0)
    assert message.startswith(f"{file}, row 2: ")


def test_a_parquet_file_that_is_none_is_named(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k")
    (tmp_path / "gsm8k" / "test.parquet").write_bytes(b"PAR1, but no more")
    assert "is not a readable parquet file" in refused(Gsm8k("gsm8k"), data, shots=0)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (["test-00000-of-00003"], "lacks 2 of 3 parts of the test split: test-00001-of-00003.parq"),
        (["test-1-of-2"], "lacks 1 of 2 parts of the test split: test-0-of-2.parquet"),
        (["test", "test-00000-of-00001"], "leave one of these: test-00000-of-00001.parquet, test."),
        (["test-00000-of-00001", "test-00000-of-00002", "test-00001-of-00002"], "leave one of"),
        (["test", "test-old"], "leave one of these: test-old.parquet, test.parquet"),
        (["test-0-of-1", "test-00000-of-00001"], "leave one of these: test-0-of-1.parquet, "),
        (["test-00000-of-00001", "test-old"], "leave one of these: test-00000-of-00001.parquet"),
    ],
)
def test_a_split_in_part_or_twice_is_refused(
    tmp_path: Path, files: list[str], complaint: str
) -> None:
    data = write(tmp_path / "gsm8k")
    for name in files:
        table = pyarrow.Table.from_pylist([gsm8k_row(1)])
        pyarrow.parquet.write_table(table, tmp_path / "gsm8k" / f"{name}.parquet")
    assert complaint in refused(Gsm8k("gsm8k"), data, shots=0)


def test_json_lines_beside_parquet_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k", test=[gsm8k_row(1)])
    table = pyarrow.Table.from_pylist([gsm8k_row(1)])
    pyarrow.parquet.write_table(table, tmp_path / "gsm8k" / "test.parquet")
    assert refused(Gsm8k("gsm8k"), data, shots=0).endswith("these: test.jsonl, test.parquet")


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k", test=[gsm8k_row(1), gsm8k_row(2)])
    plain = prepare(Gsm8k("gsm8k"), data, shots=0).questions
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    marked = prepare(Gsm8k("gsm8k"), DataSource(tmp_path), shots=0).questions
    assert [q.doc_hash for q in marked] == [q.doc_hash for q in plain]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    data = write(tmp_path / "gsm8k")
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.write_text(json.dumps(gsm8k_row(1)) + "\n", encoding)
    message = refused(Gsm8k("gsm8k"), data, shots=0)
    assert message == f"{file} is UTF-16 or UTF-32; save it as UTF-8"


def test_a_label_may_be_a_number(tmp_path: Path) -> None:
    numbers = HELLASWAG_ROW | {"label": 3, "source_id": 7}
    data = write(tmp_path / "hellaswag", validation=[numbers])
    (question,) = prepare(HellaSwag("hellaswag"), data).questions
    assert (question.gold, question.cluster) == ("3", "7")


def test_questions_that_are_there_twice_are_counted(tmp_path: Path) -> None:
    rows = [gsm8k_row(1), gsm8k_row(2), gsm8k_row(1), gsm8k_row(1)]
    data = write(tmp_path / "gsm8k", test=rows)
    assert prepare(Gsm8k("gsm8k"), data, shots=0).notes == ("repeated questions: 2 of 4",)
    assert prepare(Gsm8k("gsm8k"), data, shots=0, limit=1).notes == ()


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k", test=[gsm8k_row(1)])
    file = tmp_path / "gsm8k" / "train.jsonl"
    message = refused(Gsm8k("gsm8k"), data, shots=1)
    assert message == f"found neither {file} nor train.parquet beside it"


def test_a_split_without_rows_is_named(tmp_path: Path) -> None:
    assert refused(Gsm8k("gsm8k"), write(tmp_path / "gsm8k", test=[]), shots=0) == (
        "the test split of gsm8k has no rows"
    )


def test_a_missing_data_folder_is_named(tmp_path: Path) -> None:
    message = refused(Gsm8k("gsm8k"), DataSource(tmp_path / "nowhere"))
    folder = tmp_path / "nowhere"
    assert message == f"cannot read the data folder {folder}: No such file or directory"


def test_the_data_folder_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "gsm8k", test=[gsm8k_row(1)])
    monkeypatch.setenv("PAJAMAS_EVAL_DATA", str(tmp_path))
    assert len(prepare(Gsm8k("gsm8k"), DataSource(), shots=0).questions) == 1
    (tmp_path / "other").mkdir()
    assert "found neither" in refused(Gsm8k("gsm8k"), DataSource(tmp_path / "other"), shots=0)


def test_without_a_data_folder_the_hubs_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    message = refused(Gsm8k("gsm8k"), DataSource())
    assert "pip install 'pajamas-eval[hub]'" in message
    assert "--data DIR or PAJAMAS_EVAL_DATA" in message


def test_without_pyarrow_its_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path / "gsm8k")
    (tmp_path / "gsm8k" / "test.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'pajamas-eval[parquet]'" in refused(Gsm8k("gsm8k"), data)


def test_the_built_in_sets_need_no_data_folder(tmp_path: Path) -> None:
    for benchmark, count in (
        (PajamasKnowledge("pajamas_knowledge"), 200),
        (PajamasCommonsense("pajamas_commonsense"), 100),
        (PajamasArithmetic("pajamas_arithmetic"), 200),
    ):
        assert len(prepare(benchmark, DataSource(tmp_path)).questions) == count


# -- few-shot examples ---------------------------------------------------------------------


def test_mmlu_has_five_examples_at_most() -> None:
    message = refused(Mmlu("mmlu"), DataSource(), shots=6)
    assert message == (
        "mmlu has at most 5 few-shot examples, not 6; choose other benchmarks with --benchmarks, "
        "or another number with --shots"
    )


def test_mmlu_says_which_subject_has_too_few_examples(tmp_path: Path) -> None:
    data = write(
        tmp_path / "mmlu",
        test=[mmlu_row("anatomy", "q"), mmlu_row("virology", "q")],
        dev=[mmlu_row("anatomy", "a"), mmlu_row("anatomy", "b"), mmlu_row("virology", "c")],
    )
    assert refused(Mmlu("mmlu"), data, shots=2) == (
        "mmlu has only 1 few-shot examples for virology, not 2"
    )


def test_more_examples_than_there_are_is_an_error(tmp_path: Path) -> None:
    rows = [gsm8k_row(i) for i in range(3)]
    data = write(tmp_path / "gsm8k", test=rows, train=rows)
    assert refused(Gsm8k("gsm8k"), data, shots=4) == "gsm8k has only 3 few-shot examples, not 4"


def test_hellaswag_draws_one_example_more_than_it_shows(tmp_path: Path) -> None:
    data = write(tmp_path / "hellaswag", validation=[HELLASWAG_ROW], train=[HELLASWAG_ROW] * 3)
    assert "has only 3 few-shot examples" in refused(HellaSwag("hellaswag"), data, shots=3)


@pytest.mark.parametrize(
    ("benchmark", "most"),
    [
        (PajamasKnowledge("pajamas_knowledge"), 5),
        (PajamasCommonsense("pajamas_commonsense"), 0),
        (PajamasArithmetic("pajamas_arithmetic"), 20),
    ],
)
def test_a_built_in_set_shows_as_many_examples_as_it_says(benchmark: Any, most: int) -> None:
    assert prepare(benchmark, DataSource(), shots=most, limit=1).shots == most
    assert "few-shot examples" in refused(benchmark, DataSource(), shots=most + 1)


def test_the_arithmetic_set_shows_the_same_examples_to_all() -> None:
    questions = prepare(PajamasArithmetic("pajamas_arithmetic"), DataSource(), shots=2)
    heads = {prompt.rpartition("Question: ")[0] for (prompt,) in texts(questions)}
    assert len(heads) == 1
    assert heads.pop().count("Question: ") == 2


# -- mmlu's subjects -----------------------------------------------------------------------


def test_mmlus_groups_have_their_subjects() -> None:
    assert {name: len(subjects) for name, subjects in GROUPS.items()} == {
        "stem": 19,
        "humanities": 13,
        "social_sciences": 12,
        "other": 13,
    }
    assert len(SUBJECTS) == 57
    assert len(Mmlu.names()) == len(set(Mmlu.names())) == 1 + 4 + 57


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("mmlu", ["anatomy/0", "virology/0", "anatomy/1", "sociology/0"]),
        ("mmlu_stem", ["anatomy/0", "anatomy/1"]),
        ("mmlu_virology", ["virology/0"]),
    ],
)
def test_mmlu_asks_the_questions_of_its_subjects(
    tmp_path: Path, name: str, asked: list[str]
) -> None:
    subjects = ["anatomy", "virology", "anatomy", "sociology", "no_subject_of_mmlu"]
    data = write(tmp_path / "mmlu", test=[mmlu_row(s, "q") for s in subjects])
    assert [q.doc_id for q in prepare(Mmlu(name), data).questions] == asked


def test_a_subject_without_questions_is_an_error(tmp_path: Path) -> None:
    data = write(tmp_path / "mmlu", test=[mmlu_row("anatomy", "q")])
    assert refused(Mmlu("mmlu_virology"), data) == (
        "the data of mmlu holds no question for mmlu_virology"
    )


def test_missing_subjects_are_noted(tmp_path: Path) -> None:
    data = write(tmp_path / "mmlu", test=[mmlu_row("anatomy", "q"), mmlu_row("virology", "q")])
    assert prepare(Mmlu("mmlu"), data).notes == ("the data holds 2 of the 57 subjects of mmlu",)
    assert prepare(Mmlu("mmlu_stem"), data).notes == (
        "the data holds 1 of the 19 subjects of mmlu_stem",
    )
    assert prepare(Mmlu("mmlu_anatomy"), data).notes == ()


def test_whole_groups_are_not_noted(tmp_path: Path) -> None:
    data = write(tmp_path / "mmlu", test=[mmlu_row(s, "q") for s in SUBJECTS])
    assert prepare(Mmlu("mmlu"), data).notes == ()
    tags = Counter(q.tags[1] for q in prepare(Mmlu("mmlu"), data).questions)
    assert tags == {"stem": 19, "humanities": 13, "social_sciences": 12, "other": 13}


# -- scoring -------------------------------------------------------------------------------


def likely(*log_probabilities: float) -> list[LogLikelihoodResult]:
    return [LogLikelihoodResult(value, False, 1, 1, 1) for value in log_probabilities]


@pytest.mark.parametrize(
    ("log_probabilities", "metrics", "prediction"),
    [
        ((-3.0, -2.0, -9.0), {"acc_norm": 0.0, "acc": 1.0}, "0"),
        ((-9.0, -2.0, -3.0), {"acc_norm": 0.0, "acc": 1.0}, "2"),
        ((-9.0, -2.0, -12.0), {"acc_norm": 1.0, "acc": 1.0}, "1"),
        ((-9.0, -5.0, -4.0), {"acc_norm": 0.0, "acc": 0.0}, "2"),
        ((-2.0, -2.0, -2.0), {"acc_norm": 0.0, "acc": 0.0}, "2"),
        ((-4.0, -2.0, -8.0), {"acc_norm": 0.0, "acc": 1.0}, "0"),
    ],
)
def test_hellaswag_is_scored_by_sum_and_per_character(
    log_probabilities: tuple[float, ...], metrics: dict[str, float], prediction: str
) -> None:
    """Choices of 4, 2 and 8 characters, the second right; the first of equals wins."""
    doc = ChoiceDoc(id="0", question="q", choices=("äöüß", "ab", "abcdefgh"), gold=1)
    score = HellaSwag("hellaswag").score(doc, likely(*log_probabilities))
    metrics = {**metrics, "soft_acc": score.metrics["soft_acc"]}
    assert (score.metrics, score.prediction) == (metrics, prediction)
    per_character = [14 / 3 * s / n for s, n in zip(log_probabilities, (4, 2, 8), strict=True)]
    weights = np.exp(per_character)
    assert score.metrics["soft_acc"] == pytest.approx(weights[1] / weights.sum())


def test_mmlu_is_right_where_the_right_letter_is_most_probable(tmp_path: Path) -> None:
    data = write(tmp_path / "mmlu", test=[mmlu_row("anatomy", "q", 2)])
    (question,) = prepare(Mmlu("mmlu"), data).questions
    assert question.score(likely(-3, -2, -1, -4)).metrics["acc"] == 1.0
    assert question.score(likely(-3, -1, -1, -4)).metrics["acc"] == 0.0


def test_soft_accuracy_is_the_probability_of_the_right_choice(tmp_path: Path) -> None:
    data = write(tmp_path / "mmlu", test=[mmlu_row("anatomy", "q", 2)])
    (question,) = prepare(Mmlu("mmlu"), data).questions
    of = np.log([0.1, 0.2, 0.6, 0.1])
    for shift in (0.0, -2000.0):  # what all choices lack does not matter
        score = question.score(likely(*(of + shift)))
        assert score.metrics["soft_acc"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("9 eggs.\n#### 18", "18", "18"),
        ("", "[invalid]", "[invalid]"),
        ("no number at all.", "[invalid]", "[invalid]"),
        ("42...", "[invalid]", "42..."),
        ("Wait...", "[invalid]", "..."),
        ("$1,234.00", "[invalid]", "$1,234.00"),
        ("#### -5.", "-5.", "-5."),
        ("-$5", "[invalid]", "-$5"),
        ("It costs $7.", "[invalid]", "$7."),
        ("It costs 7$", "[invalid]", "7$"),
        ("3 apples and 4 pears", "[invalid]", "4"),
        ("x = -7", "[invalid]", "-7"),
        ("10-3", "[invalid]", "-3"),
        ("1/2", "[invalid]", "2"),
        ("50%", "[invalid]", "50"),
        ("#### 72\n#### 73", "72", "73"),
        ("#### $50", "[invalid]", "$50"),
        ("####72", "[invalid]", "72"),
        ("####  72", "[invalid]", "72"),
        ("##### 8", "8", "8"),
        ("#### 1,000, or 1.000,5", "1,000,", "1.000,5"),
        ("#### 42abc", "42", "42"),
        ("#### 12\n.. and so on", "12", ".."),
        ("#### .,", ".,", ".,"),
        ("#### 1.5.\n", "1.5.", "1.5."),
        ("just a $", "[invalid]", "[invalid]"),
        ("\u0663 or \uff13", "[invalid]", "[invalid]"),
    ],
)
def test_the_number_of_an_answer(text: str, strict: str, flexible: str) -> None:
    assert (extract_strict(text), extract_flexible(text)) == (strict, flexible)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("18", "18"),
        ("1,234,567", "1234567"),
        ("$1,234.00", "1234.00"),
        ("-$5", "-5"),
        ("-5.", "-5"),
        ("42...", "42.."),
        (".,", ""),
        ("5.\n", "5\n"),
        ("1.5", "1.5"),
        ("9, then $9\n#### 1,018", "1018"),
        ("#### 1\n#### 2.", "2"),
        ("US$ 5", "us 5"),
        ("[invalid]", "[invalid]"),
    ],
)
def test_a_number_in_its_normal_form(text: str, normal: str) -> None:
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        (" 9 + 9\n#### 1,018", 1.0, 1.0),
        (" The answer is $1,018.", 0.0, 1.0),
        (" #### 1018\nThat is 2 more.", 1.0, 0.0),
        (" 1018.0", 0.0, 0.0),
        (" [invalid]", 0.0, 0.0),
    ],
)
def test_gsm8k_is_scored_strictly_and_flexibly(
    tmp_path: Path, text: str, strict: float, flexible: float
) -> None:
    data = write(tmp_path / "gsm8k", test=[{"question": "q", "answer": "9 + 9\n#### 1,018"}])
    (question,) = prepare(Gsm8k("gsm8k"), data, shots=0).questions
    score = question.score([GenerationResult(text, "stop", 9, 9)])
    assert score.metrics == {"exact_match_strict": strict, "exact_match_flexible": flexible}


def test_a_right_prediction_equals_the_gold_answer(tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k", test=[{"question": "q", "answer": "#### 1,018"}])
    (question,) = prepare(Gsm8k("gsm8k"), data, shots=0).questions
    assert isinstance(question, Question)
    score = question.score([GenerationResult("#### $1,018. #### 1,018.", "stop", 9, 9)])
    assert score.metrics["exact_match_strict"] == 1.0
    assert score.prediction == question.gold
