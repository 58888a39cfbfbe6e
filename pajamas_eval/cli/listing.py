"""`list` and `doctor`: what is there, and what of it works here."""

import sys

import click

from pajamas_eval.errors import install_command


@click.group(name="list")
def list_() -> None:
    """Show the runtimes or the benchmarks."""


@list_.command()
def runtimes() -> None:
    """Show the runtimes (`doctor` tells which of them work here)."""
    from pajamas_eval.registry import RUNTIME_ALIASES, runtime_class, runtime_names

    for name in runtime_names():
        summary = (sys.modules[runtime_class(name).__module__].__doc__ or "").splitlines()[0]
        aliases = [alias for alias, meant in RUNTIME_ALIASES.items() if meant == name]
        also = f" Also called {', '.join(aliases)}." if aliases else ""
        click.echo(f"{name:10}  {summary}{also}")


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


@click.command(short_help="Check what works here.")
def doctor() -> None:
    """Check which runtimes and data sets work here, and say how to install the others."""
    from importlib.metadata import PackageNotFoundError, version

    from pajamas_eval import __version__
    from pajamas_eval.registry import runtime_names
    from pajamas_eval.report.text import device
    from pajamas_eval.worker import installed_engine

    click.echo(f"pajamas-eval {__version__}, Python {sys.version.split()[0]}")
    for name in runtime_names():
        engine = installed_engine(name)
        if isinstance(engine, str):
            _missing(name, engine)
        else:
            versions = ", ".join(f"{package} {v}" for package, v in engine.versions.items())
            click.echo(f"{name:7}  works on {device(engine.device)}: {versions}")
    for extra, (package, purpose) in _FOR_DATA.items():
        try:
            click.echo(f"{extra:7}  {purpose}: {package} {version(package)}")
        except PackageNotFoundError:
            _missing(extra, f"{purpose} need the Python package {package!r}")


_FOR_DATA = {
    "hub": ("datasets", "data sets from the Hugging Face hub"),
    "parquet": ("pyarrow", "data sets in parquet files"),
}
"""Package and purpose of each extra that is no engine."""


def _missing(extra: str, why: str) -> None:
    click.echo(f"{extra:7}  missing: {why}")
    if install_command(extra) not in why:
        click.echo(f"{'':7}  install it with: {install_command(extra)}")
