"""Architecture facts: read from configurations and GGUF metadata, and compared."""

import math
from typing import Any

import numpy as np
import pytest

from pajamas_eval.api.architecture import ArchitectureFacts, Fact
from pajamas_eval.identity.facts import _MEANINGS, compare_facts
from pajamas_eval.tokens.architecture.config import facts_of_config
from pajamas_eval.tokens.architecture.families import family_of, llama3_factors, windowed
from pajamas_eval.tokens.architecture.gguf import facts_of_gguf


def fact(value: Any, source: str = "here") -> Any:
    return Fact(value, source)


def differences(base: ArchitectureFacts, variant: ArchitectureFacts) -> set[str]:
    return {difference.name for difference in compare_facts(base, variant).differences}


# -- comparing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1e-5, 9.999999747378752e-06, True),
        (1e-5, 1e-6, False),
        (500000.0, 500000.0, True),
        (1.0, 1.0000001192092896, False),
        (0.1, float(np.float32(0.1)), True),
    ],
)
def test_numbers_compare_as_float32(a: float, b: float, same: bool) -> None:
    found = differences(
        ArchitectureFacts(norm_epsilon=fact(a)), ArchitectureFacts(norm_epsilon=fact(b))
    )
    assert (found == set()) is same


def test_unknown_is_never_equal_and_never_a_difference() -> None:
    known = ArchitectureFacts(rope_base=fact(1e4), layers=fact(4))
    found = compare_facts(known, ArchitectureFacts(layers=fact(4)))
    assert found.differences == ()
    assert found.unknown == ("rope_base",)
    assert found.compared == 1
    assert compare_facts(ArchitectureFacts(), ArchitectureFacts()).unknown == ()


def test_a_difference_names_both_values_their_places_and_what_it_may_mean() -> None:
    base = ArchitectureFacts(rope_base=fact(1e5, "config.json: rope_parameters.rope_theta"))
    variant = ArchitectureFacts(rope_base=fact(1e4, "mlx-lm's default"))
    (found,) = compare_facts(base, variant).differences
    assert (found.base.value, found.variant.value) == (1e5, 1e4)
    assert (found.base.source, found.variant.source) == (
        "config.json: rope_parameters.rope_theta",
        "mlx-lm's default",
    )
    assert "rope_theta" in found.meaning
    assert found.affects_answers


def test_every_field_has_a_meaning() -> None:
    assert set(_MEANINGS) == set(ArchitectureFacts.__struct_fields__)


def test_padding_and_tied_heads_are_told_and_not_held_against_a_model() -> None:
    base = ArchitectureFacts(vocabulary_padding=fact(6), tied_head=fact(True))
    variant = ArchitectureFacts(vocabulary_padding=fact(0), tied_head=fact(False))
    found = compare_facts(base, variant).differences
    assert [f.affects_answers for f in found] == [False, False]


def test_factors_of_frequencies_may_be_rounded_otherwise() -> None:
    exact = llama3_factors(500000.0, 64, 8.0, 1.0, 4.0, 8192)
    rounded = tuple(float(np.float32(f) * np.float32(1 + 1e-6)) for f in exact)
    other = llama3_factors(500000.0, 64, 32.0, 1.0, 4.0, 8192)
    base = ArchitectureFacts(rope_factors=fact(exact))
    assert differences(base, ArchitectureFacts(rope_factors=fact(rounded))) == set()
    assert differences(base, ArchitectureFacts(rope_factors=fact(other))) == {"rope_factors"}
    assert differences(base, ArchitectureFacts(rope_factors=fact(exact[:-1]))) == {"rope_factors"}


