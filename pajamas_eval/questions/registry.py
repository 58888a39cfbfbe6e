"""Finds benchmarks through entry points, built-ins as plugins."""

from typing import Any

from pajamas_eval.api.benchmark import Benchmark
from pajamas_eval.api.metrics import Metric
from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.plugins import Plugin, contained, installed

Family = type[Benchmark[Any]]


def families() -> dict[str, Plugin]:
    """The installed families of benchmarks, such as `mmlu` with its subjects; none is imported."""
    return installed("pajamas_eval.benchmarks")


def load(plugin: Plugin) -> tuple[Family, list[str]]:
    """A family and all its names. Raises `UsageError` where it is broken."""
    family: Family = plugin.load(Benchmark)
    with contained(plugin.title):
        if not family.metrics or not all(isinstance(metric, Metric) for metric in family.metrics):
            raise TypeError(f"its metrics are {family.metrics!r}")
        return family, [str(name) for name in family.names()]


def benchmark(name: str) -> Benchmark[Any]:
    """The benchmark of that name: a built-in one, a plugin's family, or a member of one.

    Raises:
        UsageError: There is none, with a suggestion; it is broken, or not the only one.
    """
    plugins = families()
    known: list[str] = []
    unknown: list[str] = []
    found: list[tuple[Plugin, Family]] = []
    for plugin in sorted(plugins.values(), key=lambda plugin: (not plugin.is_ours, plugin.name)):
        if name in plugins and plugin.name != name:
            continue  # what is not named need not work
        try:
            family, names = load(plugin)
        except UsageError as error:
            if name == plugin.name:
                raise
            unknown.append(f"; not among those of {plugin.name!r} as far as known: {error}")
            continue
        known += names
        if name in names:
            found.append((plugin, family))
            if plugin.is_ours:
                break
    if len(found) > 1:
        titles = " and ".join(plugin.title for plugin, _ in found)
        raise UsageError(f"the benchmark {name!r} is offered twice, by {titles}; uninstall one")
    if not found:
        raise UsageError(
            f"unknown benchmark {name!r}{suggestion(name, known)} "
            f"(`pajamas-eval list benchmarks` shows them all){''.join(unknown)}"
        )
    ((plugin, family),) = found
    with contained(plugin.title):
        return family(name)
