"""Finds runtimes and benchmarks through entry points, the same for built-ins and plugins."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pajamas_eval.benchmark import Benchmark
from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.runtime import Runtime

RUNTIME_ALIASES = {"huggingface": "hf", "transformers": "hf"}


def runtime_names() -> list[str]:
    """Names of the installed runtimes; nothing is imported."""
    return sorted(_entry_points("pajamas_eval.runtimes"))


def check_runtime(name: str) -> None:
    """Raises `UsageError` where no runtime has that name or alias; nothing is imported."""
    names = runtime_names()
    if RUNTIME_ALIASES.get(name, name) not in names:
        raise UsageError(
            f"unknown runtime {name!r}{suggestion(name, [*names, *RUNTIME_ALIASES])} "
            f"(known: {', '.join(names)})"
        )


def runtime_class(name: str) -> type[Runtime]:
    """The runtime of that name or alias. Raises `UsageError`."""
    check_runtime(name)
    points = _entry_points("pajamas_eval.runtimes")
    runtime: type[Runtime] = points[RUNTIME_ALIASES.get(name, name)].load()
    return runtime


def benchmark_families() -> dict[str, type[Benchmark[Any]]]:
    """Every installed family of benchmarks, such as `mmlu` with its subjects."""
    return {
        name: point.load()
        for name, point in sorted(_entry_points("pajamas_eval.benchmarks").items())
    }


def benchmark(name: str) -> Benchmark[Any]:
    """The benchmark of that name. Raises `UsageError`, with a suggestion."""
    families = benchmark_families()
    for family in families.values():
        if name in family.names():
            return family(name)
    known = [n for family in families.values() for n in family.names()]
    raise UsageError(
        f"unknown benchmark {name!r}{suggestion(name, known)} "
        "(`pajamas-eval list benchmarks` shows them all)"
    )


def _entry_points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}
