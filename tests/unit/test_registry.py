"""Runtimes and benchmarks are found by name, built-ins and plugins alike."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint

import pytest

from pajamas_eval import plugins
from pajamas_eval.api.benchmark import Benchmark
from pajamas_eval.api.runtime import Runtime
from pajamas_eval.errors import UsageError
from pajamas_eval.models import registry
from pajamas_eval.questions import registry as benchmarks


def test_the_built_in_runtimes_are_found() -> None:
    assert {"gguf", "hf", "mlx"} <= set(registry.runtime_names())


@pytest.mark.parametrize("name", ["gguf", "hf", "mlx"])
def test_a_runtime_is_loaded_by_name(name: str) -> None:
    runtime = registry.runtime_class(name)
    assert issubclass(runtime, Runtime)
    assert runtime.name == name


@pytest.mark.parametrize("alias", ["huggingface", "transformers"])
def test_a_runtime_is_loaded_by_alias(alias: str) -> None:
    assert registry.runtime_class(alias) is registry.runtime_class("hf")


@pytest.mark.parametrize(
    ("name", "meant"), [("ggfu", "gguf"), ("mxl", "mlx"), ("hugging_face", "huggingface")]
)
def test_an_unknown_runtime_gets_a_suggestion(name: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.runtime_class(name)
    assert str(caught.value).startswith(f"unknown runtime {name!r}; did you mean {meant!r}?")
    assert "gguf, hf, mlx" in str(caught.value)


def test_an_unknown_runtime_unlike_any_other_gets_the_list_only() -> None:
    with pytest.raises(UsageError, match=r"unknown runtime 'onnxruntime' \(known: gguf, hf, mlx"):
        registry.runtime_class("onnxruntime")


@pytest.mark.parametrize(
    "name",
    [
        "mmlu",
        "mmlu_stem",
        "mmlu_high_school_us_history",
        "hellaswag",
        "gsm8k",
        "pajamas_knowledge",
        "pajamas_commonsense",
        "pajamas_arithmetic",
    ],
)
def test_a_benchmark_knows_the_name_it_was_asked_for_by(name: str) -> None:
    benchmark = benchmarks.benchmark(name)
    assert isinstance(benchmark, Benchmark)
    assert benchmark.name == name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mmul", "mmlu"),
        ("hellswag", "hellaswag"),
        ("gsm8", "gsm8k"),
        ("mmlu_anatomie", "mmlu_anatomy"),
        ("pajama_arithmetic", "pajamas_arithmetic"),
    ],
)
def test_an_unknown_benchmark_gets_a_suggestion(name: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        benchmarks.benchmark(name)
    assert str(caught.value) == (
        f"unknown benchmark {name!r}; did you mean {meant!r}? "
        "(`pajamas-eval list benchmarks` shows them all)"
    )


def test_every_name_of_every_family_is_its_own() -> None:
    names = [n for family in benchmarks.benchmark_families().values() for n in family.names()]
    assert len(names) == len(set(names))


def test_every_family_leads_with_the_name_of_its_entry_point() -> None:
    for name, family in benchmarks.benchmark_families().items():
        assert family.names()[0] == name
        assert family.summary
        assert family.metrics


def test_a_plugin_is_found_as_the_built_ins_are(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = EntryPoint("mine", "collections:OrderedDict", "pajamas_eval.runtimes")

    def points(group: str) -> Iterable[EntryPoint]:
        return [plugin] if group == plugin.group else []

    monkeypatch.setattr(plugins, "entry_points", points)
    assert registry.runtime_names() == ["mine"]
    assert registry.runtime_class("mine").__name__ == "OrderedDict"
