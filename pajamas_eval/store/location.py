"""Where the store lies unless a user says otherwise, and where it once lay."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

_NAME = "responses.sqlite"


def default_path() -> Path:
    """`PAJAMAS_EVAL_STORE` where it is set, else a file in the user's data folder.

    It is the file in the cache folder of former versions as long as that could not be moved.
    """
    chosen = os.environ.get("PAJAMAS_EVAL_STORE")
    if chosen:
        return Path(chosen)
    present, former = _present(), _former()
    return former if former.exists() and not present.exists() else present


def move_former() -> str | None:
    """Moves the store of former versions out of the cache folder, which anything may empty.

    Nothing is moved while another process uses it, or where the user names a place.

    Returns:
        What was done, if anything.
    """
    present, former = _present(), _former()
    if os.environ.get("PAJAMAS_EVAL_STORE") or present.exists() or not former.exists():
        return None
    try:
        with closing(sqlite3.connect(former, timeout=0.1)) as connection:
            # Succeeds only for the one process that has the file open; its log is then in it.
            (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        if mode != "delete":
            return None
        present.parent.mkdir(parents=True, exist_ok=True)
        logs = former.with_name(f"{_NAME}-logs")
        if logs.exists():
            shutil.move(logs, present.with_name(logs.name))
        shutil.move(former, present)
    except (OSError, sqlite3.Error):  # it stays in use where it is
        return None
    return f"the response store was moved from {former} to {present}"


def _present() -> Path:
    return user_data_path("pajamas-eval") / _NAME


def _former() -> Path:
    return user_cache_path("pajamas-eval") / _NAME
