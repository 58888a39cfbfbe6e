"""A random Llama with a real tokenizer, as transformers folder, GGUF and MLX.

    python tests/random_model.py TOKENIZER_DIR OUT_DIR [--shape small] [--quantized]

TOKENIZER_DIR holds SmolLM's tokenizer. Random weights answer at chance, which is as good as any
for proving that two programs compute the same, or which is faster; the output layer is scaled up
so that the distribution is as peaked as a trained model's.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
VOCABULARY = 49152


@dataclass(frozen=True)
class Shape:
    """Size of the network; its attention has twice as many query as key heads."""

    hidden: int
    layers: int
    heads: int
    intermediate: int


SHAPES = {"tiny": Shape(256, 4, 4, 768), "small": Shape(512, 8, 8, 1536)}
"""28 and 76 million parameters."""


def write_tokenizer(source: Path, model: Path) -> None:
    """SmolLM's tokenizer without what makes transformers and llama.cpp read it differently.

    Declared as GPT2Tokenizer, transformers rebuilds it and loses its rule for digits; the padding
    and truncation left in the file from training would cut texts off.
    """
    tokenizer = json.loads((source / "tokenizer.json").read_text("utf-8"))
    tokenizer["padding"] = tokenizer["truncation"] = None
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["id"] < VOCABULARY]
    (model / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    end = "<|endoftext|>"
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "pad_token": end,
        "unk_token": end,
        "model_max_length": 8192,
        "clean_up_tokenization_spaces": False,
    }
    (model / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), "utf-8")


def write_model(model: Path, shape: Shape) -> None:
    """The weights, seeded."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 2,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    network = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, parameter.shape[1] ** -0.5)
        network.lm_head.weight.mul_(3.0)
    network.save_pretrained(model)


def make(tokenizer: Path, out: Path, shape: Shape, quantized: bool) -> None:
    """All forms of the model, unless they are there."""
    sys.path.insert(0, str(ROOT / "examples" / "demo_model"))
    from make_variants import convert_mlx, quantize_gguf, write_gguf

    model = out / "hf"
    if not (model / "model.safetensors").exists():
        model.mkdir(parents=True, exist_ok=True)
        write_model(model, shape)
        write_tokenizer(tokenizer, model)
    if not (out / "f32.gguf").exists():
        write_gguf(model, out / "f32.gguf", half=False)
    if not (out / "mlx" / "config.json").exists():
        convert_mlx(model, out / "mlx", None)
    if not quantized:
        return
    if not (out / "f16.gguf").exists():
        write_gguf(model, out / "f16.gguf", half=True)
    if not (out / "q4_k_m.gguf").exists():
        quantize_gguf(out / "f16.gguf", out / "q4_k_m.gguf", "Q4_K_M")
    if not (out / "mlx-4bit" / "config.json").exists():
        convert_mlx(model, out / "mlx-4bit", {"bits": 4, "group_size": 64})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tokenizer", type=Path, metavar="TOKENIZER_DIR")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--quantized", action="store_true", help="also F16, Q4_K_M and MLX 4-bit")
    arguments = parser.parse_args()
    make(arguments.tokenizer, arguments.out, SHAPES[arguments.shape], arguments.quantized)


if __name__ == "__main__":
    main()
