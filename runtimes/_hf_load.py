"""Weights of a folder as transformers loads them: all, and none that are packed otherwise."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pajamas_eval.errors import UsageError
from pajamas_eval.runtimes._folder import first_line


def refuse_unloadable(folder: Path, *, trusted: bool) -> None:
    """Raises `UsageError` where weights are missing, or of other sizes; no values are read.

    It needs a package that not everybody has: without it, `load_model` will find out.
    """
    from transformers.utils import is_accelerate_available

    if is_accelerate_available() and any(folder.glob("*.safetensors")):
        load_model(folder, trusted=trusted, device_map="meta")


def load_model(folder: Path, *, trusted: bool, device: str = "", **how: Any) -> Any:
    """The model in evaluation mode. Raises `UsageError`.

    Args:
        folder: The model's.
        trusted: Whether code that it brings is run.
        device: Where it is moved, if anywhere.
        how: What else transformers is told.
    """
    from transformers import AutoModelForCausalLM

    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=trusted,
            use_safetensors=True if any(folder.glob("*.safetensors")) else None,
            ignore_mismatched_sizes=True,  # they are named below
            output_loading_info=True,
            **how,
        )
        model = model.eval()
        model = model.to(device) if device else model
    except Exception as error:  # transformers raises many kinds for broken weights
        raise UsageError(
            f"{folder} cannot be loaded by transformers: {first_line(error)}"
        ) from None
    # transformers fills what is missing with random numbers, drops what is left, and goes on.
    for names, fault in (
        (loading["missing_keys"], "lacks weights that its architecture needs"),
        (
            [name for name, *_ in loading["mismatched_keys"]],
            "holds weights of other sizes than its config.json says",
        ),
        (
            _unread(model, loading["unexpected_keys"]),
            "holds weights packed in a way that this transformers does not read, which has no use "
            "for",
        ),
    ):
        if names:
            raise UsageError(f"{folder} {fault}: {', '.join(sorted(names)[:3])}")
    return model


def _unread(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Tensors beside a layer's weight that are left over, such as the scales of packed ones."""
    if getattr(model, "hf_quantizer", None):
        return []
    parameters = model.state_dict()
    return [
        name
        for name in unexpected
        if f"{name.rpartition('.')[0]}.weight" in parameters and not name.endswith(".bias")
    ]
