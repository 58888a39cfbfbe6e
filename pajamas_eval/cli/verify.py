"""`verify`: what is inside a model's file, and whether others hold the same model."""

import sys
from typing import TYPE_CHECKING

import click

from pajamas_eval.cli.options import MODEL_HELP

if TYPE_CHECKING:
    from pajamas_eval.identity.verify import Progress

EXIT_CODES = {"same": 0, "differs": 1, "cannot tell": 3}


@click.command(epilog=MODEL_HELP)
@click.argument("models", nargs=-1, required=True, metavar="MODEL | BASE VARIANT...")
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What to print: tables and sentences, or everything that was found.",
)
@click.pass_context
def verify(context: click.Context, /, models: tuple[str, ...], output: str) -> None:
    """Show what is inside a model, or prove that variants are the first one's model.

    Nothing is run: architecture, tokens and weights are read from the files, and the weights
    compared tensor by tensor with what the bits of each explain.

    Exit codes: 0 the same model (or one model alone), 1 another one, 2 bad input, 3 it cannot be
    told.
    """
    from pajamas_eval.cli.output import output_console
    from pajamas_eval.identity.certificate import encode
    from pajamas_eval.identity.verify import verify as certify
    from pajamas_eval.report.terminal.certificate import show

    certificate = certify(models, _progress())
    if output == "json":
        click.echo(encode(certificate).decode(), nl=False)
    else:
        show(certificate, output_console())
    context.exit(EXIT_CODES[certificate.outcome])


def _progress() -> "Progress":
    """A line that counts tensors, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda label, done, total: None

    def show(label: str, done: int, total: int) -> None:
        from pajamas_eval.report.wording.figures import printable

        text = f"{printable(label)}: {done:,} of {total:,} tensors"
        click.echo("\r\033[K" + (text if done < total else ""), nl=False, err=True)

    return show
