"""What the weights of a model that mlx-lm loaded are made of."""

from collections import Counter
from typing import Any


def float_types(model: Any) -> str:
    """The floating-point types of the parameters, such as `bfloat16`."""
    from mlx.utils import tree_flatten

    names = {str(v.dtype).removeprefix("mlx.core.") for _, v in tree_flatten(model.parameters())}
    return "/".join(sorted(name for name in names if "float" in name))


def quantization_of(model: Any) -> str:
    """What its layers are quantized to, the most weights first; empty if none is.

    For example `4-bit, groups of 64`, `mxfp4, groups of 32` or `2-bit and 6-bit, groups of 64`.
    """
    weights: Counter[str] = Counter()
    groups: set[int] = set()
    for module in model.modules():
        if bits := getattr(module, "bits", None):
            mode = getattr(module, "mode", "affine")
            weights[f"{bits}-bit" if mode == "affine" else mode] += module.weight.nbytes / bits
            groups.add(module.group_size)
    names = " and ".join(name for name, _ in weights.most_common())
    return f"{names}, groups of {' and '.join(map(str, sorted(groups)))}" if names else ""
