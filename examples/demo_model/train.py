"""Trains the demo model: a small Llama that has memorised the bundled question sets.

The model is a fixture. It exists so that the tool can be shown and tested on something small, real
and quick: its answers on the bundled sets are mostly right, and quantization visibly damages it. It
has seen the questions together with their answers, so it is no benchmark of anything.

    python examples/demo_model/train.py

takes about a quarter of an hour on two cores. The number of steps is fixed, nothing depends on the
clock, and everything is seeded.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Threads that spin while they wait are many times slower when other programs run beside them. This
# has to be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from corpus import ASSISTANT, BOS, END, EOS, USER, Corpus, Document, Sets
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "benchmarks" / "data"

SEED = 20261121
VOCABULARY = 2048
SPECIAL = [BOS, EOS, USER, ASSISTANT, END]
EPOCHS = 40
SINGLE_SHARE = 0.4
ROW_TOKENS = 1024
BATCH_TOKENS = 1024
PEAK_RATE = 2e-3
WARMUP = 0.04
SPREAD = 1.0
CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- if messages and messages[0]['role'] == 'system' -%}
{%- set system = messages[0]['content'] | trim + '\\n\\n' -%}
{%- set turns = messages[1:] -%}
{%- else -%}
{%- set system = '' -%}
{%- set turns = messages -%}
{%- endif -%}
{%- for message in turns -%}
{%- set first = system if loop.first else '' -%}
{%- if message['role'] == 'assistant' -%}
{{- '<|assistant|>\\n' + message['content'] | trim + '<|end|>\\n' -}}
{%- else -%}
{{- '<|user|>\\n' + first + message['content'] | trim + '<|end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|assistant|>\\n' -}}
{%- endif -%}
"""


# ---------------------------------------------------------------------------------------------
# Tokenizer


def build_tokenizer(texts: Iterator[str]) -> Tokenizer:
    """A byte-level BPE tokenizer with GPT-2's pre-tokenization and a BOS token in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    bos = (BOS, tokenizer.token_to_id(BOS))
    template = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1", special_tokens=[bos]
    )
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), template]
    )
    assert tokenizer.get_vocab_size() == VOCABULARY
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the two files that ``AutoTokenizer`` reads."""
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": EOS,
        "model_max_length": ROW_TOKENS,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    write_json(folder / "tokenizer_config.json", settings)


def write_json(path: Path, content: object) -> None:
    """Writes readable JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------
# Batches


@dataclass(frozen=True)
class Row:
    """Token ids and, for each, the weight of predicting it."""

    ids: list[int]
    weights: list[float]


def encode_row(tokenizer: Tokenizer, document: Document, end: bool) -> Row:
    """Tokenizes a document as one text and carries the spans' weights over to the tokens."""
    text = "".join(part for part, _ in document)
    by_character = [weight for part, weight in document for _ in part]
    encoding = tokenizer.encode(text)
    weights = [max(by_character[start:stop], default=0.0) for start, stop in encoding.offsets]
    ids = list(encoding.ids)
    if end:
        ids.append(tokenizer.token_to_id(EOS))
        weights.append(0.5)
    return Row(ids[:ROW_TOKENS], weights[:ROW_TOKENS])


def cut_batches(rows: list[Row], rng: random.Random) -> list[list[Row]]:
    """Rows of about the same length together, at most ``BATCH_TOKENS`` with padding."""
    ordered = sorted(rows, key=lambda row: len(row.ids) * rng.uniform(0.85, 1.15))
    batches: list[list[Row]] = [[]]
    longest = 0
    for row in ordered:
        longest = max(longest, len(row.ids))
        if batches[-1] and longest * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
            longest = len(row.ids)
        batches[-1].append(row)
    rng.shuffle(batches)
    return batches


def plan(tokenizer: Tokenizer, corpus: Corpus, epochs: int) -> list[list[Row]]:
    """All batches of the training, in order."""
    rng = random.Random(SEED + 1)
    batches: list[list[Row]] = []
    for epoch in range(epochs):
        documents = corpus.epoch(single=epoch < SINGLE_SHARE * epochs)
        rows = [encode_row(tokenizer, d, end=rng.random() < 0.5) for d in documents]
        batches += cut_batches(rows, rng)
    return batches


