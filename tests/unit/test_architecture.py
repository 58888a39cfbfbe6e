"""The house: which way imports run, also from folders that import-linter does not see, and sizes.

The floors of the core are import-linter's, in pyproject.toml; `runtimes/` and `benchmarks/` stand
at the root of the repository and are mapped into the package when it is installed.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CORE = sorted((ROOT / "pajamas_eval").rglob("*.py"))
RUNTIMES = sorted((ROOT / "runtimes").glob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def imports(file: Path) -> Iterator[str]:
    """The modules of this package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(file)}: a relative import"
            modules = [str(node.module)]
            if node.module == "pajamas_eval":
                modules = [f"pajamas_eval.{alias.name}" for alias in node.names]
        yield from (module for module in modules if module.split(".")[0] == "pajamas_eval")


def floor(module: str) -> str:
    return module.split(".")[1]


def test_there_is_something_to_look_at() -> None:
    assert len(CORE) > 100
    assert len(RUNTIMES) > 3
    assert len(BENCHMARKS) > 3


@pytest.mark.parametrize("file", CORE, ids=name)
def test_the_core_knows_no_engine_and_no_benchmark(file: Path) -> None:
    assert {floor(module) for module in imports(file)} & {"runtimes", "benchmarks"} == set()


@pytest.mark.parametrize("file", RUNTIMES, ids=name)
def test_an_adapter_knows_the_contract_one_base_and_no_other_adapter(file: Path) -> None:
    used = set(imports(file))
    bases = {floor(module) for module in used} & {"tokens", "images", "servers"}
    assert len(bases) <= 1
    assert {floor(module) for module in used} <= {"api", "errors", "runtimes"} | bases
    adapters = {module.split(".")[2] for module in used if floor(module) == "runtimes"}
    assert all(adapter.startswith("_") for adapter in adapters), "shared parts have a name with _"


@pytest.mark.parametrize("file", BENCHMARKS, ids=name)
def test_a_benchmark_knows_the_contract_alone(file: Path) -> None:
    assert {floor(module) for module in imports(file)} <= {"api", "errors"}


@pytest.mark.parametrize("file", [*CORE, *RUNTIMES, *BENCHMARKS], ids=name)
def test_no_file_and_no_function_is_too_long(file: Path) -> None:
    text = file.read_text("utf-8")
    assert len(text.splitlines()) <= MOST_LINES_OF_A_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            assert (node.end_lineno or 0) - first < MOST_LINES_OF_A_FUNCTION, node.name
