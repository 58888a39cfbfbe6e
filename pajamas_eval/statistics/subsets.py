"""Subsets of a benchmark that stand for the whole."""

import hashlib
from collections.abc import Hashable, Sequence

import numpy as np

from pajamas_eval.statistics.clusters import group_by


def nested_order(strata: Sequence[Hashable], seed: str) -> list[int]:
    """A seeded order whose every prefix holds the strata in proportion.

    Taking more questions adds to those taken before, so subsets are nested. With one stratum it is
    a plain shuffle.

    Source: R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980), 323-330.
    The next question comes from the stratum that would first fall behind its share, among those
    that would not run ahead of it. Of n questions in S strata, the first k hold k·share of each,
    to within 1 − 1/(2S − 2), which no order can better for all shares.

    Args:
        strata: A label for each question, e.g. its subject.
        seed: Any text. The order depends on it, on which labels are equal, and on nothing else:
            neither on the process nor on the version of Python.

    Returns:
        The positions 0 to n − 1, each once.
    """

    def chance(position: int) -> bytes:
        return hashlib.sha256(f"{seed}\n{position}".encode()).digest()

    shuffled = sorted(range(len(strata)), key=chance)
    groups = [
        [shuffled[place] for place in places]
        for places in group_by([strata[position] for position in shuffled])
    ]
    count = len(strata)
    sizes = np.array([len(group) for group in groups], dtype=np.int64)
    taken = np.zeros_like(sizes)
    slack = max(2 * len(groups) - 2, 1)
    order: list[int] = []
    for k in range(1, count + 1):
        # Whole numbers, n·slack times the quantities of the paper, so that nothing is rounded.
        behind = slack * (sizes * k - count * taken)
        deadlines = np.where(behind >= count, ((slack - 1) * count - behind) / sizes, np.inf)
        chosen = int(np.argmin(deadlines))
        order.append(groups[chosen][taken[chosen]])
        taken[chosen] += 1
    return order
