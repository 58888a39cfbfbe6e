"""Long prompts are read in parts, with a heartbeat between them, and give what they gave whole."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import GenerateUntil, LogLikelihood, LogLikelihoodRolling, Request
from pajamas_eval.api.results import Failure
from pajamas_eval.errors import WorkerHungError
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.tokens.token_runtime import TokenRuntime
from pajamas_eval.workers.local_worker import LocalWorker
from pajamas_eval.workers.messages import Finished

LENGTH = 4096
RUNTIMES = ("hf", "gguf", "mlx")
LONG = Prompt("Tom has 3 apples and buys 4 more. " * 250)


@pytest.fixture(scope="module")
def paths(original: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo model with room for long prompts, of which it makes nothing."""
    sys.path.insert(0, str(original.parent))
    from make_variants import convert_mlx, write_gguf

    folder = tmp_path_factory.mktemp("long")
    shutil.copytree(original, folder / "hf")
    config = json.loads((folder / "hf" / "config.json").read_text("utf-8"))
    (folder / "hf" / "config.json").write_text(
        json.dumps(config | {"max_position_embeddings": LENGTH}), "utf-8"
    )
    write_gguf(folder / "hf", folder / "gguf", half=False)
    convert_mlx(folder / "hf", folder / "mlx", None)
    return {name: folder / name for name in RUNTIMES}


@pytest.fixture(params=RUNTIMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


ASKED: dict[str, list[Request]] = {
    "scored": [LogLikelihood(LONG, " and eats one")],
    "scored from one base": [LogLikelihood(LONG, f" {n}") for n in range(10)],
    "rolling": [LogLikelihoodRolling(LONG.text)],
    "generated": [GenerateUntil(Prompt(f"{n} {LONG.text}"), (), 4) for n in range(2)],
    "generated from one base": [GenerateUntil(Prompt(f"{LONG.text}{n}"), (), 4) for n in range(2)],
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_no_more_than_a_small_part_of_a_long_prompt_is_read_between_heartbeats(
    paths: dict[str, Path], name: str, asked: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at the engine's own calls, without a clock; hf is heard of in each layer."""
    runtime: Any = open_runtime(name, {"path": str(paths[name])})
    runtime.load()
    silence = Silence(runtime, monkeypatch)
    results = dict(runtime.answer(asked))
    assert not [r for r in results.values() if isinstance(r, Failure)]
    assert name == "hf" or silence.total > 2000
    assert silence.longest <= 1024
    runtime.close()


class Silence:
    """Tokens that an engine ran since its last heartbeat."""

    def __init__(self, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.longest = self.total = 0
        runtime.heartbeat = self._beat
        if runtime.name == "gguf":
            decode = runtime._llama.llama_decode
            monkeypatch.setattr(
                runtime._llama,
                "llama_decode",
                lambda context, batch: (self._ran(batch.n_tokens), decode(context, batch))[1],
            )
        elif runtime.name == "mlx":
            model = type(runtime.model)
            call = model.__call__

            def watched(module: Any, tokens: Any, **others: Any) -> Any:
                self._ran(tokens.size)
                return call(module, tokens, **others)

            monkeypatch.setattr(model, "__call__", watched)
        else:
            layer = type(runtime.model.model.layers[0])
            forward = layer.forward

            def watched_layer(module: Any, hidden: Any, *others: Any, **named: Any) -> Any:
                self._ran(1)  # of however many tokens
                return forward(module, hidden, *others, **named)

            monkeypatch.setattr(layer, "forward", watched_layer)

    def _ran(self, tokens: int) -> None:
        self.total += tokens
        self.now += tokens
        self.longest = max(self.longest, self.now)

    def _beat(self) -> None:
        self.now = 0


@contextmanager
def worker(paths: dict[str, Path], name: str, timeout: float) -> Iterator[LocalWorker]:
    made = LocalWorker(ModelSpec("m", name, {"path": str(paths[name])}), timeout=timeout)
    try:
        made.open()
        made.load(LENGTH)
        yield made
    finally:
        made.close()


def answered(worker: LocalWorker, asked: Sequence[Request]) -> dict[int, Any]:
    results: dict[int, Any] = {}
    for message in worker.answer(asked):
        if not isinstance(message, Finished):
            results |= dict(message)
    return results


def test_a_prompt_that_takes_longer_than_the_timeout_is_answered(
    paths: dict[str, Path], name: str
) -> None:
    with worker(paths, name, 60) as patient:
        answered(patient, [LogLikelihood(Prompt("Tom has"), " 3")])
        started = time.monotonic()
        expected = answered(patient, ASKED["scored"])
        taken = time.monotonic() - started
    with worker(paths, name, taken / 2) as strict:
        found = answered(strict, ASKED["scored"])
    assert found[0].log_probability == pytest.approx(expected[0].log_probability)


def test_an_engine_that_stands_still_in_a_long_prompt_is_found(
    paths: dict[str, Path], name: str
) -> None:
    with worker(paths, name, 2.0) as stopped:
        answers = stopped.answer(ASKED["generated"])
        threading.Timer(0.5, os.kill, (stopped._process.pid, signal.SIGSTOP)).start()
        with pytest.raises(WorkerHungError, match="showed no heartbeat for 2 seconds"):
            list(answers)


def test_parts_give_what_the_whole_gives(
    paths: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-probabilities and texts, with the parts of old and of now."""
    if name == "hf":
        pytest.skip("it reads prompts whole")
    values = []
    for tokens in (2048, 512):
        constants = ["mlx.PREFILL_TOKENS"]
        if name == "gguf":  # each of which has it by its own name
            constants = [f"{m}.CALL_TOKENS" for m in ("_llama_cpp", "_llama_context", "gguf")]
        for constant in constants:
            monkeypatch.setattr(f"pajamas_eval.runtimes.{constant}", tokens)
        runtime = open_runtime(name, {"path": str(paths[name])})
        assert isinstance(runtime, TokenRuntime)
        runtime.load()
        asked = [*ASKED["scored"], *ASKED["rolling"], *ASKED["generated"][:1]]
        results = dict(runtime.answer(asked))
        values.append([results[i] for i in range(len(asked))])
        runtime.close()
    for whole, parts in zip(*values, strict=True):
        if hasattr(whole, "text"):
            assert parts.text == whole.text
        else:
            apart = abs(parts.log_probability - whole.log_probability)
            assert apart <= 1e-3 * whole.token_count
