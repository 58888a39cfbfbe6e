"""`verify`: whether two files hold one model."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pajamas_eval.cli.options import MODEL_HELP, timeout_option
from pajamas_eval.errors import UsageError

if TYPE_CHECKING:
    from pajamas_eval.identity.layers import LayerComparison

PARTED = 1
"""Exit code where a variant is not the baseline's model."""


@click.command(epilog=MODEL_HELP, short_help="Check that files hold one model.")
@click.argument("models", nargs=-1, required=True, metavar="BASELINE VARIANT...")
@click.option(
    "--layers",
    is_flag=True,
    help="Run a text through both, and say where their hidden states part.",
)
@click.option(
    "--text",
    metavar="FILE_OR_TEXT",
    help="What they read with --layers; a text of a thousand tokens by default.",
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the result is printed.",
)
@timeout_option
@click.pass_context
def verify(
    context: click.Context,
    /,
    models: tuple[str, ...],
    layers: bool,
    text: str | None,
    output: str,
    timeout: float,
) -> None:
    """Say whether variants hold the baseline's model, whatever engine runs them."""
    if not layers:
        raise click.UsageError("say what to verify: --layers")
    if len(models) < 2:
        raise click.UsageError("verify --layers needs two models or more, the baseline first")
    found = _compared(models, text, timeout)
    if output == "json":
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        from pajamas_eval.cli.output import output_console
        from pajamas_eval.report.terminal.layers import show_layers

        console = output_console()
        for comparison in found:
            show_layers(comparison, console)
    if any(comparison.partings for comparison in found):
        context.exit(PARTED)


def _compared(models: tuple[str, ...], text: str | None, timeout: float) -> "list[LayerComparison]":
    from rich.console import Console

    from pajamas_eval.identity.layer_run import compare_layers, default_text
    from pajamas_eval.models.spec import parse_specs
    from pajamas_eval.report.terminal.progress import progress_for

    read = default_text() if text is None else _text(text)
    progress = progress_for(Console(stderr=True, emoji=False))
    return compare_layers(parse_specs(models), read, progress.step, timeout)


def _text(given: str) -> str:
    """The text itself, or that of the file that it names; a single word must be a file's name."""
    if not given.strip():
        raise UsageError("--text is empty")
    if len(given.split()) > 1 and not os.path.isfile(given):
        return given
    try:
        return Path(given).read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"--text {given[:200]}: {reason}") from None
