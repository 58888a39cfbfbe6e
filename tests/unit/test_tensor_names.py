"""Names of tensors: one for each, whatever file it lies in."""

import pytest

from pajamas_eval.identity.weights import names


@pytest.mark.parametrize(
    ("family", "stored", "shared", "kind", "layer"),
    [
        ("llama", "model.embed_tokens.weight", "token_embd.weight", "embedding", None),
        ("llama", "lm_head.weight", "output.weight", "output head", None),
        (
            "llama",
            "language_model.model.layers.3.self_attn.q_proj.weight",
            "blk.3.attn_q.weight",
            "attention q",
            3,
        ),
        (
            "gemma3",
            "model.language_model.layers.3.mlp.up_proj.weight",
            "blk.3.ffn_up.weight",
            "feed-forward up",
            3,
        ),
        ("llama", "language_model.lm_head.weight", "output.weight", "output head", None),
        (
            "qwen3moe",
            "model.layers.1.mlp.switch_mlp.up_proj.weight",
            "blk.1.ffn_up_exps.weight",
            "experts up",
            1,
        ),
        (
            "llama",
            "model.layers.1.block_sparse_moe.switch_mlp.down_proj.weight",
            "blk.1.ffn_down_exps.weight",
            "experts down",
            1,
        ),
        (
            "qwen2moe",
            "model.layers.1.mlp.shared_expert.up_proj.weight",
            "blk.1.ffn_up_shexp.weight",
            "shared experts up",
            1,
        ),
        ("qwen2moe", "model.layers.1.mlp.gate.weight", "blk.1.ffn_gate_inp.weight", "router", 1),
        (
            "qwen2",
            "model.layers.1.self_attn.q_proj.bias",
            "blk.1.attn_q.bias",
            "biases",
            1,
        ),
        ("qwen3", "model.layers.0.self_attn.q_norm.weight", "blk.0.attn_q_norm.weight", "norms", 0),
        ("gpt2", "transformer.h.2.attn.c_attn.weight", "blk.2.attn_qkv.weight", "attention qkv", 2),
        ("gpt2", "model.h.2.mlp.c_fc.weight", "blk.2.ffn_up.weight", "feed-forward up", 2),
        (
            "gptneox",
            "model.h.2.attention.query_key_value.weight",
            "blk.2.attn_qkv.weight",
            "attention qkv",
            2,
        ),
        ("gptneox", "model.h.2.input_layernorm.weight", "blk.2.attn_norm.weight", "norms", 2),
        ("unheard-of", "model.layers.2.some.thing.weight", None, "other", 2),
    ],
)
def test_every_file_s_name_is_looked_up(
    family: str, stored: str, shared: str | None, kind: str, layer: int | None
) -> None:
    found = names.shared_names(family, [stored])(stored)
    assert found == (shared or stored)
    assert (names.kind_of(found), names.layer_of(found)) == (kind, layer)


def test_all_kinds_have_a_place_in_tables() -> None:
    assert len(set(names.KIND_ORDER)) == len(names.KIND_ORDER)
    assert {"norms", "biases", "other", "state space"} <= set(names.KIND_ORDER)


@pytest.mark.parametrize(
    ("name", "unused", "other"),
    [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", True, False),
        ("transformer.h.0.attn.bias", True, False),
        ("transformer.h.0.attn.c_attn.bias", False, False),
        ("mtp.layers.0.mlp.up_proj.weight", True, False),
        ("vision_tower.blocks.0.attn.weight", False, True),
        ("model.visual.blocks.0.attn.weight", False, True),
        ("multi_modal_projector.linear_1.weight", False, True),
        ("model.layers.0.mlp.up_proj.weight", False, False),
    ],
)
def test_what_is_no_part_of_the_language_model(name: str, unused: bool, other: bool) -> None:
    assert (names.is_unused(name), names.is_other_part(name)) == (unused, other)


def test_experts_have_a_number() -> None:
    assert names.expert_of("model.layers.1.mlp.experts.12.up_proj.weight") == (
        "model.layers.1.mlp.experts.up_proj.weight",
        12,
    )
    assert names.expert_of("model.layers.1.mlp.experts.up_proj.weight") is None
