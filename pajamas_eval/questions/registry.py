"""Finds benchmarks through entry points, built-ins as plugins."""

from typing import Any

from pajamas_eval.api.benchmark import Benchmark
from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.plugins import installed


def benchmark_families() -> dict[str, type[Benchmark[Any]]]:
    """Every installed family of benchmarks, such as `mmlu` with its subjects."""
    return {
        name: point.load() for name, point in sorted(installed("pajamas_eval.benchmarks").items())
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
