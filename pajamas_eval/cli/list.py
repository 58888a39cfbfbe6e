"""`list`: the runtimes and the benchmarks that are installed."""

import sys

import click


@click.group(name="list")
def list_() -> None:
    """Show the runtimes or the benchmarks."""


@list_.command()
def runtimes() -> None:
    """Show the runtimes (`doctor` tells which of them work here)."""
    from pajamas_eval.models.registry import RUNTIME_ALIASES, runtime_class, runtime_names

    for name in runtime_names():
        summary = (sys.modules[runtime_class(name).__module__].__doc__ or "").splitlines()[0]
        aliases = [alias for alias, meant in RUNTIME_ALIASES.items() if meant == name]
        also = f" Also called {', '.join(aliases)}." if aliases else ""
        click.echo(f"{name:10}  {summary}{also}")


@list_.command()
@click.option("--all", "every", is_flag=True, help="Also every subject and group.")
def benchmarks(every: bool) -> None:
    """Show the benchmarks."""
    from pajamas_eval.api.metrics import margin_for
    from pajamas_eval.questions.registry import benchmark_families
    from pajamas_eval.report.wording.figures import margin_text

    for name, family in benchmark_families().items():
        shots = f"{family.default_shots}-shot by default"
        metrics = ", ".join(metric.name for metric in family.metrics)
        margin, _ = margin_for(family.metrics[0], ())
        said = f"margin {margin_text(margin)}" if margin else "no margin"
        click.echo(f"{name:20}  {family.summary}; {metrics}; {shots}, {said}")
        if every:
            for member in family.names()[1:]:
                click.echo(f"  {member}")
