"""The command line; engines and heavy libraries are imported only where they are needed."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pajamas_eval import __version__
from pajamas_eval.errors import PajamasError, RunError, install_command

if TYPE_CHECKING:
    from pajamas_eval.document import Document

MODEL_HELP = """
\b
A MODEL is one of:
  model.gguf                a GGUF file (or the first part of a split one)
  folder/                   an MLX or a transformers model folder
  org/name                  a model on the Hugging Face hub
  runtime[key=value,...]    a named runtime with options, path=... among them
  model.toml, model.py      a config file with these options (a .py file is executed!)
Put label= in front to name it in the report: q4=model.gguf
"""


INTERRUPTED = 130
"""Exit code, as shells have it for a program ended by Ctrl-C."""


class _Group(click.Group):
    """Shows every error of ours as one line, with the exit code it carries."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PajamasError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:  # click's own exit code, 1, means "proven worse" here
            click.echo("Interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pajamas-eval")
def main() -> None:
    """Compare quantized variants of a model on identical questions, whatever engine runs them."""


def _run_options(command: Any) -> Any:
    """Options that `compare` and `run` share."""
    for option in reversed(
        [
            click.option(
                "--benchmarks",
                "-b",
                default="pajamas_knowledge,pajamas_commonsense,pajamas_arithmetic",
                show_default=True,
                help="Benchmarks, separated by commas; see `list benchmarks`.",
            ),
            click.option("--limit", type=click.IntRange(min=1), help="Questions per benchmark."),
            click.option(
                "--shots",
                type=click.IntRange(min=0),
                help="Few-shot examples; each benchmark's own number by default.",
            ),
            click.option(
                "--seed",
                type=int,
                default=1234,
                show_default=True,
                help="Seed of the subset and of the few-shot choice.",
            ),
            click.option(
                "--data",
                type=click.Path(path_type=Path),
                help="Folder with data sets (default: $PAJAMAS_EVAL_DATA, else the hub).",
            ),
            click.option(
                "--apply-chat-template",
                is_flag=True,
                help="Ask through the baseline's chat template (for instruction-tuned models).",
            ),
            click.option(
                "--exact",
                is_flag=True,
                help="Run one sequence at a time: slow, without the noise of batching.",
            ),
            click.option(
                "--json",
                "json_file",
                type=click.Path(dir_okay=False, path_type=Path),
                help="Write everything, one record per question included.",
            ),
        ]
    ):
        command = option(command)
    return command


@main.command(epilog=MODEL_HELP)
@click.argument("models", nargs=-1, required=True, metavar="MODEL MODEL...")
@click.option("--baseline", help="Label of the model to compare with (default: the first).")
@_run_options
def compare(models: tuple[str, ...], baseline: str | None, **options: Any) -> None:
    """Ask several models the same questions and compare their answers."""
    if len(models) < 2:
        raise click.UsageError("compare needs two models or more; `run` takes one")
    _evaluate(models, baseline, **options)


@main.command(epilog=MODEL_HELP)
@click.argument("model")
@_run_options
def run(model: str, **options: Any) -> None:
    """Ask one model."""
    _evaluate((model,), None, **options)


def _evaluate(
    models: tuple[str, ...],
    baseline: str | None,
    *,
    benchmarks: str,
    data: Path | None,
    json_file: Path | None,
    **options: Any,
) -> None:
    from rich.console import Console

    from pajamas_eval.data import DataSource
    from pajamas_eval.document import check_writable, write
    from pajamas_eval.errors import UsageError, suggestion
    from pajamas_eval.evaluate import evaluate
    from pajamas_eval.model_spec import parse_specs
    from pajamas_eval.registry import benchmark
    from pajamas_eval.report.progress import progress_for
    from pajamas_eval.report.terminal import show

    specs = parse_specs(models)
    if baseline is not None:
        labels = [spec.label for spec in specs]
        if baseline not in labels:
            raise UsageError(
                f"no model has the label {baseline!r}{suggestion(baseline, labels)} "
                f"(labels: {', '.join(labels)})"
            )
        specs.sort(key=lambda spec: spec.label != baseline)
    names = list(dict.fromkeys(name.strip() for name in benchmarks.split(",") if name.strip()))
    if not names:
        raise UsageError("no benchmark is named")
    if json_file:
        check_writable(json_file)
    document = evaluate(
        specs,
        [benchmark(name) for name in names],
        DataSource(data),
        progress_for(Console(stderr=True, emoji=False)),
        **options,
    )
    # Piped into a file or a pager, a table of 80 columns would break every row.
    if json_file:  # first: whatever the terminal does, the results are safe
        write(document, json_file)
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal without Unicode gets question marks
        sys.stdout.reconfigure(errors="replace")
    console = Console(emoji=False, width=None if sys.stdout.isatty() else 120)
    show(document, console)
    _fail_if_any_failed(document)


def _fail_if_any_failed(document: "Document") -> None:
    failed = [model.label for model in document.models if model.error]
    if failed:
        raise RunError(f"{', '.join(failed)} did not run to the end; the others' results stand")


@main.group(name="list")
def list_() -> None:
    """Show what is there."""


@list_.command()
def runtimes() -> None:
    """Show the runtimes (`doctor` tells which of them work here)."""
    from pajamas_eval.registry import runtime_class, runtime_names

    for name in runtime_names():
        summary = (sys.modules[runtime_class(name).__module__].__doc__ or "").splitlines()[0]
        click.echo(f"{name:10}  {summary}")


@list_.command()
@click.option("--all", "every", is_flag=True, help="Also every subject and group.")
def benchmarks(every: bool) -> None:
    """Show the benchmarks."""
    from pajamas_eval.registry import benchmark_families

    for name, family in benchmark_families().items():
        shots = f"{family.default_shots}-shot by default"
        click.echo(f"{name:20}  {family.summary()}; {', '.join(family.metrics)}; {shots}")
        if every:
            for member in family.names()[1:]:
                click.echo(f"  {member}")


@main.command()
def doctor() -> None:
    """Check which runtimes work here, and say how to install the others."""
    from pajamas_eval.registry import runtime_names
    from pajamas_eval.worker import installed_engine

    click.echo(f"pajamas-eval {__version__}, Python {sys.version.split()[0]}")
    for name in runtime_names():
        engine = installed_engine(name)
        if isinstance(engine, str):
            click.echo(f"{name:6}  missing: {engine}")
            if install_command(name) not in engine:
                click.echo(f"{'':6}  install it with: {install_command(name)}")
        else:
            versions = ", ".join(f"{package} {v}" for package, v in engine.versions.items())
            click.echo(f"{name:6}  works on {engine.device}: {versions}")
