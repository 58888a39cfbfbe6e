"""`verify`: what is inside a model's file, and whether others hold the same model."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pajamas_eval.cli.options import MODEL_HELP, all_of, timeout_option
from pajamas_eval.errors import UsageError

if TYPE_CHECKING:
    from pajamas_eval.identity.verify import Progress

EXIT_CODES = {"same": 0, "differs": 1, "cannot tell": 3}
PARTED = 1
"""Exit code where the layers of a variant part from the baseline's."""


_layer_options = all_of(
    click.option(
        "--layers",
        is_flag=True,
        help="Run a text through the models, and say where their hidden states part.",
    ),
    click.option(
        "--text",
        metavar="FILE_OR_TEXT",
        help="What they read with --layers; a text of a thousand tokens by default.",
    ),
    timeout_option,
)


@click.command(epilog=MODEL_HELP, short_help="Prove that files hold one model.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL | BASE VARIANT...")
@_layer_options
@click.option(
    "--fix",
    is_flag=True,
    help="Write into each folder's config.json what an engine does not find there.",
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What to print: tables and sentences, or everything that was found.",
)
@click.pass_context
def verify(
    context: click.Context,
    /,
    models: tuple[str, ...],
    layers: bool,
    text: str | None,
    fix: bool,
    output: str,
    timeout: float,
) -> None:
    """Show what is inside a model, or prove that variants are the first one's model.

    Nothing is run without --layers: architecture, tokens and weights are read from the files, and
    the weights compared tensor by tensor with what the bits of each explain.

    Exit codes: 0 the same model (or one model alone), 1 another one, 2 bad input, 3 it cannot be
    told.
    """
    if fix:
        if layers or text is not None:
            raise click.UsageError("--fix compares nothing: leave --layers and --text out")
        _fix(models)
    elif layers:
        context.exit(_compare_layers(models, text, output, timeout))
    elif text is not None:
        raise click.UsageError("--text is what the models read with --layers")
    else:
        context.exit(_compare_weights(models, output))


def _fix(folders: tuple[str, ...]) -> None:
    from pajamas_eval.models.remedies import mend

    for folder in folders:
        for line in mend(Path(folder)) or [f"{folder}: nothing is missing"]:
            click.echo(line)


def _compare_weights(models: tuple[str, ...], output: str) -> int:
    from pajamas_eval.cli.output import output_console
    from pajamas_eval.identity.certificate import encode
    from pajamas_eval.identity.verify import verify as certify
    from pajamas_eval.report.terminal.certificate import show

    certificate = certify(models, _progress())
    if output == "json":
        click.echo(encode(certificate).decode(), nl=False)
    else:
        show(certificate, output_console())
    return EXIT_CODES[certificate.outcome]


def _progress() -> "Progress":
    """A line that counts tensors, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda label, done, total: None

    def show(label: str, done: int, total: int) -> None:
        from pajamas_eval.report.wording.figures import printable

        text = f"{printable(label)}: {done:,} of {total:,} tensors"
        click.echo("\r\033[K" + (text if done < total else ""), nl=False, err=True)

    return show


def _compare_layers(models: tuple[str, ...], text: str | None, output: str, timeout: float) -> int:
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
    return PARTED if any(comparison.partings for comparison in found) else 0


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
