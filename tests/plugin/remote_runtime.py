"""A model behind a server: no files, no tokens, no weights to know."""

import json
import urllib.request

from pajamas_eval.api.identity import Engine, Identity
from pajamas_eval.api.options import RuntimeOptions
from pajamas_eval.api.requests import GenerateUntil, GenerationResult
from pajamas_eval.api.results import Failure
from pajamas_eval.api.runtime import Capabilities, Runtime, Usage


class RemoteOptions(RuntimeOptions, frozen=True, kw_only=True):
    """What the server calls the model, and where it is."""

    model: str
    base_url: str


class RemoteRuntime(Runtime):
    """Generates text, one request after the other."""

    name = "remote"
    options_type = RemoteOptions
    capabilities = Capabilities(frozenset({GenerateUntil}))

    def __init__(self, options):
        self.options, self.usage = options, Usage()

    @classmethod
    def engine(cls):
        return Engine({"remote": "1"}, "server")

    def digest(self):
        return None

    def load(self):
        return Identity(runtime=self.name, path=self.options.model)

    def generate_until(self, requests):
        for i, request in enumerate(requests):
            asked = {"model": self.options.model, "prompt": request.prompt.text}
            call = urllib.request.Request(self.options.base_url, json.dumps(asked).encode())
            try:
                with urllib.request.urlopen(call, timeout=10) as response:
                    text = json.load(response)["text"]
            except OSError as error:
                yield i, Failure(str(error))
                continue
            yield i, GenerationResult(text, "stop", 0, 0)
