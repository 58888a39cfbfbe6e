"""`plan`: how many questions a margin takes, from a pilot."""

from typing import Any

import click

from pajamas_eval.cli.options import (
    MODEL_HELP,
    Number,
    baseline_option,
    confidence_option,
    margin_option,
    run_options,
)
from pajamas_eval.cli.output import (
    fail_if_any_failed,
    output_console,
    plan_and_places,
    run_plan,
    write_and_show,
)


@click.command(epilog=MODEL_HELP, short_help="Say how many questions a verdict would take.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL MODEL...")
@margin_option
@confidence_option
@click.option(
    "--power",
    type=Number(0.01, 0.999999),
    default=0.8,
    show_default=True,
    help="Probability that a variant without loss is proven no worse.",
)
@baseline_option
@run_options(limit=200)
def plan(models: tuple[str, ...], power: float, **options: Any) -> None:
    """Ask a few questions (--limit) and say how many a verdict would take."""
    if len(models) < 2:
        raise click.UsageError("plan needs two models or more: how often they differ decides")
    from pajamas_eval.analysis.forecast import forecasts
    from pajamas_eval.report.terminal.forecast import show_plan

    asked, places = plan_and_places(models, **options)
    document = run_plan(asked, places)
    found = list(forecasts(document, power))
    confidence = document.settings.confidence
    write_and_show(
        document,
        places.json_file,
        lambda: show_plan(found, output_console(), power, confidence),
    )
    fail_if_any_failed(document)
