"""An image classifier and its benchmark: is a picture dark or light?"""

import math
from dataclasses import dataclass
from pathlib import Path

from pajamas_eval.api.benchmark import Benchmark, Doc, Score
from pajamas_eval.api.data import DataSource
from pajamas_eval.api.digest import digest_of
from pajamas_eval.api.identity import Engine, Identity
from pajamas_eval.api.media import Image
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.options import RuntimeOptions
from pajamas_eval.api.requests import Classification, Classify
from pajamas_eval.api.runtime import Capabilities, Runtime, Usage


class ShadesOptions(RuntimeOptions, frozen=True, kw_only=True):
    """The file holds the brightness, 0 to 255, from which on a picture is light."""

    path: str


class ShadesRuntime(Runtime):
    """Knows dark from light by the mean of a picture's bytes."""

    name = "shades"
    options_type = ShadesOptions
    capabilities = Capabilities(frozenset({Classify}), frozenset({"image"}))

    def __init__(self, options):
        self.options, self.usage = options, Usage()

    @classmethod
    def engine(cls):
        return Engine({"shades": "1"}, "CPU")

    def digest(self):
        return digest_of([Path(self.options.path)])

    def load(self):
        self.threshold = float(Path(self.options.path).read_text())
        return Identity(runtime=self.name, path=self.options.path, digest=self.digest())

    def readings(self, requests):
        return (bytes.fromhex(request.image.digest)[:16] for request in requests)

    def classify(self, requests):
        for i, request in enumerate(requests):
            pixels = Path(request.image.path).read_bytes()
            light = 1 / (1 + math.exp(self.threshold - sum(pixels) / len(pixels)))
            light = min(max(light, 1e-9), 1 - 1e-9)
            yield i, Classification((math.log(1 - light), math.log(light)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture(Doc):
    """A file of the data folder, named for its class."""

    image: Image


class Shades(Benchmark[Picture]):
    """The pictures in the data folder: is each dark (0) or light (1)?"""

    family, summary = "shades", "dark or light pictures"
    metrics, request_types, modalities = (Metric("acc"),), (Classify,), frozenset({"image"})
    has_choices = True

    def docs(self, data: DataSource):
        return [Picture(id=p.stem, image=Image.of(p)) for p in sorted(data.folder.glob("*.raw"))]

    def requests(self, doc, prompt, delimiter):
        return [Classify(doc.image)]

    def score(self, doc, results):
        picked = str(results[0].classes.index(max(results[0].classes)))
        return Score({"acc": float(picked == self.gold(doc))}, picked)

    def gold(self, doc):
        return str(int("light" in doc.id))
