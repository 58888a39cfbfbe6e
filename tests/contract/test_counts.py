"""What an engine runs is counted, apart from what had to be run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import GenerateUntil, LogLikelihood, Request
from pajamas_eval.api.runtime import Usage
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.tokens.token_runtime import TokenRuntime

MODELS = {"hf": "", "gguf": "demo-f32.gguf", "mlx": "demo-mlx"}


@pytest.fixture(scope="module", params=MODELS)
def runtime(request: pytest.FixtureRequest, original: Path, variants: Path) -> Iterator[Any]:
    file = MODELS[request.param]
    path = variants / file if file else original
    loaded = open_runtime(request.param, {"path": str(path)})
    assert isinstance(loaded, TokenRuntime)
    loaded.load()
    yield loaded
    loaded.close()


class Tally:
    """Sizes of all that went through a model's layers, whatever the runtime says of it."""

    def __init__(self, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens = 0
        self.calls: list[int] = []
        watch: dict[str, Callable[[], None]] = {
            "hf": lambda: self._watch_hf(runtime, monkeypatch),
            "gguf": lambda: self._watch_gguf(runtime, monkeypatch),
            "mlx": lambda: self._watch_mlx(runtime, monkeypatch),
        }
        watch[runtime.name]()

    def _add(self, tokens: int) -> None:
        self.tokens += tokens
        self.calls.append(tokens)

    def _watch_hf(self, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        embeddings = type(runtime.model.get_input_embeddings())
        forward = embeddings.forward

        def watched(module: Any, ids: Any) -> Any:
            self._add(ids.numel())
            return forward(module, ids)

        monkeypatch.setattr(embeddings, "forward", watched)

    def _watch_gguf(self, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        decode = runtime._llama.llama_decode

        def watched(context: Any, batch: Any) -> Any:
            self._add(batch.n_tokens)
            return decode(context, batch)

        monkeypatch.setattr(runtime._llama, "llama_decode", watched)

    def _watch_mlx(self, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        model = type(runtime.model)
        call = model.__call__

        def watched(module: Any, tokens: Any, **others: Any) -> Any:
            self._add(tokens.size)
            return call(module, tokens, **others)

        monkeypatch.setattr(model, "__call__", watched)


def count(runtime: TokenRuntime, requests: list[Request]) -> Usage:
    runtime.usage = Usage()
    for _ in runtime.answer(requests):
        pass
    return runtime.usage


def distinct(sequences: list[list[int]]) -> int:
    """Nodes of their prefix tree."""
    return len({tuple(s[:n]) for s in sequences for n in range(1, len(s) + 1)})


SHOTS = "Question: Tom has 3 apples and buys 4 more. How many has he?\nAnswer: 7\n\n" * 3
ENDINGS = [f"Question: What is {n}{' and more' * (n % 5)}?\nAnswer:" for n in range(40)]


@pytest.mark.parametrize("shots", ["", SHOTS], ids=["apart", "shared"])
def test_scoring_counts_distinct_tokens_and_those_that_were_run(
    runtime: TokenRuntime, shots: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = [
        LogLikelihood(Prompt(shots + ending), f" {x}") for ending in ENDINGS for x in ("7", "eight")
    ]
    read = [[*map(int, a), *map(int, b)][:-1] for a, b in runtime.tokenize(asked)]
    tally = Tally(runtime, monkeypatch)
    usage = count(runtime, asked)
    assert usage.prompt_tokens == distinct(read)
    assert usage.evaluated_tokens == tally.tokens >= usage.prompt_tokens
    assert (usage.generated_tokens, usage.generation_seconds) == (0, 0.0)
    assert usage.prompt_seconds > 0


@pytest.mark.parametrize("shots", ["", SHOTS], ids=["apart", "shared"])
def test_generating_counts_distinct_tokens_and_those_that_were_run(
    runtime: TokenRuntime, shots: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of unequal length: what is run for those that are finished is seen."""
    asked: list[Request] = [
        GenerateUntil(Prompt(shots + ending), ("\n",), 2 + 5 * (n % 4))
        for n, ending in enumerate(ENDINGS)
    ]
    read = [[*map(int, a), *map(int, b)] for a, b in runtime.tokenize(asked)]
    tally = Tally(runtime, monkeypatch)
    runtime.usage = Usage()
    results = dict(runtime.answer(asked))
    usage = runtime.usage
    assert usage.prompt_tokens == distinct(read)
    steps = sum(r.token_count - (r.finish_reason != "end") for r in results.values())
    assert usage.generated_tokens == steps
    assert usage.evaluated_tokens == tally.tokens
    least = usage.prompt_tokens + usage.generated_tokens
    assert tally.tokens > least if runtime.name != "gguf" else tally.tokens >= least
    assert usage.prompt_seconds > 0
    assert usage.generation_seconds > 0
