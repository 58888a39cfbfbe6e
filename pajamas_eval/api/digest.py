"""A digest of a model's whole content, computed once per file and remembered."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from blake3 import blake3
from platformdirs import user_cache_path

_IGNORED_SUFFIXES = {".md", ".png", ".jpg", ".jpeg", ".gif", ".lock", ".orig"}


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder that make it what it is: all but hidden ones and prose."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name[0] != "." and path.suffix not in _IGNORED_SUFFIXES
    )


def digest_of(files: Iterable[Path], cache: Path | None = None) -> str:
    """BLAKE3 over names and contents, in hexadecimal; where the files lie does not matter.

    Args:
        files: Files of one model.
        cache: SQLite file that remembers digests by path and what tells that a file is still the
            same; by default in the user's cache folder.
    """
    total = blake3()
    with _remembered(cache or user_cache_path("pajamas-eval") / "digests.sqlite") as memory:
        files = sorted(files, key=lambda path: path.name)
        for file in files:
            name = file.name if len(files) > 1 else ""  # renaming a single file changes nothing
            total.update(f"{name}\0{_file_digest(file, memory)}\0".encode())
    return total.hexdigest()


def _file_digest(file: Path, memory: sqlite3.Connection | None) -> str:
    resolved = file.resolve()
    stat = resolved.stat()
    # The time of change and the inode as well: a copy may keep the modification time of another
    # file, all files of an archive or an image may share one, and variants may share their size.
    state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_dev} {stat.st_ino}"
    key = (os.fsencode(resolved), state)
    if memory is not None:
        with suppress(sqlite3.Error):  # a damaged memory
            found = memory.execute(
                "SELECT digest FROM file_digests WHERE path = ? AND state = ?", key
            ).fetchone()
            if found:
                return str(found[0])
    hasher = blake3(max_threads=blake3.AUTO)
    hasher.update_mmap(resolved)
    digest = hasher.hexdigest()
    if memory is not None:
        with suppress(sqlite3.Error), memory:  # read-only, damaged or full
            memory.execute("INSERT OR REPLACE INTO file_digests VALUES (?, ?, ?)", (*key, digest))
    return digest


@contextmanager
def _remembered(cache: Path) -> Iterator[sqlite3.Connection | None]:
    """The memory of digests, or nothing where no file can be written: then it is only slower."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(cache, timeout=30)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS file_digests "
            "(path BLOB PRIMARY KEY, state TEXT, digest TEXT)"
        )
    except (OSError, sqlite3.Error):
        yield None
        return
    with closing(connection):
        yield connection