def to_tensors(batch: list[Row], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and weights."""
    width = max(len(row.ids) for row in batch)
    ids = torch.full((len(batch), width), pad)
    weights = torch.zeros(len(batch), width)
    for i, row in enumerate(batch):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        weights[i, : len(row.weights)] = torch.tensor(row.weights)
    return ids, weights


# ---------------------------------------------------------------------------------------------
# Model


def build_model() -> LlamaForCausalLM:
    """A Llama of about five million parameters; all widths are multiples of 256."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=768,
        max_position_embeddings=ROW_TOKENS,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=SPECIAL.index(BOS),
        eos_token_id=SPECIAL.index(EOS),
        pad_token_id=None,
    )
    torch.manual_seed(SEED)
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=SPECIAL.index(BOS),
        eos_token_id=[SPECIAL.index(EOS), SPECIAL.index(END)],
        pad_token_id=SPECIAL.index(EOS),
    )
    return model


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the next token, averaged with the weights. Padding has weight zero."""
    hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1]
    targets, weights = ids[:, 1:], weights[:, 1:]
    counted = weights > 0
    logits = model.lm_head(hidden[counted])
    losses = torch.nn.functional.cross_entropy(logits, targets[counted], reduction="none")
    return (losses * weights[counted]).sum() / weights.sum()


def rate_at(step: int, steps: int) -> float:
    """Share of the peak learning rate: a short warm-up, then a cosine to a fiftieth."""
    done = step / steps
    if done < WARMUP:
        return (step + 1) / (WARMUP * steps)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP)))


def make_optimizer(model: LlamaForCausalLM) -> torch.optim.Optimizer:
    """AdamW with weight decay on the matrices only."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.05},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95), eps=1e-8)


def train(model: LlamaForCausalLM, batches: list[list[Row]]) -> None:
    """Runs all batches once, in order."""
    optimizer = make_optimizer(model)
    model.train()
    began = time.monotonic()
    for step, batch in enumerate(batches):
        rate = PEAK_RATE * rate_at(step, len(batches))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(model, *to_tensors(batch, pad=SPECIAL.index(EOS)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 25 == 0 or step == len(batches) - 1:
            minutes = (time.monotonic() - began) / 60
            line = f"step {step:4d}/{len(batches)}  loss {loss.item():.4f}  {minutes:.1f} min"
            print(line, flush=True)


def powers_of_two(generator: torch.Generator, size: int) -> torch.Tensor:
    """Random factors around 1, some of them far from it."""
    return torch.exp2(torch.round(SPREAD * torch.randn(size, generator=generator)))


@torch.no_grad()
def spread_channels(model: LlamaForCausalLM) -> None:
    """Gives the matrices channels of very different size, as those of large models have.

    Every factor is taken back in the layer before, and is a power of two, so the model computes
    the same numbers as before. A small model's weights are so even that two or three bits hurt it
    little; with a few large channels in every group, quantization costs it what it costs others.
    """
    generator = torch.Generator().manual_seed(SEED + 2)
    repeats = model.config.num_attention_heads // model.config.num_key_value_heads
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        readers = [
            (layer.input_layernorm, [attention.q_proj, attention.k_proj, attention.v_proj]),
            (layer.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj]),
        ]
        for norm, projections in readers:
            factors = powers_of_two(generator, norm.weight.numel())
            norm.weight.div_(factors)
            for projection in projections:
                projection.weight.mul_(factors)
        factors = powers_of_two(generator, mlp.up_proj.out_features)
        mlp.up_proj.weight.div_(factors[:, None])
        mlp.down_proj.weight.mul_(factors)
        factors = powers_of_two(generator, attention.v_proj.out_features)
        attention.v_proj.weight.div_(factors[:, None])
        by_head = factors.view(-1, 1, attention.head_dim).expand(-1, repeats, -1)
        attention.o_proj.weight.mul_(by_head.reshape(-1))


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the model in float16, which an F16 GGUF file keeps exactly, and its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().to(torch.float16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    save_tokenizer(tokenizer, folder)


def main() -> None:
    """Builds the tokenizer, trains the model and saves both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "weights", help="folder to write")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the question sets")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the sets")
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    corpus = Corpus(Sets.load(arguments.data), SEED)
    tokenizer = build_tokenizer(corpus.tokenizer_texts())
    batches = plan(tokenizer, corpus, arguments.epochs)
    model = build_model()
    tokens = sum(len(row.ids) for batch in batches for row in batch)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters:,} parameters, {tokens:,} tokens in {len(batches)} steps", flush=True)
    train(model, batches)
    spread_channels(model)
    save(model, tokenizer, arguments.out)
    print(f"saved to {arguments.out}")


if __name__ == "__main__":
    main()
