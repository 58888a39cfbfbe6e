"""Where two models part: arithmetic, causes and words; no engine is needed."""

from collections.abc import Sequence
from io import StringIO
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from pajamas_eval.api.hidden_states import HiddenStates, Observer, Place
from pajamas_eval.api.identity import Identity
from pajamas_eval.errors import UsageError
from pajamas_eval.identity.layer_run import compare_workers, default_text
from pajamas_eval.identity.layers import (
    Cause,
    LayerComparison,
    PlaceRecord,
    find_partings,
    place_record,
)
from pajamas_eval.identity.rounding import limit, rounding, weight_rounding
from pajamas_eval.identity.states import difference
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.report.terminal.layers import show_layers
from pajamas_eval.report.wording.layers import conclusions, figure, ranges
from pajamas_eval.workers.messages import Loaded

TOKENS, WIDTH = 200, 16
NOISE = 0.01
RNG = np.random.default_rng(0)
STATES = RNG.standard_normal((TOKENS, WIDTH)).astype(np.float32)


def noisy(share: Any = NOISE) -> Any:
    """The states with so much noise, a number or one for each token."""
    noise = RNG.standard_normal(STATES.shape).astype(np.float32)
    return STATES + np.reshape(np.float32(share), (-1, 1)) * noise


def record(place: Place, layer: int | None, theirs: Any, rounded: float = NOISE) -> PlaceRecord:
    return place_record(place, layer, difference(STATES, theirs, TOKENS), rounded)


# -- arithmetic ------------------------------------------------------------------------------------


def test_difference() -> None:
    found = difference(STATES, noisy(), TOKENS)
    assert found.error == pytest.approx(NOISE, rel=0.1)
    assert found.rms == pytest.approx(NOISE, rel=0.1)
    assert found.cosine == pytest.approx(1 - NOISE**2 / 2, abs=1e-5)
    assert found.factor == pytest.approx(1, abs=1e-3)
    assert found.growth == pytest.approx(1, rel=0.5)
    assert len(found.ranges) == 16
    assert found.per_token.shape == (TOKENS,)


def test_equal_states_differ_by_nothing() -> None:
    found = difference(STATES, STATES.copy(), TOKENS)
    assert (found.error, found.rms, found.growth) == (0, 0, None)
    assert found.cosine == pytest.approx(1)


def test_one_token_with_large_states_does_not_hide_the_others() -> None:
    ours, theirs = STATES.copy(), noisy(0.5)
    ours[0] *= 1000
    theirs[0] = ours[0]
    found = difference(ours, theirs, TOKENS)
    assert found.rms < 0.02
    assert found.error == pytest.approx(0.5, rel=0.1)


def test_a_factor_leaves_nothing_over() -> None:
    found = difference(STATES, STATES / 8, TOKENS)
    assert found.factor == pytest.approx(1 / 8)
    assert found.error == pytest.approx(7 / 8)
    assert found.scaled_error < 1e-6


def test_the_last_rows_and_the_first_columns_are_compared() -> None:
    found = difference(STATES, STATES[-20:, :10], TOKENS)
    assert found.error == 0
    assert found.first_token is found.early is found.growth is None


def test_what_is_no_number_is_infinitely_far() -> None:
    theirs = STATES.copy()
    theirs[7, 3] = np.nan
    found = difference(STATES, theirs, TOKENS)
    assert found.error == np.inf
    assert np.isinf(found.per_token).sum() == 1


# -- what rounding explains ------------------------------------------------------------------------


def identity(quantization: str, bits: float | None = None, dtype: str = "float32") -> Identity:
    return Identity(
        runtime="x", path="x", quantization=quantization, bits_per_weight=bits, dtype=dtype
    )


def test_rounding_is_that_of_the_fewest_bits() -> None:
    f32, f16, bf16, q8, q6, q4, q2 = (
        weight_rounding(identity(name, bits))
        for name, bits in (
            ("float32", 32), ("F16", 16), ("bfloat16", 16), ("8-bit, groups of 64", 8.5),
            ("fp8", 8), ("Q4_K - Medium", 6.4), ("Q2_K", 5.1),
        )
    )  # fmt: skip
    assert f32 < f16 < bf16 < q8 < q6 < q4 < q2
    assert weight_rounding(identity("compressed-tensors", 4.3)) == pytest.approx(q4, rel=0.25)
    assert weight_rounding(identity("6-bit and 4-bit, groups of 64", 5.2)) == q4
    assert weight_rounding(identity("mxfp4 and 8-bit, groups of 32", 5.2)) == q4
    assert weight_rounding(identity("IQ2_XS - 2.3125 bpw", 2.4)) == q2
    assert weight_rounding(identity("all F32", 32)) == f32
    assert weight_rounding(identity("unknown")) == bf16


