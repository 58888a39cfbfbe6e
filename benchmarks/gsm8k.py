"""Training Verifiers to Solve Math Word Problems.

Karl Cobbe, Vineet Kosaraju, Mohammad Bavarian, Mark Chen, Heewoo Jun, Lukasz Kaiser,
Matthias Plappert, Jerry Tworek, Jacob Hilton, Reiichiro Nakano, Christopher Hesse, John Schulman.
https://arxiv.org/abs/2110.14168

A row of `openai/gsm8k` (configuration `main`):

    {"question": "Natalia sold clips to 48 of her friends in April, and then …",
     "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\\n… altogether …\\n#### 72"}

The model writes its working; the answer is taken from it strictly (after `#### `) and flexibly
(the last number), normalised, and compared with the row's own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from pajamas_eval.api.benchmark import Benchmark, Doc, Score
from pajamas_eval.api.data import Dataset, DataSource
from pajamas_eval.api.requests import GenerateUntil, Request
from pajamas_eval.api.results import GenerationResult, LogLikelihoodResult
from pajamas_eval.errors import UsageError

UNTIL = ("Question:", "</s>", "<|im_end|>")
MAX_TOKENS = 256
INVALID = "[invalid]"

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = [re.compile(pattern) for pattern in (r",", r"\$", r"(?s).*#### ", r"\.$")]


class Row(msgspec.Struct):
    """One row of the data set."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WordProblem(Doc):
    """A problem with its worked answer."""

    question: str
    answer: str


class Gsm8k(Benchmark[WordProblem]):
    """GSM8K's test split."""

    metrics = ("exact_match_strict", "exact_match_flexible")
    default_shots = 5
    request_type = GenerateUntil
    dataset: ClassVar[Dataset] = Dataset("gsm8k", hub_id="openai/gsm8k", hub_config="main")

    @classmethod
    def names(cls) -> list[str]:
        """The one benchmark."""
        return ["gsm8k"]

    @classmethod
    def summary(cls) -> str:
        """One line for the list of benchmarks."""
        return "grade-school word problems, worked answers generated"

    def docs(self, data: DataSource) -> list[WordProblem]:
        """The test split."""
        return self.read(data, "test")

    def shot_pool(self, data: DataSource) -> Sequence[WordProblem]:
        """The train split."""
        return self.read(data, "train")

    def read(self, data: DataSource, split: str) -> list[WordProblem]:
        """All docs of a split."""
        return [
            WordProblem(id=str(number), question=row.question, answer=row.answer)
            for number, row in enumerate(data.rows(self.dataset, split, Row))
        ]

    def question(self, doc: WordProblem) -> str:
        """The problem, up to where the working begins."""
        return f"Question: {doc.question}\nAnswer:"

    def answer(self, doc: WordProblem) -> str:
        """The working, raw."""
        return doc.answer

    def requests(self, doc: WordProblem, context: str, delimiter: str) -> list[Request]:
        """One generation."""
        return [GenerateUntil(context, UNTIL, MAX_TOKENS)]

    def score(
        self, doc: WordProblem, results: Sequence[LogLikelihoodResult | GenerationResult]
    ) -> Score:
        """Exact match of the extracted number, strictly and flexibly."""
        (result,) = results
        assert isinstance(result, GenerationResult)
        strict, flexible = extract_strict(result.text), extract_flexible(result.text)
        gold = normalize(doc.answer)
        return Score(
            metrics={
                "exact_match_strict": float(normalize(strict) == gold),
                "exact_match_flexible": float(normalize(flexible) == gold),
            },
            prediction=normalize(strict),
            parsed=strict != INVALID,
        )

    def gold(self, doc: WordProblem) -> str:
        """The number at the end of the working."""
        return normalize(doc.answer)


def extract_strict(text: str) -> str:
    """The first number after `#### `."""
    match = _STRICT.search(text)
    return match[1].strip() if match else INVALID


def extract_flexible(text: str) -> str:
    """The last number anywhere."""
    matches = _FLEXIBLE.findall(text)
    found = next((group for group in matches[-1] if group), INVALID) if matches else INVALID
    return str(found).strip()


def normalize(text: str) -> str:
    """Removes separators, currency, the working and a final full stop, in lm-eval's order."""
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return text.lower()


class PajamasArithmetic(Gsm8k):
    """200 generated word problems in GSM8K's form, part of this package."""

    dataset = Dataset("pajamas_arithmetic", package="pajamas_eval.benchmarks")

    @classmethod
    def names(cls) -> list[str]:
        """The one benchmark."""
        return ["pajamas_arithmetic"]

    @classmethod
    def summary(cls) -> str:
        """One line for the list of benchmarks."""
        return "200 generated word problems in GSM8K's form (built in)"

    def choose_shots(
        self, data: DataSource, docs: Sequence[WordProblem], count: int, seed: int
    ) -> list[list[WordProblem]]:
        """The first examples of the train split, the same for every doc."""
        pool = self.shot_pool(data) if count else []
        if len(pool) < count:
            raise UsageError(f"{self.name} has only {len(pool)} few-shot examples, not {count}")
        return [list(pool[:count]) for _ in docs]
