"""`list` and `doctor`: what is there, and what of it works here."""

import sys

import click

from pajamas_eval.errors import install_command


@click.group(name="list")
def list_() -> None:
    """Show what is there."""


@list_.command()
def runtimes() -> None:
    """Show the runtimes (`doctor` tells which of them work here)."""
    from pajamas_eval.registry import runtime_class, runtime_names

    for name in runtime_names():
        summary = (sys.modules[runtime_class(name).__module__].__doc__ or "").splitlines()[0]
        click.echo(f"{name:10}  {summary}")


@list_.command()
@click.option("--all", "every", is_flag=True, help="Also every subject and group.")
def benchmarks(every: bool) -> None:
    """Show the benchmarks."""
    from pajamas_eval.registry import benchmark_families

    for name, family in benchmark_families().items():
        shots = f"{family.default_shots}-shot by default"
        click.echo(f"{name:20}  {family.summary()}; {', '.join(family.metrics)}; {shots}")
        if every:
            for member in family.names()[1:]:
                click.echo(f"  {member}")


@click.command(short_help="Check which runtimes work here.")
def doctor() -> None:
    """Check which runtimes work here, and say how to install the others."""
    from pajamas_eval import __version__
    from pajamas_eval.registry import runtime_names
    from pajamas_eval.worker import installed_engine

    click.echo(f"pajamas-eval {__version__}, Python {sys.version.split()[0]}")
    for name in runtime_names():
        engine = installed_engine(name)
        if isinstance(engine, str):
            click.echo(f"{name:6}  missing: {engine}")
            if install_command(name) not in engine:
                click.echo(f"{'':6}  install it with: {install_command(name)}")
        else:
            versions = ", ".join(f"{package} {v}" for package, v in engine.versions.items())
            click.echo(f"{name:6}  works on {engine.device}: {versions}")
