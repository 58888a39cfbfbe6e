"""The nested order of questions: in proportion at every length, and the same everywhere."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pajamas_eval.statistics.subsets import nested_order

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def labels(sizes: list[int]) -> list[str]:
    return [f"stratum {i}" for i, size in enumerate(sizes) for _ in range(size)]


def furthest_from_share(strata: list[str], order: list[int]) -> float:
    """Largest distance of a stratum's count in a prefix from its share, in questions."""
    taken: Counter[str] = Counter()
    total, furthest = Counter(strata), 0.0
    for k, position in enumerate(order, 1):
        taken[strata[position]] += 1
        furthest = max(furthest, *(abs(taken[s] - k * n / len(strata)) for s, n in total.items()))
    return furthest


@settings(deadline=None)
@given(sizes, st.text())
def test_every_prefix_holds_each_stratum_to_within_one_question(
    sizes: list[int], seed: str
) -> None:
    strata = labels(sizes)
    order = nested_order(strata, seed)
    assert sorted(order) == list(range(len(strata)))
    bound = 1 - 1 / (2 * len(sizes) - 2) if len(sizes) > 1 else 0
    assert furthest_from_share(strata, order) <= bound + 1e-9


@pytest.mark.parametrize("sizes", [[1000, *[1] * 56], [500, *[7] * 50, 150], [100, 265] * 28])
def test_subjects_of_very_unequal_size(sizes: list[int]) -> None:
    strata = labels(sizes)
    assert furthest_from_share(strata, nested_order(strata, "seed")) < 1


def test_one_stratum_is_a_plain_shuffle() -> None:
    order = nested_order(["all"] * 1000, "seed")
    assert sorted(order) == list(range(1000))
    # The rank correlation of a shuffle with the file's order has a standard error of 0.03.
    assert abs(np.corrcoef(order, range(1000))[0, 1]) < 0.12


def test_within_a_stratum_the_order_is_shuffled() -> None:
    strata = ["a", "b"] * 500
    first = [position for position in nested_order(strata, "seed") if strata[position] == "a"]
    assert abs(np.corrcoef(first, range(500))[0, 1]) < 0.18


def test_every_position_is_equally_likely_to_come_first() -> None:
    first = Counter(nested_order(["a", "a", "b", "b"], str(seed))[0] for seed in range(2000))
    # The standard error of each count is 19.
    assert all(abs(first[position] - 500) < 90 for position in range(4))


def test_the_order_depends_on_the_seed_and_on_which_labels_are_equal() -> None:
    strata = labels([30, 20, 10])
    order = nested_order(strata, "seed")
    assert order == nested_order(strata, "seed")
    assert order != nested_order(strata, "another")
    assert order == nested_order([ord(label[-1]) for label in strata], "seed")


def test_the_order_does_not_depend_on_the_process() -> None:
    program = (
        "from pajamas_eval.statistics.subsets import nested_order;"
        "print(nested_order(['a', 'b', 'b', 'c', 'c', 'c'] * 2, 'seed'))"
    )
    orders = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert orders[0] == orders[1] == f"{nested_order(['a', 'b', 'b', 'c', 'c', 'c'] * 2, 'seed')}\n"


def test_no_questions_have_an_order_too() -> None:
    assert nested_order([], "seed") == []
