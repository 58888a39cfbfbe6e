"""Random models of a few thousand weights, and converters for them that can be made to fail.

A model is written as a transformers folder, as an MLX folder and as a GGUF file. The converters
follow llama.cpp's and mlx-lm's own, written here once more from their sources, so that what
`verify` knows of them is checked against something else.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

Array = npt.NDArray[Any]

HIDDEN, LAYERS, HEADS, KV_HEADS, WIDTH, EXPERTS = 128, 4, 4, 2, 192, 4
HEAD = HIDDEN // HEADS
TOKENS, ROWS = 250, 256
"""Tokens that the tokenizer knows, and rows of the embedding: the rest is padding."""

BOS, EOS, ADDED = 0, 1, 249


@dataclass
class Model:
    """A model as its makers publish it, and what becomes of it on the way.

    Attributes:
        weights: By transformers' names.
        permutes, adds_one: Whether the GGUF converter reorders queries and keys, and adds 1 to
            norms, in families that have it.
        metadata: Of the GGUF file, in place of what follows from the configuration.
        tensors: Changes to the tensors of the converted file, by its own names.
    """

    config: dict[str, Any]
    weights: dict[str, Array]
    tokenizer: dict[str, Any]
    permutes: bool = True
    adds_one: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Callable[[Array], Array | None]] = field(default_factory=dict)
    packing: dict[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> str:
        return str(self.config["model_type"])

    def copy(self) -> "Model":
        return copy.deepcopy(self)

    def layer(self, number: int, part: str) -> str:
        return f"model.layers.{number}.{part}.weight"


# -- models --------------------------------------------------------------------------------


def llama(**settings: Any) -> Model:
    """With a head of its own."""
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD,
        "intermediate_size": WIDTH,
        "vocab_size": ROWS,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
        "tie_word_embeddings": False,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    }
    config |= settings
    weights = _weights(config["tie_word_embeddings"], norms=1.0)
    return Model(config, dict(weights), _tokenizer())


def tied() -> Model:
    """A llama whose head is its embedding."""
    return llama(tie_word_embeddings=True)


def granite() -> Model:
    """It scales everything that can be scaled."""
    return llama(
        model_type="granite",
        embedding_multiplier=12.0,
        residual_multiplier=0.22,
        attention_multiplier=0.0625,
        logits_scaling=8.0,
        tie_word_embeddings=True,
    )


def gemma2() -> Model:
    """Norms by 1 + weight, soft caps, windows."""
    model = llama(
        model_type="gemma2",
        hidden_act="gelu_pytorch_tanh",
        hidden_activation="gelu_pytorch_tanh",
        query_pre_attn_scalar=HEAD,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=20.0,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"] * (LAYERS // 2),
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
    )
    model.weights = dict(_weights(True, norms=0.0))
    for number in range(LAYERS):
        for part in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
            model.weights[model.layer(number, part)] = _norm(number + 40, 0.0)
    return model


def mixtral() -> Model:
    """Four experts in each layer."""
    model = llama(model_type="mixtral", num_local_experts=EXPERTS, num_experts_per_tok=2)
    rng = np.random.default_rng(7)
    for number in range(LAYERS):
        for part in ("gate_proj", "up_proj", "down_proj"):
            del model.weights[model.layer(number, f"mlp.{part}")]
        moe = "block_sparse_moe"
        model.weights[model.layer(number, f"{moe}.gate")] = _matrix(rng, EXPERTS, HIDDEN)
        for expert in range(EXPERTS):
            for part, shape in (("w1", (WIDTH, HIDDEN)), ("w2", (HIDDEN, WIDTH))):
                name = model.layer(number, f"{moe}.experts.{expert}.{part}")
                model.weights[name] = _matrix(rng, *shape)
            name = model.layer(number, f"{moe}.experts.{expert}.w3")
            model.weights[name] = _matrix(rng, WIDTH, HIDDEN)
    return model


def _matrix(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)


def _norm(seed: int, mean: float) -> Array:
    return np.random.default_rng(seed).normal(mean, 0.1, HIDDEN).astype(np.float32)


@cache
def _weights(tied: bool, norms: float) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    weights = {
        "model.embed_tokens.weight": _matrix(rng, ROWS, HIDDEN),
        "model.norm.weight": _norm(1000, norms),
    }
    if not tied:
        weights["lm_head.weight"] = _matrix(rng, ROWS, HIDDEN)
    for number in range(LAYERS):
        shapes = {
            "self_attn.q_proj": (HIDDEN, HIDDEN),
            "self_attn.k_proj": (KV_HEADS * HEAD, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HIDDEN),
            "mlp.gate_proj": (WIDTH, HIDDEN),
            "mlp.up_proj": (WIDTH, HIDDEN),
            "mlp.down_proj": (HIDDEN, WIDTH),
        }
        for part, shape in shapes.items():
            weights[f"model.layers.{number}.{part}.weight"] = _matrix(rng, *shape)
        for i, part in enumerate(("input_layernorm", "post_attention_layernorm")):
            weights[f"model.layers.{number}.{part}.weight"] = _norm(10 * number + i, norms)
    return weights


def _tokenizer() -> dict[str, Any]:
    """Tokens `t2`, `t3`, …, between BOS, EOS and one that was added."""
    added = {BOS: "<s>", EOS: "</s>", ADDED: "<|tool|>"}
    vocab = {f"t{i}": i for i in range(TOKENS) if i not in added}
    return {
        "added_tokens": [{"id": i, "content": t, "special": True} for i, t in added.items()],
        "model": {"type": "BPE", "vocab": vocab | {t: i for i, t in added.items() if i != ADDED}},
        "post_processor": None,
    }


# -- folders -------------------------------------------------------------------------------


def write_folder(model: Model, out: Path, weights: Mapping[str, Array] | None = None) -> Path:
    """As transformers writes it."""
    out.mkdir(parents=True)
    weights = dict(model.weights if weights is None else weights)
    weights = {n: np.ascontiguousarray(t) for n, t in _changed(model, weights).items()}
    form = "mlx" if "quantization" in model.config else "pt"
    save_file(weights, out / "model.safetensors", {"format": form})
    (out / "config.json").write_text(json.dumps(model.config))
    (out / "tokenizer.json").write_text(json.dumps(model.tokenizer))
    settings = {"bos_token": "<s>", "eos_token": "</s>"}
    (out / "tokenizer_config.json").write_text(json.dumps(settings))
    return out


def _changed(model: Model, tensors: Mapping[str, Array]) -> dict[str, Array]:
    changed = {
        name: model.tensors[name](tensor) if name in model.tensors else tensor
        for name, tensor in tensors.items()
    }
    assert model.tensors.keys() <= tensors.keys(), "a fault in a tensor that is not there"
    return {name: tensor for name, tensor in changed.items() if tensor is not None}


def write_mlx(
    model: Model, out: Path, bits: int = 4, group: int = 32, mode: str = "affine"
) -> Path:
    """As `mlx_lm convert -q` writes it: experts together, matrices packed."""
    import mlx.core as mx

    model = model.copy()
    tensors = _changed(model, _mlx_names(model.weights))
    model.tensors = {}
    packed: dict[str, Array] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 1:
            packed[name] = tensor
            continue
        parts = mx.quantize(mx.array(tensor), group_size=group, bits=bits, mode=mode)
        for part, array in zip(("weight", "scales", "biases"), parts, strict=False):
            packed[name.replace("weight", part)] = np.array(array)
    settings = {"group_size": group, "bits": bits, "mode": mode} | model.packing
    model.config["quantization"] = settings
    return write_folder(model, out, packed)


def _mlx_names(weights: Mapping[str, Array]) -> dict[str, Array]:
    """mlx-lm's `mixtral.Model.sanitize`."""
    names = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    found: dict[str, Array] = {}
    experts: dict[str, list[Array]] = {}
    for name, tensor in weights.items():
        if ".experts." in name:
            before, after = name.split(".experts.")
            part = names[after.split(".")[1]]
            experts.setdefault(f"{before}.switch_mlp.{part}.weight", []).append(tensor)
        else:
            found[name] = tensor
    return found | {name: np.stack(parts) for name, parts in experts.items()}


