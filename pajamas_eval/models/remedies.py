"""Gives a model folder what an engine does not find in it, though others do."""

import json
from pathlib import Path

from pajamas_eval.api.options import overlaid
from pajamas_eval.errors import MissingEngineError, UsageError
from pajamas_eval.files import write_whole
from pajamas_eval.models.registry import runtime_class, runtime_names
from pajamas_eval.plugins import contained


def mend(folder: Path) -> list[str]:
    """Writes into `config.json` what the installed runtimes do not find there.

    The old file is kept beside it, as `config.json.orig`.

    Returns:
        What was written, in words; nothing where nothing is missing.

    Raises:
        UsageError: It is not the folder of a model, or cannot be read or written.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise UsageError(f"{folder} is not a model folder: it has no config.json")
    said = []
    for name in runtime_names():
        try:
            runtime = runtime_class(name)
        except UsageError:  # a plugin that is broken is no obstacle
            continue
        try:
            with contained(f"the {name} runtime"):
                remedy = runtime.remedy(folder)
        except MissingEngineError:
            continue
        for key, value in remedy.items():
            said.append(f"{file}: {key} = {json.dumps(value)} (for {name})")
        if remedy:
            content = file.read_bytes()
            if not (kept := file.with_suffix(".json.orig")).exists():
                write_whole(content, kept)
            mended = overlaid(json.loads(content), remedy)
            write_whole(json.dumps(mended, indent=2).encode() + b"\n", file)
    return said
