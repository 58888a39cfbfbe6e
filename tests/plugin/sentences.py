"""A benchmark with metrics of kind `ratio`: perplexity per word and per byte."""

import math
from dataclasses import dataclass

from pajamas_eval.api.benchmark import Benchmark, Doc, Score
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.requests import LogLikelihoodRolling

TEXTS = [
    f"{who} {what} {where}{more}"
    for who in ("The teacher", "A young dog", "Nobody", "My sister")
    for what in ("walked slowly", "was waiting", "had been seen", "sang")
    for where in ("to the river.", "in the rain.", "behind the old house.")
    for more in ("", " It was late, and the lamps were already lit.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Doc):
    """A document."""

    text: str


class Sentences(Benchmark[Text]):
    """How surprising is each text?"""

    family, summary = "sentences", "perplexity of made-up sentences"
    metrics = (
        Metric("word_perplexity", "ratio", higher_is_better=False, unit="perplexity"),
        Metric("byte_perplexity", "ratio", higher_is_better=False, unit="perplexity"),
    )
    request_types = (LogLikelihoodRolling,)

    def docs(self, data):
        return [Text(id=str(i), text=text, cluster=text[:6]) for i, text in enumerate(TEXTS)]

    def requests(self, doc, prompt, delimiter):
        return [LogLikelihoodRolling(doc.text)]

    def score(self, doc, results):
        counts = {"word": len(doc.text.split()), "byte": len(doc.text.encode())}
        surprise = -results[0].log_probability
        return Score(
            {f"{unit}_perplexity": math.exp(surprise / n) for unit, n in counts.items()},
            prediction="",
            weights={f"{unit}_perplexity": n for unit, n in counts.items()},
        )

    def gold(self, doc):
        return ""
