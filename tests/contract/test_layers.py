"""Where two models part: nowhere if they are one, and at the very place where a fault is planted.

Random models of several architectures in transformers, MLX and llama.cpp, in this process.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import ARCHITECTURES, WINDOW, Edit, Weights, edited, write_folder, write_gguf

from pajamas_eval.api.answer_key import answer_key
from pajamas_eval.api.hidden_states import HiddenStates, Observer, Place
from pajamas_eval.api.requests import Request
from pajamas_eval.api.runtime import TextRuntime
from pajamas_eval.errors import UsageError
from pajamas_eval.identity.layer_run import compare_workers, default_text
from pajamas_eval.identity.layers import Cause, LayerComparison
from pajamas_eval.models.registry import open_runtime
from pajamas_eval.models.spec import parse_spec
from pajamas_eval.tokens.hidden_states import LOGIT_ROWS
from pajamas_eval.workers.messages import Loaded, Opened

Models = Callable[[str, str], str]
"""The spec of an architecture's model in an engine."""


class DirectWorker:
    """A model in this process: engines take seconds to be imported in one of their own."""

    def __init__(self, spec: str) -> None:
        self.spec = parse_spec(spec)
        self.label = self.spec.label

    def open(self) -> Opened:
        runtime = open_runtime(self.spec.runtime, self.spec.options)
        assert isinstance(runtime, TextRuntime)
        self.runtime = runtime
        return Opened(runtime.settings, runtime.capabilities, answer_key(runtime))

    def tokenize(self, requests: Sequence[Request]) -> list[list[int]]:
        return [[*map(int, a), *map(int, b)] for a, b in self.runtime.tokenize(requests)]

    def load(self, context_length: int | None) -> Loaded:
        return Loaded(self.runtime.load(), 0.0)

    def hidden_states(self, tokens: Sequence[int], observe: Observer) -> None:
        self.runtime.hidden_states(tokens, observe)

    def close(self) -> None:
        self.runtime.close()


def compared(*specs: str, text: str | None = None) -> list[LayerComparison]:
    workers: list[Any] = [DirectWorker(spec) for spec in specs]
    return compare_workers(workers, text or default_text(), lambda _: None)


