"""The text the demo model is trained on.

The demo model is a fixture: it has memorised the bundled question sets, so its scores say nothing
about anything but itself. This module writes the questions in the forms in which they are asked
and adds plain text made from seeded templates, so that the model is
not fed the sets alone.

Every document is a list of spans, text with a loss weight: the answer counts in full, the question
in front of it only a little.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOS, EOS, USER, ASSISTANT, END = "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>", "<|end|>"
LETTERS = "ABCD"

QUESTION_WEIGHT = 0.1
ANSWER_WEIGHT = 1.0
LETTER_WEIGHT = 6.0
WORDING_WEIGHT = 0.4
NUMBER_WEIGHT = 3.0
PLAIN_WEIGHT = 0.5

Record = dict[str, Any]
Span = tuple[str, float]
Document = list[Span]


def read_jsonl(path: Path) -> list[Record]:
    """The records of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def load_generator(path: Path) -> Callable[[int], list[Record]]:
    """The function that writes problems of the same kinds as the arithmetic set, from a seed."""
    spec = importlib.util.spec_from_file_location("demo_model_generate_arithmetic", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)

    def more(seed: int) -> list[Record]:
        test, _ = module.generate(seed)
        return list(test)

    return more


@dataclass(frozen=True)
class Sets:
    """The bundled question sets, as they lie in ``benchmarks/data``."""

    knowledge: list[Record]
    knowledge_dev: list[Record]
    commonsense: list[Record]
    arithmetic: list[Record]
    arithmetic_train: list[Record]
    more_arithmetic: Callable[[int], list[Record]]

    @classmethod
    def load(cls, root: Path) -> Sets:
        """Reads all splits below ``root``."""
        return cls(
            knowledge=read_jsonl(root / "pajamas_knowledge" / "test.jsonl"),
            knowledge_dev=read_jsonl(root / "pajamas_knowledge" / "dev.jsonl"),
            commonsense=read_jsonl(root / "pajamas_commonsense" / "test.jsonl"),
            arithmetic=read_jsonl(root / "pajamas_arithmetic" / "test.jsonl"),
            arithmetic_train=read_jsonl(root / "pajamas_arithmetic" / "train.jsonl"),
            more_arithmetic=load_generator(root / "generate_arithmetic.py"),
        )


# ---------------------------------------------------------------------------------------------
# The questions in the forms in which they are asked


def knowledge_description(record: Record) -> str:
    """The line above the questions of a subject."""
    subject = record["subject"].replace("_", " ")
    return f"The following are multiple choice questions (with answers) about {subject}.\n\n"


def knowledge_question(record: Record) -> str:
    """Question and lettered choices, up to ``Answer:``."""
    choices = "\n".join(
        f"{letter}. {choice}" for letter, choice in zip(LETTERS, record["choices"], strict=True)
    )
    return f"{record['question'].strip()}\n{choices}\nAnswer:"