# -- configurations ------------------------------------------------------------------------

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ({"rope_theta": 100000.0}, "config.json: rope_theta"),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}},
            "config.json: rope_parameters.rope_theta",
        ),
        (
            {"rope_parameters": {"rope_theta": 100000}, "rope_theta": 10000},
            "config.json: rope_parameters.rope_theta",
        ),
        (
            {"text_config": {**LLAMA, "rope_theta": 1e5}, "model_type": "x"},
            "config.json: text_config.rope_theta",
        ),
    ],
)
def test_the_rope_base_is_found_in_every_layout(settings: dict[str, Any], source: str) -> None:
    facts = facts_of_config({**LLAMA, **settings})
    assert facts.rope_base == Fact(100000.0, source)
    assert facts.family is not None
    assert facts.family.value == "llama"


def test_a_value_that_is_not_given_is_unknown() -> None:
    facts = facts_of_config({"model_type": "gemma3_text", "hidden_size": 640})
    assert facts.rope_base is None
    assert facts.sliding_window is None
    assert facts.head_size is None
    assert facts.embedding_scale == Fact(math.sqrt(640), "gemma3: √hidden size")
    assert facts_of_config({}).known() == {}


def test_what_a_llama_leaves_unsaid_is_known() -> None:
    facts = facts_of_config(LLAMA, tokens=49000)
    values = {name: known.value for name, known in facts.known().items()}
    assert values["head_size"] == 64
    assert values["attention_scale"] == 0.125
    assert (values["vocabulary"], values["vocabulary_padding"]) == (49000, 152)
    assert (values["sliding_window"], values["sliding_layers"]) == (0, ())
    assert (values["rope_scaling"], values["experts"], values["logit_soft_cap"]) == ("none", 0, 0)


def test_windows_are_found_in_every_layout() -> None:
    gemma = {"model_type": "gemma3_text", "num_hidden_layers": 7, "sliding_window": 512}
    listed = ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    for settings in ({"layer_types": listed}, {"sliding_window_pattern": 6}):
        facts = facts_of_config({**gemma, **settings})
        assert facts.sliding_window is not None
        assert facts.sliding_layers is not None
        assert facts.sliding_window.value == 512
        assert facts.sliding_layers.value == (0, 1, 2, 3, 4, 6)
    off = facts_of_config({**gemma, "model_type": "qwen2", "use_sliding_window": False})
    assert off.sliding_window == Fact(0, "config.json: use_sliding_window")


