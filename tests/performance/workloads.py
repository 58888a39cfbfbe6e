"""What is measured: real questions, written to a file that every contestant reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from pajamas_eval.api.data import DataSource
from pajamas_eval.api.requests import GenerateUntil, LogLikelihood
from pajamas_eval.questions.prepare import Question, prepare
from pajamas_eval.questions.registry import benchmark

SUBJECTS = ("mmlu_jurisprudence", "mmlu_global_facts", "mmlu_computer_security")
"""Those whose questions are of median length among all subjects."""
PER_SUBJECT = 40
ENDINGS = 200
"""HellaSwag questions."""
PROMPTS = 64
NEW_TOKENS = 128
"""Of a GSM8K answer: about what a worked answer has. A random model never stops by itself."""


@dataclass(frozen=True)
class Workload:
    """Questions of one kind, as plain data: the peers know nothing of this project."""

    name: str
    content: dict[str, Any]

    @property
    def size(self) -> int:
        """Questions or prompts."""
        return len(self.content["questions"])

    def write(self, folder: Path) -> Path:
        """The file that contestants read."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}.json"
        file.write_text(json.dumps(self.content), "utf-8")
        return file


def mmlu(data: DataSource) -> Workload:
    """Real 5-shot MMLU: the few-shot examples of a subject stand before all its questions."""
    questions = [
        choices(question)
        for subject in SUBJECTS
        for question in prepare(benchmark(subject), data, shots=5, limit=PER_SUBJECT).questions
    ]
    return Workload("mmlu", {"kind": "choices", "questions": questions})


def hellaswag(data: DataSource) -> Workload:
    """Real HellaSwag without examples: only a question's endings share anything."""
    questions = prepare(benchmark("hellaswag"), data, limit=ENDINGS).questions
    return Workload("hellaswag", {"kind": "choices", "questions": [choices(q) for q in questions]})


def gsm8k(data: DataSource) -> Workload:
    """Real 5-shot GSM8K, whose examples differ from question to question."""
    return generation("gsm8k", gsm8k_requests(data))


def gsm8k_same_examples(data: DataSource) -> Workload:
    """Real GSM8K after five examples that are the same for all questions."""
    requests = gsm8k_requests(data)
    examples, _ = split_question(requests[0].prompt.text)
    prompts = [examples + split_question(r.prompt.text)[1] for r in requests]
    return generation(
        "gsm8k-same-examples",
        [structs.replace(r, prompt=p) for r, p in zip(requests, prompts, strict=True)],
    )


def gsm8k_requests(data: DataSource) -> list[GenerateUntil]:
    """As the benchmark asks them."""
    questions = prepare(benchmark("gsm8k"), data, limit=PROMPTS).questions
    return [r for q in questions for r in q.requests if isinstance(r, GenerateUntil)]


def split_question(prompt: str) -> tuple[str, str]:
    """The examples of a prompt and the question behind them."""
    start = prompt.rindex("Question:")
    return prompt[:start], prompt[start:]


def generation(name: str, requests: Sequence[GenerateUntil]) -> Workload:
    """Prompts as plain data."""
    return Workload(
        name,
        {
            "kind": "generate",
            "questions": [r.prompt.text for r in requests],
            "until": list(requests[0].until),
            "max_tokens": NEW_TOKENS,
        },
    )


def choices(question: Question) -> dict[str, Any]:
    """A multiple-choice question as plain data."""
    requests = [r for r in question.requests if isinstance(r, LogLikelihood)]
    return {
        "context": requests[0].context.text,
        "continuations": [r.continuation for r in requests],
        "gold": 0,
    }
