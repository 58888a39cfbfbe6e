"""LongRoPE: a text's rotation factors depend on its own length, not on what is run before it.

A random model of Phi-3's architecture with the demo model's tokenizer, whose short and long factors
are far apart.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import (
    GenerateUntil,
    GenerationResult,
    LogLikelihood,
    LogLikelihoodResult,
    Request,
)
from pajamas_eval.api.runtime import Usage
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.tokens.token_runtime import TokenRuntime

ORIGINAL, LONGEST = 2048, 8192
"""Context lengths, in tokens; the former is as much as llama.cpp is given at first."""

HEADS, HEAD = 4, 16
SHORT_FACTORS = [1.0 + 0.1 * i for i in range(HEAD // 2)]
LONG_FACTORS = [3.0 + 0.5 * i for i in range(HEAD // 2)]
ATTENTION_FACTOR = 1.19
TOLERANCE = 1e-3
"""Nats per token, float32 throughout; the wrong factors are 0.1 off and more."""


@pytest.fixture(scope="module")
def folder(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    model = Phi3ForCausalLM(
        Phi3Config(
            vocab_size=2048,
            hidden_size=HEADS * HEAD,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=LONGEST,
            original_max_position_embeddings=ORIGINAL,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": SHORT_FACTORS,
                "long_factor": LONG_FACTORS,
                "original_max_position_embeddings": ORIGINAL,
                "attention_factor": ATTENTION_FACTOR,
            },
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 2 * parameter.shape[1] ** -0.5)
    out = tmp_path_factory.mktemp("longrope")
    model.save_pretrained(out)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(original / file, out)
    return out


@pytest.fixture(scope="module")
def gguf_file(folder: Path, original: Path) -> Path:
    sys.path.insert(0, str(original.parent))
    from make_variants import add_tokenizer

    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "self_attn.qkv_proj": "attn_qkv",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    writer = gguf.GGUFWriter(folder / "model.gguf", "phi3")
    writer.add_context_length(LONGEST)
    writer.add_rope_scaling_orig_ctx_len(ORIGINAL)
    writer.add_rope_scaling_attn_factors(ATTENTION_FACTOR)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(10000.0)
    writer.add_embedding_length(HEADS * HEAD)
    writer.add_feed_forward_length(128)
    writer.add_block_count(2)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_tokenizer(writer, original, {"vocab_size": 2048})
    writer.add_tensor("rope_factors_short.weight", np.array(SHORT_FACTORS, np.float32))
    writer.add_tensor("rope_factors_long.weight", np.array(LONG_FACTORS, np.float32))
    for name, weight in load_file(folder / "model.safetensors").items():
        name = name.removesuffix(".weight")
        if name.startswith("model.layers."):
            _, _, layer, rest = name.split(".", 3)
            name = f"blk.{layer}.{names[rest]}"
        else:
            name = names[name]
        writer.add_tensor(f"{name}.weight", weight.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "model.gguf"


@pytest.fixture(params=["gguf", "hf"])
def runtime(request: pytest.FixtureRequest, folder: Path, gguf_file: Path) -> TokenRuntime:
    return load(request.param, gguf_file if request.param == "gguf" else folder)


def load(name: str, path: Path, **options: Any) -> TokenRuntime:
    """With float32 throughout."""
    if name == "gguf":
        options |= {"cache_type": "f32", "flash_attention": False}
    runtime = open_runtime(name, {"path": str(path), **options})
    assert isinstance(runtime, TokenRuntime)
    runtime.load()
    return runtime


def text(words: int) -> str:
    """So many words that differ, of two tokens each and more."""
    return " ".join(f"{('red', 'green', 'blue')[n % 3]} {n}" for n in range(words))


SHORT: list[Request] = [
    LogLikelihood(Prompt(f"{text(40)} {n} is"), answer)
    for n in range(12)
    for answer in (" yes", " no, not at all")
]
LONG: list[Request] = [LogLikelihood(Prompt(text(800) + f" {n}"), " is so") for n in range(2)]
SPREAD: list[Request] = [
    LogLikelihood(Prompt(text(700) + " and" * n), " is so") for n in range(0, 160, 8)
]
"""From shorter than the original context to longer, one token at a time."""


def scores(runtime: TokenRuntime, requests: Sequence[Request]) -> list[float]:
    """Nats per token."""
    results = dict(runtime.answer(requests))
    found = [results[i] for i in range(len(requests))]
    assert all(isinstance(r, LogLikelihoodResult) for r in found), found
    return [r.log_probability / r.token_count for r in found if isinstance(r, LogLikelihoodResult)]


def test_scores_do_not_depend_on_what_was_run_before(runtime: TokenRuntime) -> None:
    before = scores(runtime, SHORT)
    long_before = scores(runtime, LONG)
    list(runtime.answer([GenerateUntil(Prompt(text(720)), (), 100)]))
    assert scores(runtime, SHORT) == before
    assert scores(runtime, LONG) == long_before


def test_scores_do_not_depend_on_what_is_run_beside(runtime: TokenRuntime) -> None:
    mixed = scores(runtime, [*LONG, *SHORT])
    apart = scores(runtime, LONG) + scores(runtime, SHORT)
    assert mixed == pytest.approx(apart, abs=TOLERANCE)
    assert "memory" not in str(runtime.usage.notes)


def test_lengths_on_both_sides_are_scored_as_alone(
    runtime: TokenRuntime, folder: Path, gguf_file: Path
) -> None:
    """Shared prefixes and batches against one sequence at a time in transformers."""
    alone = load("hf", folder, exact=True)
    lengths = [
        len(alone.encode([r.context.text])[0]) for r in SPREAD if isinstance(r, LogLikelihood)
    ]
    assert min(lengths) < ORIGINAL < max(lengths)
    assert scores(runtime, SPREAD) == pytest.approx(scores(alone, SPREAD), abs=TOLERANCE)
    assert "memory" not in str(runtime.usage.notes)


def test_texts_do_not_depend_on_what_was_generated_before(runtime: TokenRuntime) -> None:
    """With a shared prompt and without one, before and after a text that outgrows the original."""

    def texts(requests: Sequence[Request]) -> list[str]:
        results = dict(runtime.answer(requests))
        found = [results[i] for i in range(len(requests))]
        assert all(isinstance(r, GenerationResult) for r in found), found
        return [r.text for r in found if isinstance(r, GenerationResult)]

    shared: list[Request] = [GenerateUntil(Prompt(f"{text(40)} {n} is"), (), 24) for n in range(6)]
    various: list[Request] = [
        GenerateUntil(Prompt(f"{n} {text(20 + n)}"), (), 24) for n in range(6)
    ]
    before = texts(shared), texts(various)
    long: list[Request] = [GenerateUntil(Prompt(text(720)), (), 100)]
    written = texts(long)
    assert (texts(shared), texts(various)) == before
    assert texts([*shared, *long]) == [*before[0], *written]
    runtime.usage = Usage()
    assert texts(long) == written


def test_both_engines_agree_on_short_and_long_texts(folder: Path, gguf_file: Path) -> None:
    """Which proves that llama.cpp is given the factors that transformers takes."""
    requests = [*SHORT, *LONG]
    expected = scores(load("hf", folder, exact=True), requests)
    assert scores(load("gguf", gguf_file), requests) == pytest.approx(expected, abs=TOLERANCE)
