"""A run in the store: what it was asked, what it computes, its engines' logs, and how it ends."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path

from pajamas_eval import __version__
from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.errors import PajamasError, StoreError, UsageError
from pajamas_eval.evaluation.stored_runs import log_folder, logs_of
from pajamas_eval.results.document import Document
from pajamas_eval.results.file import encode
from pajamas_eval.results.machine import this_machine
from pajamas_eval.results.run_config import RunSettings
from pajamas_eval.store import Store
from pajamas_eval.store.model_responses import ModelResponses


class Recording:
    """One run of this process, in an open store."""

    def __init__(self, store: Store, asked: object) -> None:
        """Begins a run.

        Args:
            store: Where it is recorded.
            asked: What the user asked for, with a JSON form.
        """
        self._store = store
        self._logs: set[str] = set()  # in lower case: some file systems know no other
        self.number = store.runs.begin(
            asked, machine=this_machine(), versions={"pajamas-eval": __version__}
        )

    def log(self, label: str) -> Path:
        """The file for what a model's engine prints."""
        folder = log_folder(self._store)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from None
        name = f"run{self.number}-{file_name(label)}"
        # Labels may differ in nothing that a file name can show.
        names = chain([name], (f"{name}-{number}" for number in count(2)))
        free = next(n for n in names if n.casefold() not in self._logs)
        self._logs.add(free.casefold())
        return folder / f"{free}.log"

    def resolved(self, settings: RunSettings, keys: Mapping[str, AnswerKey]) -> None:
        """Records what was settled before anything was scored: settings, and keys by label."""
        self._store.runs.resolve(self.number, {"settings": settings, "engines": dict(keys)})

    def responses(self, label: str, key: AnswerKey) -> ModelResponses:
        """What a model answered in this run and in earlier ones."""
        return ModelResponses(self._store, self.number, key, label)

    @contextmanager
    def ending(self) -> Iterator["Ending"]:
        """Records how the run ends, whatever happens inside."""
        ending = Ending()
        try:
            yield ending
        except (KeyboardInterrupt, SystemExit):
            # Whoever presses Ctrl-C waits for nobody; a run whose process is gone was interrupted.
            with suppress(StoreError):
                self._store.runs.finish(self.number, "interrupted", timeout=0.3)
            raise
        except UsageError as error:  # then nothing was asked
            if self._store.runs.discard(self.number):
                for log in logs_of(self._store, self.number):
                    log.unlink(missing_ok=True)
            else:
                self._store.runs.finish(self.number, "failed", error=str(error))
            raise
        except PajamasError as error:
            with suppress(StoreError):  # which may be what it failed of
                self._store.runs.finish(self.number, "failed", error=str(error))
            raise
        document = ending.document
        failed = document is None or any(model.error for model in document.models)
        self._store.runs.finish(
            self.number,
            "failed" if failed else "finished",
            encode(document) if document else None,
        )


class Ending:
    """Takes the document that a run ends with."""

    document: Document | None = None


def file_name(label: str) -> str:
    """A label as a part of a file name: nothing in it can leave the folder."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", label)[:80]
