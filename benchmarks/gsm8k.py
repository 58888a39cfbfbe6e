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

import msgspec

from pajamas_eval.api import shots
from pajamas_eval.api.benchmark import Benchmark, Doc, Score
from pajamas_eval.api.data import Dataset, DataSource
from pajamas_eval.api.media import Prompt
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.requests import GenerateUntil, GenerationResult

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

    family = "gsm8k"
    summary = "grade-school word problems, worked answers generated"
    metrics = (Metric("exact_match_strict"), Metric("exact_match_flexible"))
    default_shots = 5
    request_types = (GenerateUntil,)
    dataset = Dataset("gsm8k", hub_id="openai/gsm8k", hub_config="main")

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

    def requests(self, doc: WordProblem, prompt: Prompt, delimiter: str) -> list[GenerateUntil]:
        """One generation."""
        return [GenerateUntil(prompt, UNTIL, MAX_TOKENS)]

    def score(self, doc: WordProblem, results: Sequence[GenerationResult]) -> Score:
        """Exact match of the extracted number, strictly and flexibly."""
        (result,) = results
        strict, flexible = extract_strict(result.text), extract_flexible(result.text)
        gold = normalize(doc.answer)
        return Score(
            metrics={
                "exact_match_strict": float(normalize(strict) == gold),
                "exact_match_flexible": float(normalize(flexible) == gold),
            },
            prediction=normalize(strict),
            predictions={"exact_match_flexible": normalize(flexible)},
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

    family = "pajamas_arithmetic"
    summary = "200 generated word problems in GSM8K's form (built in)"
    # What 200 questions certify where one in twenty flips; see tests/unit/test_builtin_sets.py.
    metrics = (
        Metric("exact_match_strict", default_margin=4.0),
        Metric("exact_match_flexible", default_margin=4.0),
    )
    dataset = Dataset("pajamas_arithmetic", package="pajamas_eval.benchmarks")
    shot_choice = staticmethod(shots.first)
