"""`compare` and `run`: ask models questions and show the result."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pajamas_eval.cli.options import (
    MODEL_HELP,
    baseline_option,
    confidence_option,
    margin_option,
    noise_options,
    resume_option,
    run_options,
    until_decided_option,
)
from pajamas_eval.cli.output import run_and_show


@click.command(epilog=MODEL_HELP, short_help="Compare models with a baseline.")
@click.argument("models", nargs=-1, metavar="MODEL MODEL...")
@baseline_option
@margin_option
@confidence_option
@until_decided_option
@noise_options
@resume_option
@run_options()
@click.pass_context
def compare(
    context: click.Context,
    /,
    models: tuple[str, ...],
    margin: float,
    resume: int | None,
    **options: Any,
) -> None:
    """Ask several models the same questions and say which are no worse than the first.

    `run:12` stands for the models of a stored run; nothing is run then.
    """
    if resume is not None:
        if models:
            raise click.UsageError("--resume goes on with a run as it was asked: name no models")
        _refuse_others(context, _OF_RESUME, "is as the run was asked, where one goes on with it")
        given = {
            name: options[name]
            for name in _OF_RESUME - {"resume"}
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        }
        _resume(resume, given)
    elif len(models) < 2:
        raise click.UsageError("compare needs two models or more; `run` takes one")
    elif any(model.startswith("run:") for model in models):
        _refuse_others(context, _OF_STORED, "is for models that are run, not for stored runs")
        _compare_stored(models, margin=margin / 100, **options)
    else:
        run_and_show(models, margin=margin / 100, **options)


_OF_RESUME = {"resume", "json_file", "store", "timeout"}
_OF_STORED = {"models", "baseline", "margin", "confidence", "json_file", "store"}
"""Parameters of `compare` that mean something there."""


def _refuse_others(context: click.Context, known: set[str], why: str) -> None:
    """Raises `click.UsageError` for an option that would be without effect."""
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in known and (
            context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        ):
            raise click.UsageError(f"{max(parameter.opts, key=len)} {why}")


def _resume(run: int, options: dict[str, Any]) -> None:
    from pajamas_eval.evaluation.session import resumed

    run_and_show(**{**resumed(run, options.get("store")), **options})


def _compare_stored(
    models: tuple[str, ...],
    baseline: str | None,
    json_file: Path | None,
    store: Path | None,
    margin: float,
    confidence: float,
    **_: Any,
) -> None:
    from pajamas_eval.analysis.merging import merged
    from pajamas_eval.cli.output import fail_if_any_failed, output_console, write_and_show
    from pajamas_eval.evaluation.session import files_of_store
    from pajamas_eval.evaluation.stored_runs import stored_documents
    from pajamas_eval.files import check_outputs
    from pajamas_eval.report.terminal.comparison import show
    from pajamas_eval.store import Store, default_path

    path = store or default_path()
    check_outputs([json_file], files_of_store(path))
    with Store.open(path, create=False) as opened:
        documents = stored_documents(opened, models)
    document = merged(documents, baseline, margin, confidence)
    write_and_show(document, json_file, lambda: show(document, output_console()))
    fail_if_any_failed(document)
