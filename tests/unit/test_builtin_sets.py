"""What the question sets bundled in ``benchmarks/data`` promise."""

from __future__ import annotations

import ast
import functools
import importlib.util
import itertools
import json
import math
import operator
import re
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pajamas_eval.api.metrics import Margin, margin_for
from pajamas_eval.questions.registry import benchmark
from pajamas_eval.statistics.planning import smallest_margin
from pajamas_eval.statistics.sequential import PRIOR_DISCORDANCE
from pajamas_eval.statistics.verdicts import Verdict, non_inferiority

DATA = Path(__file__).resolve().parents[2] / "benchmarks" / "data"
GENERATOR = DATA / "generate_arithmetic.py"

KNOWLEDGE_TEST = DATA / "pajamas_knowledge" / "test.jsonl"
KNOWLEDGE_DEV = DATA / "pajamas_knowledge" / "dev.jsonl"
COMMONSENSE_TEST = DATA / "pajamas_commonsense" / "test.jsonl"
ARITHMETIC_TEST = DATA / "pajamas_arithmetic" / "test.jsonl"
ARITHMETIC_TRAIN = DATA / "pajamas_arithmetic" / "train.jsonl"

COUNTS = {
    KNOWLEDGE_TEST: 200,
    KNOWLEDGE_DEV: 5,
    COMMONSENSE_TEST: 100,
    ARITHMETIC_TEST: 200,
    ARITHMETIC_TRAIN: 20,
}
KNOWLEDGE_FILES = [KNOWLEDGE_TEST, KNOWLEDGE_DEV]
ARITHMETIC_FILES = [ARITHMETIC_TEST, ARITHMETIC_TRAIN]

ANNOTATION = re.compile(r"<<([^<>=]+)=([^<>=]+)>>(-?\d+)")
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}

Record = dict[str, Any]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def load(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def normalized(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9+*/^=-]+", text.lower()))


def longest_run(values: list[Any]) -> int:
    longest = run = 1
    for before, after in itertools.pairwise(values):
        run = run + 1 if before == after else 1
        longest = max(longest, run)
    return longest


def has_cycle(values: list[Any], longest_period: int = 12) -> bool:
    """Tell whether the values repeat with a short period most of the time."""
    for period in range(1, longest_period + 1):
        pairs = list(zip(values, values[period:], strict=False))
        if sum(a == b for a, b in pairs) > 0.5 * len(pairs):
            return True
    return False


def calculate(expression: str) -> Fraction:
    """Return the value of an expression of whole numbers with + - * / and nothing else."""

    def visit(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return Fraction(node.value)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](visit(node.left), visit(node.right))
        raise ValueError(f"not allowed in {expression!r}: {ast.dump(node)}")

    return visit(ast.parse(expression, mode="eval").body)


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_arithmetic", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


every_file = pytest.mark.parametrize("path", COUNTS, ids=name_of)
every_knowledge_file = pytest.mark.parametrize("path", KNOWLEDGE_FILES, ids=name_of)
every_arithmetic_file = pytest.mark.parametrize("path", ARITHMETIC_FILES, ids=name_of)


class TestMargins:
    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("pajamas_knowledge", KNOWLEDGE_TEST),
            ("pajamas_commonsense", COMMONSENSE_TEST),
            ("pajamas_arithmetic", ARITHMETIC_TEST),
        ],
    )
    def test_the_default_is_the_least_in_whole_points_that_the_set_can_certify(
        self, name: str, path: Path
    ) -> None:
        """With 80 % power and 95 % confidence, where one question in twenty flips."""
        least = smallest_margin(COUNTS[path], PRIOR_DISCORDANCE)
        for metric in benchmark(name).metrics:
            assert metric.default_margin == math.ceil(100 * least), metric.name

    @pytest.mark.parametrize("name", ["mmlu", "mmlu_anatomy", "hellaswag", "gsm8k"])
    def test_that_of_the_real_sets_is_one_point(self, name: str) -> None:
        for metric in benchmark(name).metrics:
            assert margin_for(metric, ()) == (Margin(1.0), True)

    def test_a_variant_without_a_flip_is_no_worse_by_default(self) -> None:
        for name, path in (("pajamas_knowledge", KNOWLEDGE_TEST),
                           ("pajamas_commonsense", COMMONSENSE_TEST)):  # fmt: skip
            metric = benchmark(name).metrics[0]
            margin, _ = margin_for(metric, ())
            assert margin
            verdict = non_inferiority(0, 0, COUNTS[path], metric.margin_size(margin))
            assert verdict is Verdict.NO_WORSE


class TestEveryFile:
    @every_file
    def test_has_the_promised_number_of_records(self, path: Path) -> None:
        assert len(load(path)) == COUNTS[path]

    @every_file
    def test_is_ascii_with_one_record_per_line(self, path: Path) -> None:
        raw = path.read_bytes()
        assert raw.isascii()
        assert b"\r" not in raw
        assert b"\\u" not in raw, "an escaped character is not ASCII either"
        assert raw.endswith(b"\n")
        assert raw.count(b"\n") == COUNTS[path]

    @every_file
    def test_has_no_stray_whitespace(self, path: Path) -> None:
        for record in load(path):
            for value in record.values():
                for text in value if isinstance(value, list) else [value]:
                    if isinstance(text, str):
                        assert text == text.strip(), record
                        assert "  " not in text, record


