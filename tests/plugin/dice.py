"""A runtime that samples, and a benchmark that asks for five samples of each text."""

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pajamas_eval.api.benchmark import Benchmark, Doc, Score
from pajamas_eval.api.digest import digest_of
from pajamas_eval.api.identity import Engine, Identity
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.options import RuntimeOptions
from pajamas_eval.api.requests import GenerateUntil, GenerationResult, Sampling
from pajamas_eval.api.runtime import Capabilities, Runtime, Usage


class DiceOptions(RuntimeOptions, frozen=True, kw_only=True):
    """The file holds the probability of a six."""

    path: str


class DiceRuntime(Runtime):
    """Rolls a loaded die; what it rolled it notes in `FILE.calls`."""

    name = "dice"
    options_type = DiceOptions
    capabilities = Capabilities(frozenset({GenerateUntil}), sampling=True)

    def __init__(self, options):
        self.options, self.usage = options, Usage()

    @classmethod
    def engine(cls):
        return Engine({"dice": "1"}, "CPU")

    def digest(self):
        return digest_of([Path(self.options.path)])

    def load(self):
        self.six = float(Path(self.options.path).read_text())
        return Identity(runtime=self.name, path=self.options.path, digest=self.digest())

    def generate_until(self, requests):
        for i, request in enumerate(requests):
            draw = random.Random(f"{request.prompt.text} {request.sampling.seed} {request.sample}")
            rolled = "6" if draw.random() < self.six else str(draw.randint(1, 5))
            with open(f"{self.options.path}.calls", "a", encoding="utf-8") as calls:
                calls.write(f"{request.prompt.text} {request.sample}\n")
            yield i, GenerationResult(rolled, "stop", 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throw(Doc):
    """Its number."""

    number: int


class FiveRolls(Benchmark[Throw]):
    """Is it a six: on average, in any of five samples, in most of them?"""

    family, summary = "five_rolls", "five samples of a die"
    metrics = (Metric("pass_at_1", "mean"), Metric("pass_at_5"), Metric("majority"))
    request_types, sampling, repeats = (GenerateUntil,), Sampling(temperature=0.8, seed=7), 5

    def docs(self, data):
        return [Throw(id=str(n), number=n) for n in range(100)]

    def question(self, doc):
        return f"throw {doc.number}"

    def requests(self, doc, prompt, delimiter):
        return [GenerateUntil(prompt, (), 4)]

    def score(self, doc, results):
        rolls = [result.text for result in results]
        ((most, _),) = Counter(rolls).most_common(1)
        sixes = rolls.count("6")
        values = {"pass_at_1": sixes / 5, "pass_at_5": float(sixes > 0), "majority": most == "6"}
        return Score({name: float(value) for name, value in values.items()}, most)

    def gold(self, doc):
        return "6"
