"""Reads the rows of a data set: from the user's folder, the package itself, or the hub."""

import codecs
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from pajamas_eval.errors import UsageError, install_command

ENVIRONMENT_VARIABLE = "PAJAMAS_EVAL_DATA"

FILE_LIMIT_BYTES = 1_000_000_000
"""Of one file of data, unpacked; the usual sets have a hundredth of it."""

ROW_LIMIT_BYTES = 64_000_000
"""Of one line: what has longer ones is no file of questions."""

ROWS_AT_ONCE = 100
"""Rows of a parquet file that are unpacked together."""

AnyRow = TypeVar("AnyRow", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Where a benchmark's rows live.

    Attributes:
        folder: Name of its folder in the user's data folder, or in the package's.
        hub_id: Data set on the Hugging Face hub.
        hub_config: Its configuration there.
        package: Package whose `data/` folder holds the rows; such a set is never looked for
            anywhere else.
        test_split: Where the questions are.
        shot_split: Where few-shot examples are taken from.
    """

    folder: str
    hub_id: str | None = None
    hub_config: str | None = None
    package: str | None = None
    test_split: str = "test"
    shot_split: str = "train"


class DataSource:
    """The rows of any data set, read once per split.

    Attributes:
        folder: The user's own, if one is named.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` overrides the environment variable `PAJAMAS_EVAL_DATA`."""
        named = folder or os.environ.get(ENVIRONMENT_VARIABLE)
        self.folder = Path(named) if named else None
        self._rows: dict[tuple[Dataset, str], list[Any]] = {}

    def rows(self, dataset: Dataset, split: str, row_type: type[AnyRow]) -> list[AnyRow]:
        """All rows of a split, checked against `row_type`.

        Raises:
            UsageError: There is no such data, or a row is malformed (its place is named).
        """
        key = (dataset, split)
        if key not in self._rows:
            self._rows[key] = list(self._read(dataset, split, row_type))
            if not self._rows[key]:
                raise UsageError(f"the {split} split of {dataset.folder} has no rows")
        return self._rows[key]

    def _read(self, dataset: Dataset, split: str, row_type: type[AnyRow]) -> Iterator[AnyRow]:
        if dataset.package:
            folder = Path(str(files(dataset.package))) / "data" / dataset.folder
            return _read_jsonl(folder / f"{split}.jsonl", row_type)
        if self.folder:
            try:
                os.listdir(self.folder)
            except OSError as error:
                raise UsageError(
                    f"cannot read the data folder {self.folder}: {error.strerror}"
                ) from None
            return _read_folder(self.folder / dataset.folder, split, row_type)
        return _read_hub(dataset, split, row_type)


def _read_folder(folder: Path, split: str, row_type: type[AnyRow]) -> Iterator[AnyRow]:
    jsonl = folder / f"{split}.jsonl"
    parquet = sorted([*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")])
    if os.path.isfile(jsonl):  # false where a folder may not be looked into
        if parquet:
            raise _held_twice(folder, split, [jsonl, *parquet])
        return _read_jsonl(jsonl, row_type)
    if parquet:
        _check_parts(folder, split, parquet)
        return _read_parquet(parquet, row_type)
    raise UsageError(f"found neither {jsonl} nor {split}.parquet beside it")


def _check_parts(folder: Path, split: str, files: Sequence[Path]) -> None:
    """Refuses a split of which parts are missing, or that is there twice."""
    names = [re.fullmatch(rf"{re.escape(split)}-(\d+)-of-(\d+)", file.stem) for file in files]
    totals = {int(name[2]) if name else None for name in names}
    found = {int(name[1]) for name in names if name}
    whole = any(file.stem == split for file in files)
    if len(files) > 1 and (whole or len(totals) > 1 or 0 < len(found) < len(files)):
        raise _held_twice(folder, split, files)
    total = totals.pop()
    if missing := sorted(set(range(total or 0)) - found):
        number, count = (len(part) for part in files[0].stem.split("-")[-3::2])
        lacking = ", ".join(
            f"{split}-{part:0{number}}-of-{total:0{count}}.parquet" for part in missing[:3]
        )
        raise UsageError(
            f"{folder} lacks {len(missing)} of {total} parts of the {split} split: {lacking}"
        )


def _held_twice(folder: Path, split: str, files: Sequence[Path]) -> UsageError:
    shown = ", ".join(file.name for file in files[:3])
    return UsageError(f"{folder} may hold the {split} split twice; leave one of these: {shown}")


def _read_jsonl(file: Path, row_type: type[AnyRow]) -> Iterator[AnyRow]:
    decoder = msgspec.json.Decoder(row_type, strict=False)
    with _open(file) as stream:
        _check_size(file, stream.seek(0, os.SEEK_END))
        stream.seek(0)
        _skip_byte_order_mark(file, stream)
        lines = iter(lambda: stream.readline(ROW_LIMIT_BYTES + 1), b"")
        for number, line in enumerate(lines, 1):
            if len(line) > ROW_LIMIT_BYTES:
                raise UsageError(f"{file}, line {number}: longer than {ROW_LIMIT_BYTES:,} bytes")
            if not line.strip():
                continue
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise UsageError(f"{file}, line {number}: {error}") from None


def _skip_byte_order_mark(file: Path, stream: BinaryIO) -> None:
    """Goes to the first byte of the text. Raises `UsageError` where it is not UTF-8."""
    start = stream.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise UsageError(f"{file} is UTF-16 or UTF-32; save it as UTF-8")
    stream.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)


def _check_size(file: Path, size: int) -> None:
    if size > FILE_LIMIT_BYTES:
        raise UsageError(
            f"{file} has {size:,} bytes of data or more; a file of questions may have "
            f"{FILE_LIMIT_BYTES:,}"
        )


def _open(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None


def _read_parquet(paths: list[Path], row_type: type[AnyRow]) -> Iterator[AnyRow]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            f"reading {paths[0]} needs pyarrow; install it with: {install_command('parquet')}"
        ) from None
    for path in paths:
        try:
            with _open(path) as stream, pyarrow.parquet.ParquetFile(stream) as file:
                wanted = [n for n in file.schema_arrow.names if n in row_type.__struct_fields__]
                batches = file.iter_batches(ROWS_AT_ONCE, columns=wanted)
                yield from _convert(_unpacked(path, batches), row_type, str(path))
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise UsageError(f"{path} is not a readable parquet file: {_line(error)}") from None


def _unpacked(path: Path, batches: Iterable[Any]) -> Iterator[Any]:
    size = 0
    for batch in batches:
        size += batch.nbytes  # a small file may hold the same text a million times
        _check_size(path, size)
        yield from batch.to_pylist()


def _read_hub(dataset: Dataset, split: str, row_type: type[AnyRow]) -> Iterator[AnyRow]:
    advice = f"name a folder with the data: --data DIR or {ENVIRONMENT_VARIABLE}"
    try:
        import datasets
    except ImportError:
        raise UsageError(
            f"{dataset.folder} comes from the Hugging Face hub, which needs the package "
            f"'datasets': {install_command('hub')}; or {advice}"
        ) from None
    try:
        rows = datasets.load_dataset(dataset.hub_id, dataset.hub_config, split=split)
    except Exception as error:  # the library raises many kinds for a hub that is out of reach
        raise UsageError(
            f"cannot get {dataset.hub_id} from the Hugging Face hub ({_line(error)}); {advice}"
        ) from None
    return _convert(rows, row_type, f"{dataset.hub_id} {split}")


def _convert(rows: Any, row_type: type[AnyRow], source: str) -> Iterator[AnyRow]:
    for number, row in enumerate(rows, 1):
        try:
            yield msgspec.convert(row, row_type, strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(f"{source}, row {number}: {error}") from None


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
