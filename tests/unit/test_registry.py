"""Runtimes and benchmarks are found by name, built-ins and plugins alike."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

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
    names = [n for plugin in benchmarks.families().values() for n in benchmarks.load(plugin)[1]]
    assert len(names) == len(set(names)) > 60


def test_every_family_leads_with_the_name_of_its_entry_point() -> None:
    plugins = benchmarks.families()
    assert len(plugins) == 8
    for name, plugin in plugins.items():
        family, names = benchmarks.load(plugin)
        assert names[0] == name
        assert family.summary


# -- plugins ---------------------------------------------------------------------------------------

RUNTIME = """
from pajamas_eval.api.runtime import Runtime
class Mine(Runtime):
    package = {package!r}
"""
BENCHMARK = """
from pajamas_eval.api.benchmark import Benchmark
from pajamas_eval.api.metrics import Metric
class Mine(Benchmark):
    family, summary, metrics, package = "mine", "mine", (Metric("acc"),), {package!r}
    @classmethod
    def names(cls): return {names!r}
    def requests(self, doc, prompt, delimiter): ...
    def score(self, doc, results): ...
    def gold(self, doc): ...
"""


@dataclass
class Packages:
    """Makes packages that are found as if they were installed."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def install(self, package: str, group: str, names: Sequence[str], module: str) -> None:
        """A package whose one module offers the class `Mine` by these names."""
        folder = self.folder / package
        info = folder / f"{package}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        points = "".join(f"{name} = {package}_module:Mine\n" for name in names)
        (info / "entry_points.txt").write_text(f"[pajamas_eval.{group}]\n{points}")
        (folder / f"{package}_module.py").write_text(module)
        self.monkeypatch.delitem(sys.modules, f"{package}_module", raising=False)
        self.monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    return Packages(tmp_path, monkeypatch)


def runtime(packages: Packages, package: str, *names: str) -> None:
    packages.install(package, "runtimes", names, RUNTIME.format(package=package))


def family(packages: Packages, package: str, name: str, *members: str) -> None:
    module = BENCHMARK.format(package=package, names=[name, *members])
    packages.install(package, "benchmarks", [name], module)


def test_a_plugin_is_found_as_the_built_ins_are(packages: Packages) -> None:
    runtime(packages, "one", "mine")
    family(packages, "two", "mine", "mine_too")
    assert registry.runtime_class("mine").package == "one"  # type: ignore[attr-defined]
    for name in ("mine", "mine_too"):
        assert benchmarks.benchmark(name).package == "two"  # type: ignore[attr-defined]


def test_two_packages_that_offer_one_name_are_refused_when_it_is_used(packages: Packages) -> None:
    for package in ("one", "two"):
        runtime(packages, package, "mine")
        family(packages, f"{package}_b", "ours")
    said = "'mine' is offered by 2 packages, one and two; uninstall all but one of them"
    with pytest.raises(UsageError, match=said):
        registry.runtime_class("mine")
    with pytest.raises(UsageError, match="'ours' is offered by 2 packages, one_b and two_b"):
        benchmarks.benchmark("ours")
    registry.runtime_class("gguf")
    benchmarks.benchmark("mmlu")


def test_a_member_of_two_plugins_families_is_refused(packages: Packages) -> None:
    family(packages, "one", "ours", "member")
    family(packages, "two", "theirs", "member")
    said = "'member' is offered twice, by 'ours' of the package one and 'theirs' of the package two"
    with pytest.raises(UsageError, match=said):
        benchmarks.benchmark("member")
    benchmarks.benchmark("ours")


def test_nobody_takes_over_a_built_in_name(packages: Packages) -> None:
    runtime(packages, "one", "gguf", "transformers")
    family(packages, "two", "mmlu")
    family(packages, "three", "early", "mmlu", "mmlu_anatomy")
    assert registry.runtime_class("gguf").__module__ == "pajamas_eval.runtimes.gguf"
    assert registry.runtime_class("transformers") is registry.runtime_class("hf")
    assert registry.runtimes()["gguf"].ignored == ["'gguf' of the package one"]
    assert registry.runtimes()["hf"].ignored == ["'transformers' of the package one"]
    for name in ("mmlu", "mmlu_anatomy"):
        assert type(benchmarks.benchmark(name)).__module__ == "pajamas_eval.benchmarks.mmlu"
    assert benchmarks.families()["mmlu"].ignored == ["'mmlu' of the package two"]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (
            "import nowhere",
            "ModuleNotFoundError: No module named 'nowhere' ({}_module.py, line 1)",
        ),
        ("raise SystemExit(3)", "SystemExit: 3 ({}_module.py, line 1)"),
        ("x = ", "SyntaxError: "),
        ("", "AttributeError: module '{}_module' has no attribute 'Mine'"),
        ("Mine = 3", "{}_module:Mine is no "),
        ("class Mine: pass", "{}_module:Mine is no "),
    ],
)
def test_a_broken_plugin_is_met_only_where_it_is_named(
    packages: Packages, module: str, said: str
) -> None:
    for group, use in (
        ("runtimes", registry.runtime_class),
        ("benchmarks", benchmarks.benchmark),
    ):
        packages.install(group, group, ["aaa"], module)
        with pytest.raises(UsageError) as caught:
            use("aaa")
        expected = f"'aaa' of the package {group} is broken: {said.format(group)}"
        assert str(caught.value).startswith(expected)
    registry.runtime_class("gguf")
    benchmarks.benchmark("mmlu")
    with pytest.raises(
        UsageError, match=r"unknown benchmark 'bbb'.*'aaa' as far as known: 'aaa' of"
    ):
        benchmarks.benchmark("bbb")
