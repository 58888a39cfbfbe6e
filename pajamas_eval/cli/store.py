"""`runs`, `show` and `store`: what earlier runs left."""

from contextlib import contextmanager
from datetime import timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pajamas_eval.cli.options import FilePath, Number, store_option
from pajamas_eval.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pajamas_eval.store import Store


@contextmanager
def _opened(path: Path | None, *, only_read: bool = True) -> "Iterator[Store]":
    from pajamas_eval.store import Store, default_path

    with Store.open(path or default_path(), create=False, only_read=only_read) as store:
        yield store


@click.group(short_help="Look at the response store, tidy or check it.")
def store() -> None:
    """Look at the response store, tidy it, copy it out or check it."""


@store.command()
@store_option
def info(store: Path | None) -> None:
    """Say where the store is and what it holds."""
    from pajamas_eval.report.terminal.stored_runs import info_lines
    from pajamas_eval.store import info

    with _opened(store) as opened:
        for line in info_lines(info(opened)):
            click.echo(line)


@store.command()
@click.option("--older-than", type=Number(0, 100_000), metavar="DAYS", help="Only these.")
@click.option("--model", help="Only this model's: its label, or the start of its digest.")
@store_option
def prune(older_than: float | None, model: str | None, store: Path | None) -> None:
    """Remove responses of some age or of one model, and give back their space."""
    from pajamas_eval.evaluation.stored_runs import log_folder
    from pajamas_eval.report.wording.figures import plural, size
    from pajamas_eval.store import prune

    age = None if older_than is None else timedelta(days=older_than)
    with _opened(store, only_read=False) as opened:
        removed = prune(opened, older_than=age, model=model)
        logs = list(log_folder(opened).glob("run*.log"))  # before the runs: none is newer than they
        left = {f"run{run.id}-" for run in opened.runs.all()}
        for log in logs:
            if log.name.partition("-")[0] + "-" not in left:
                log.unlink(missing_ok=True)
    click.echo(
        f"removed {plural(removed.responses, 'response')} and {plural(removed.runs, 'run')}, "
        f"{size(max(removed.freed_bytes, 0))} freed"
    )


@store.command()
@click.argument("file", type=FilePath())
@store_option
def export(file: Path, store: Path | None) -> None:
    """Write everything as JSON lines."""
    from pajamas_eval.evaluation.stored_runs import files_of_store
    from pajamas_eval.files import check_outputs, replacing
    from pajamas_eval.report.wording.figures import plural, printable
    from pajamas_eval.store import export

    with _opened(store) as opened:
        check_outputs([file], files_of_store(opened.database.path))
        with replacing(file) as stream, TextIOWrapper(stream, encoding="ascii") as out:
            count = export(opened, out)
    click.echo(f"wrote {plural(count, 'record')} to {printable(str(file))}")


@store.command()
@store_option
def verify(store: Path | None) -> None:
    """Check that the file is whole and everything in it can be read."""
    from pajamas_eval.report.wording.figures import plural, printable
    from pajamas_eval.store import verify

    with _opened(store) as opened:
        found = verify(opened)
    for problem in found.problems:
        click.echo(printable(problem))
    if found.problems:
        raise RunError(f"{plural(len(found.problems), 'problem')} in the store")
    click.echo(f"whole: {plural(found.responses, 'response')}, {plural(found.runs, 'run')}")
