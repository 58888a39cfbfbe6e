"""`gate`: judge variants by what a release requires of them."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pajamas_eval.cli.options import (
    MODEL_HELP,
    FilePath,
    baseline_option,
    control_option,
    run_options,
    until_decided_option,
)
from pajamas_eval.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pajamas_eval.gate.config import Gate, GateFile
    from pajamas_eval.gate.findings import Finding
    from pajamas_eval.results.document import Document
    from pajamas_eval.results.run_config import RunPlan

EXIT_CODES = {"passed": 0, "failed": 1, "undecided": 3, "cannot tell": 3}
STEP_SUMMARY, ACTIONS = "GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"
"""Environment variables that GitHub sets: a file to append Markdown to, and `true`."""


def _print_schema(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        import json

        from pajamas_eval.gate.config import json_schema

        click.echo(json.dumps(json_schema(), indent=1))
        context.exit()


@click.command(epilog=MODEL_HELP)
@click.argument("models", nargs=-1, metavar="[BASELINE VARIANT...]")
@click.option(
    "--gate", "gate_file", type=FilePath(dir_okay=True), help="Gate for the models named here."
)
@click.option(
    "--config", type=FilePath(dir_okay=True), help="Gate whose [run] table says what to run."
)
@click.option(
    "--result", type=FilePath(dir_okay=True), help="Judge what an earlier run wrote; run nothing."
)
@click.option("--junit", "junit_file", type=FilePath(), help="Write the findings as JUnit XML.")
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of gate files.",
)
@baseline_option
@until_decided_option
@control_option
@run_options(shown="those of the gate, else auto")
@click.pass_context
def gate(
    context: click.Context,
    /,
    models: tuple[str, ...],
    gate_file: Path | None,
    config: Path | None,
    result: Path | None,
    junit_file: Path | None,
    **options: Any,
) -> None:
    """Judge variants by the requirements of a gate file.

    Exit codes: 0 all hold, 1 one is proven not to hold, 2 bad input, 3 one is undecided or was not
    measured, 4 a model failed. With --config, options given here win over those of the file,
    whose paths are relative to it.
    """
    from pajamas_eval.cli.output import fail_if_any_failed, output_console, write_and_show
    from pajamas_eval.gate import config as gate_files
    from pajamas_eval.gate.findings import overall
    from pajamas_eval.gate.judge import judge
    from pajamas_eval.report.terminal.gate import show

    given = _given(context, options)
    file = gate_files.read(_named_file(models, gate_file, config, result, given))
    json_file: Path | None = options["json_file"]
    summary = Path(os.environ[STEP_SUMMARY]) if os.environ.get(STEP_SUMMARY) else None
    read_files = {gate_file: "the gate", config: "the gate", result: "the result to judge"}
    _check_outputs([json_file, junit_file, summary], read_files, models)
    document = _document(file, config, result, models, given, options)
    with _naming(result):
        findings = judge(document, file.gate)
    write_and_show(document, json_file, lambda: show(document, findings, output_console()))
    _tell_others(document, findings, junit_file, summary)
    fail_if_any_failed(document)
    context.exit(EXIT_CODES[overall(findings)])


def _given(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options that are on the command line."""
    source = context.get_parameter_source
    return {n: v for n, v in options.items() if source(n) is ParameterSource.COMMANDLINE}


def _check_outputs(
    outputs: "Sequence[Path | None]", inputs: "dict[Path | None, str]", models: tuple[str, ...]
) -> None:
    from pajamas_eval.files import check_outputs

    read = {file: name for file, name in inputs.items() if file}
    check_outputs(outputs, read | {Path(m.rpartition("=")[2]): "a model" for m in models})


def _document(
    file: "GateFile",
    config: Path | None,
    result: Path | None,
    models: tuple[str, ...],
    given: dict[str, Any],
    options: dict[str, Any],
) -> "Document":
    """What is to be judged: read, or measured now."""
    from pajamas_eval.results.file import read

    if result:
        return read(result)
    plan = _plan_of(file.run, config, models, given)
    with _naming(config):
        return _measure(file.gate, plan, config.parent if config else Path(), options)


@contextmanager
def _naming(file: Path | None) -> "Iterator[None]":
    """Puts the file's name, if there is one, in front of what is wrong with its content."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{file}: {error}" if file else str(error)) from None


def _named_file(
    models: tuple[str, ...],
    gate_file: Path | None,
    config: Path | None,
    result: Path | None,
    given: dict[str, Any],
) -> Path:
    """The gate file, once nothing contradicts anything."""
    if gate_file and config:
        raise click.UsageError("--gate and --config both name a gate file; give one of them")
    if config:
        if models or result:
            raise click.UsageError("--config says itself what to run; use --gate to judge others")
        return config
    if not gate_file:
        raise click.UsageError("name a gate file: --gate FILE BASELINE VARIANT, or --config FILE")
    if result and (models or given):
        raise click.UsageError("--result runs nothing: it takes no models, and no options of a run")
    if not result and len(models) < 2:
        raise click.UsageError("gate needs a baseline and a variant, or the --result of a run")
    return gate_file


def _plan_of(
    planned: "RunPlan | None", config: Path | None, models: tuple[str, ...], given: dict[str, Any]
) -> "RunPlan":
    """What to run; options given on the command line come first."""
    from msgspec.structs import replace

    from pajamas_eval.results.run_config import RunPlan

    if config and not planned:
        raise UsageError(f"{config}: it has no [run] table, which says what to run")
    given = {name: value for name, value in given.items() if name in RunPlan.__struct_fields__}
    if "benchmarks" in given:
        given["benchmarks"] = [n.strip() for n in given["benchmarks"].split(",") if n.strip()]
    if "data" in given:
        given["data"] = str(given["data"].absolute())
    if config and planned:
        return replace(planned, **given)
    return RunPlan(models=list(models), **given)


def _measure(gate: "Gate", plan: "RunPlan", folder: Path, options: dict[str, Any]) -> "Document":
    """Runs what is to be judged; `options` say where it reads and writes."""
    from msgspec.structs import replace

    from pajamas_eval.cli.output import run_plan
    from pajamas_eval.evaluation.session import Places
    from pajamas_eval.gate.config import check_early_stop, margins_of

    check_early_stop(gate, plan.until_decided)
    named = options["benchmarks"].split(",")
    plan = replace(
        plan,
        benchmarks=list(plan.benchmarks) or list(gate.benchmarks) or named,
        data=str(folder / plan.data) if plan.data else None,
        confidence=gate.confidence,
        equivalence=gate.equivalence,
        control=plan.control or gate.control,
        margins=margins_of(gate),
    )
    places = Places(
        json_file=options["json_file"],
        store=options["store"],
        no_store=options["no_store"],
        folder=folder,
    )
    return run_plan(plan, places)


def _tell_others(
    document: "Document",
    findings: "Sequence[Finding]",
    junit_file: Path | None,
    summary_file: Path | None,
) -> None:
    """Files and annotations for the machines that ask for them."""
    from pajamas_eval.files import write_whole
    from pajamas_eval.report.export import github

    if junit_file:
        from pajamas_eval.report.export.junit import junit

        write_whole(junit(findings), junit_file)
    if summary_file:
        try:
            with summary_file.open("a", encoding="utf-8") as file:
                file.write(github.markdown(findings, document.baseline))
        except OSError as error:
            raise UsageError(f"cannot write {summary_file}: {error.strerror}") from None
    if os.environ.get(ACTIONS) == "true":
        for line in github.annotations(findings):
            click.echo(line)
