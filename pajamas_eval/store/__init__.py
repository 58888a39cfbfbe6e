"""Responses and runs on disk: what was computed once is never computed again.

The store is one SQLite file. A response is found by a key made of the model's content, its engine,
its settings and the request as the model reads it; names of files, models and benchmarks are no
part of it.
"""

from pajamas_eval.store.json_lines import export
from pajamas_eval.store.location import default_path, move_former
from pajamas_eval.store.maintenance import info, prune
from pajamas_eval.store.runs import Run, Runs, RunState
from pajamas_eval.store.store import Store
from pajamas_eval.store.verification import verify

__all__ = [
    "Run",
    "RunState",
    "Runs",
    "Store",
    "default_path",
    "export",
    "info",
    "move_former",
    "prune",
    "verify",
]
