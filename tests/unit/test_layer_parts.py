"""Which tensors are a layer's attention and feed-forward: those that add up to what it adds."""

import numpy as np
import pytest

from pajamas_eval.tokens.layer_parts import Part, States, add_up, find_parts

ROWS, WIDTH = 24, 32


def states(seed: int) -> States:
    return np.random.default_rng(seed).standard_normal((ROWS, WIDTH)).astype(np.float32)


BEFORE, ATTENTION, FEED_FORWARD, NORM = map(states, range(4))


def test_two_tensors_that_add_up() -> None:
    seen = {"input_norm": NORM, "self_attn": ATTENTION, "norm": states(9), "mlp": FEED_FORWARD}
    found = find_parts(BEFORE, BEFORE + ATTENTION + FEED_FORWARD, seen)
    assert found == [Part("self_attn", False, 1.0), Part("mlp", False, 1.0)]
    assert [p.added(seen[p.name], BEFORE) is seen[p.name] for p in found] == [True, True]


def test_what_a_norm_makes_of_a_part_is_what_is_added() -> None:
    after = BEFORE + 3 * ATTENTION / 2 + FEED_FORWARD * NORM
    seen = {"attn": ATTENTION, "post": 3 * ATTENTION / 2 * 1.0, "mlp": FEED_FORWARD}
    assert find_parts(BEFORE, after, seen) == []
    seen["post_mlp"] = FEED_FORWARD * NORM
    found = find_parts(BEFORE, after, seen)
    assert [p.name for p in found] in (["attn", "post_mlp"], ["post", "post_mlp"])
    assert np.allclose(found[0].added(seen[found[0].name], BEFORE), 1.5 * ATTENTION, atol=1e-4)


def test_a_factor_of_residuals() -> None:
    after = BEFORE + np.float32(0.22) * (ATTENTION + FEED_FORWARD)
    found = find_parts(BEFORE, after, {"attn": ATTENTION, "mlp": FEED_FORWARD})
    assert [p.factor for p in found] == pytest.approx([0.22, 0.22])
    added = found[0].added(ATTENTION, BEFORE)
    assert np.allclose(added, 0.22 * ATTENTION, atol=1e-5)
    assert np.allclose(found[0].tensor(added, BEFORE), ATTENTION, atol=1e-5)


def test_a_tensor_that_has_the_input_in_it() -> None:
    """As llama.cpp shows attention in many architectures: together with the residual."""
    seen = {"ffn_inp": BEFORE + ATTENTION, "ffn_out": FEED_FORWARD}
    found = find_parts(BEFORE, BEFORE + ATTENTION + FEED_FORWARD, seen)
    assert found == [Part("ffn_inp", True, 1.0), Part("ffn_out", False, 1.0)]
    added = found[0].added(seen["ffn_inp"], BEFORE)
    assert np.allclose(added, ATTENTION, atol=1e-6)
    assert np.allclose(found[0].tensor(added, BEFORE), seen["ffn_inp"], atol=1e-6)


def test_the_last_rows_of_a_layer() -> None:
    part = Part("ffn_inp", True, 1.0)
    assert np.allclose(part.added((BEFORE + ATTENTION)[-3:], BEFORE), ATTENTION[-3:], atol=1e-6)


def test_parallel_parts_in_the_other_order() -> None:
    seen = {"ffn_out": FEED_FORWARD, "attn_out": ATTENTION}
    found = find_parts(BEFORE, BEFORE + ATTENTION + FEED_FORWARD, seen)
    assert [p.name for p in found] == ["attn_out", "ffn_out"]


def test_rounding_of_half_precision_is_no_obstacle() -> None:
    large = BEFORE * 30
    after = (large + ATTENTION + FEED_FORWARD).astype(np.float16).astype(np.float32)
    found = find_parts(large, after, {"norm": NORM, "a": ATTENTION, "f": FEED_FORWARD})
    assert [p.name for p in found] == ["a", "f"]


@pytest.mark.parametrize(
    "after",
    [BEFORE + ATTENTION * FEED_FORWARD, BEFORE, np.full_like(BEFORE, np.nan), BEFORE + ATTENTION],
    ids=["no sum", "nothing added", "not numbers", "one part alone"],
)
def test_nothing_is_guessed(after: States) -> None:
    seen = {"norm": NORM, "attn": ATTENTION, "mlp": FEED_FORWARD}
    assert find_parts(BEFORE, after, seen) == []


def test_parts_add_up_but_for_half_precision() -> None:
    large = BEFORE * 1000
    whole = large + ATTENTION + FEED_FORWARD
    assert add_up([ATTENTION, FEED_FORWARD], large, whole)
    rounded = (whole.view(np.uint32) & 0xFFFF0000).view(np.float32)  # as bfloat16
    assert add_up([ATTENTION, FEED_FORWARD], large, rounded)
    assert not add_up([ATTENTION, NORM], BEFORE, BEFORE + ATTENTION + FEED_FORWARD)
    assert add_up([ATTENTION[-3:], FEED_FORWARD], BEFORE, (BEFORE + ATTENTION + FEED_FORWARD)[-3:])