class TestKnowledge:
    @every_knowledge_file
    def test_record_has_the_fields_of_mmlu(self, path: Path) -> None:
        for record in load(path):
            assert list(record) == ["question", "subject", "choices", "answer"]
            assert isinstance(record["question"], str)
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*", record["subject"]), record
            assert len(record["choices"]) == 4
            assert type(record["answer"]) is int
            assert record["answer"] in range(4)

    @every_knowledge_file
    def test_choices_of_a_question_are_distinct(self, path: Path) -> None:
        for record in load(path):
            assert all(isinstance(choice, str) and choice for choice in record["choices"])
            assert len({choice.lower() for choice in record["choices"]}) == 4, record

    @every_knowledge_file
    def test_questions_and_choices_are_short(self, path: Path) -> None:
        for record in load(path):
            assert 0 < len(record["question"]) < 160, record
            assert record["question"].endswith("?"), record
            assert max(map(len, record["choices"])) < 60, record

    def test_right_answers_are_spread_evenly_over_the_letters(self) -> None:
        answers = [record["answer"] for record in load(KNOWLEDGE_TEST)]
        assert Counter(answers) == {0: 50, 1: 50, 2: 50, 3: 50}

    def test_right_answers_follow_no_pattern(self) -> None:
        answers = [record["answer"] for record in load(KNOWLEDGE_TEST)]
        assert longest_run(answers) <= 5
        assert not has_cycle(answers)

    def test_choosing_by_length_does_not_pay(self) -> None:
        longest = shortest = 0
        for record in load(KNOWLEDGE_TEST):
            lengths = [len(choice) for choice in record["choices"]]
            right = lengths[record["answer"]]
            longest += lengths.count(right) == 1 and right == max(lengths)
            shortest += lengths.count(right) == 1 and right == min(lengths)
        assert longest < 80
        assert shortest < 80

    def test_covers_many_subjects_with_enough_questions_each(self) -> None:
        subjects = Counter(record["subject"] for record in load(KNOWLEDGE_TEST))
        assert len(subjects) >= 12
        assert all(12 <= count <= 20 for count in subjects.values()), subjects

    def test_no_question_appears_twice_in_test_and_dev(self) -> None:
        questions = Counter(
            normalized(record["question"]) for path in KNOWLEDGE_FILES for record in load(path)
        )
        assert [question for question, count in questions.items() if count > 1] == []

    def test_dev_questions_have_different_subjects_and_mixed_answers(self) -> None:
        dev = load(KNOWLEDGE_DEV)
        assert len({record["subject"] for record in dev}) == len(dev)
        assert len({record["answer"] for record in dev}) > 1

    def test_dev_subjects_all_occur_in_test(self) -> None:
        test_subjects = {record["subject"] for record in load(KNOWLEDGE_TEST)}
        assert {record["subject"] for record in load(KNOWLEDGE_DEV)} <= test_subjects


class TestCommonsense:
    def test_record_has_the_fields_of_hellaswag(self) -> None:
        for record in load(COMMONSENSE_TEST):
            assert list(record) == [
                "ind",
                "activity_label",
                "ctx_a",
                "ctx_b",
                "ctx",
                "endings",
                "label",
            ]
            assert type(record["ind"]) is int
            assert record["label"] in {"0", "1", "2", "3"}
            assert len(record["endings"]) == 4
            for field in ("activity_label", "ctx_a", "ctx"):
                assert isinstance(record[field], str)
                assert record[field]

    def test_each_record_has_its_own_ind(self) -> None:
        assert [record["ind"] for record in load(COMMONSENSE_TEST)] == list(range(100))

    def test_ctx_joins_its_two_parts(self) -> None:
        for record in load(COMMONSENSE_TEST):
            assert record["ctx"] == f"{record['ctx_a']} {record['ctx_b']}".strip()

    def test_ctx_a_is_whole_sentences(self) -> None:
        for record in load(COMMONSENSE_TEST):
            assert record["ctx_a"][0].isupper(), record
            assert record["ctx_a"].endswith("."), record

    def test_endings_continue_the_sentence_begun_by_ctx_b(self) -> None:
        for record in load(COMMONSENSE_TEST):
            begun = record["ctx_b"] != ""
            if begun:
                assert record["ctx_b"][0].islower(), record
            for ending in record["endings"]:
                assert ending[0].islower() if begun else ending[0].isupper(), record
                assert ending.endswith("."), record

    def test_some_contexts_end_with_a_whole_sentence(self) -> None:
        assert any(record["ctx_b"] == "" for record in load(COMMONSENSE_TEST))

    def test_endings_of_a_record_are_distinct(self) -> None:
        for record in load(COMMONSENSE_TEST):
            assert len({normalized(ending) for ending in record["endings"]}) == 4, record

    def test_no_context_or_activity_appears_twice(self) -> None:
        records = load(COMMONSENSE_TEST)
        assert len({normalized(record["ctx"]) for record in records}) == 100
        assert len({normalized(record["activity_label"]) for record in records}) == 100

    def test_labels_are_balanced_and_follow_no_pattern(self) -> None:
        labels = [record["label"] for record in load(COMMONSENSE_TEST)]
        assert Counter(labels) == {"0": 25, "1": 25, "2": 25, "3": 25}
        assert longest_run(labels) <= 5
        assert not has_cycle(labels)

    def test_choosing_by_length_does_not_pay(self) -> None:
        longest = shortest = 0
        for record in load(COMMONSENSE_TEST):
            lengths = [len(ending) for ending in record["endings"]]
            right = lengths[int(record["label"])]
            longest += right == max(lengths)
            shortest += right == min(lengths)
        assert longest < 40
        assert shortest < 40


