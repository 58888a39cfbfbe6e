"""`compare` and `run`: ask models questions and show the result."""

from typing import Any

import click

from pajamas_eval.cli.options import (
    MODEL_HELP,
    baseline_option,
    confidence_option,
    margin_option,
    noise_options,
    run_options,
    until_decided_option,
)


@click.command(epilog=MODEL_HELP)
@click.argument("models", nargs=-1, required=True, metavar="MODEL MODEL...")
@baseline_option
@margin_option
@confidence_option
@until_decided_option
@noise_options
@run_options()
def compare(models: tuple[str, ...], margin: float, **options: Any) -> None:
    """Ask several models the same questions and say which are no worse than the first."""
    if len(models) < 2:
        raise click.UsageError("compare needs two models or more; `run` takes one")
    _run_and_show(models, margin=margin / 100, **options)


@click.command(epilog=MODEL_HELP)
@click.argument("model")
@confidence_option
@run_options()
def run(model: str, **options: Any) -> None:
    """Ask one model."""
    _run_and_show((model,), **options)


def _run_and_show(models: tuple[str, ...], **options: Any) -> None:
    from pajamas_eval.cli.running import fail_if_any_failed, output_console, run_models
    from pajamas_eval.report.terminal import show

    document = run_models(models, **options)
    show(document, output_console())
    fail_if_any_failed(document)
