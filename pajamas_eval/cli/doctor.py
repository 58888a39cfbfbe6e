"""`doctor`: what works here."""

import sys

import click

from pajamas_eval.errors import install_command


@click.command(short_help="Check what works here.")
def doctor() -> None:
    """Check which runtimes and data sets work here, and say how to install the others."""
    from importlib.metadata import PackageNotFoundError, version

    from pajamas_eval import __version__
    from pajamas_eval.models.registry import runtime_names, runtimes
    from pajamas_eval.report.wording.figures import device, printable
    from pajamas_eval.workers.installed_engine import installed_engine

    click.echo(f"pajamas-eval {__version__}, Python {sys.version.split()[0]}")
    for name in runtime_names():
        engine = installed_engine(name)
        if isinstance(engine, str):
            _missing(name, engine, is_ours=runtimes()[name].is_ours)
        else:
            versions = ", ".join(f"{package} {v}" for package, v in engine.versions.items())
            click.echo(printable(f"{name:7}  works on {device(engine.device)}: {versions}"))
    for extra, (package, purpose) in _FOR_DATA.items():
        try:
            click.echo(f"{extra:7}  {purpose}: {package} {version(package)}")
        except PackageNotFoundError:
            _missing(extra, f"{purpose} need the Python package {package!r}")


_FOR_DATA = {
    "hub": ("datasets", "data sets from the Hugging Face hub"),
    "parquet": ("pyarrow", "data sets in parquet files"),
}
"""Package and purpose of each extra that is not an engine."""


def _missing(extra: str, why: str, *, is_ours: bool = True) -> None:
    from pajamas_eval.report.wording.figures import printable

    click.echo(printable(f"{extra:7}  missing: {why}"))
    if is_ours and install_command(extra) not in why:
        click.echo(f"{'':7}  install it with: {install_command(extra)}")
