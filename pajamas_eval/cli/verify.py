"""`verify`: whether two files hold one model."""

from pathlib import Path

import click

from pajamas_eval.cli.options import MODEL_HELP, Number
from pajamas_eval.errors import UsageError

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
@click.option(
    "--timeout",
    type=Number(0, 1_000_000, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long an engine may give no heartbeat before it is taken to hang.",
)
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
    import msgspec
    from rich.console import Console

    from pajamas_eval.cli.output import output_console
    from pajamas_eval.identity.layer_run import compare_layers, default_text
    from pajamas_eval.models.spec import parse_specs
    from pajamas_eval.report.terminal.layers import show_layers
    from pajamas_eval.report.terminal.progress import progress_for

    read = default_text() if text is None else _text(text)
    progress = progress_for(Console(stderr=True, emoji=False))
    found = compare_layers(parse_specs(models), read, progress.step, timeout)
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        console = output_console()
        for comparison in found:
            show_layers(comparison, console)
    if any(comparison.partings for comparison in found):
        context.exit(PARTED)


def _text(given: str) -> str:
    """The text itself, or that of the file that it names."""
    file = Path(given)
    try:
        if len(given.split()) > 1 and not file.is_file():
            return given
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"--text {given[:200]}: {reason}") from None