def test_what_a_baseline_is_stored_in_is_no_error() -> None:
    plain = rounding(identity("float32", 32), identity("float32", 32))
    assert rounding(identity("bfloat16", 16), identity("float32", 32)) == plain
    assert rounding(identity("Q8_0", 8.5), identity("float32", 32)) > 50 * plain
    assert rounding(identity("bfloat16", 16, "bfloat16"), identity("F16", 16)) > 20 * plain


def test_limits_end_before_unrelated_states() -> None:
    assert limit(Place.ATTENTION, 0.006) == pytest.approx(0.072)
    assert limit(Place.ATTENTION, 0.1) == 0.9
    assert limit(Place.ATTENTION, 0.4) > 1.4
    assert limit(Place.EMBEDDING, 1e-6) == 0.004


# -- where they part -------------------------------------------------------------------------------


def model(**changed: Any) -> list[PlaceRecord]:
    """Four layers with noise, and other states at `attention_2` and the like."""
    keys: list[tuple[Place, int | None]] = [(Place.EMBEDDING, None)]
    for layer in range(4):
        keys += [(Place.ATTENTION, layer), (Place.FEED_FORWARD, layer)]
    keys.append((Place.LOGITS, None))
    names = {key: f"{key[0]}_{key[1]}".replace("-", "_").removesuffix("_None") for key in keys}
    assert changed.keys() <= {*names.values()}
    return [record(*key, changed[n] if n in changed else noisy()) for key, n in names.items()]


def growing(first: float = 0.01, last: float = 0.3) -> Any:
    return noisy(np.linspace(first, last, TOKENS))


def test_noise_alone_parts_nowhere() -> None:
    assert find_partings(model(), NOISE) == []


def test_one_layer_is_named() -> None:
    (parting,) = find_partings(model(feed_forward_2=noisy(1)), NOISE)
    assert (parting.place, parting.layers, parting.of_layers) == (Place.FEED_FORWARD, [2], 4)
    assert parting.cause is Cause.EVERYWHERE


def test_the_first_place_comes_first() -> None:
    found = find_partings(model(logits=noisy(1), attention_1=noisy(1), attention_3=noisy(2)), NOISE)
    assert [(p.place, p.layers) for p in found] == [(Place.ATTENTION, [1, 3]), (Place.LOGITS, [])]
    assert found[0].first.layer == 1
    assert found[0].worst.layer == 3


def test_a_rope_base_grows_even_below_the_limit() -> None:
    """Rounding's own limit at the attention is 0.12 here."""
    grown = {f"attention_{n}": growing(0.005, 0.15) for n in range(4)}
    (parting,) = find_partings(model(**grown), NOISE)
    assert (parting.layers, parting.cause) == ([0, 1, 2, 3], Cause.GROWS)
    assert parting.worst.error < limit(Place.ATTENTION, NOISE)


def test_growth_in_one_layer_of_four_is_chance() -> None:
    assert find_partings(model(attention_2=growing(0.005, 0.15)), NOISE) == []


def test_growth_of_next_to_nothing_is_nothing() -> None:
    grown = {f"attention_{n}": growing(1e-7, 1e-5) for n in range(4)}
    assert find_partings(model(**grown), 1e-4) == [
        p for p in find_partings(model(**grown), 1e-4) if p.place is not Place.ATTENTION
    ]


