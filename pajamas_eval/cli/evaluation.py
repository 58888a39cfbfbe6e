"""`compare` and `run`: ask models questions and show the result."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pajamas_eval.errors import RunError

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


def run_options(command: Any) -> Any:
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


def verdict_options(command: Any) -> Any:
    """Options of what is concluded from two models' answers."""
    for option in reversed(
        [
            click.option("--baseline", help="Label of the model to compare with (default: first)."),
            click.option(
                "--margin",
                type=click.FloatRange(0, 100, min_open=True, max_open=True),
                default=1.0,
                show_default=True,
                help="Points that a variant may lose and still be no worse.",
            ),
            click.option(
                "--confidence",
                type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
                default=0.95,
                show_default=True,
                help="Of every verdict and interval.",
            ),
            click.option(
                "--until-decided",
                is_flag=True,
                help="Ask in random order, and only until each verdict is in.",
            ),
            click.option(
                "--noise-floor",
                is_flag=True,
                help="Run the baseline again in other batches: its flips are the engine's noise.",
            ),
            click.option(
                "--same-weights",
                multiple=True,
                metavar="LABEL",
                help="A variant with the baseline's weights in another runtime: noise as well.",
            ),
        ]
    ):
        command = option(command)
    return command


@click.command(epilog=MODEL_HELP)
@click.argument("models", nargs=-1, required=True, metavar="MODEL MODEL...")
@verdict_options
@run_options
def compare(models: tuple[str, ...], baseline: str | None, margin: float, **options: Any) -> None:
    """Ask several models the same questions and say which are no worse than the first."""
    if len(models) < 2:
        raise click.UsageError("compare needs two models or more; `run` takes one")
    evaluate_models(models, baseline, margin=margin / 100, **options)


@click.command(epilog=MODEL_HELP)
@click.argument("model")
@run_options
def run(model: str, **options: Any) -> None:
    """Ask one model."""
    evaluate_models((model,), None, **options)


def evaluate_models(
    models: tuple[str, ...],
    baseline: str | None,
    *,
    benchmarks: str,
    data: Path | None,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Runs, writes and shows; raises where anything is at fault or a model failed."""
    from rich.console import Console

    from pajamas_eval.data import DataSource
    from pajamas_eval.document import check_writable, write
    from pajamas_eval.errors import UsageError, suggestion
    from pajamas_eval.evaluate import Asked, evaluate
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
        Asked(**options),
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
