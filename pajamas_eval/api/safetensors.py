"""The headers of safetensors files."""

import json
import struct
from pathlib import Path
from typing import Any

from pajamas_eval.errors import UsageError

_LONGEST_HEADER = 100_000_000
"""Bytes; the format allows no longer header."""

_POINTER = b"version https://git-lfs"


def read_header(file: Path) -> dict[str, Any]:
    """What a file says of its tensors, by name, and `__metadata__`; no tensor is read.

    Raises:
        UsageError: It is not such a file, or is not as long as its header says.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(len(_POINTER))
            if start == _POINTER:
                raise UsageError(f"{file} stands for a file that Git LFS keeps: git lfs pull")
            (length,) = struct.unpack("<Q", start[:8].ljust(8, b"\0"))
            if length > _LONGEST_HEADER:
                raise ValueError("its header is too long")
            stream.seek(8)
            read = stream.read(length)
            header: dict[str, Any] = json.loads(read) if length == len(read) > 0 else {}
        ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file} is not a readable safetensors file: {error}") from None
    if size != whole:
        fault = "cut off" if size < whole else "longer than its header says"
        raise UsageError(f"{file} is {fault}: it has {size} of {whole} bytes; download it again")
    return header
