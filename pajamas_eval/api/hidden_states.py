"""What a model computes on the way from a token to its logits, shown place by place.

An observer may put another array in the place of one that it is shown, and the model goes on from
there. Given another model's, every place starts from the same states, and what differs is its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Place(StrEnum):
    """Where in a model; in this order, those in the middle once for each layer."""

    EMBEDDING = "embedding"
    """What the first layer is given."""
    ATTENTION = "attention"
    """What a layer's attention, or what it has instead, adds to what the layer is given."""
    FEED_FORWARD = "feed-forward"
    """What its feed-forward part, dense or of experts, adds."""
    OUTPUT = "output"
    """What a layer hands to the next one."""
    LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class HiddenStates:
    """States of one text at one place.

    Attributes:
        place: Where in the model, or in the layer.
        layer: Number of the layer, from 0; nothing for the embedding and the logits.
        array: `[rows, width]` in float32; row `-k` belongs to the text's token `-k`. There is a
            row for each token, save where an engine computes only the last ones, as for logits.
    """

    place: Place
    layer: int | None
    array: NDArray[np.float32]


Observer = Callable[[HiddenStates], NDArray[np.float32] | None]
"""Is shown a model's states while it runs; returns nothing, or an array of the same shape that the
model is to go on with. What it returns for logits is without effect."""
