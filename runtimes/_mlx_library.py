"""MLX and mlx-lm, imported when first needed, and the BLAS that MLX multiplies with."""

import ctypes
import ctypes.util
import importlib.util
import resource
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pajamas_eval.runtimes._folder import require


@dataclass(frozen=True)
class MlxModules:
    mx: Any
    utils: Any
    generate: Any
    cache: Any


@cache
def modules() -> MlxModules:
    """`mlx.core` and the parts of `mlx_lm`, imported when first needed."""
    blas()
    set_limit = resource.setrlimit
    # mlx_lm lowers the limit of open files for good when it is imported: not ours to give away.
    resource.setrlimit = lambda *_: None
    try:
        return MlxModules(
            mx=require("mlx", "mlx.core"),
            utils=require("mlx", "mlx_lm.utils"),
            generate=require("mlx", "mlx_lm.generate"),
            cache=require("mlx", "mlx_lm.models.cache"),
        )
    finally:
        resource.setrlimit = set_limit


@cache
def blas() -> str:
    """Makes MLX multiply with a fast BLAS on Linux, whose wheel brings a slow one.

    MLX finds the BLAS symbols among the libraries loaded before it, so loading one globally is
    enough: torch's own copy of MKL, or the system's OpenBLAS (measured: 4.7 against 60 to 125
    GFLOPS on two cores).
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return "its own BLAS"
    torch = importlib.util.find_spec("torch")
    candidates = {"torch's BLAS": "", "OpenBLAS": ctypes.util.find_library("openblas") or ""}
    if torch and torch.origin:
        candidates["torch's BLAS"] = str(Path(torch.origin).parent / "lib" / "libtorch_cpu.so")
    for name, library in candidates.items():
        try:
            if library and hasattr(ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL), "sgemm_"):
                return name
        except OSError:
            continue
    return "its own BLAS, slow: install torch or OpenBLAS"
