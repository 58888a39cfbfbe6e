"""`list`: the runtimes and the benchmarks that are installed."""

import sys
from typing import TYPE_CHECKING

import click

from pajamas_eval.errors import UsageError

if TYPE_CHECKING:
    from pajamas_eval.plugins import Plugin


@click.group(name="list")
def list_() -> None:
    """Show the runtimes or the benchmarks."""


@list_.command()
def runtimes() -> None:
    """Show the runtimes (`doctor` tells which of them work here)."""
    from pajamas_eval.models.registry import RUNTIME_ALIASES, runtime_class, runtimes

    for name, plugin in runtimes().items():
        try:
            module = sys.modules.get(runtime_class(name).__module__)
            summary = (getattr(module, "__doc__", None) or "").strip().partition("\n")[0]
        except UsageError as error:
            summary = f"cannot be used: {error}"
        aliases = [alias for alias, meant in RUNTIME_ALIASES.items() if meant == name]
        also = f" Also called {', '.join(aliases)}." if aliases else ""
        _say(f"{name:10}  {summary}{also}")
        _say_ignored(plugin)


@list_.command()
@click.option("--all", "every", is_flag=True, help="Also every subject and group.")
def benchmarks(every: bool) -> None:
    """Show the benchmarks."""
    from pajamas_eval.api.metrics import margin_for
    from pajamas_eval.plugins import contained
    from pajamas_eval.questions.registry import families, load
    from pajamas_eval.report.wording.figures import margin_text

    for name, plugin in families().items():
        members: list[str] = []
        try:
            family, names = load(plugin)
            with contained(plugin.title):
                metrics = ", ".join(metric.name for metric in family.metrics)
                margin, _ = margin_for(family.metrics[0], ())
                said = f"margin {margin_text(margin)}" if margin else "no margin"
                shots = f"{family.default_shots}-shot by default"
                summary = f"{family.summary}; {metrics}; {shots}, {said}"
            members = [member for member in names if member != name]
        except UsageError as error:
            summary = f"cannot be used: {error}"
        _say(f"{name:20}  {summary}")
        _say_ignored(plugin)
        for member in members if every else ():
            _say(f"  {member}")


def _say_ignored(plugin: "Plugin") -> None:
    for title in plugin.ignored:
        _say(f"  not used: {title}, since that name is built in")


def _say(line: str) -> None:
    from pajamas_eval.report.wording.figures import printable

    click.echo(printable(line))
