"""Models that are not what they must be, or cannot be run in every way, are found out."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import (
    GenerateUntil,
    GenerationResult,
    LogLikelihood,
    LogLikelihoodResult,
)
from pajamas_eval.errors import UsageError
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.tokens.proofs import GENERATES_ALONE
from pajamas_eval.tokens.token_runtime import TokenRuntime

SIZE = {"vocab_size": 2048, "hidden_size": 32, "num_hidden_layers": 2}
ENCODER = {**SIZE, "num_attention_heads": 2, "intermediate_size": 64}

MASKED = {
    "Bert": ENCODER,
    "Roberta": ENCODER,
    "Electra": {**ENCODER, "embedding_size": 32},
}
OTHERS: dict[str, dict[str, Any]] = {
    "T5ForConditionalGeneration": {"vocab_size": 2048, "d_model": 32, "d_ff": 64, "num_layers": 1},
    "BartForConditionalGeneration": {
        "vocab_size": 2048,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
    },
    "DistilBertForMaskedLM": {"vocab_size": 2048, "dim": 32, "n_layers": 1, "n_heads": 2},
}
CAUSAL: dict[str, dict[str, Any]] = {
    "Mpt": {"vocab_size": 2048, "d_model": 64, "n_layers": 2, "n_heads": 4},
    "GPTNeo": {
        **SIZE,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 16,
    },
    "Rwkv": SIZE,
    "GPT2": {"vocab_size": 2048, "n_embd": 32, "n_layer": 2, "n_head": 2},
}

Make = Callable[[str, dict[str, Any]], Path]


@pytest.fixture
def make(original: Path, tmp_path: Path) -> Make:
    """Saves a random model of transformers with the demo model's tokenizer."""

    def save(name: str, settings: dict[str, Any]) -> Path:
        import torch
        import transformers

        torch.manual_seed(0)
        model_type = getattr(transformers, name)
        model = model_type(model_type.config_class(**settings))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(0, 2 * parameter.shape[1] ** -0.5)
        out = tmp_path / name
        model.save_pretrained(out)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(original / file, out)
        return out

    return save


def opened(name: str, path: Path, **options: Any) -> TokenRuntime:
    runtime = open_runtime(name, {"path": str(path), **options})
    assert isinstance(runtime, TokenRuntime)
    return runtime


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("claims", [False, True])
def test_a_masked_model_is_refused(make: Make, name: str, exact: bool, claims: bool) -> None:
    """When it is opened; at the latest, where its configuration claims to be causal, at load."""
    folder = make(f"{name}ForMaskedLM", MASKED[name])
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "causal": claims}))
    doing = opened("hf", folder, exact=exact).load if claims else lambda: opened("hf", folder)
    with pytest.raises(UsageError) as refusal:
        doing()
    assert str(refusal.value) == (
        f"{folder} is not a causal language model: later tokens change earlier logits"
    )


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("runtime", ["hf", "mlx"])
def test_other_kinds_are_refused_when_they_are_opened(make: Make, name: str, runtime: str) -> None:
    folder = make(name, OTHERS[name])
    with pytest.raises(UsageError) as refusal:
        opened(runtime, folder)
    said = "not a causal language model (" if runtime == "hf" else "not supported"
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_mlx_lm_cannot_run_is_refused(make: Make) -> None:
    """One architecture ends the process for want of a package, another fails when it is run."""
    olmo = make("OlmoForCausalLM", ENCODER)
    with pytest.raises(UsageError, match=r"cannot be loaded by mlx-lm: mlx-lm gave up"):
        opened("mlx", olmo)
    sizes = {**ENCODER, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 16}
    shallow = opened("mlx", make("Gemma3ForCausalLM", sizes))  # a layer in six sees everything
    with pytest.raises(UsageError, match=r"cannot be run by mlx-lm: list index out of range"):
        shallow.load()


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("t5", "an encoder-decoder"), ("t5encoder", "an encoder"), ("bert", "an encoder or an embed")],
)
def test_other_kinds_of_gguf_files_are_refused_when_they_are_opened(
    original: Path, tmp_path: Path, architecture: str, kind: str
) -> None:
    sys.path.insert(0, str(original.parent))
    from make_variants import add_tokenizer

    file = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(128)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_relative_attn_buckets_count(32)
    writer.add_causal_attention(False)
    add_tokenizer(writer, original, {"vocab_size": 2048})
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UsageError) as refusal:
        opened("gguf", file)
    assert str(refusal.value).startswith(f"{file} is {kind}")
    assert str(refusal.value).endswith(f"({architecture}), not a causal language model")


@pytest.mark.parametrize("name", CAUSAL)
def test_texts_in_batches_are_what_they_are_alone(make: Make, name: str) -> None:
    folder = make(f"{name}{'LMHeadModel' if name == 'GPT2' else 'ForCausalLM'}", CAUSAL[name])
    header = "Question: What is two and two?\nAnswer: four\n\n" * 3
    prompts = [f"{header}Question: {'very ' * n}nice?\nAnswer:" for n in range(0, 16, 3)]
    requests = [GenerateUntil(Prompt(prompt), (), 12) for prompt in prompts]
    texts, notes = [], []
    for exact in (True, False):
        runtime = opened("hf", folder, exact=exact)
        notes.append(runtime.load().notes)
        results = dict(runtime.generate_until(requests))
        found = [results[i] for i in range(len(requests))]
        assert all(isinstance(result, GenerationResult) for result in found)
        texts.append([r.text for r in found if isinstance(r, GenerationResult)])
    assert texts[0] == texts[1]
    assert notes == [(), (GENERATES_ALONE,) if name == "Rwkv" else ()]


def test_an_output_layer_that_is_another_is_not_used(make: Make) -> None:
    folder = make("GPT2LMHeadModel", CAUSAL["GPT2"])
    request = [LogLikelihood(Prompt("Question: 1+1?\nAnswer:"), " 2")]
    honest = opened("hf", folder)
    honest.load()
    expected = dict(honest.loglikelihood(request))[0]

    import transformers

    embedding = transformers.GPT2LMHeadModel.get_input_embeddings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.GPT2LMHeadModel, "get_output_embeddings", embedding)
        lying = opened("hf", folder)
        lying.load()
        found = dict(lying.loglikelihood(request))[0]
    assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-4)


def test_devices_without_float64_are_given_none(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Apple's MPS: only what was moved to the CPU may be made double."""
    import torch

    move, widen = torch.Tensor.cpu, torch.Tensor.double

    def cpu(tensor: Any) -> Any:
        moved = move(tensor).clone()
        moved.is_on_cpu = True
        return moved

    def double(tensor: Any) -> Any:
        assert getattr(tensor, "is_on_cpu", False), "MPS has no float64"
        return widen(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "double", double)
    runtime = opened("hf", original)
    runtime.load()
    (result,) = dict(runtime.loglikelihood([LogLikelihood(Prompt("1+1="), " 2")])).values()
    assert isinstance(result, LogLikelihoodResult)
