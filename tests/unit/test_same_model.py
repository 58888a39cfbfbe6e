"""The certificate: faults planted in conversions are named, honest variants raise no alarm."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tiny
from tiny_models import Array, Model

from pajamas_eval.identity.certificate import Comparison, Outcome
from pajamas_eval.identity.compare import compare_models
from pajamas_eval.identity.diagnosis import FaultKind
from pajamas_eval.identity.model_file import open_model

Write = Callable[[Model, Path], Path]


def gguf(kind: str) -> Write:
    return lambda model, out: tiny.write_gguf(model, out / "model.gguf", kind)


def mlx(bits: int, group: int, mode: str = "affine") -> Write:
    return lambda model, out: tiny.write_mlx(model, out / "mlx", bits, group, mode)


def hf(model: Model, out: Path) -> Path:
    return tiny.write_folder(model, out / "variant")


GGUF: dict[str, Write] = {f"gguf {kind}": gguf(kind) for kind in ("F16", "Q8_0", "Q4_0")}
MLX: dict[str, Write] = {f"mlx {bits}-bit": mlx(bits, 32) for bits in (8, 4)}
FOLDERS = {"hf": hf} | MLX
ALL = GGUF | FOLDERS


def certify(base: Model, variant: Model, write: Write, folder: Path) -> Comparison:
    """The certificate of a model that was converted as `variant` has it."""
    source = tiny.write_folder(base, folder / "base")
    converted = write(variant, folder)
    return compare_models(open_model("base", source), open_model("variant", converted))


# -- honest variants -----------------------------------------------------------------------

MODELS: list[Callable[[], Model]] = [
    tiny.llama,
    tiny.tied,
    tiny.granite,
    tiny.gemma2,
    tiny.mixtral,
]
FORMATS: dict[str, Write] = (
    {
        f"gguf {kind}": gguf(kind)
        for kind in ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
    }
    | {
        f"mlx {bits}-bit, groups of {group}": mlx(bits, group)
        for bits in (2, 3, 4, 5, 6, 8)
        for group in (32, 64)
    }
    | {"mlx mxfp4": mlx(4, 32, "mxfp4"), "mlx mxfp8": mlx(8, 32, "mxfp8")}
    | {"mlx nvfp4": mlx(4, 16, "nvfp4"), "hf": hf}
)


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_no_alarm_on_an_honest_variant(
    make: Callable[[], Model], write: Write, tmp_path: Path
) -> None:
    found = certify(make(), make(), write, tmp_path)
    assert [finding for finding in found.tensors if finding.fault] == []
    assert found.facts == ()
    assert found.unknown_facts == ()
    assert found.vocabulary is not None
    assert (found.vocabulary.compared, found.vocabulary.different) == (tiny.TOKENS, 0)
    assert found.outcome is Outcome.SAME
    assert found.notes == ()


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_a_head_written_out_though_it_equals_the_embedding_is_no_difference(
    write: Write, tmp_path: Path
) -> None:
    base = tiny.tied()
    variant = tiny.llama()
    variant.weights = base.weights | {"lm_head.weight": base.weights["model.embed_tokens.weight"]}
    found = certify(base, variant, write, tmp_path)
    assert (found.outcome, found.facts) == (Outcome.SAME, ())
    assert "output.weight" in {finding.name for finding in found.tensors}


def test_padding_that_is_cut_off_is_no_difference(tmp_path: Path) -> None:
    """As llama.cpp's converter does for Gemma 3."""
    variant = tiny.llama()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        variant.weights[name] = variant.weights[name][: tiny.TOKENS]
    tokens = tiny._gguf_tokens(variant.tokenizer)
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type"):
        variant.metadata[key] = tokens[key][: tiny.TOKENS]
    found = certify(tiny.llama(), variant, gguf("F16"), tmp_path)
    assert found.outcome is Outcome.SAME
    notes = {finding.name: finding.note for finding in found.tensors if finding.note}
    assert set(notes.values()) == {"6 rows of padding cut off"}
    assert notes.keys() == {"token_embd.weight", "output.weight"}


def test_a_variant_of_a_quantized_base_is_the_same_model(tmp_path: Path) -> None:
    """Both are apart from the original, and by more from each other."""
    base = tiny.write_gguf(tiny.llama(), tmp_path / "base.gguf", "Q4_0")
    for name, write in ALL.items():
        folder = tmp_path / name
        folder.mkdir()
        found = compare_models(
            open_model("base", base), open_model("variant", write(tiny.llama(), folder))
        )
        assert (found.outcome, name) == (Outcome.SAME, name)


