"""`runs` and `show`: what earlier runs left."""

from pathlib import Path

import click

from pajamas_eval.cli.options import store_option
from pajamas_eval.cli.store import _opened


@click.command()
@store_option
def runs(store: Path | None) -> None:
    """Show the runs that are recorded."""
    from pajamas_eval.report.terminal.stored_runs import runs_table

    with _opened(store) as opened:
        _print(runs_table(opened.runs.all()))


@click.command()
@click.argument("run", type=int)
@store_option
def show(run: int, store: Path | None) -> None:
    """Show a recorded run's report."""
    from pajamas_eval.analysis.summary import summarize
    from pajamas_eval.cli.output import output_console
    from pajamas_eval.evaluation.stored_runs import logs_of, resume_command
    from pajamas_eval.report.terminal import comparison as terminal
    from pajamas_eval.report.terminal.stored_runs import asked
    from pajamas_eval.report.terminal.tables import say
    from pajamas_eval.results.file import decode

    with _opened(store) as opened:
        recorded = opened.runs.get(run)
        content = opened.runs.document(run)
        logs = logs_of(opened, run)
        to_go_on = resume_command(opened, run)
    console = output_console()
    for line in asked(recorded, logs, to_go_on):
        say(line, console)
    if content is not None:
        console.print()
        document = decode(content, f"run {run}")
        summarize(document)  # as this version does it, whichever version recorded it
        terminal.show(document, console)


def _print(table: object) -> None:
    from pajamas_eval.cli.output import output_console

    output_console().print(table)