# -- GGUF ----------------------------------------------------------------------------------

_GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "block_sparse_moe.switch_mlp.gate_proj": "ffn_gate_exps",
    "block_sparse_moe.switch_mlp.up_proj": "ffn_up_exps",
    "block_sparse_moe.switch_mlp.down_proj": "ffn_down_exps",
}
_GEMMA_NAMES = _GGUF_NAMES | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_ARCHITECTURES = {"mixtral": "llama"}


def gguf_tensors(model: Model) -> dict[str, Array]:
    """Names and arrangement of llama.cpp's converter."""
    found = {}
    names = _GEMMA_NAMES if model.family == "gemma2" else _GGUF_NAMES
    for name, tensor in _mlx_names(model.weights).items():
        if model.family == "gemma2" and name.endswith("norm.weight") and model.adds_one:
            tensor = tensor + np.float32(1)
        if name in _TOP:
            found[_TOP[name]] = tensor
            continue
        _, _, number, part = name.removesuffix(".weight").split(".", 3)
        heads = {"self_attn.q_proj": HEADS, "self_attn.k_proj": KV_HEADS}.get(part)
        if heads and model.permutes and model.family != "gemma2":
            tensor = permute(tensor, heads)
        found[f"blk.{number}.{names[part]}.weight"] = tensor
    return _changed(model, found)


