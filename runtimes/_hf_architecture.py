"""A model's architecture as transformers resolved it: the configuration, and its modules' norms."""

import copy
from typing import Any

import msgspec

from pajamas_eval.api.architecture import ArchitectureFacts, Fact
from pajamas_eval.tokens.architecture import config as configurations


def facts_of_config(config: Any, tokens: int) -> ArchitectureFacts:
    """What transformers runs; weights are not needed.

    Args:
        config: As `AutoConfig` completes it.
        tokens: How many ids the tokenizer knows.
    """
    facts = configurations.facts_of_config(config.to_dict(), "transformers' configuration", tokens)
    return msgspec.structs.replace(facts, **_norms(config))


def _norms(config: Any) -> dict[str, Any]:
    """The norms of the layers, where they are all of one kind."""
    import torch
    from torch.nn import ModuleList
    from transformers import AutoModelForCausalLM

    plain = copy.deepcopy(config.get_text_config())
    if hasattr(plain, "quantization_config"):
        del plain.quantization_config
    try:
        with torch.device("meta"):  # shapes without values
            model = AutoModelForCausalLM.from_config(plain)
    except Exception:  # code that comes with the model, or an architecture of another kind
        return {}
    layers = next((m for m in model.modules() if isinstance(m, ModuleList)), ())
    norms = {
        (type(module).__name__, getattr(module, "variance_epsilon", getattr(module, "eps", None)))
        for layer in layers
        for module in layer.children()
        if "Norm" in type(module).__name__
    }
    if len(norms) != 1:
        return {}
    ((name, epsilon),) = norms
    kind = Fact("rms" if "RMS" in name else "layer", f"transformers: {name}")
    known = {"norm": kind}
    return {**known, "norm_epsilon": Fact(epsilon, f"transformers: {name}")} if epsilon else known