@pytest.fixture(scope="module")
def models(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("small")

    def spec(name: str, engine: str) -> str:
        hf = folder / name
        if not hf.exists():
            write_folder(name, original, hf)
        if engine != "gguf":
            return f"{engine}={engine}[path={hf}]"
        file = folder / f"{name}.gguf"
        return f"gguf={file if file.exists() else write_gguf(name, hf, file)}"

    return spec


PAIRS = [("hf", "mlx"), ("hf", "gguf"), ("mlx", "gguf")]
NOT_IN_MLX = {
    "gpt2": "mlx-lm wants names of tensors that transformers no longer writes",
    "gemma2": "mlx-lm leaves the sliding window out",
}
WHOLE = {"mamba"}
"""Layers of one part."""


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_model_in_two_engines_parts_nowhere(
    name: str, pair: tuple[str, str], models: Models
) -> None:
    if "mlx" in pair and name in NOT_IN_MLX:
        pytest.skip(NOT_IN_MLX[name])
    if "gguf" in pair and name in ("mamba", "qwen3moe"):
        pytest.skip("not written as GGUF here")
    (found,) = compared(*(models(name, engine) for engine in pair))
    assert found.partings == []
    layers = ARCHITECTURES[name][1].get("num_hidden_layers", 4)
    keys = [(r.place, r.layer) for r in found.places]
    parts = (Place.OUTPUT,) if name in WHOLE else (Place.ATTENTION, Place.FEED_FORWARD)
    each = [(part, layer) for layer in range(layers) for part in parts]
    assert keys == [(Place.EMBEDDING, None), *each, (Place.LOGITS, None)]
    assert max(r.error for r in found.places) < 4e-4  # llama.cpp's GELU is a table of float16
    assert max(found.drift.values()) < 1e-3
    assert [*found.drift] == [-1, *range(layers)]


def test_mlx_lm_leaves_gemma_2_without_its_window(models: Models) -> None:
    """Found by this very comparison: its masks of even layers see everything."""
    (found,) = compared(models("gemma2", "hf"), models("gemma2", "mlx"))
    (parting,) = found.partings
    assert (parting.place, parting.cause) == (Place.ATTENTION, Cause.LATE)
    assert parting.layers == [0, 2]
    assert parting.first.starts_at == WINDOW


def test_quantized_variants_part_nowhere(original: Path, variants: Path) -> None:
    names = [f"demo-{kind}.gguf" for kind in ("f32", "f16", "q8_0", "q4_k_m", "q2_k")]
    names += [f"demo-mlx{kind}" for kind in ("", "-8bit", "-4bit", "-2bit")]
    found = compared(str(original), *(str(variants / name) for name in names))
    assert [(c.variant, c.partings) for c in found] == [(c.variant, []) for c in found]
    errors = {c.variant: max(r.error for r in c.places) for c in found}
    assert errors["demo-mlx"] < 1e-5 < errors["demo-f16"] < 1e-3 < errors["demo-mlx-8bit"] < 0.05
    assert 0.1 < errors["demo-q4_k_m"] < 0.4 < errors["demo-mlx-2bit"]


# -- planted faults --------------------------------------------------------------------------------


def from_next(layer: int, tensor: str) -> Edit:
    def edit(weights: Weights, config: dict[str, Any]) -> None:
        source = weights[f"model.layers.{layer + 1}.{tensor}.weight"]
        weights[f"model.layers.{layer}.{tensor}.weight"] = source

    return edit


def setting(**values: Any) -> Edit:
    def edit(weights: Weights, config: dict[str, Any]) -> None:
        config.update(values)

    return edit


def rope_base(theta: float) -> Edit:
    def edit(weights: Weights, config: dict[str, Any]) -> None:
        config["rope_theta"] = config["rope_parameters"]["rope_theta"] = theta

    return edit


def heads_swapped(weights: Weights, config: dict[str, Any]) -> None:
    key = "model.layers.1.self_attn.q_proj.weight"
    heads = weights[key].reshape(config["num_attention_heads"], -1, weights[key].shape[1])
    weights[key] = np.ascontiguousarray(heads[::-1]).reshape(weights[key].shape)


def random_head(weights: Weights, config: dict[str, Any]) -> None:
    head = weights["lm_head.weight"]
    weights["lm_head.weight"] = np.ascontiguousarray(head[::-1])


def embedding_scale_lost(weights: Weights, config: dict[str, Any]) -> None:
    weights["model.embed_tokens.weight"] /= np.float32(config["hidden_size"] ** 0.5)


def huge(weights: Weights, config: dict[str, Any]) -> None:
    weights["model.layers.2.mlp.down_proj.weight"] *= np.float32(3e38)


def one_expert_twice(weights: Weights, config: dict[str, Any]) -> None:
    for key in weights:
        if ".layers.1.mlp.experts.3." in key:
            weights[key] = weights[key.replace(".experts.3.", ".experts.4.")]


def transposed(weights: Weights, config: dict[str, Any]) -> None:
    key = "model.layers.3.self_attn.o_proj.weight"
    weights[key] = np.ascontiguousarray(weights[key].T)


A, F, E, L = Place.ATTENTION, Place.FEED_FORWARD, Place.EMBEDDING, Place.LOGITS
FAULTS: dict[str, tuple[str, Edit, Place, list[int], Cause]] = {
    "rope base": ("llama", rope_base(500.0), A, [0, 1, 2, 3], Cause.GROWS),
    "rope base of Qwen 3": ("qwen3", rope_base(1e6), A, [0, 1, 2, 3], Cause.GROWS),
    "values": ("llama", from_next(1, "self_attn.v_proj"), A, [1], Cause.EVERYWHERE),
    "queries": ("llama", from_next(1, "self_attn.q_proj"), A, [1], Cause.FIRST_TOKEN_RIGHT),
    "output of attention": ("qwen2", from_next(2, "self_attn.o_proj"), A, [2], Cause.EVERYWHERE),
    "feed-forward": ("llama", from_next(0, "mlp.down_proj"), F, [0], Cause.EVERYWHERE),
    "norm": ("qwen3", from_next(2, "input_layernorm"), A, [2], Cause.EVERYWHERE),
    "epsilon": ("llama", setting(rms_norm_eps=1e-3), A, [0], Cause.EVERYWHERE),
    "activation": ("gemma3", setting(hidden_activation="relu"), F, [*range(6)], Cause.EVERYWHERE),
    "heads swapped": ("llama", heads_swapped, A, [1], Cause.FIRST_TOKEN_RIGHT),
    "transposed": ("llama", transposed, A, [3], Cause.EVERYWHERE),
    "overflow": ("llama", huge, F, [2], Cause.NOT_NUMBERS),
    "one expert twice": ("qwen3moe", one_expert_twice, F, [1], Cause.SOME_TOKENS),
    "another head": ("llama", random_head, L, [], Cause.EVERYWHERE),
    "embedding scale": ("gemma3", embedding_scale_lost, E, [], Cause.FACTOR),
    "window": ("gemma3", setting(sliding_window=4096), A, [0, 1, 2, 3, 4], Cause.LATE),
    "soft-cap": ("gemma2", setting(attn_logit_softcapping=None), A, [0, 1, 2, 3],
                 Cause.FIRST_TOKEN_RIGHT),
    "soft-cap of logits": ("gemma2", setting(final_logit_softcapping=None), L, [],
                           Cause.EVERYWHERE),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_where_it_is(fault: str, models: Models, tmp_path: Path) -> None:
    """In one engine, so that nothing else differs; every place but the named one is right."""
    name, edit, place, layers, cause = FAULTS[fault]
    right = models(name, "hf")
    folder = edited(parse_spec(right).path or Path(), tmp_path / "faulty", edit)
    (found,) = compared(right, f"faulty=hf[path={folder}]")
    first = found.partings[0]
    assert (first.place, first.layers, first.cause) == (place, layers, cause)
    # The table of embeddings is Gemma's output layer too.
    others = {E: [L]}.get(place, [])
    assert [p.place for p in found.partings[1:]] == others


@pytest.mark.parametrize("engine", ["mlx", "gguf"])
@pytest.mark.parametrize("fault", ["rope base", "values", "feed-forward", "another head"])
def test_a_fault_is_named_across_engines(
    fault: str, engine: str, models: Models, tmp_path: Path
) -> None:
    name, edit, place, layers, cause = FAULTS[fault]
    right = models(name, "hf")
    folder = edited(parse_spec(right).path or Path(), tmp_path / "faulty", edit)
    faulty = f"faulty=mlx[path={folder}]"
    if engine == "gguf":
        faulty = f"faulty={write_gguf(name, folder, tmp_path / 'faulty.gguf')}"
    (found,) = compared(right, faulty)
    (parting,) = found.partings
    assert (parting.place, parting.layers, parting.cause) == (place, layers, cause)


def test_rows_of_queries_and_keys_left_in_their_order(models: Models, tmp_path: Path) -> None:
    folder = parse_spec(models("llama", "hf")).path or Path()
    file = write_gguf("llama", folder, tmp_path / "faulty.gguf", permuted=False)
    (found,) = compared(models("llama", "mlx"), str(file))
    (parting,) = found.partings
    assert (parting.place, parting.layers) == (A, [0, 1, 2, 3])
    assert parting.cause is Cause.FIRST_TOKEN_RIGHT


@pytest.mark.parametrize("kind", ["q8_0", "q4_k_m", "mlx"])
def test_a_wrong_rope_base_is_named_at_few_bits(
    kind: str, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a trained model, whose attention looks far: random ones look anywhere."""
    monkeypatch.syspath_prepend(str(original.parent))
    from make_variants import convert_mlx, quantize_gguf

    folder = edited(original, tmp_path / "faulty", rope_base(1000.0))
    faulty = tmp_path / f"faulty-{kind}"
    if kind == "mlx":
        convert_mlx(folder, faulty, {"bits": 4, "group_size": 64})
    else:
        write_gguf("llama", folder, tmp_path / "faulty.gguf")
        quantize_gguf(tmp_path / "faulty.gguf", faulty.with_suffix(".gguf"), kind.upper())
    path = faulty if kind == "mlx" else faulty.with_suffix(".gguf")
    (found,) = compared(str(original), str(path))
    (parting,) = found.partings
    assert (parting.place, parting.layers) == (A, [*range(6)])
    # At MLX's 4 bits the first tokens are off by rounding as well.
    assert parting.cause in {Cause.GROWS, *([Cause.FIRST_TOKEN_RIGHT] if kind == "mlx" else [])}


def test_norms_that_were_not_raised(models: Models, tmp_path: Path) -> None:
    folder = parse_spec(models("gemma3", "hf")).path or Path()
    file = write_gguf("gemma3", folder, tmp_path / "faulty.gguf", norms_raised=False)
    (found,) = compared(models("gemma3", "hf"), str(file))
    assert found.partings[0].place is A
    assert found.partings[0].layers == [*range(6)]
    assert [p.place for p in found.partings] == [A, F, L]


# -- what is shown, and what is refused ------------------------------------------------------------


@pytest.mark.parametrize("engine", ["hf", "mlx", "gguf"])
def test_a_model_goes_on_from_what_it_is_given(engine: str, models: Models) -> None:
    spec = parse_spec(models("llama", engine))
    runtime = open_runtime(spec.runtime, spec.options)
    runtime.load()
    tokens = [*range(5, 105)]
    rng = np.random.default_rng(0)

    def shown(changed: tuple[Place, int | None] | None) -> Iterator[HiddenStates]:
        found: list[HiddenStates] = []

        def observe(states: HiddenStates) -> Any:
            if (states.place, states.layer) == changed:
                array = rng.standard_normal(states.array.shape).astype(np.float32)
                found.append(HiddenStates(states.place, states.layer, array))
                return array
            found.append(HiddenStates(states.place, states.layer, states.array.copy()))
            return None

        runtime.hidden_states(tokens, observe)
        return iter(found)

    with closing(runtime):
        plain = list(shown(None))
        assert [s.place for s in plain[:4]] == [E, A, F, Place.OUTPUT]
        assert plain[-1].array.shape == (LOGIT_ROWS, 2048)
        assert all(s.array.dtype == np.float32 for s in plain)
        for place, layer in ((E, None), (A, 1), (F, 2), (Place.OUTPUT, 2)):
            before = True
            output: dict[int | None, Any] = {}
            for ours, theirs in zip(plain, shown((place, layer)), strict=True):
                same = np.allclose(ours.array[-10:], theirs.array[-10:], atol=1e-4)
                if (ours.place, ours.layer) == (place, layer):
                    before = False
                assert same == before, (place, layer, ours.place, ours.layer)
                output[ours.layer] = theirs
            assert not before
        # What a layer hands on is what it was given and what its parts add.
        states = {(s.place, s.layer): s.array for s in plain}
        total = states[Place.OUTPUT, 0] + states[A, 1] + states[F, 1]
        assert np.allclose(total, states[Place.OUTPUT, 1], atol=1e-4)


def test_other_shapes_are_refused(models: Models, original: Path) -> None:
    with pytest.raises(UsageError, match="hidden states are 64 wide and weights's 256"):
        compared(models("llama", "hf"), str(original))
    with pytest.raises(UsageError, match="gemma3 has more layers than qwen3"):
        compared(
            f"qwen3={models('qwen3', 'hf').partition('=')[2]}",
            f"gemma3={models('gemma3', 'hf').partition('=')[2]}",
        )


def test_a_text_that_is_too_short_is_refused(models: Models) -> None:
    with pytest.raises(UsageError, match=r"the text has \d+ tokens; .* 32 or more"):
        compared(models("llama", "hf"), models("llama", "mlx"), text="Too short.")
