"""Atomic output files, checked for writability up front."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pajamas_eval.errors import UsageError


def check_outputs(outputs: Sequence[Path | None], inputs: Mapping[Path, str]) -> None:
    """Raises `UsageError` now rather than after hours of work.

    Args:
        outputs: What will be written, with nothing where that is nothing.
        inputs: What is read, and what to call it: it is not to be written over.
    """
    seen: set[Path] = set()
    for path in outputs:
        if path is None:
            continue
        with _explained(path):
            target = path.resolve()
            for file, name in inputs.items():
                if file.resolve() == target:
                    raise UsageError(f"{path} is {name}; name another file to write")
            if target in seen:
                raise UsageError(f"{path} is to be written twice; name two files")
            seen.add(target)
            if path.is_dir():
                raise UsageError(f"cannot write {path}: it is a folder")
            if not target.parent.is_dir():
                raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist")
            if path.exists() and not os.access(path, os.W_OK):
                raise UsageError(f"cannot write {path}: permission denied")
            if not _is_stream(path):
                partial = _partial(target)
                partial.touch()
                partial.unlink()


def write_whole(content: bytes, path: Path) -> None:
    """Writes a file whole or not at all. Raises `UsageError`."""
    with replacing(path) as stream:
        stream.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the old one's place once all of it is written.

    Behind a link that is the file it leads to. A device or a pipe is written to as it is.

    Raises:
        UsageError: It cannot be written; what was there before still is.
    """
    with _explained(path):
        if _is_stream(path):
            with path.open("wb") as stream:
                yield stream
            return
        target = path.resolve()
        partial = _partial(target)
        try:
            with partial.open("wb") as stream:
                yield stream
            partial.replace(target)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    """A device or a pipe; also a file that stands for an open one, as `/dev/stdout` may."""
    opened = path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc")
    return path.exists() and (opened or not path.is_file())


def _partial(target: Path) -> Path:
    # Of a name that is short, and no other process's.
    return target.with_name(f".pajamas-eval-{os.getpid()}.partial")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # the latter for links that lead in a circle
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError(f"cannot write {path}: {why}") from None
