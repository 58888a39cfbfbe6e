"""What becomes of every language model that transformers can make: shared, batched, alone, refused.

    python -m tests.survey [NAME…] [--seconds 600]

A small random model of each causal architecture that transformers lists, with the demo model's
tokenizer, is opened by the hf runtime and, as the same folder, by the mlx runtime, where mlx-lm has
the architecture. A line for each says what the proofs at load found, which keys mlx-lm had to be
given, and by how many nats the two engines then differ on a text. Each architecture has a process
of its own, and half a minute.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
WEIGHTS = ROOT / "examples" / "demo_model" / "weights"
TEXT = "In the morning the river carries leaves past the old mill, and nobody counts them. " * 3

SECONDS_EACH = 30
MOST_PARAMETERS = 60_000_000
ROPE_BASE = 777_777.0
"""One that is nobody's default."""

_SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "model_dim", "embedding_size"), 64),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size"), 128),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "shared_intermediate_size"), 128),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 8),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "v_head_dim", "attention_head_dim"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 16),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "o_lora_rank"), 16),
    **dict.fromkeys(("moe_intermediate_size", "moe_shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("shared_expert_intermediate_size", "expert_ffn_hidden_size"), 32),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "moe_topk", "num_experts_per_token"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace"), 1),
    **dict.fromkeys(("state_size", "mamba_d_state", "ssm_state_size", "mamba_state_dim"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads"), 8),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim"), 16),
    **dict.fromkeys(("mamba_n_groups", "n_groups"), 1),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 16),
    **dict.fromkeys(("index_n_heads",), 4),
    **dict.fromkeys(("index_head_dim",), 32),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 512),
    **dict.fromkeys(("sliding_window", "attention_window_size", "attention_chunk_size"), 16),
    "lru_width": 64,
    "vocab_size": 2048,
    "vocab_size_per_layer_input": 2048,
    "hidden_size_per_layer_input": 16,
    "time_step_rank": 8,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_VARIATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"num_key_value_heads": 4, "num_kv_heads": 4},
    {"num_hidden_layers": 4, "n_layer": 4},
    {"num_hidden_layers": 6},
    {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1},
)
"""Tried in turn: some architectures demand that one size fits another."""


def _config(kind: type[Any], variation: dict[str, Any]) -> Any:
    """A configuration with the sizes above, as far as it knows them; other values are its own."""
    default = kind()
    for name, part in list(vars(default).items()):
        if name == "text_config" and part is not None:
            default.text_config = _config(type(part), variation)
            return default
    known = default.to_dict() | getattr(default, "attribute_map", {})
    sizes = {name: size for name, size in (_SIZES | variation).items() if name in known}
    rope = getattr(default, "rope_parameters", None) or {}
    if rope.get("rope_type") == "default":
        sizes["rope_parameters"] = {**rope, "rope_theta": ROPE_BASE}
    return kind(**sizes)


def _make(kind: type[Any], folder: Path) -> None:
    """A random model of that architecture, peaked as a trained one."""
    import torch
    from transformers import AutoModelForCausalLM

    problem: Exception | None = None
    for variation in _VARIATIONS:
        try:
            torch.manual_seed(0)
            config = _config(kind, variation)
            with torch.device("meta"):
                count = sum(
                    p.numel() for p in AutoModelForCausalLM.from_config(config).parameters()
                )
            if count > MOST_PARAMETERS:
                raise ValueError(f"it has {count:,} parameters")
            model = AutoModelForCausalLM.from_config(config).eval()
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if parameter.ndim == 2 and "A_log" not in name:
                        parameter.normal_(0, 2 * parameter.shape[1] ** -0.5)
                model(torch.arange(20, 40)[None])
            model.save_pretrained(folder)
            for file in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(WEIGHTS / file, folder)
            return
        except Exception as error:  # libraries raise many kinds
            problem = problem or error
    raise problem or AssertionError("no variation was tried")


def _found(runtime: str, folder: Path) -> tuple[str, float | None]:
    """What the proofs at load come to, and the log-likelihood of a text."""
    from pajamas_eval.api.requests import LogLikelihoodResult, LogLikelihoodRolling
    from pajamas_eval.errors import PajamasError
    from pajamas_eval.models.registry import open_runtime
    from pajamas_eval.tokens.token_runtime import TokenRuntime

    try:
        model = open_runtime(runtime, {"path": str(folder)})
        assert isinstance(model, TokenRuntime)
        model.load()
    except PajamasError as error:
        return f"refused: {str(error).replace(str(folder), folder.name)}", None
    scores = "shared" if model.shares_prefix else "alone" if model.budget.rows == 1 else "batched"
    texts = (
        "shared" if model.shares_prompts else "alone" if model.batch_sequences == 1 else "batched"
    )
    said = f"scores {scores}, texts {texts}"
    ((_, result),) = model.loglikelihood_rolling([LogLikelihoodRolling(TEXT)])
    good = isinstance(result, LogLikelihoodResult)
    return said, result.log_probability / result.token_count if good else None


def _survey(kind: type[Any], name: str, folder: Path) -> str:
    """The line of one architecture."""
    try:
        _make(kind, folder)
    except Exception as error:  # libraries raise many kinds
        return f"not made: {_line(error)}"
    from pajamas_eval.errors import PajamasError
    from pajamas_eval.models.remedies import mend

    ours, of_hf = _found("hf", folder)
    try:
        mended = [said.split(": ", 1)[1].removesuffix(" (for mlx)") for said in mend(folder)]
    except (PajamasError, ValueError):
        mended = []
    theirs, of_mlx = _found("mlx", folder)
    apart = (
        "" if of_hf is None or of_mlx is None else f"; {abs(of_hf - of_mlx):.1e} nats a token apart"
    )
    lost = f" (given {', '.join(mended)})" if mended else ""
    return f"hf {ours}; mlx {theirs}{lost}{apart}"


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:90]


def _in_a_process(kind: type[Any], name: str) -> str:
    """What `_survey` says, from a process that may crash or hang."""
    with tempfile.TemporaryDirectory() as place:
        said = Path(place) / "said"
        child = os.fork()
        if not child:
            signal.alarm(SECONDS_EACH)
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the end
            try:
                said.write_text(_survey(kind, name, Path(place) / name))
            except Exception as error:  # a defect of the program's
                said.write_text(f"failed: {type(error).__name__}: {_line(error)}")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if said.exists():
            return said.read_text()
        code = os.waitstatus_to_exitcode(status)
        return "took too long" if code == -signal.SIGALRM else f"ended with {code}"


def _architectures() -> Iterator[tuple[str, type[Any]]]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    seen: set[str] = set()
    for kind in MODEL_FOR_CAUSAL_LM_MAPPING:
        if kind.model_type not in seen:
            seen.add(kind.model_type)
            yield kind.model_type, kind


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="Architectures; all by default.")
    parser.add_argument("--seconds", type=float, default=600)
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")
    import mlx_lm.utils  # noqa: F401 - imported once, for all processes
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    end = time.monotonic() + asked.seconds
    counts: Counter[str] = Counter()
    for name, kind in sorted(_architectures(), key=lambda pair: pair[0]):
        if asked.names and name not in asked.names:
            continue
        said = _in_a_process(kind, name) if time.monotonic() < end else "not reached"
        print(f"{name}: {said}", flush=True)
        for part in said.split("; "):
            counts[part.split(":")[0].split(" (")[0] if "apart" not in part else "compared"] += 1
    for what, count in counts.most_common():
        print(f"{count:4d}  {what}")


if __name__ == "__main__":
    main()
