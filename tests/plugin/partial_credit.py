"""A benchmark with metrics of kind `mean`: how much of an answer is right?"""

from dataclasses import dataclass

from pajamas_eval.api.benchmark import Benchmark, Doc, Score
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.requests import GenerateUntil


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Doc):
    """A number below 100; five that follow one another are a cluster."""

    number: int


class PartialCredit(Benchmark[Number]):
    """Which share of the two digits is right, and how far off is the number?"""

    family, summary = "partial_credit", "numbers, digit by digit"
    metrics = (
        Metric("digits", "mean", default_margin=5.0),
        Metric("distance", "mean", higher_is_better=False, unit="steps", default_margin=0.75),
    )
    request_types = (GenerateUntil,)

    def docs(self, data):
        return [Number(id=str(n), number=n, cluster=f"c{n // 5}") for n in range(90)]

    def question(self, doc):
        return f"Q{doc.number}?"

    def requests(self, doc, prompt, delimiter):
        return [GenerateUntil(prompt, (), 8)]

    def score(self, doc, results):
        number = int(results[0].text.removeprefix("#### "))
        digits = sum(a == b for a, b in zip(f"{number:02}", f"{doc.number:02}", strict=True)) / 2
        distance = float(abs(number - doc.number))
        return Score({"digits": digits, "distance": distance}, str(number))

    def gold(self, doc):
        return str(doc.number)
