"""The scoring plan: every target once, each from its true prefix, never over budget."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pajamas_eval import scoring_plan
from pajamas_eval.scoring_plan import Budget, PrefixTree, Step

Rows = list[tuple[tuple[int, ...], int, int]]
"""Tokens, first read and number of reads of each row."""


@st.composite
def forests(draw: st.DrawFn) -> Rows:
    """Rows that share prefixes as few-shot questions do: headers, questions, choices."""
    token = st.integers(0, 3)
    headers = draw(st.lists(st.lists(token, max_size=60).map(tuple), min_size=1, max_size=3))
    tails = st.lists(token, min_size=1, max_size=12).map(tuple)
    chosen = draw(st.lists(st.tuples(st.sampled_from(headers), tails), min_size=1, max_size=40))
    rows = []
    for tokens in dict.fromkeys(header + tail for header, tail in chosen):
        first = draw(st.integers(0, len(tokens) - 1))
        rows.append((tokens, first, draw(st.integers(1, len(tokens) - first))))
    return rows


budgets = st.builds(
    Budget,
    tokens=st.integers(1, 80),
    rows=st.integers(1, 9),
    outputs=st.integers(1, 30),
    padding=st.integers(0, 40),
)


def tree_of(rows: Rows, *, sharing: bool = True) -> PrefixTree:
    arrays = [np.array(tokens, np.int32) for tokens, _, _ in rows]
    return PrefixTree(arrays, [r[1] for r in rows], [r[2] for r in rows], sharing=sharing)


def tokens_of(rows: Rows, tree: PrefixTree, step: Step) -> list[tuple[int, ...]]:
    return [rows[tree.order[place]][0] for place in step.places]


def assert_every_row_once(rows: Rows, tree: PrefixTree, steps: Sequence[Step]) -> None:
    counted = Counter(tree.order[place] for step in steps for place in step.places)
    assert counted == Counter(range(len(rows)))


def assert_bases_hold(rows: Rows, tree: PrefixTree, steps: Sequence[Step]) -> None:
    """All rows of a step start with its base, and are read only after it."""
    for step in steps:
        assert len({tokens[: step.base] for tokens in tokens_of(rows, tree, step)}) == 1
        assert all(rows[tree.order[place]][1] >= step.base for place in step.places)


@given(forests())
def test_distinct_tokens_are_the_nodes_of_the_prefix_tree(rows: Rows) -> None:
    nodes = {tokens[: n + 1] for tokens, _, _ in rows for n in range(len(tokens))}
    assert tree_of(rows).distinct_tokens == len(nodes)


@given(forests(), budgets, st.booleans())
def test_packed_steps(rows: Rows, budget: Budget, sharing: bool) -> None:
    tree = tree_of(rows, sharing=sharing)
    steps = list(tree.packed(budget))
    assert_every_row_once(rows, tree, steps)
    assert_bases_hold(rows, tree, steps)
    for step in steps:
        tokens = tokens_of(rows, tree, step)
        segments = tree.segments(step)
        # Each token of each row below the base lies in exactly one segment, after its parents.
        covered: list[list[int]] = [[] for _ in tokens]
        for segment in segments:
            assert segment.end > segment.begin >= step.base
            shared = {t[segment.begin : segment.end] for t in tokens[segment.first : segment.last]}
            assert len(shared) == 1
            for i in range(segment.first, segment.last):
                assert len(covered[i]) + step.base == segment.begin
                covered[i] += tokens[i][segment.begin : segment.end]
        assert [tuple(c) for c in covered] == [t[step.base :] for t in tokens]
        if sharing:
            nodes = {t[: n + 1] for t in tokens for n in range(step.base, len(t))}
            assert sum(s.end - s.begin for s in segments) == len(nodes)
        if len(step.places) > 1:
            assert sum(s.end - s.begin for s in segments) <= budget.tokens
            assert len(step.places) <= budget.rows
            assert sum(tree.reads[place] for place in step.places) <= budget.outputs


@given(forests(), budgets, st.booleans())
def test_padded_steps(rows: Rows, budget: Budget, sharing: bool) -> None:
    tree = tree_of(rows, sharing=sharing)
    steps = list(tree.padded(budget))
    assert_every_row_once(rows, tree, steps)
    assert_bases_hold(rows, tree, steps)
    for step in steps:
        lengths = [len(t) - step.base for t in tokens_of(rows, tree, step)]
        assert min(lengths) > 0
        if len(lengths) > 1:
            assert len(lengths) * max(lengths) <= budget.tokens
            assert len(lengths) <= budget.rows
            assert len(lengths) * max(lengths) - sum(lengths) <= budget.padding
            assert sum(tree.reads[place] for place in step.places) <= budget.outputs
        if not sharing:
            assert step.base == 0


@given(forests(), budgets)
def test_the_plan_does_not_depend_on_the_order_of_the_requests(rows: Rows, budget: Budget) -> None:
    def shape(given_rows: Rows) -> list[tuple[int, list[tuple[int, ...]]]]:
        tree = tree_of(given_rows)
        return [(s.base, tokens_of(given_rows, tree, s)) for s in tree.packed(budget)]

    assert shape(rows) == shape(rows[::-1])


def test_a_few_shot_header_is_the_base_of_a_subject() -> None:
    header = tuple(range(scoring_plan.MIN_BASE * 4))
    rows = [((*header, 1000 + n, 7, 7), len(header) + 2, 1) for n in range(30)]
    tree = tree_of(rows)
    budget = Budget(tokens=30, rows=8, outputs=8, padding=8)
    for steps in (list(tree.packed(budget)), list(tree.padded(budget))):
        assert {step.base for step in steps} == {len(header)}
    assert tree.distinct_tokens == len(header) + 30 * 3


def test_a_budget_that_shrinks_is_read_anew() -> None:
    rows = [((n, n), 1, 1) for n in range(20)]
    tree, budget = tree_of(rows), Budget(tokens=8, rows=4, outputs=4)
    steps = tree.packed(budget)
    assert len(next(steps).places) == 4
    budget.tokens = 4
    assert len(next(steps).places) == 2
