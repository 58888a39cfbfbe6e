"""Many tests at once."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjustment.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 6 (1979), 65-70. The i-th smallest of n p-values is multiplied by n − i + 1, is at
    least the one before it, and at most 1.

    Args:
        p_values: Shape (n,), each in [0, 1]; n may be 0.

    Returns:
        Shape (n,), in the order given. Rejecting those at most α makes even one false rejection no
        likelier than α, however the tests depend on each other.
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"not a row of p-values in [0, 1]: {values}")
    order = np.argsort(values, kind="stable")
    stepped = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted
