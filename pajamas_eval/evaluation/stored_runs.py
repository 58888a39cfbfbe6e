"""Runs in the store: their documents, their logs, and the command that resumes one."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pajamas_eval.errors import UsageError
from pajamas_eval.results.document import Document
from pajamas_eval.results.file import decode
from pajamas_eval.results.run_config import RunPlan, of_former_versions
from pajamas_eval.store import Store, default_path


def stored_documents(store: Store, names: Sequence[str]) -> list[tuple[str, Document]]:
    """The result documents of `run:12` and the like.

    Raises:
        UsageError: A name is of another kind, or the run has no result.
    """
    documents: list[tuple[int, Document]] = []
    for name in names:
        number = name.removeprefix("run:")
        if number == name:
            raise UsageError(
                f"{name}: stored runs can be compared with stored runs only (run:12 run:15)"
            )
        if not number.isdecimal() or len(number) > 15:
            raise UsageError(f"{name}: a run has a number; see `pajamas-eval runs`")
        run = int(number)
        if run in (known for known, _ in documents):
            raise UsageError(f"duplicate run {run}")
        content = store.runs.document(run)
        if content is None:
            if store.runs.get(run).state == "running":
                raise UsageError(f"run {run} is still running")
            how = resume_command(store, run)
            raise UsageError(f"run {run} has no result; resume it with: {how}")
        documents.append((run, decode(content, name)))
    return [(f"run:{run}", document) for run, document in documents]


def resume_command(store: Store, run: int) -> str:
    """The command that goes on with a run of this store."""
    path = store.database.path.absolute()
    where = "" if path == default_path().absolute() else f" --store {shlex.quote(str(path))}"
    return f"pajamas-eval compare --resume {run}{where}"


def log_folder(store: Store) -> Path:
    """Where the logs of a store's runs lie."""
    return store.database.path.with_name(store.database.path.name + "-logs")


def logs_of(store: Store, run: int) -> list[Path]:
    """What is left of what the engines of a run printed."""
    return sorted(log_folder(store).glob(f"run{run}-*.log"))


class RecordedPlan(RunPlan, kw_only=True):
    """A plan as the store keeps it.

    Attributes:
        folder: Where its models' paths start.
        json_file: Where the result went.
    """

    folder: str
    json_file: str | None = None


def recorded_plan(
    plan: RunPlan, data: Path | None, folder: Path, json_file: Path | None
) -> RecordedPlan:
    """The plan with every path absolute: it may be resumed elsewhere."""
    given = {name: getattr(plan, name) for name in RunPlan.__struct_fields__}
    return RecordedPlan(
        **{**given, "data": str(data.absolute()) if data else None},
        folder=str(folder.absolute()),
        json_file=str(json_file.absolute()) if json_file else None,
    )


def plan_to_resume(run: int, store: Path | None) -> RecordedPlan:
    """What an earlier run was asked; what its record does not know takes its default.

    Raises:
        UsageError: There is no such run, or its models were elsewhere and are gone.
    """
    with Store.open(store or default_path(), create=False, only_read=True) as opened:
        asked = opened.runs.get(run).asked
    try:
        plan = msgspec.convert(of_former_versions(asked), RecordedPlan)
    except (msgspec.ValidationError, AttributeError, TypeError, UnicodeError) as error:
        raise UsageError(
            f"run {run} cannot be resumed: what it was asked cannot be read ({error}); run its "
            "models again, and what is stored is found"
        ) from None
    if not Path(plan.folder).is_dir():
        raise UsageError(f"run {run} was started in {plan.folder}, which is no longer there")
    return plan


def files_of_store(store: Path) -> dict[Path, str]:
    """The store's file and those that SQLite has beside it, for `check_outputs`."""
    return {Path(f"{store.resolve()}{end}"): "the response store" for end in ("", "-wal", "-shm")}
