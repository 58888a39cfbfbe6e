"""Devices that torch computes on."""

import re

from pajamas_eval.errors import UsageError


def device_named(asked: str) -> str:
    """The device asked for. Raises `UsageError` if it is not here."""
    import torch

    if asked == "auto":
        return best_device()
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", asked):
        raise UsageError(f"device={asked}: the hf runtime takes auto, cpu, mps, cuda or cuda:N")
    if asked == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device=mps: torch finds no Apple GPU here; leave it out, or take cpu")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked.startswith("cuda") and int(asked[5:] or 0) >= found:
        names = ", ".join(f"cuda:{number}" for number in range(found))
        raise UsageError(f"device={asked}: torch finds {names or 'no CUDA device'} here")
    return asked


def hardware(device: str) -> str:
    """What a device's kernels are chosen by: the model of a GPU, the instructions of a CPU."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability() if device == "cpu" else ""


def best_device() -> str:
    """The first of `cuda`, `mps` and `cpu` that works."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