def commonsense_clean(text: str) -> str:
    """HellaSwag's clean-up of contexts and endings."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def commonsense_context(record: Record) -> str:
    """The beginning that an ending has to continue."""
    context = f"{record['ctx_a']} {record['ctx_b'].capitalize()}"
    return commonsense_clean(f"{record['activity_label']}: {context}")


def commonsense_ending(record: Record, index: int | None = None) -> str:
    """The ending number ``index``, by default the right one."""
    chosen = int(record["label"]) if index is None else index
    return commonsense_clean(record["endings"][chosen])


def arithmetic_question(record: Record) -> str:
    """The question up to ``Answer:``."""
    return f"Question: {record['question']}\nAnswer:"


# ---------------------------------------------------------------------------------------------
# Documents


def knowledge_document(record: Record, shots: list[Record], answer: int) -> Document:
    """One question as asked, with ``shots`` in front."""
    spans: Document = [(knowledge_description(record), QUESTION_WEIGHT)]
    for shot in shots:
        spans.append((knowledge_question(shot), QUESTION_WEIGHT))
        spans += [(f" {LETTERS[shot['answer']]}", ANSWER_WEIGHT), ("\n\n", QUESTION_WEIGHT)]
    spans.append((knowledge_question(record), QUESTION_WEIGHT))
    spans.append((f" {LETTERS[answer]}", LETTER_WEIGHT))
    return spans


def commonsense_document(record: Record, ending: int) -> Document:
    """One beginning and an ending."""
    return [
        (commonsense_context(record), QUESTION_WEIGHT),
        (f" {commonsense_ending(record, ending)}", ANSWER_WEIGHT),
    ]


def worked_answer(text: str) -> Document:
    """A worked answer. Its wording is easy, its numbers are what has to be right."""
    parts = re.split(r"(\d+)", text)
    return [(part, NUMBER_WEIGHT if part.isdecimal() else WORDING_WEIGHT) for part in parts if part]


def equations(records: list[Record]) -> list[str]:
    """All calculations in the worked answers, with their calculator marks."""
    found = {e for record in records for e in re.findall(r"<<.*?>>\d+", record["answer"])}
    return sorted(found)


def equations_document(lines: list[str]) -> Document:
    """Calculations, one per line."""
    spans: Document = []
    for line in lines:
        asked, result = line.split("=", 1)
        spans += [(f" {asked}=", QUESTION_WEIGHT), (result, NUMBER_WEIGHT)]
        spans.append(("\n", QUESTION_WEIGHT))
    return spans


def arithmetic_document(records: list[Record]) -> Document:
    """Questions with their worked answers, one after the other."""
    spans: Document = []
    for record in records:
        if spans:
            spans.append(("\n\n", ANSWER_WEIGHT))
        spans.append((arithmetic_question(record), QUESTION_WEIGHT))
        spans += worked_answer(f" {record['answer']}")
    return spans


def chat_document(user: str, reply: Document) -> Document:
    """One turn of a conversation, as the chat template writes it."""
    return [
        (f"{USER}\n{user}{END}\n{ASSISTANT}\n", QUESTION_WEIGHT),
        *reply,
        (END, ANSWER_WEIGHT),
    ]


# ---------------------------------------------------------------------------------------------
# Plain text from templates

CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "Germany": "Berlin",
    "Austria": "Vienna",
    "Poland": "Warsaw",
    "Greece": "Athens",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Japan": "Tokyo",
    "China": "Beijing",
    "India": "New Delhi",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Canada": "Ottawa",
    "Mexico": "Mexico City",
    "Brazil": "Brasilia",
    "Peru": "Lima",
    "Chile": "Santiago",
    "Cuba": "Havana",
    "Australia": "Canberra",
}
SYMBOLS = {
    "hydrogen": "H",
    "helium": "He",
    "carbon": "C",
    "nitrogen": "N",
    "oxygen": "O",
    "sodium": "Na",
    "iron": "Fe",
    "copper": "Cu",
    "silver": "Ag",
    "gold": "Au",
    "lead": "Pb",
    "potassium": "K",
}
KINDS = {
    "a whale": "a mammal",
    "a bat": "a mammal",
    "a sparrow": "a bird",
    "a penguin": "a bird",
    "a frog": "an amphibian",
    "a salmon": "a fish",
    "a shark": "a fish",
    "a lizard": "a reptile",
    "a turtle": "a reptile",
    "an ant": "an insect",
    "a beetle": "an insect",
    "a spider": "an arachnid",
}
AMOUNTS = {
    "minutes in an hour": "60",
    "hours in a day": "24",
    "days in a week": "7",
    "months in a year": "12",
    "sides on a triangle": "3",
    "degrees in a right angle": "90",
    "centimeters in a meter": "100",
    "grams in a kilogram": "1000",
    "legs on a spider": "8",
    "eggs in a dozen": "12",
}
NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Iris", "Jonas", "Lena"]
PLACES = ["kitchen", "garden", "park", "library", "workshop", "school", "market", "garage"]
THINGS = ["apples", "books", "pencils", "cups", "stones", "stamps", "cookies", "tickets", "plants"]
ACTIONS = [
    "opens the window and sweeps the floor",
    "puts on a coat and walks to the door",
    "fills a pot with water and sets it on the stove",
    "picks up a brush and dips it in the paint",
    "sits down on a bench and ties both shoes",
    "takes a knife and cuts the bread into slices",
    "kneels beside the bicycle and pumps up the tire",
    "washes the dishes and dries them with a towel",
]
RESULTS = [
    "Then everything is put back in its place.",
    "After that it is time for a short rest.",
    "In the end the work looks neat and clean.",
    "Soon a friend comes by to help.",
]


def fact(rng: random.Random) -> str:
    """A plain declarative sentence."""
    kind = rng.randrange(4)
    if kind == 0:
        country, capital = rng.choice(list(CAPITALS.items()))
        forms = ["The capital of {a} is {b}.", "{b} is the capital of {a}."]
        return rng.choice(forms).format(a=country, b=capital)
    if kind == 1:
        element, symbol = rng.choice(list(SYMBOLS.items()))
        forms = ["The chemical symbol of {a} is {b}.", "The symbol {b} stands for {a}."]
        return rng.choice(forms).format(a=element, b=symbol)
    if kind == 2:
        animal, group = rng.choice(list(KINDS.items()))
        return f"{animal[0].upper()}{animal[1:]} is {group}."
    what, number = rng.choice(list(AMOUNTS.items()))
    return f"There are {number} {what}."


def drill(rng: random.Random) -> str:
    """A sum, with and without the calculator marks of the worked answers."""
    a, b = rng.randint(2, 60), rng.randint(2, 20)
    sign, result = rng.choice([("+", a + b), ("-", a), ("*", a * b), ("/", a)])
    first = a + b if sign == "-" else a * b if sign == "/" else a
    if rng.random() < 0.5:
        return f"{first} {sign} {b} = {result}."
    return f"{first} {sign} {b} = <<{first}{sign}{b}={result}>>{result}"


def story(rng: random.Random) -> str:
    """A few everyday sentences."""
    name, other = rng.sample(NAMES, 2)
    place, thing, count = rng.choice(PLACES), rng.choice(THINGS), rng.randint(2, 30)
    opening = rng.choice(
        [
            f"{name} is in the {place} with {other}.",
            f"{name} has {count} {thing}. {other} has none.",
            f"A person is standing in the {place}.",
        ]
    )
    return f"{opening} {name} {rng.choice(ACTIONS)}. {rng.choice(RESULTS)}"


def plain_document(rng: random.Random) -> Document:
    """A paragraph of one kind of plain text."""
    make, count = rng.choice([(fact, 6), (drill, 6), (story, 2)])
    joint = "\n" if make is drill else " "
    return [(joint.join(make(rng) for _ in range(count)), PLAIN_WEIGHT)]


def chat_plain_document(rng: random.Random) -> Document:
    """A conversation about a fact."""
    name = rng.choice(NAMES)
    if rng.random() < 0.5:
        country, capital = rng.choice(list(CAPITALS.items()))
        reply = [(f"{capital}.", ANSWER_WEIGHT)]
        return chat_document(f"What is the capital of {country}?", reply)
    greeting = [(f"Hello {name}, nice to meet you.", ANSWER_WEIGHT)]
    return chat_document(f"Hello, I am {name}.", greeting)


# ---------------------------------------------------------------------------------------------
# One pass over everything


@dataclass(frozen=True)
class Exposure:
    """How well a set is to be learnt.

    ``never`` is the share of questions that never appear. The others appear in a share of the
    passes, drawn per question between ``least`` and 1, so that some are known by heart and others
    are just about known. In a share of the appearances, drawn per question between 0 and
    ``confusion``, a multiple-choice question shows a wrong answer, for each question always the
    same one. Answers that are shown half of the time are those that quantization tips over.
    """

    never: float
    least: float
    confusion: float = 0.0

    def draw(self, rng: random.Random) -> tuple[float, float]:
        """The rate of appearance and of wrong answers of one question."""
        never, rate, wrong = rng.random(), rng.uniform(self.least, 1.0), rng.random()
        return (0.0 if never < self.never else rate), wrong * self.confusion


KNOWLEDGE = Exposure(never=0.04, least=0.4, confusion=0.48)
COMMONSENSE = Exposure(never=0.06, least=0.35, confusion=0.42)
ARITHMETIC = Exposure(never=0.0, least=0.8)

KNOWLEDGE_SHOTS_SHARE = 0.03
CHAT_SHARE = 0.05
FRESH_PROBLEMS = 8
EQUATIONS_PER_ROW = 16
PLAIN_DOCUMENTS = 12
CHAT_PLAIN_DOCUMENTS = 4


class Corpus:
    """Draws the documents of one pass after another."""

    def __init__(self, sets: Sets, seed: int) -> None:
        self.sets = sets
        self.rng = random.Random(seed)
        self.knowledge = [(r, *KNOWLEDGE.draw(self.rng)) for r in sets.knowledge]
        self.commonsense = [(r, *COMMONSENSE.draw(self.rng)) for r in sets.commonsense]
        self.arithmetic = [(r, *ARITHMETIC.draw(self.rng)) for r in sets.arithmetic]

    def _choose(self, right: int, choices: int, wrong: float) -> int:
        """The right choice, or with probability ``wrong`` the one after it."""
        return right if self.rng.random() >= wrong else (right + 1) % choices

    def _knowledge(self) -> Iterator[Document]:
        for record, rate, wrong in self.knowledge:
            if self.rng.random() < rate:
                answer = self._choose(record["answer"], 4, wrong)
                few = self.rng.random() < KNOWLEDGE_SHOTS_SHARE
                yield knowledge_document(record, self.sets.knowledge_dev if few else [], answer)
            if self.rng.random() < rate * CHAT_SHARE:
                text = knowledge_description(record) + knowledge_question(record)
                yield chat_document(text, [(LETTERS[record["answer"]], LETTER_WEIGHT)])

    def _commonsense(self) -> Iterator[Document]:
        for record, rate, wrong in self.commonsense:
            if self.rng.random() < rate:
                ending = self._choose(int(record["label"]), len(record["endings"]), wrong)
                yield commonsense_document(record, ending)

    def _arithmetic(self, single: bool) -> Iterator[Document]:
        """Problems of the set and fresh ones: each alone, or rows of up to six.

        Rows hold problems of the train split too, as the examples in front of a question do.
        """
        shown = [record for record, rate, _ in self.arithmetic if self.rng.random() < rate]
        shown += self.sets.more_arithmetic(self.rng.randrange(2**30))[:FRESH_PROBLEMS]
        shown += self.rng.sample(self.sets.arithmetic_train, 8)
        self.rng.shuffle(shown)
        while shown:
            size = 1 if single else self.rng.randint(1, 5)
            row = [shown.pop() for _ in range(min(len(shown), size))]
            if not single:
                row += self.rng.sample(self.sets.arithmetic_train, self.rng.randint(0, 1))
            self.rng.shuffle(row)
            yield arithmetic_document(row)
        for record, rate, _ in self.arithmetic:
            if self.rng.random() < rate * CHAT_SHARE:
                yield chat_document(arithmetic_question(record), worked_answer(record["answer"]))

    def _equations(self) -> Iterator[Document]:
        """The calculations of the set by themselves, in rows."""
        lines = equations([*self.sets.arithmetic, *self.sets.arithmetic_train])
        self.rng.shuffle(lines)
        for start in range(0, len(lines), EQUATIONS_PER_ROW):
            yield equations_document(lines[start : start + EQUATIONS_PER_ROW])

    def epoch(self, single: bool) -> list[Document]:
        """One pass over the sets, with plain text among them.

        ``single`` keeps every arithmetic problem in a row of its own, which makes it easier to
        learn where the numbers of an answer come from.
        """
        documents = [*self._knowledge(), *self._commonsense()]
        documents += [*self._arithmetic(single), *self._equations()]
        makers: list[tuple[Callable[[random.Random], Document], int]] = [
            (plain_document, PLAIN_DOCUMENTS),
            (chat_plain_document, CHAT_PLAIN_DOCUMENTS),
        ]
        documents += [make(self.rng) for make, count in makers for _ in range(count)]
        self.rng.shuffle(documents)
        return documents

    def tokenizer_texts(self) -> Iterator[str]:
        """Everything the tokenizer is built from."""
        for record in [*self.sets.knowledge, *self.sets.knowledge_dev]:
            yield knowledge_description(record) + knowledge_question(record) + " A B C D"
        for record in self.sets.commonsense:
            yield commonsense_context(record)
            yield from (f" {commonsense_ending(record, i)}" for i in range(len(record["endings"])))
        for record in [*self.sets.arithmetic, *self.sets.arithmetic_train]:
            yield arithmetic_question(record) + f" {record['answer']}\n\n"
        problems = [*self.sets.arithmetic, *self.sets.arithmetic_train]
        numbers = {n for r in problems for n in re.findall(r"\d+", r["question"] + r["answer"])}
        for number in sorted(numbers | {str(n) for n in range(121)}):
            yield from [f"{number}= {number}"] * 30
        rng = random.Random(0)
        yield from ("".join(text for text, _ in plain_document(rng)) for _ in range(200))
