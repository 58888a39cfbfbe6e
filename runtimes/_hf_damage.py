"""Noise on the weights of a transformers model."""

from typing import Any

from pajamas_eval.errors import UsageError
from pajamas_eval.tokens.damage import seed_of


def damage(model: Any, ratio: float) -> None:
    """Adds Gaussian noise to every matrix.

    Args:
        model: Whose parameters are changed where they stand.
        ratio: The noise's standard deviation over the matrix's root mean square.

    Raises:
        UsageError: A matrix is packed.
    """
    import torch

    matrices = [(name, p) for name, p in model.named_parameters() if p.dim() > 1]
    if packed := [name for name, p in matrices if not p.is_floating_point()]:
        raise UsageError(f"damage takes plain weights, and {packed[0]} is packed")
    with torch.no_grad():
        for name, matrix in matrices:
            generator = torch.Generator().manual_seed(seed_of(name))
            noise = torch.randn(matrix.shape, generator=generator).to(matrix.device)
            noise *= ratio * matrix.float().square().mean().sqrt()
            matrix.copy_(matrix.float() + noise)
