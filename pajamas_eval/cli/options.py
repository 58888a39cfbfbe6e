"""Options that several commands take."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click


class Number(click.FloatRange):
    """A float within bounds; NaN, which click finds within any, is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number; fails for what is none."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class MarginType(click.ParamType):  # type: ignore[type-arg]
    """A margin with its unit, as `parse_margin` reads it."""

    name = "margin"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The margin; fails for what is none."""
        from pajamas_eval.api.metrics import parse_margin  # slow to import
        from pajamas_eval.errors import UsageError

        try:
            return parse_margin(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class FilePath(click.Path):
    """A path that is not empty, as that of an unset variable in a script is."""

    def __init__(self, *, dir_okay: bool = False) -> None:
        super().__init__(dir_okay=dir_okay, path_type=Path)

    def convert(
        self,
        value: "str | os.PathLike[str]",
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> "str | bytes | os.PathLike[str]":
        """The path; fails for an empty one."""
        if not str(value):
            self.fail("its name is empty.", param, ctx)
        return super().convert(value, param, ctx)


_Command = TypeVar("_Command", bound=Callable[..., Any])

MODEL_HELP = """
\b
A MODEL is one of:
  model.gguf                a GGUF file (or the first part of a split one)
  folder/                   an MLX or a transformers model folder
  org/name                  a model on the Hugging Face hub
  'runtime[key=value,...]'  a named runtime with options, path=... among them
  model.toml, model.py      a config file with these options (a .py file is executed!)
Put label= in front to name it in the report: q4=model.gguf
"""


def all_of(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """One decorator for several options."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


timeout_option = click.option(
    "--timeout",
    type=Number(0, 1_000_000, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long an engine may give no heartbeat before it is taken to hang.",
)


def run_options(
    limit: int | None = None, benchmarks: str = "auto", shown: str | None = None
) -> Callable[[_Command], _Command]:
    """Options of every command that asks models.

    Args:
        limit: Default of that option.
        benchmarks: The default of that one.
        shown: The latter in words, where it is not always the same.
    """
    return all_of(
        click.option(
            "--benchmarks",
            "-b",
            default=benchmarks,
            show_default=shown or True,
            help="Benchmarks, separated by commas (see `list benchmarks`), or auto: those "
            "of the built-in sets that can tell, by 50 answers of the baseline; "
            "auto:mmlu,hellaswag chooses among others.",
        ),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            default=limit,
            show_default=limit is not None,
            help="Questions per benchmark" + ("; all by default." if limit is None else "."),
        ),
        _question_options,
        _place_options,
        timeout_option,
    )


def _store_in_its_place(
    ctx: click.Context, param: click.Parameter, path: Path | None
) -> Path | None:
    """The path given; where there is none, a store of former versions is moved first, and said."""
    if path is None and not ctx.resilient_parsing:
        from pajamas_eval.store import move_former

        if message := move_former():
            click.echo(message, err=True)
    return path


_question_options = all_of(
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
        type=FilePath(dir_okay=True),
        help="Folder with data sets (default: $PAJAMAS_EVAL_DATA, else the hub).",
    ),
    click.option(
        "--apply-chat-template",
        is_flag=True,
        help="Ask through the baseline's chat template (for instruction-tuned models).",
    ),
    click.option(
        "--template-date",
        type=click.DateTime(["%Y-%m-%d"]),
        callback=lambda _, __, moment: moment.date() if moment else None,
        help="The date that a chat template is told, if it asks (default: today).",
    ),
    click.option(
        "--exact",
        is_flag=True,
        help="Run one sequence at a time: slow, without the noise of batching.",
    ),
)
_place_options = all_of(
    click.option(
        "--json",
        "json_file",
        type=FilePath(),
        help="Write everything, one record per question included.",
    ),
    click.option(
        "--store",
        type=FilePath(),
        callback=_store_in_its_place,
        help="Where answers are kept (default: $PAJAMAS_EVAL_STORE, else the user's data folder).",
    ),
    click.option("--no-store", is_flag=True, help="Compute everything anew, and keep nothing."),
)
store_option = click.option(
    "--store",
    type=FilePath(),
    callback=_store_in_its_place,
    help="The store (default: $PAJAMAS_EVAL_STORE, else the user's data folder).",
)
resume_option = click.option(
    "--resume", type=int, metavar="RUN", help="Go on with an earlier run; see `runs`."
)
baseline_option = click.option(
    "--baseline", help="Label of the model to compare with (default: the first)."
)
margin_option = click.option(
    "--margin",
    "margins",
    type=MarginType(),
    multiple=True,
    metavar="MARGIN",
    help="What a variant may lose and still be no worse: points (5), a share of a ratio such as "
    "perplexity (2%) or a metric's own unit (0.1nats); may be given for each. "
    "[default: each benchmark's own; see `list benchmarks`]",
)
confidence_option = click.option(
    "--confidence",
    type=Number(0.5, 0.999999, min_open=True),
    default=0.95,
    show_default=True,
    metavar="SHARE",
    help="Confidence of every verdict, and of either side of the interval that it is read from.",
)
until_decided_option = click.option(
    "--until-decided",
    is_flag=True,
    help="Ask in random order, and only until each verdict is in.",
)
different_models_option = click.option(
    "--allow-different-models",
    is_flag=True,
    help="Compare even where engines read another architecture from what claims to be one model.",
)
equivalence_option = click.option(
    "--equivalence",
    is_flag=True,
    help="Ask more than no worse: that nothing changed, for better or worse, beyond the margin.",
)
control_option = click.option(
    "--control",
    is_flag=True,
    help="Run the baseline once more, damaged by noise on its weights: questions that do not call "
    "that worse cannot tell.",
)
noise_options = all_of(
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
)