def test_a_fault_smaller_than_the_bits_is_not_seen(tmp_path: Path) -> None:
    """As docs/same-model.md says."""
    variant = tiny.llama()
    variant.tensors["model.embed_tokens.weight"] = lambda matrix: matrix * np.float32(1.2)
    assert certify(tiny.llama(), variant, mlx(2, 32), tmp_path).outcome is Outcome.SAME


# -- planted faults ------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """A fault of a conversion, in every direction that can have it.

    Attributes:
        fact: The field of the architecture that names it.
        fault: What the weights say of it; `tensors` says of which, by the end of their names.
        token: What the vocabulary says of it.
    """

    make: Callable[[], Model]
    plant: Callable[[Model, str], None]
    directions: dict[str, Write]
    fact: str | None = None
    fault: FaultKind | None = None
    tensors: tuple[str, ...] = ()
    token: str | None = None
    detail: str = ""


def named(direction: str, transformers: str, gguf_name: str) -> str:
    """A tensor as the converted file calls it."""
    return gguf_name if direction.startswith("gguf") else transformers


def change(
    gguf_name: str, transformers: str, to: Callable[[Array], Array | None]
) -> Callable[[Model, str], None]:
    """A fault in one tensor of the converted file."""

    def plant(model: Model, direction: str) -> None:
        model.tensors[named(direction, transformers, gguf_name)] = to

    return plant


def metadata(key: str, value: Any, *path: str) -> Callable[[Model, str], None]:
    """A wrong value, in GGUF metadata and in the configuration."""

    def plant(model: Model, direction: str) -> None:
        if direction.startswith("gguf"):
            model.metadata[key] = value
            return
        place = model.config
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return plant


def not_permuted(model: Model, direction: str) -> None:
    if direction.startswith("gguf"):
        model.permutes = False
        return
    for number in range(tiny.LAYERS):
        for part, heads in (("q_proj", tiny.HEADS), ("k_proj", tiny.KV_HEADS)):
            name = f"model.layers.{number}.self_attn.{part}.weight"
            model.tensors[name] = lambda matrix, heads=heads: tiny.permute(matrix, heads)


def heads_swapped(matrix: Array) -> Array:
    heads = matrix.reshape(tiny.HEADS, tiny.HEAD, -1)
    return heads[[0, 2, 1, 3]].reshape(matrix.shape)


def random_like(matrix: Array) -> Array:
    return np.random.default_rng(99).normal(0, matrix.std(), matrix.shape).astype(np.float32)


def head_random(model: Model, direction: str) -> None:
    head = random_like(model.weights["model.embed_tokens.weight"])
    model.weights["lm_head.weight"] = head
    model.config["tie_word_embeddings"] = False


def head_left_out(model: Model, direction: str) -> None:
    del model.weights["lm_head.weight"]


def tied_ignored(model: Model, direction: str) -> None:
    model.config["tie_word_embeddings"] = False


def next_layers(model: Model, direction: str) -> None:
    model.weights[model.layer(1, "mlp.up_proj")] = model.weights[model.layer(2, "mlp.up_proj")]


def swapped(model: Model, direction: str) -> None:
    one, other = model.layer(1, "self_attn.v_proj"), model.layer(3, "self_attn.v_proj")
    model.weights[one], model.weights[other] = model.weights[other], model.weights[one]


def no_plus_one(model: Model, direction: str) -> None:
    model.adds_one = False
    if not direction.startswith("gguf"):  # there it must not be added
        for name in model.weights:
            if name.endswith("norm.weight"):
                model.tensors[name] = lambda vector: vector + np.float32(1)


def padding_is_tokens(model: Model, direction: str) -> None:
    model.metadata["tokenizer.ggml.token_type"] = [
        1 if kind == 5 else kind
        for kind in tiny._gguf_tokens(model.tokenizer)["tokenizer.ggml.token_type"]
    ]
    for number in range(tiny.TOKENS, tiny.ROWS):
        model.tokenizer["model"]["vocab"][f"[PAD{number}]"] = number


def added_lost(model: Model, direction: str) -> None:
    tokens = model.tokenizer["added_tokens"]
    model.tokenizer["added_tokens"] = [t for t in tokens if t["id"] != tiny.ADDED]


def added_is_text(model: Model, direction: str) -> None:
    added_lost(model, direction)
    model.tokenizer["model"]["vocab"]["<|tool|>"] = tiny.ADDED


def bos_twice(model: Model, direction: str) -> None:
    model.metadata["tokenizer.ggml.add_bos_token"] = True
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    model.tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [bos, bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [tiny.BOS], "tokens": ["<s>"]}},
    }


def expert_twice(model: Model, direction: str) -> None:
    name = "block_sparse_moe.experts.{}.w2"
    model.weights[model.layer(2, name.format(3))] = model.weights[model.layer(2, name.format(1))]


def overflown(matrix: Array) -> Array:
    with np.errstate(over="ignore"):
        big = np.where(np.abs(matrix) > 3 * matrix.std(), matrix * 1e6, matrix)
        return big.astype(np.float16).astype(np.float32)


def no_window(model: Model, direction: str) -> None:
    model.metadata["gemma2.attention.sliding_window"] = 4096  # llama.cpp's own for Gemma 2
    if not direction.startswith("gguf"):
        model.config["sliding_window"] = None
        model.config["use_sliding_window"] = False


def other_scaling(factor: float) -> Callable[[], Model]:
    def scaled() -> Model:
        rope = {"rope_type": "linear", "rope_theta": 500000.0, "factor": factor}
        return tiny.llama(rope_parameters=rope)

    return scaled


def scaling_dropped(model: Model, direction: str) -> None:
    model.config["rope_parameters"] = {"rope_type": "default", "rope_theta": 500000.0}


def without(*names: str) -> dict[str, Write]:
    return {name: write for name, write in ALL.items() if not name.startswith(names)}


q_proj, v_proj = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.v_proj.weight"
down, embedding = "model.layers.1.mlp.down_proj.weight", "model.embed_tokens.weight"

# The twenty of the certificate's requirements come first, in their order.
PLANTED: dict[str, Planted] = {
    "wrong rope base": Planted(
        tiny.llama,
        metadata("llama.rope.freq_base", 10000.0, "rope_parameters", "rope_theta"),
        ALL,
        fact="rope_base",
    ),
    "rope scaling dropped": Planted(other_scaling(4.0), scaling_dropped, ALL, fact="rope_scaling"),
    "wrong factor": Planted(
        other_scaling(4.0),
        metadata("llama.rope.scaling.factor", 8.0, "rope_parameters", "factor"),
        ALL,
        fact="rope_factor",
    ),
    "epsilon 1e-5 for 1e-6": Planted(
        tiny.llama,
        metadata("llama.attention.layer_norm_rms_epsilon", 1e-5, "rms_norm_eps"),
        ALL,
        fact="norm_epsilon",
    ),
    "q and k not permuted": Planted(
        tiny.llama,
        not_permuted,
        ALL,
        fault=FaultKind.ROTATED,
        tensors=("attn_q.weight", "attn_k.weight"),
    ),
    "heads swapped": Planted(
        tiny.llama,
        change("blk.0.attn_q.weight", q_proj, heads_swapped),
        ALL,
        fault=FaultKind.HEADS,
        tensors=("blk.0.attn_q.weight",),
        detail="head 1 holds head 2's, head 2 holds head 1's",
    ),
    "untied head left random": Planted(
        tiny.llama,
        change("output.weight", "lm_head.weight", random_like),
        ALL,
        fault=FaultKind.UNRELATED,
        tensors=("output.weight",),
    ),
    "tied head ignored": Planted(
        tiny.tied,
        tied_ignored,
        FOLDERS,
        fact="tied_head",
        fault=FaultKind.MISSING,
        tensors=("output.weight",),
        detail="its config.json says that the head is not tied, and there is no lm_head.weight",
    ),
    "one layer's tensor taken from the next": Planted(
        tiny.llama,
        next_layers,
        ALL,
        fault=FaultKind.ANOTHER,
        tensors=("blk.1.ffn_up.weight",),
        detail="holds blk.2.ffn_up.weight, the next layer's",
    ),
    "norm weight + 1 forgotten": Planted(
        tiny.gemma2, no_plus_one, ALL, fault=FaultKind.SHIFTED, tensors=("norm.weight",)
    ),
    "embedding scale forgotten": Planted(
        tiny.granite,
        metadata("granite.embedding_scale", None, "embedding_multiplier"),
        GGUF,
        fact="embedding_scale",
    ),
    "embedding scale wrong": Planted(
        tiny.granite,
        metadata("granite.embedding_scale", 1.0, "embedding_multiplier"),
        ALL,
        fact="embedding_scale",
    ),
    "soft cap dropped": Planted(
        tiny.gemma2,
        metadata("gemma2.final_logit_softcapping", None, "final_logit_softcapping"),
        ALL,
        fact="logit_soft_cap",
    ),
    "sliding window dropped": Planted(tiny.gemma2, no_window, ALL, fact="sliding_window"),
    "padding read as tokens": Planted(
        tiny.llama,
        padding_is_tokens,
        ALL,
        fact="vocabulary",
        token="is a row of padding, read as a token",
    ),
    "an added token lost": Planted(
        tiny.llama, added_lost, ALL, fact="vocabulary", token="is lost in the variant"
    ),
    "an added token read as text": Planted(
        tiny.llama,
        added_is_text,
        ALL,
        token="is no longer found as a whole in the variant: a text that has it is cut into pieces",
    ),
    "BOS twice": Planted(tiny.llama, bos_twice, ALL, fact="prefix"),
    "transposed matrix": Planted(
        tiny.llama,
        change(
            "blk.1.attn_output.weight",
            "model.layers.1.self_attn.o_proj.weight",
            lambda matrix: matrix.T,
        ),
        ALL,
        fault=FaultKind.TRANSPOSED,
        tensors=("blk.1.attn_output.weight",),
    ),
    "transposed matrix that is not square": Planted(
        tiny.llama,
        change("blk.1.ffn_down.weight", down, lambda matrix: matrix.T),
        ALL,
        fault=FaultKind.TRANSPOSED,
        tensors=("blk.1.ffn_down.weight",),
    ),
    "one expert duplicated": Planted(
        tiny.mixtral,
        expert_twice,
        ALL,
        fault=FaultKind.ANOTHER,
        tensors=("blk.2.ffn_down_exps.weight",),
        detail="expert 3 holds expert 1's",
    ),
    "float16 overflow to infinity": Planted(
        tiny.llama,
        change("blk.1.ffn_down.weight", down, overflown),
        {name: ALL[name] for name in ("gguf F16", "hf")},
        fault=FaultKind.NOT_NUMBERS,
        tensors=("blk.1.ffn_down.weight",),
    ),
    "wrong group size": Planted(
        tiny.llama,
        lambda model, direction: model.packing.update(group_size=64),
        MLX,
        fault=FaultKind.PACKING,
        tensors=("attn_q.weight", "ffn_down.weight", "token_embd.weight"),
        detail="config.json says groups of 64, its scales are for groups of 32",
    ),
    # Others of their kinds.
    "head lost, the embedding takes its place": Planted(
        tiny.llama,
        head_left_out,
        GGUF,
        fact="tied_head",
        fault=FaultKind.ANOTHER,
        tensors=("output.weight",),
        detail="holds token_embd.weight; the base has a head of its own, here it is the embedding",
    ),
    "a random head for a tied one": Planted(
        tiny.tied,
        head_random,
        ALL,
        fault=FaultKind.UNRELATED,
        tensors=("output.weight",),
        detail="the base's head is its embedding, here it is a matrix of its own",
    ),
    "swapped between layers": Planted(
        tiny.llama,
        swapped,
        ALL,
        fault=FaultKind.SWAPPED,
        tensors=("blk.1.attn_v.weight", "blk.3.attn_v.weight"),
    ),
    "gate and up swapped": Planted(
        tiny.llama,
        lambda model, direction: model.weights.update(
            {
                model.layer(0, "mlp.gate_proj"): model.weights[model.layer(0, "mlp.up_proj")],
                model.layer(0, "mlp.up_proj"): model.weights[model.layer(0, "mlp.gate_proj")],
            }
        ),
        ALL,
        fault=FaultKind.SWAPPED,
        tensors=("blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"),
    ),
    "scaled": Planted(
        tiny.llama,
        change("token_embd.weight", embedding, lambda matrix: matrix * np.float32(11.3)),
        ALL,
        fault=FaultKind.SCALED,
        tensors=("token_embd.weight",),
        detail="times the base",
    ),
    "scaled by 2 %": Planted(
        tiny.llama,
        change("token_embd.weight", embedding, lambda matrix: matrix * np.float32(1.02)),
        {name: ALL[name] for name in ("gguf F16", "gguf Q8_0", "mlx 8-bit", "hf")},
        fault=FaultKind.SCALED,
        tensors=("token_embd.weight",),
        detail="1.02 times the base",
    ),
    "the sign lost": Planted(
        tiny.llama,
        change("blk.0.attn_v.weight", v_proj, lambda matrix: -matrix),
        ALL,
        fault=FaultKind.SCALED,
        tensors=("blk.0.attn_v.weight",),
    ),
    "rows moved by one": Planted(
        tiny.llama,
        change("token_embd.weight", embedding, lambda matrix: np.roll(matrix, 1, 0)),
        ALL,
        fault=FaultKind.ROWS,
        tensors=("token_embd.weight",),
    ),
    "one token's row lost": Planted(
        tiny.llama,
        change(
            "token_embd.weight",
            embedding,
            lambda m: np.concatenate([m[: tiny.ADDED], m[:1], m[tiny.ADDED + 1 :]]),
        ),
        ALL,
        fault=FaultKind.PART,
        tensors=("token_embd.weight",),
        detail="1 of 256 rows: 249",
    ),
    "nothing but zeros": Planted(
        tiny.llama,
        change("blk.0.attn_v.weight", v_proj, np.zeros_like),
        ALL,
        fault=FaultKind.ZEROS,
        tensors=("blk.0.attn_v.weight",),
    ),
    "worse than its bits": Planted(
        tiny.llama,
        change("blk.0.attn_v.weight", v_proj, lambda m: np.round(m * 60) / np.float32(60)),
        {name: ALL[name] for name in ("gguf F16", "gguf Q8_0", "mlx 8-bit", "hf")},
        fault=FaultKind.WORSE,
        tensors=("blk.0.attn_v.weight",),
    ),
    "a tensor missing": Planted(
        tiny.llama,
        change("blk.2.attn_norm.weight", "model.layers.2.input_layernorm.weight", lambda _: None),
        ALL,
        fault=FaultKind.MISSING,
        tensors=("blk.2.attn_norm.weight",),
    ),
    "a tensor too many": Planted(
        tiny.llama,
        lambda model, direction: model.weights.update(
            {"model.layers.0.self_attn.o_proj.bias": tiny._norm(5, 0.0)}
        ),
        {"hf": hf},
        fault=FaultKind.EXTRA,
        tensors=("blk.0.attn_output.bias",),
    ),
    "fewer rows than tokens": Planted(
        tiny.llama,
        change("token_embd.weight", embedding, lambda matrix: matrix[:200]),
        ALL,
        fault=FaultKind.SHAPE,
        tensors=("token_embd.weight",),
        detail="200 rows for the base's 250 tokens",
    ),
}
CASES = [
    pytest.param(planted, direction, id=f"{name}: {direction}")
    for name, planted in PLANTED.items()
    for direction in planted.directions
]


@pytest.mark.parametrize(("planted", "direction"), CASES)
def test_a_planted_fault_is_named(planted: Planted, direction: str, tmp_path: Path) -> None:
    base = planted.make()
    variant = copy.deepcopy(base)
    planted.plant(variant, direction)
    found = certify(base, variant, planted.directions[direction], tmp_path)
    assert found.outcome is Outcome.DIFFERS

    facts = {difference.name for difference in found.facts if difference.affects_answers}
    if planted.fact:
        assert planted.fact in {difference.name for difference in found.facts}
    else:
        assert facts <= {"vocabulary"}

    faults = {f.name: f.fault for f in found.tensors if f.fault}
    if planted.fault is None:
        assert faults == {}
    else:
        assert {fault.kind for fault in faults.values()} == {planted.fault}
        assert all(
            name.endswith(planted.tensors) or planted.fault is FaultKind.PACKING for name in faults
        )
        assert all(any(name.endswith(end) for name in faults) for end in planted.tensors)
        assert all(planted.detail in fault.detail for fault in faults.values())

    assert found.vocabulary is not None
    if planted.token is None:
        assert found.vocabulary.different == 0
    else:
        assert planted.token in {token.what for token in found.vocabulary.first}


def row(name: str, planted: Planted) -> str:
    """A fault's line in the table of docs/same-model.md."""
    said = [f"architecture: {planted.fact.replace('_', ' ')}"] if planted.fact else []
    said += [f"vocabulary: {planted.token}"] if planted.token else []
    said += [f"weights: {planted.fault}"] if planted.fault else []
    return f"| {name} | {'; '.join(said)} |"


def test_the_page_has_every_planted_fault_and_what_names_it() -> None:
    page = (Path(__file__).parents[2] / "docs" / "same-model.md").read_text("utf-8")
    shown = page.partition("<!-- planted -->\n")[2].partition("<!-- /planted -->")[0]
    rows = [row(name, planted) for name, planted in PLANTED.items()]
    assert shown.splitlines() == ["| fault | named by |", "|---|---|", *rows]
