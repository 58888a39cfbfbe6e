"""Libraries that define file formats, imported where a file needs them."""

import importlib
from typing import Any

from pajamas_eval.errors import UsageError, install_command

_INSTALL = {
    "gguf": install_command("verify"),
    "mlx": install_command("mlx"),
    "torch": install_command("hf"),
    "compressed_tensors": "pip install compressed-tensors",
}


def library(module: str, file: object) -> Any:
    """The module. Raises `UsageError` where it is not installed, which says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise UsageError(
            f"to read {file}, verify needs the Python package {package!r}, which is not "
            f"installed; install it with: {_INSTALL[package]}"
        ) from None
