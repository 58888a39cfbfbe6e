"""Models of transformers whose weights are packed: their names, sizes and packages."""

import copy
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pajamas_eval.errors import UsageError
from pajamas_eval.runtimes._folder import first_line

_QUANTIZER_PACKAGES = {
    "awq": "gptqmodel",
    "eetq": "kernels",
    "fp8": "kernels",
    "gptq": "gptqmodel",
    "mxfp4": "kernels",
    "mxfp8": "kernels",
    "nvfp4": "kernels",
    "quanto": "optimum-quanto",
}
"""Packages that compute quantized models, where they are not named like the method."""


def quantization_name(quantization: dict[str, Any]) -> str:
    """Method and bits as a `quantization_config` states them; empty of a model without one."""
    method = str(quantization.get("quant_method", ""))
    if quantization.get("load_in_4bit"):
        return f"{method} {quantization.get('bnb_4bit_quant_type', '4-bit')}"
    bits = 8 if quantization.get("load_in_8bit") else quantization.get("bits")
    return f"{method} {bits}-bit" if bits else method


def quantizer_version(quantization: dict[str, Any]) -> dict[str, str]:
    """The package that computes a model quantized so, with its version, if one is installed."""
    method = str(quantization.get("quant_method", ""))
    package = _QUANTIZER_PACKAGES.get(method, method)
    try:
        return {package: version(package)} if package else {}
    except PackageNotFoundError:  # transformers does without, or will say what is missing
        return {}


def is_followed(quantization: dict[str, Any]) -> bool:
    """Whether transformers knows the method; else it takes the weights for plain ones."""
    from transformers.quantizers import AutoHfQuantizer

    return bool(AutoHfQuantizer.supports_quant_method(copy.deepcopy(quantization)))


def refuse_unusable(folder: Path, quantization: dict[str, Any]) -> None:
    """Raises `UsageError` where transformers lacks what computes weights that are quantized so.

    transformers would say it once it loads them, by then after the models before this one have run.
    """
    from transformers.quantizers import AutoHfQuantizer

    try:
        given = copy.deepcopy(quantization)
        if is_followed(given):
            quantizer = AutoHfQuantizer.from_config(given, pre_quantized=True)
            quantizer.validate_environment(device_map=None)
    except Exception as error:  # each method has errors of its own
        name = quantization_name(quantization) or "by no method that is named"
        raise UsageError(
            f"{folder} is quantized ({name}) and cannot be loaded here: {first_line(error)}"
        ) from None


def parameter_count(model: Any, trust_remote_code: bool) -> int:
    """Weights of a loaded model before they were packed: several may lie in one element."""
    import torch
    from transformers import AutoModelForCausalLM

    if getattr(model.config, "quantization_config", None):
        config = copy.deepcopy(model.config)
        del config.quantization_config
        with torch.device("meta"):  # shapes without values
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    return sum(p.numel() for p in model.parameters())
