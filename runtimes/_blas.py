"""The matrix multiplication that MLX uses on a CPU."""

import ctypes
import ctypes.util
import importlib.util
import sys
from functools import cache
from pathlib import Path


@cache
def fast_blas() -> str:
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
