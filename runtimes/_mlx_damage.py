"""Noise on the weights of an MLX model."""

from typing import Any

from pajamas_eval.errors import UsageError
from pajamas_eval.runtimes._mlx_library import modules
from pajamas_eval.tokens.damage import seed_of


def damage(model: Any, ratio: float) -> None:
    """Adds Gaussian noise to every matrix; of quantized ones, to each group of weights alike.

    Args:
        model: Whose parameters are replaced.
        ratio: The noise's standard deviation over the matrix's root mean square; of a group over
            the group's own.

    Raises:
        UsageError: A matrix is quantized with scales that are no floating-point numbers.
    """
    mx = modules().mx
    from mlx.utils import tree_flatten, tree_unflatten

    parameters = dict(tree_flatten(model.parameters()))
    changed = {}
    for name, matrix in parameters.items():
        layer, _, part = name.rpartition(".")
        is_group_part = part in ("scales", "biases") and f"{layer}.scales" in parameters
        if matrix.ndim < 2 or (part == "weight" and f"{layer}.scales" in parameters):
            continue
        if not mx.issubdtype(matrix.dtype, mx.floating):
            raise UsageError(f"damage takes scales in floating point, and {name} is {matrix.dtype}")
        key = mx.random.key(seed_of(layer if is_group_part else name) % 2**32)
        noise = ratio * mx.random.normal(matrix.shape, key=key)
        values = matrix.astype(mx.float32)
        # A group's scale and bias together make its weights.
        size = values if is_group_part else mx.sqrt(mx.mean(mx.square(values)))
        changed[name] = (values + noise * size).astype(matrix.dtype)
    model.update(tree_unflatten(list(changed.items())))
