"""Workers called one after the other, those that die started again once."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from pajamas_eval.errors import RunError, WorkerDiedError, WorkerHungError
from pajamas_eval.workers.worker import Worker

_Answer = TypeVar("_Answer")


def call_workers(
    workers: Sequence[Worker],
    lost: dict[str, str],
    ask: Callable[[Worker], _Answer],
    ask_again: Callable[[Worker], _Answer] | None = None,
) -> dict[str, _Answer]:
    """What each worker answers, by its label; one that dies is started again once.

    Those that die again, or whose runtime fails, are added to `lost` with the reason: their models
    have failed, and the others go on. Without the baseline there is nothing left to compare with.
    """
    answers = {}
    for worker in (w for w in workers if w.label not in lost):
        try:
            try:
                answers[worker.label] = ask(worker)
            except (WorkerDiedError, WorkerHungError):
                worker.restart()
                answers[worker.label] = (ask_again or ask)(worker)
        except RunError as error:
            if worker is workers[0]:
                raise
            lost[worker.label] = str(error)
    return answers