class TestArithmetic:
    @every_arithmetic_file
    def test_record_has_the_fields_of_gsm8k(self, path: Path) -> None:
        for record in load(path):
            assert list(record) == ["question", "answer"]
            assert all(isinstance(value, str) for value in record.values())

    @every_arithmetic_file
    def test_questions_and_answers_are_short(self, path: Path) -> None:
        for record in load(path):
            assert 0 < len(record["question"]) < 220, record
            assert record["question"].endswith("?"), record
            assert len(record["answer"]) < 160, record

    @every_arithmetic_file
    def test_answer_is_one_to_three_annotated_steps_and_a_final_line(self, path: Path) -> None:
        for record in load(path):
            *steps, final = record["answer"].split("\n")
            assert 1 <= len(steps) <= 3, record
            assert re.fullmatch(r"#### \d+", final), record
            for step in steps:
                assert len(ANNOTATION.findall(step)) == 1, step
                assert step.count("<<") == step.count(">>") == 1, step
                assert step.endswith("."), step

    @every_arithmetic_file
    def test_every_annotation_is_true(self, path: Path) -> None:
        for record in load(path):
            for expression, value, shown in ANNOTATION.findall(record["answer"]):
                assert calculate(expression) == int(value) == int(shown), record

    @every_arithmetic_file
    def test_final_answer_is_the_value_of_the_last_step(self, path: Path) -> None:
        for record in load(path):
            final = record["answer"].rsplit("#### ", 1)[1]
            assert final == ANNOTATION.findall(record["answer"])[-1][1], record

    @every_arithmetic_file
    def test_steps_use_only_numbers_that_are_known(self, path: Path) -> None:
        """A number is known from the question, an earlier step, or is the 2 of "half", "back"."""
        for record in load(path):
            known = {*re.findall(r"\d+", record["question"]), "2"}
            for expression, value, _ in ANNOTATION.findall(record["answer"]):
                assert set(re.findall(r"\d+", expression)) <= known, record
                known.add(value)

    def test_no_question_appears_twice_in_test_and_train(self) -> None:
        questions = Counter(
            normalized(record["question"]) for path in ARITHMETIC_FILES for record in load(path)
        )
        assert [question for question, count in questions.items() if count > 1] == []

    def test_generator_uses_at_least_twenty_templates_about_equally(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generator = load_generator()
        made: Counter[str] = Counter()

        def counted(template: Callable[[Any], Any]) -> Callable[[Any], Any]:
            @functools.wraps(template)
            def make(draw: Any) -> Any:
                made[template.__name__] += 1
                return template(draw)

            return make

        monkeypatch.setattr(generator, "TEMPLATES", list(map(counted, generator.TEMPLATES)))
        generator.generate()
        assert len(made) == len(generator.TEMPLATES) >= 20
        assert max(made.values()) <= 2 * min(made.values())

    def test_generator_makes_exactly_the_committed_files(self) -> None:
        generator = load_generator()
        test, train = generator.generate()
        assert generator.render(test).encode("ascii") == ARITHMETIC_TEST.read_bytes()
        assert generator.render(train).encode("ascii") == ARITHMETIC_TRAIN.read_bytes()

    def test_another_seed_makes_other_questions(self) -> None:
        generator = load_generator()
        assert generator.generate(generator.SEED + 1) != generator.generate()


class TestTheCheckersThemselves:
    @pytest.mark.parametrize(
        ("expression", "value"),
        [("3*4", 12), ("10-2-3", 5), ("(2+4)/3", 2), ("1/2", Fraction(1, 2))],
    )
    def test_calculate_gives_exact_values(self, expression: str, value: Fraction) -> None:
        assert calculate(expression) == value

    @pytest.mark.parametrize("expression", ["2**3", "abs(1)", "x", "'a'", "True", "1.5", "-1"])
    def test_calculate_refuses_everything_else(self, expression: str) -> None:
        with pytest.raises(ValueError, match="not allowed"):
            calculate(expression)

    def test_has_cycle_finds_a_cycle(self) -> None:
        assert has_cycle([0, 1, 2, 3] * 25)
        assert has_cycle([0, 0, 1, 2, 3, 1] * 20)

    def test_longest_run_counts_neighbors(self) -> None:
        assert longest_run([1, 2, 2, 2, 1]) == 3
