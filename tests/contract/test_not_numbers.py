"""Logits that are not numbers are errors of the answers they spoil, not wrong answers."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import GenerateUntil, GenerationResult, LogLikelihood, Request
from pajamas_eval.api.results import Failure
from pajamas_eval.models.registry import open_runtime

DEMO_MODEL = Path(__file__).parents[2] / "examples" / "demo_model"
FAILURE = Failure("the engine returned logits that are not numbers")


@pytest.fixture(scope="module", params=[np.nan, np.inf], ids=["nan", "inf"])
def broken(
    request: pytest.FixtureRequest, original: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The demo model with one weight that is no number, as a folder and as a GGUF file."""
    sys.path.insert(0, str(DEMO_MODEL))
    from make_variants import write_gguf

    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(original, folder / "model")
    weights = load_file(folder / "model" / "model.safetensors")
    spoiled = weights["model.norm.weight"].astype(np.float32)
    spoiled[0] = request.param
    weights["model.norm.weight"] = spoiled
    save_file(weights, folder / "model" / "model.safetensors", {"format": "pt"})
    write_gguf(folder / "model", folder / "model.gguf", half=False)
    return folder


@pytest.mark.parametrize(
    ("name", "file"), [("hf", "model"), ("gguf", "model.gguf"), ("mlx", "model")]
)
@pytest.mark.parametrize("exact", [False, True], ids=["batched", "exact"])
def test_no_answer_is_made_of_them(broken: Path, name: str, file: str, exact: bool) -> None:
    runtime = open_runtime(name, {"path": str(broken / file), "exact": exact})
    runtime.load()
    requests: list[Request] = [
        LogLikelihood(Prompt("Question: 1+1?\nAnswer:"), " 2"),
        *(GenerateUntil(Prompt(f"Question: {i}+1?\nAnswer:"), ("\n",), 8) for i in range(3)),
        GenerateUntil(Prompt("No token is asked for"), (), 0),
    ]
    results = dict(runtime.answer(requests))
    assert [results[i] for i in range(4)] == [FAILURE] * 4
    nothing = results[4]
    assert isinstance(nothing, GenerationResult)
    assert (nothing.text, nothing.token_count, nothing.finish_reason) == ("", 0, "length")
