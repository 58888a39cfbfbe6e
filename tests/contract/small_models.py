"""Random models of several architectures, as transformers saves them and as GGUF files."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pajamas_eval.models.remedies import mend

Weights = dict[str, NDArray[Any]]
Edit = Callable[[Weights, dict[str, Any]], None]
"""Changes weights and configuration of a folder in place."""

WINDOW = 48
SIZE: dict[str, Any] = {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 768,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": False}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "gemma2": (
        "Gemma2",
        {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    ),
    "gemma3": ("Gemma3", {**GEMMA, "num_hidden_layers": 6}),
    "phi3": ("Phi3", {"num_key_value_heads": 4}),
    "phi2": (
        "Phi",
        {
            "num_key_value_heads": 4,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.5,
            },
        },
    ),
    "qwen3moe": (
        "Qwen3Moe",
        {
            "head_dim": 16,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "num_key_value_heads": 2,
        },
    ),
    "mamba": ("Mamba", {"state_size": 8}),
    "gpt2": (
        "GPT2LMHead",
        {"vocab_size": 2048, "n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 768},
    ),
}
"""By llama.cpp's names: what transformers calls it, and its settings beyond those above."""


def write_folder(name: str, original: Path, folder: Path) -> Path:
    """A random model with the demo model's tokenizer, its scores of attention far from equal."""
    import torch
    import transformers

    torch.manual_seed(0)
    kind, settings = ARCHITECTURES[name]
    model_type = getattr(
        transformers, kind if kind.endswith("Head") else f"{kind}ForCausalLM", None
    )
    model_type = model_type or getattr(transformers, f"{kind}Model")
    own = settings if name == "gpt2" else {**SIZE, **settings}
    model = model_type(model_type.config_class(**own))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "A_log" not in key:
                # Conv1D of GPT-2 has its inputs first.
                inputs = parameter.shape[0 if name == "gpt2" and ".h." in key else -1]
                parameter.normal_(0, 2 * inputs**-0.5)
            elif "norm" in key or ".ln_" in key:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(original / file, folder)
    mend(folder)
    return folder


def edited(folder: Path, out: Path, edit: Edit) -> Path:
    """A copy of a folder with a fault in it."""
    from safetensors.numpy import save_file

    shutil.copytree(folder, out)
    file, config = out / "model.safetensors", json.loads((out / "config.json").read_text("utf-8"))
    weights = load_file(file)
    edit(weights, config)
    save_file(weights, file, metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config), "utf-8")
    return out


def write_gguf(
    name: str, folder: Path, out: Path, *, permuted: bool = True, norms_raised: bool = True
) -> Path:
    """The folder's model as a GGUF file in float32.

    Args:
        name: llama.cpp's name of the architecture.
        folder: Where the model lies.
        out: The file.
        permuted: Whether a Llama's queries and keys are put in llama.cpp's order of rows.
        norms_raised: Whether Gemma's norms get the 1 that transformers adds when it runs them.
    """
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "demo_model"))
    from make_variants import add_tokenizer, permute
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", heads)
    writer = gguf.GGUFWriter(out, name)
    _add_shape(writer, name, config, heads, key_heads)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_tokenizer(writer, folder, {"vocab_size": 2048})
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, name.upper()), layers)
    for key, weight in load_file(folder / "model.safetensors").items():
        if name == "gpt2" and weight.ndim == 2 and ".h." in key:
            weight = weight.T
        if name == "llama" and permuted and ("q_proj" in key or "k_proj" in key):
            weight = permute(weight, heads if "q_proj" in key else key_heads)
        if name.startswith("gemma") and norms_raised and "norm" in key:
            weight = weight + 1
        to = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert to, key
        writer.add_tensor(to, np.ascontiguousarray(weight, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _add_shape(writer: gguf.GGUFWriter, name: str, config: Any, heads: int, key_heads: int) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    if name == "gpt2":
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(key_heads)
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_key_length(head)
    writer.add_value_length(head)
    parameters = config.rope_parameters
    if name == "phi2":
        writer.add_layer_norm_eps(config.layer_norm_eps)
        head = int(head * parameters["partial_rotary_factor"])
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(parameters.get("full_attention", parameters)["rope_theta"])
    if name.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if name == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