def permute(matrix: Array, heads: int) -> Array:
    """`LlamaModel.permute` of llama.cpp's converter."""
    rows, columns = matrix.shape
    pairs = matrix.reshape(heads, 2, rows // heads // 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def write_gguf(model: Model, out: Path, kind: str = "F16", stated: str = "F16") -> Path:
    """Matrices in one type, vectors in float32."""
    architecture = _ARCHITECTURES.get(model.family, model.family)
    writer = gguf.GGUFWriter(out, architecture)
    named = getattr(gguf.LlamaFileType, f"MOSTLY_{stated}" if stated != "F32" else "ALL_F32")
    values = _gguf_metadata(model, architecture) | {"general.file_type": int(named)}
    for key, value in (values | model.metadata).items():
        if value is not None:
            _add(writer, key, value)
    for name, tensor in gguf_tensors(model).items():
        wanted = gguf.GGMLQuantizationType[kind if tensor.ndim > 1 else "F32"]
        data = gguf.quantize(np.ascontiguousarray(tensor, np.float32), wanted)
        writer.add_tensor(name, data, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        writer.add_string(key, value)


def _gguf_metadata(model: Model, architecture: str) -> dict[str, Any]:
    config = model.config
    rope = config["rope_parameters"]
    values = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "attention.key_length": config["head_dim"],
        "attention.sliding_window": config.get("sliding_window"),
        "rope.dimension_count": config["head_dim"],
        "rope.freq_base": rope["rope_theta"],
        "expert_count": config.get("num_local_experts"),
        "expert_used_count": config.get("num_experts_per_tok"),
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
        "embedding_scale": config.get("embedding_multiplier"),
        "residual_scale": config.get("residual_multiplier"),
        "attention.scale": config.get("attention_multiplier"),
        "logit_scale": config.get("logits_scaling"),
    }
    if rope["rope_type"] in ("linear", "yarn"):
        values["rope.scaling.type"] = rope["rope_type"]
        values["rope.scaling.factor"] = rope["factor"]
        values["rope.scaling.original_context_length"] = rope.get(
            "original_max_position_embeddings"
        )
    keys = {f"{architecture}.{name}": value for name, value in values.items()}
    return keys | _gguf_tokens(model.tokenizer)


def _gguf_tokens(tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    added = {t["id"]: t["content"] for t in tokenizer["added_tokens"]}
    texts = {i: t for t, i in tokenizer["model"]["vocab"].items()} | added
    kinds = gguf.TokenType
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [texts.get(i, f"[PAD{i}]") for i in range(ROWS)],
        "tokenizer.ggml.token_type": [
            int(kinds.CONTROL if i in added else kinds.NORMAL if i in texts else kinds.UNUSED)
            for i in range(ROWS)
        ],
        "tokenizer.ggml.bos_token_id": BOS,
        "tokenizer.ggml.eos_token_id": EOS,
        "tokenizer.ggml.add_bos_token": False,
    }
