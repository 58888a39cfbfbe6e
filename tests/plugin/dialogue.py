"""A benchmark of two rounds: what is asked second depends on the first answer."""

import re
from dataclasses import dataclass

from pajamas_eval.api.benchmark import Benchmark, Doc, Score
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.requests import GenerateUntil


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Doc):
    """The number that the dialogue begins with."""

    number: int


class Dialogue(Benchmark[Start]):
    """Which number is it, and which comes after the one you said?"""

    family, summary = "dialogue", "two rounds about numbers"
    metrics, request_types = (Metric("acc"),), (GenerateUntil,)

    def docs(self, data):
        return [Start(id=str(n), number=n) for n in range(0, 80, 2)]

    def question(self, doc):
        return f"Q{doc.number}?"

    def requests(self, doc, prompt, delimiter):
        return [GenerateUntil(prompt, (), 8)]

    def rounds(self, doc, results, conversation):
        if len(results) > 1:
            return []
        following = f"Q{said(results[0]) + 1}?"
        return [GenerateUntil(conversation.prompt((results[0].text, following)), (), 8)]

    def score(self, doc, results):
        first, second = map(said, results)
        return Score({"acc": float(second == doc.number + 1)}, f"{first}, {second}")

    def gold(self, doc):
        return f"{doc.number}, {doc.number + 1}"


def said(result):
    """The number in an answer; −1 where there is none."""
    return int((re.findall(r"\d+", result.text) or ["-1"])[-1])
