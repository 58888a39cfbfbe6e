"""`gate`: judge variants by what a release requires of them."""

import os
import sys
from contextlib import chdir
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pajamas_eval.cli.options import MODEL_HELP, run_options
from pajamas_eval.errors import RunError, UsageError, suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pajamas_eval.document import Document
    from pajamas_eval.gate.config import Gate, Run
    from pajamas_eval.gate.findings import Finding
    from pajamas_eval.model_spec import ModelSpec

EXIT_CODES = {"passed": 0, "broken": 1, "undecided": 3}
STEP_SUMMARY, ACTIONS = "GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"
"""Environment variables that GitHub sets: a file to append Markdown to, and `true`."""

_FILE = click.Path(path_type=Path)
_OUTPUT = click.Path(dir_okay=False, path_type=Path)


def _print_schema(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        import json

        from pajamas_eval.gate.config import json_schema

        click.echo(json.dumps(json_schema(), indent=1))
        context.exit()


@click.command(epilog=MODEL_HELP)
@click.argument("models", nargs=-1, metavar="[BASELINE VARIANT...]")
@click.option("--gate", "gate_file", type=_FILE, help="Gate for the models named here.")
@click.option("--config", type=_FILE, help="Gate whose [run] table says what to run.")
@click.option("--result", type=_FILE, help="Judge what an earlier run wrote; run nothing.")
@click.option("--junit", "junit_file", type=_OUTPUT, help="Write the findings as JUnit XML.")
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of gate files.",
)
@click.option("--baseline", help="Label of the model to compare with (default: the first).")
@click.option("--until-decided", is_flag=True, help="Ask only until each verdict is in.")
@run_options()
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

    Exit codes: 0 all hold, 1 one is proven broken, 3 undecided, 2 bad input, 4 a run failed.
    Benchmarks are by default those that the gate names. With --config, options given here win
    over those of the file, whose paths are relative to it.
    """
    from pajamas_eval.document import check_writable, read, write
    from pajamas_eval.gate import config as gate_files
    from pajamas_eval.gate.findings import overall
    from pajamas_eval.gate.judge import judge

    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    file = gate_files.read(_named_file(models, gate_file, config, result, given))
    json_file: Path | None = given.pop("json_file", None)
    summary = os.environ.get(STEP_SUMMARY)
    for output in (json_file, junit_file, Path(summary) if summary else None):
        if output:
            check_writable(output)
    if result:
        document = read(result)
    else:
        run = _run_of(file.run, config, models, given)
        document = _measure(file.gate, run, config, options["benchmarks"])
        if json_file:  # first: whatever comes next, the results are safe
            write(document, json_file)
    findings = judge(document, file.gate)
    _show(document, findings)
    _tell_others(document, findings, junit_file, Path(summary) if summary else None)
    failed = [model.label for model in document.models if model.error]
    if failed:
        raise RunError(f"{', '.join(failed)} did not run to the end: nothing of it is passed")
    context.exit(EXIT_CODES[overall(findings)])


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


def _run_of(
    planned: "Run | None", config: Path | None, models: tuple[str, ...], given: dict[str, Any]
) -> "Run":
    """What to run; options given on the command line come first."""
    from msgspec.structs import replace

    from pajamas_eval.gate.config import Run

    if config and not planned:
        raise UsageError(f"{config}: it has no [run] table, which says what to run")
    if "benchmarks" in given:
        given["benchmarks"] = [n.strip() for n in given["benchmarks"].split(",") if n.strip()]
    if "data" in given:
        given["data"] = str(given["data"].absolute())
    return replace(planned, **given) if config and planned else Run(models=list(models), **given)


def _measure(gate: "Gate", run: "Run", config: Path | None, default_benchmarks: str) -> "Document":
    """Runs what is to be judged."""
    from rich.console import Console

    from pajamas_eval.data import DataSource
    from pajamas_eval.evaluate import Asked, evaluate
    from pajamas_eval.gate.config import check_early_stop
    from pajamas_eval.registry import benchmark
    from pajamas_eval.report.progress import progress_for

    check_early_stop(gate, run.until_decided)
    folder = config.parent if config else Path()
    names = run.benchmarks or list(gate.benchmarks) or default_benchmarks.split(",")
    try:
        specs = _specs(run, folder)
        benchmarks = [benchmark(name) for name in dict.fromkeys(names)]
    except UsageError as error:
        raise UsageError(f"{config}: {error}" if config else str(error)) from None
    return evaluate(
        specs,
        benchmarks,
        DataSource(folder / run.data if run.data else None),
        progress_for(Console(stderr=True, emoji=False)),
        Asked(
            seed=run.seed,
            limit=run.limit,
            shots=run.shots,
            apply_chat_template=run.apply_chat_template,
            exact=run.exact,
            confidence=gate.confidence,
            margin=(gate.margin or 1.0) / 100,
            until_decided=run.until_decided,
        ),
    )


def _specs(run: "Run", folder: Path) -> "list[ModelSpec]":
    """The models, the baseline first: found from the gate file's folder, named from here."""
    from pajamas_eval.model_spec import parse_specs

    with chdir(folder):
        specs = parse_specs(run.models)
    for number, spec in enumerate(specs):
        beside = folder / str(spec.options["path"])
        if beside.exists():  # otherwise it is on the hub
            specs[number] = replace(spec, options={**spec.options, "path": str(beside)})
    if run.baseline is not None:
        labels = [spec.label for spec in specs]
        if run.baseline not in labels:
            raise UsageError(
                f"no model has the label {run.baseline!r}{suggestion(run.baseline, labels)} "
                f"(labels: {', '.join(labels)})"
            )
        specs.sort(key=lambda spec: spec.label != run.baseline)
    return specs


def _show(document: "Document", findings: "Sequence[Finding]") -> None:
    from rich.console import Console

    from pajamas_eval.report.gate_table import show

    if isinstance(sys.stdout, TextIOWrapper):  # a terminal without Unicode gets question marks
        sys.stdout.reconfigure(errors="replace")
    show(document, findings, Console(emoji=False, width=None if sys.stdout.isatty() else 120))


def _tell_others(
    document: "Document",
    findings: "Sequence[Finding]",
    junit_file: Path | None,
    summary_file: Path | None,
) -> None:
    """Files and annotations for the machines that ask for them."""
    from pajamas_eval.document import write_whole
    from pajamas_eval.report import github

    if junit_file:
        from pajamas_eval.report.junit import junit

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
