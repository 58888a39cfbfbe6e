"""`compare`: models against a baseline."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pajamas_eval.cli.options import (
    MODEL_HELP,
    baseline_option,
    confidence_option,
    control_option,
    different_models_option,
    equivalence_option,
    margin_option,
    noise_options,
    resume_option,
    run_options,
    until_decided_option,
)
from pajamas_eval.cli.output import run_and_show, show_run


@click.command(epilog=MODEL_HELP, short_help="Compare models with a baseline.")
@click.argument("models", nargs=-1, metavar="MODEL MODEL...")
@baseline_option
@margin_option
@confidence_option
@until_decided_option
@equivalence_option
@control_option
@different_models_option
@noise_options
@resume_option
@run_options()
@click.pass_context
def compare(
    context: click.Context,
    /,
    models: tuple[str, ...],
    resume: int | None,
    **options: Any,
) -> None:
    """Ask several models the same questions and say which are no worse than the first.

    `run:12` stands for the models of a stored run; nothing is run then.
    """
    if resume is not None:
        if models:
            raise click.UsageError("--resume continues a run as it was asked: name no models")
        _refuse_others(context, _OF_RESUME, "is as the run was asked, where it is resumed")
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
        _compare_stored(models, **options)
    else:
        run_and_show(models, **options)


_OF_RESUME = {"resume", "json_file", "store", "timeout"}
_OF_STORED = {
    "models",
    "baseline",
    "margins",
    "confidence",
    "equivalence",
    "allow_different_models",
    "json_file",
    "store",
}
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
    from msgspec.structs import replace

    from pajamas_eval.evaluation.session import Places
    from pajamas_eval.evaluation.stored_runs import plan_to_resume

    store = options.get("store")
    plan = plan_to_resume(run, store)
    former = Path(plan.json_file) if plan.json_file else None
    json_file = options.get("json_file", former)
    if "timeout" in options:
        plan = replace(plan, timeout=options["timeout"])
    show_run(plan, Places(json_file=json_file, store=store, folder=Path(plan.folder)))


def _compare_stored(
    models: tuple[str, ...],
    baseline: str | None,
    json_file: Path | None,
    store: Path | None,
    margins: tuple[Any, ...],
    confidence: float,
    equivalence: bool,
    allow_different_models: bool,
    **_: Any,
) -> None:
    from pajamas_eval.analysis.merging import merged
    from pajamas_eval.cli.output import fail_if_any_failed, output_console, write_and_show
    from pajamas_eval.evaluation.stored_runs import files_of_store, stored_documents
    from pajamas_eval.files import check_outputs
    from pajamas_eval.report.terminal.comparison import show
    from pajamas_eval.results.run_config import RunConfig
    from pajamas_eval.store import Store, default_path

    path = store or default_path()
    check_outputs([json_file], files_of_store(path))
    with Store.open(path, create=False, only_read=True) as opened:
        documents = stored_documents(opened, models)
    config = RunConfig(
        margins=margins,
        confidence=confidence,
        equivalence=equivalence,
        allow_different_models=allow_different_models,
    )
    document = merged(documents, baseline, config)
    write_and_show(document, json_file, lambda: show(document, output_console()))
    fail_if_any_failed(document)
