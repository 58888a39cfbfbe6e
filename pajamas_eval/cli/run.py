"""`run`: evaluate one model."""

from typing import Any

import click

from pajamas_eval.cli.options import MODEL_HELP, confidence_option, run_options
from pajamas_eval.cli.output import run_and_show


@click.command(epilog=MODEL_HELP)
@click.argument("model")
@confidence_option
@run_options(
    benchmarks="pajamas_knowledge,pajamas_knowledge_cloze,pajamas_commonsense,pajamas_arithmetic"
)
def run(model: str, **options: Any) -> None:
    """Evaluate one model."""
    run_and_show((model,), **options)