def test_a_window_starts_late() -> None:
    late = {f"attention_{n}": noisy(np.repeat([NOISE, 0.8], TOKENS // 2)) for n in (0, 1, 3)}
    (parting,) = find_partings(model(**late), NOISE)
    assert (parting.layers, parting.cause) == ([0, 1, 3], Cause.LATE)
    assert parting.first.starts_at == pytest.approx(TOKENS // 2, abs=2)


def test_the_first_token_attends_to_itself_alone() -> None:
    off = noisy(np.array([NOISE] + [0.9] * (TOKENS - 1)))
    (parting,) = find_partings(model(attention_1=off), NOISE)
    assert parting.cause is Cause.FIRST_TOKEN_RIGHT


def test_some_tokens_meet_a_wrong_expert() -> None:
    off = noisy(np.where(np.arange(TOKENS) % 4 == 1, 1.0, NOISE))
    (parting,) = find_partings(model(feed_forward_3=off), NOISE)
    assert (parting.layers, parting.cause) == ([3], Cause.SOME_TOKENS)
    assert parting.first.far_off == pytest.approx(0.25, abs=0.03)
    assert parting.first.error < parting.first.limit
    few = noisy(np.where(np.arange(TOKENS) % 20 == 1, 1.0, NOISE))
    assert find_partings(model(feed_forward_3=few), NOISE) == []


def test_one_row_of_the_embeddings() -> None:
    theirs = noisy()
    theirs[17] *= -1
    (parting,) = find_partings(model(embedding=theirs), NOISE)
    assert (parting.place, parting.cause) == (Place.EMBEDDING, Cause.SOME_TOKENS)


def test_a_factor_is_named() -> None:
    (parting,) = find_partings(model(embedding=noisy() / 4), NOISE)
    assert (parting.cause, parting.layers) == (Cause.FACTOR, [])
    assert parting.worst.factor == pytest.approx(0.25, rel=0.01)


def test_no_number_is_named() -> None:
    (parting,) = find_partings(model(feed_forward_1=np.full_like(STATES, np.inf)), NOISE)
    assert parting.cause is Cause.NOT_NUMBERS


# -- words -----------------------------------------------------------------------------------------


def comparison(**changed: Any) -> LayerComparison:
    places = model(**changed)
    return LayerComparison(
        baseline="hf",
        variant="mlx",
        tokens=TOKENS,
        notes=[],
        rounding=NOISE,
        places=places,
        drift={-1: NOISE, 0: 0.02, 1: 0.03, 2: 0.03, 3: 0.04},
        partings=find_partings(places, NOISE),
    )


def test_words_for_a_rope_base() -> None:
    lines = list(conclusions(comparison(**{f"attention_{n}": growing() for n in range(4)})))
    assert lines[0].startswith(
        "mlx and hf part first at the attention of layer 0, and of 4 of 4 layers in all (0 to 3). "
    )
    assert "grows with the distance" in lines[0]
    assert "rope_theta" in lines[0]
    assert lines[0].endswith("In all layers alike it is a setting rather than a tensor.")
    assert lines[-1].startswith("What begins after token 200")


def test_words_for_one_layer_and_for_none() -> None:
    (line, _) = conclusions(comparison(attention_2=noisy(1)))
    assert "at the attention of layer 2 of 4." in line
    assert line.endswith("a tensor rather than a setting, or another layer's tensor.")
    (line, _) = conclusions(comparison())
    assert line == (
        "mlx and hf part nowhere by more than a relative error of 0.0100 in weights and "
        "arithmetic explains."
    )


def test_words_for_a_factor_and_for_overflow() -> None:
    (line, _) = conclusions(comparison(embedding=STATES / 8))
    assert "It is 0.125 times the baseline's and otherwise the same" in line
    (line, _) = conclusions(comparison(logits=np.full_like(STATES, np.nan)))
    assert "The relative error is ∞" in line
    assert "overflowed" in line


def test_few_bits_are_said_to_hide_faults() -> None:
    coarse = msgspec.structs.replace(comparison(), rounding=0.09)
    assert "hide a wrong rope base" in list(conclusions(coarse))[-1]


def test_figures() -> None:
    assert [figure(x) for x in (0.0, 3e-7, 0.00254, 0.5, 12.0)] == [
        "0.0000", "3e-07", "0.0025", "0.5000", "12.0000",
    ]  # fmt: skip
    assert ranges([0, 1, 2, 5, 7, 8]) == "0 to 2, 5, 7 to 8"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_marks_what_parts(width: int) -> None:
    out = StringIO()
    show_layers(comparison(feed_forward_2=noisy(1)), Console(file=out, width=width))
    lines = out.getvalue().splitlines()
    marked = [line for line in lines if " !" in line]
    assert [line.split()[0] for line in marked] == ["2"]
    assert [line.split()[0] for line in lines if line.strip()[:1].isdigit()] == [*"0123"]
    assert any(line.strip().startswith("embedding") for line in lines)


# -- the run ---------------------------------------------------------------------------------------


class FakeWorker:
    """A model of two layers whose tokens and states are given."""

    def __init__(self, label: str, tokens: Sequence[int], shift: float = 0, **options: Any) -> None:
        self.label, self._tokens, self._shift = label, list(tokens), shift
        self.spec = ModelSpec(label, "fake", {})
        self._layers, self._width = options.get("layers", 2), options.get("width", WIDTH)
        self._parts = options.get("parts", True)
        self.context_length = options.get("context_length", 4096)
        self.seen: list[int] = []
        self.given: list[Any] = []

    def open(self) -> Any:
        return msgspec.defstruct("Opened", [("settings", Any)])(self)

    def tokenize(self, requests: Sequence[Any]) -> list[list[int]]:
        texts = ["".join(r.texts()) for r in requests]
        if texts == [default_text()]:
            return [self._tokens]
        base = self._tokens[-1] // 1000
        return [[base + len(text)] for text in texts]

    def load(self, context_length: int | None) -> Loaded:
        return Loaded(identity("float32", 32), 0.0)

    def hidden_states(self, tokens: Sequence[int], observe: Observer) -> None:
        self.seen = list(tokens)
        shape = (len(tokens), self._width)
        places: list[tuple[Place, int | None]] = [(Place.EMBEDDING, None)]
        for layer in range(self._layers):
            parts = [Place.ATTENTION, Place.FEED_FORWARD] if self._parts else []
            places += [(place, layer) for place in [*parts, Place.OUTPUT]]
        for place, layer in [*places, (Place.LOGITS, None)]:
            seed = [[*Place].index(place), layer or 0]
            array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
            self.given.append(observe(HiddenStates(place, layer, array + np.float32(self._shift))))

    def close(self) -> None:
        pass


TEXT_TOKENS = range(5000, 5300)


def ran(*workers: Any) -> list[LayerComparison]:
    return compare_workers(workers, default_text(), lambda _: None)


def test_a_variant_is_given_the_baselines_states() -> None:
    variant = FakeWorker("v", TEXT_TOKENS, shift=1)
    (found,) = ran(FakeWorker("b", TEXT_TOKENS), variant)
    assert len(found.places) == 6  # outputs are the sums of parts that were compared
    guided, alone = variant.given[:8], variant.given[8:]
    assert all(array is not None for array in guided[:-1])
    assert guided[-1] is None  # the logits
    assert alone == [None] * 8
    first = np.random.default_rng([0, 0]).standard_normal((300, WIDTH)).astype(np.float32)
    assert np.array_equal(guided[0], first)


def test_layers_are_compared_whole_where_one_model_has_no_parts() -> None:
    for parts in ((True, False), (False, True), (False, False)):
        workers = [FakeWorker(str(p), TEXT_TOKENS, parts=p) for p in parts]
        (found,) = ran(*workers)
        places = [(r.place, r.layer) for r in found.places]
        assert places[1:-1] == [(Place.OUTPUT, 0), (Place.OUTPUT, 1)]
        assert found.partings == []


def test_other_tokens_of_one_vocabulary_are_said_and_the_baselines_used() -> None:
    variant = FakeWorker("v", [1, *TEXT_TOKENS])
    (found,) = ran(FakeWorker("b", TEXT_TOKENS), variant)
    assert found.notes == [
        "it reads the text as 301 tokens and the baseline as 300, which part at token 0; it was "
        "given the baseline's"
    ]
    assert variant.seen == [*TEXT_TOKENS]


def test_another_vocabulary_is_refused() -> None:
    with pytest.raises(UsageError, match="v has another vocabulary than b"):
        ran(FakeWorker("b", TEXT_TOKENS), FakeWorker("v", range(90_000, 90_400)))


def test_a_model_that_knows_no_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="v: the fake runtime does not say how its model reads"):
        ran(FakeWorker("b", TEXT_TOKENS), FakeWorker("v", []))


def test_a_text_is_cut_to_the_shortest_context() -> None:
    variants = FakeWorker("v", TEXT_TOKENS, context_length=100), FakeWorker("w", TEXT_TOKENS)
    found = ran(FakeWorker("b", TEXT_TOKENS), *variants)
    note = "the text was cut from 300 to 100 tokens, the context length of v"
    assert [c.notes for c in found] == [[note], [note]]
    assert len(variants[1].seen) == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 3}, "v has more layers than b: different models"),
        ({"layers": 1}, "v has fewer layers than b: different models"),
        ({"width": 8}, "b's hidden states are 16 wide and v's 8: different models"),
        ({"shift": np.nan}, None),
    ],
)
def test_models_of_other_shapes_are_refused(options: dict[str, Any], message: str | None) -> None:
    workers = FakeWorker("b", TEXT_TOKENS), FakeWorker("v", TEXT_TOKENS, **options)
    if message is None:
        (found,) = ran(*workers)
        assert found.partings[0].cause is Cause.NOT_NUMBERS
        with pytest.raises(UsageError, match="the baseline's embedding holds NaN or infinity"):
            ran(*reversed(workers))
        return
    with pytest.raises(UsageError, match=message):
        ran(*workers)


def test_the_text_is_long_enough() -> None:
    assert len(default_text().split()) > 700
