"""What `--benchmarks auto` chooses from; `test_evaluate` has what it chooses."""

import pytest

from pajamas_eval.errors import UsageError
from pajamas_eval.evaluation.benchmark_choice import candidates


def test_alone_it_chooses_among_the_built_in_sets() -> None:
    assert [benchmark.name for benchmark in candidates(["auto"])] == [
        "pajamas_commonsense",
        "pajamas_knowledge",
        "pajamas_knowledge_cloze",
        "pajamas_arithmetic",  # generates, which takes the longest
    ]


def test_others_can_be_named() -> None:
    found = candidates(["auto:mmlu_anatomy", "mmlu_continuation", "hellaswag"])
    assert [each.name for each in found] == ["mmlu_anatomy", "mmlu_continuation", "hellaswag"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["auto", "mmlu"], "to choose among others: auto:mmlu"),
        (["auto:mmul"], "did you mean 'mmlu'"),
        (["mmlu", "auto"], "unknown benchmark 'auto'"),
    ],
)
def test_what_makes_no_sense_is_refused(names: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        candidates(names)


@pytest.mark.parametrize("name", ["mmlu", "mmlu_stem", "mmlu_anatomy", "pajamas_knowledge"])
def test_lettered_forms_name_their_cloze_form(name: str) -> None:
    (form,) = candidates([f"auto:{name}"])
    (cloze,) = candidates([f"auto:{form.cloze}"])
    assert cloze.cloze == ""
    assert cloze.name == name.replace("mmlu", "mmlu_continuation") or "cloze" in cloze.name
