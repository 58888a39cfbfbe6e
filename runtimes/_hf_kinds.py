"""Which models of transformers are causal language models, by their configurations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pajamas_eval.errors import UsageError
from pajamas_eval.runtimes._folder import first_line


def causal_config(folder: Path, raw: Mapping[str, Any], *, trusted: bool) -> Any:
    """A folder's configuration as transformers completes it.

    Raises `UsageError` for what transformers has no causal language model for.

    Args:
        folder: The model's.
        raw: The content of its `config.json`.
        trusted: Whether code that comes with it may run.
    """
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
        AutoConfig,
    )

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trusted)
    except Exception as error:  # transformers raises many kinds for a broken configuration
        raise UsageError(
            f"{folder} cannot be loaded by transformers: {first_line(error)}"
        ) from None
    if trusted and "AutoModelForCausalLM" in (raw.get("auto_map") or {}):
        return config
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        kind = "an encoder-decoder, " if config.is_encoder_decoder else ""
        raise UsageError(f"{folder} is {kind}not a causal language model ({config.model_type})")
    causal = getattr(config, "is_decoder", False) or getattr(config, "causal", False)
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not causal:
        raise UsageError(
            f"{folder} is not a causal language model: later tokens change earlier logits"
        )
    return config
