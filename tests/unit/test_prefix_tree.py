"""The scoring plan: every target once, each from its true prefix, never over budget."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pajamas_eval.tokens import prefix_tree as scoring_plan
from pajamas_eval.tokens.prefix_tree import Budget, PrefixTree, Step
from pajamas_eval.tokens.scoring import Row, ScoringBatch

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


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(12, 60))
def test_packed_steps_run_a_few_shot_header_once(subjects: list[int], tokens: int) -> None:
    """However few questions a subject has, and wherever the budget cuts."""
    size = scoring_plan.MIN_BASE * 2
    rows = [
        ((*range(1000 * s, 1000 * s + size), 7 + q, 7, 7), size + 2, 1)
        for s, questions in enumerate(subjects)
        for q in range(questions)
    ]
    tree = tree_of(rows)
    run, held = 0, ()
    for step in tree.packed(Budget(tokens=size + tokens, rows=99, outputs=99)):
        base = tokens_of(rows, tree, step)[0][: step.base]
        run += 0 if base == held[: step.base] else step.base
        held = base
        run += sum(segment.end - segment.begin for segment in tree.segments(step))
    assert run == tree.distinct_tokens


@given(forests(), budgets, st.booleans())
def test_padded_steps(rows: Rows, budget: Budget, sharing: bool) -> None:
    tree = tree_of(rows, sharing=sharing)
    steps = list(tree.padded(budget))
    assert_every_row_once(rows, tree, steps)
    assert_bases_hold(rows, tree, steps)
    for step in steps:
        tokens = tokens_of(rows, tree, step)
        start = step.stem or step.base
        lengths = [len(t) - start for t in tokens]
        stems = len(set(step.parents))
        if step.stem:
            assert step.stem > step.base
            assert min(lengths) >= 0
            assert list(dict.fromkeys(step.parents)) == list(range(stems))
            by_stem = {
                (parent, t[: step.stem]) for parent, t in zip(step.parents, tokens, strict=True)
            }
            assert len(by_stem) == stems
        else:
            assert min(lengths) > 0
        if len(lengths) > 1:
            assert len(lengths) * max(lengths) <= budget.tokens
            assert len(lengths) <= budget.rows
            assert sum(tree.reads[place] for place in step.places) <= budget.outputs
        if len(lengths) > 1 and stems != 1:
            assert len(lengths) * max(lengths) - sum(lengths) <= budget.padding
            assert stems * (step.stem - step.base) <= budget.tokens
        if not sharing:
            assert (step.base, step.stem) == (0, 0)


@given(forests(), budgets)
def test_stages_read_every_target_after_its_true_prefix(rows: Rows, budget: Budget) -> None:
    tree = tree_of(rows)
    for step in tree.padded(budget):
        inputs = []
        for place in step.places:
            tokens, first, count = rows[tree.order[place]]
            positions = list(range(first, first + count))
            inputs.append(Row(np.array(tokens, np.int32), positions, [7 * p for p in positions]))
        batch = ScoringBatch(
            inputs[0].tokens[: step.base], inputs, stem=step.stem, parents=step.parents
        )
        expected = [(tuple(r.tokens[: p + 1]), 7 * p) for r in inputs for p in r.positions]
        found: dict[int, tuple[tuple[int, ...], int]] = {}
        before = [tuple(batch.base)]
        for stage in batch.stages():
            prefixes = [
                before[parent] + tuple(tokens[:length])
                for parent, tokens, length in zip(
                    stage.parents, stage.tokens, stage.lengths, strict=True
                )
            ]
            for slot, target, read in zip(stage.slots, stage.targets, stage.reads, strict=True):
                part, column = stage.rows[read], stage.columns[read]
                start = len(before[stage.parents[part]])
                found[slot] = (prefixes[part][: start + column + 1], target)
            before = prefixes
        assert [found[i] for i in range(len(expected))] == expected


def test_choices_of_a_question_are_run_after_it() -> None:
    rows = [((*range(q * 100, q * 100 + 20), 7, c, c), 19, 3) for q in range(6) for c in range(4)]
    tree = tree_of(rows)
    steps = list(tree.padded(Budget(tokens=100, rows=8, outputs=99, padding=8)))
    assert [(step.base, step.stem, len(step.places)) for step in steps] == [(0, 21, 8)] * 3
    assert [list(step.parents) for step in steps] == [[0] * 4 + [1] * 4] * 3


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