def test_both_bases_of_gemma3_are_found_in_both_layouts() -> None:
    new = {
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }
    }
    old = {
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    for settings in (new, old):
        known = facts_of_config({"model_type": "gemma3_text", **settings}).known()
        values = {name: known[name].value for name in known}
        assert (values["rope_base"], values["rope_base_local"]) == (1e6, 1e4)
        assert (values["rope_scaling"], values["rope_factor"]) == ("linear", 8.0)


def test_longrope_has_two_sets_of_factors() -> None:
    scaling = {"type": "su", "long_factor": [1, 2.5], "short_factor": [1, 1.5]}
    known = facts_of_config({"model_type": "phi3", "rope_scaling": scaling}).known()
    assert known["rope_scaling"].value == "longrope"
    assert known["rope_factors"].value == (1.0, 2.5)
    assert known["rope_short_factors"].value == (1.0, 1.5)


@pytest.mark.parametrize(
    ("model_type", "family"),
    [
        ("llama", "llama"),
        ("mistral", "llama"),
        ("mixtral", "llama"),
        ("gemma3_text", "gemma3"),
        ("qwen3_moe", "qwen3moe"),
        ("cohere", "command-r"),
        ("gpt_neox", "gptneox"),
        ("something_new", "somethingnew"),
    ],
)
def test_families_have_llama_cpps_names(model_type: str, family: str) -> None:
    assert family_of(model_type) == family


# -- GGUF metadata -------------------------------------------------------------------------


def metadata(architecture: str = "llama", **values: Any) -> dict[str, Any]:
    known = {
        "block_count": 12,
        "embedding_length": 256,
        "attention.head_count": 4,
        "attention.layer_norm_rms_epsilon": 9.999999974752427e-07,
    }
    keys = {f"{architecture}.{k}": v for k, v in (known | values).items()}
    return {"general.architecture": architecture, **keys}


def test_llama_cpps_defaults_are_facts_with_their_place() -> None:
    facts = facts_of_gguf(metadata())
    assert facts.rope_base == Fact(
        10000.0, "llama.cpp's default, as there is no llama.rope.freq_base"
    )
    assert facts.kv_heads == Fact(4, "llama.attention.head_count")
    assert facts.head_size == Fact(64, "llama.embedding_length by heads")
    assert facts.rope_scaling is not None
    assert facts.rope_scaling.value == "none"


def test_gemma2_has_defaults_of_its_own() -> None:
    facts = facts_of_gguf(metadata("gemma2"))
    values = {name: known.value for name, known in facts.known().items()}
    assert (values["attention_soft_cap"], values["logit_soft_cap"]) == (50.0, 30.0)
    assert (values["sliding_window"], values["sliding_layers"]) == (4096, (0, 2, 4, 6, 8, 10))
    assert values["embedding_scale"] == 16.0
    large = facts_of_gguf(metadata("gemma2", block_count=46, **{"attention.key_length": 128}))
    assert large.attention_scale == Fact(0.125, "llama.cpp: 1/√head size")


def test_gemma3_without_a_window_has_none() -> None:
    facts = facts_of_gguf(metadata("gemma3"))
    assert facts.sliding_window is not None
    assert facts.sliding_window.value == 0
    with_one = facts_of_gguf(metadata("gemma3", **{"attention.sliding_window": 512}))
    assert with_one.sliding_layers is not None
    assert with_one.sliding_layers.value == windowed(6, 12) == (0, 1, 2, 3, 4, 6, 7, 8, 9, 10)
    assert with_one.rope_base_local is not None
    assert with_one.rope_base_local.value == 10000.0


def test_a_window_of_mistral_is_none_in_llama_cpp() -> None:
    mistral = {**LLAMA, "model_type": "mistral", "sliding_window": 4096}
    gguf = facts_of_gguf(metadata(**{"attention.sliding_window": 4096}))
    assert {"sliding_window", "sliding_layers"} <= differences(facts_of_config(mistral), gguf)


def test_factors_in_a_tensor_are_a_scaling() -> None:
    factors = llama3_factors(500000.0, 64, 8.0, 1.0, 4.0, 8192)
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    base = facts_of_config({**LLAMA, "rope_parameters": rope})
    kept = facts_of_gguf(metadata(), rope_factors=np.float32(factors))
    lost = facts_of_gguf(metadata())
    assert not {"rope_scaling", "rope_factors"} & differences(base, kept)
    assert "rope_scaling" in differences(base, lost)
    assert len(set(factors)) > 2, "some are interpolated"


@pytest.mark.parametrize(
    ("tokenizer", "prefix"),
    [
        ({"model": "llama"}, (1,)),
        ({"model": "llama", "add_bos_token": False}, ()),
        ({"model": "gpt2", "pre": "smollm"}, ()),
        ({"model": "gpt2", "pre": "llama-bpe"}, (1,)),
        ({"model": "gpt2", "pre": "gpt-2", "add_bos_token": True}, (1,)),
        ({"model": "rwkv"}, None),
    ],
)
def test_whether_a_text_begins_with_bos(tokenizer: dict[str, Any], prefix: Any) -> None:
    keys = {f"tokenizer.ggml.{key}": value for key, value in tokenizer.items()}
    facts = facts_of_gguf({**metadata(), **keys, "tokenizer.ggml.bos_token_id": 1})
    assert (facts.prefix.value if facts.prefix else None) == prefix


def test_rows_without_tokens_are_padding() -> None:
    keys = {"tokenizer.ggml.tokens": list("abcde"), "tokenizer.ggml.token_type": [1, 5, 1, 5, 5]}
    facts = facts_of_gguf({**metadata(), **keys})
    assert facts.vocabulary is not None
    assert facts.vocabulary_padding is not None
    assert (facts.vocabulary.value, facts.vocabulary_padding.value) == (3, 2)
