"""Caches of every kind: what cannot be shared is run the plain way, and scores stay right.

Random models with the demo model's tokenizer, in transformers and converted for MLX.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.options import overlaid
from pajamas_eval.api.requests import GenerateUntil, LogLikelihood, LogLikelihoodResult
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.runtimes.mlx import MlxRuntime
from pajamas_eval.tokens.token_runtime import TokenRuntime

SIZE = {"vocab_size": 2048, "hidden_size": 64, "num_hidden_layers": 4, "bos_token_id": 0}
ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}


def sliding() -> Any:
    """Windows of 16 tokens in five layers of six."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            **(SIZE | {"num_hidden_layers": 6}),
            **ATTENTION,
            head_dim=16,
            sliding_window=16,
            max_position_embeddings=512,
            query_pre_attn_scalar=16,
        )
    )


def state_space() -> Any:
    """No attention at all: a state that has read everything."""
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(**SIZE, state_size=8, tie_word_embeddings=True))


def parallel() -> Any:
    """Attention and feed-forward side by side, biases, rotation of a part of each head."""
    from transformers import PhiConfig, PhiForCausalLM

    return PhiForCausalLM(
        PhiConfig(**SIZE, **(ATTENTION | {"num_key_value_heads": 4}), max_position_embeddings=512)
    )


MODELS: list[Callable[[], Any]] = [sliding, state_space, parallel]


@pytest.fixture(scope="module", params=MODELS, ids=lambda make: make.__name__)
def folder(
    request: pytest.FixtureRequest, original: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    import torch

    torch.manual_seed(0)
    model = request.param()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "A_log" not in name:
                parameter.normal_(0, 2 * parameter.shape[1] ** -0.5)
    out = tmp_path_factory.mktemp(request.param.__name__)
    model.save_pretrained(out)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(original / file, out)
    return out


@pytest.fixture(scope="module", params=["hf", "mlx"])
def model(request: pytest.FixtureRequest, folder: Path) -> tuple[str, Path]:
    if request.param == "hf":
        return "hf", folder
    out = folder / "mlx"
    command = [sys.executable, "-m", "mlx_lm", "convert", "--hf-path", folder, "--mlx-path", out]
    # In a process of its own: mlx_lm lowers the limit of open files for good.
    subprocess.run([*command, "--dtype", "float32"], check=True, capture_output=True)
    config = out / "config.json"  # mlx-lm misses the share of each head that is to be rotated
    config.write_text(json.dumps(overlaid(json.loads(config.read_text()), MlxRuntime.remedy(out))))
    return "mlx", out


HEADER = "Question: What is two and two?\nAnswer: four\n\n" * 4
REQUESTS = [
    LogLikelihood(Prompt(f"{header}Question: {'very ' * n}nice?\nAnswer:"), answer)
    for header in ("", HEADER)
    for n in range(12)
    for answer in (" yes", " no, not at all", " it depends on what one would call nice")
]


def log_probabilities(runtime: TokenRuntime) -> list[float]:
    results = dict(runtime.loglikelihood(REQUESTS))
    found = [results[i] for i in range(len(REQUESTS))]
    assert all(isinstance(r, LogLikelihoodResult) for r in found), found
    return [r.log_probability for r in found if isinstance(r, LogLikelihoodResult)]


def load(model: tuple[str, Path], *, exact: bool) -> TokenRuntime:
    name, path = model
    runtime = open_runtime(name, {"path": str(path), "exact": exact})
    assert isinstance(runtime, TokenRuntime)
    runtime.load()
    return runtime


def test_planned_equals_exact(model: tuple[str, Path]) -> None:
    planned, exact = load(model, exact=False), load(model, exact=True)
    assert log_probabilities(planned) == pytest.approx(log_probabilities(exact), abs=1e-3)
    assert planned.shares_prefix == ("state_space" not in str(model[1]))


def test_generated_together_equals_alone(model: tuple[str, Path]) -> None:
    prompts = [f"{HEADER}Question: {'very ' * n}nice?\nAnswer:" for n in range(6)]
    requests = [GenerateUntil(Prompt(prompt), (), 12) for prompt in prompts]
    texts = []
    for exact in (False, True):
        results = dict(load(model, exact=exact).generate_until(requests))
        texts.append([results[i] for i in range(len(requests))])
    assert [r.text for r in texts[0]] == [r.text for r in texts[1]]


def test_both_engines_generate_the_same(folder: Path, model: tuple[str, Path]) -> None:
    """Greedy text of one model in two engines, as far as float32 carries."""
    if model[0] == "hf":
        pytest.skip("compared with the other engine")
    request = [GenerateUntil(Prompt(f"{HEADER}Question: nice?\nAnswer:"), (), 8)]
    texts = [
        dict(load(each, exact=True).generate_until(request))[0].text
        for each in (("hf", folder), model)
    ]
    assert texts[0] == texts[1]
