"""`--benchmarks auto`: the benchmarks whose questions can tell, by what the baseline answers."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pajamas_eval.analysis.sensitivity import Score, pilot_score
from pajamas_eval.api.benchmark import Benchmark
from pajamas_eval.api.requests import GenerateUntil
from pajamas_eval.errors import UsageError
from pajamas_eval.evaluation.model_runner import ModelRunner
from pajamas_eval.questions.prepare import QuestionSet
from pajamas_eval.questions.registry import benchmark, families, load
from pajamas_eval.results.document import Document
from pajamas_eval.statistics.subsets import nested_order

AUTO = "auto"

PILOT = 50
"""Questions of each candidate that the baseline is asked; their answers serve the run, too."""


def candidates(names: Sequence[str]) -> list[Benchmark[Any]]:
    """What is chosen from: `auto` names the built-in sets, `auto:mmlu,hellaswag` others.

    Of the built-in ones those that generate come last, as they take the longest.

    Args:
        names: As they were divided at the commas.

    Raises:
        UsageError: There is no such benchmark, or something stands beside `auto`.
    """
    first, *others = names
    if named := first.removeprefix(AUTO).removeprefix(":"):
        return [benchmark(name) for name in (named, *others)]
    if others:
        raise UsageError(
            f"{AUTO} chooses among the built-in sets; to choose among others: "
            f"{AUTO}:{','.join(others)}"
        )
    ours = [load(plugin)[0] for plugin in families().values() if plugin.is_ours]
    ours.sort(key=lambda family: GenerateUntil in family.request_types)
    return [family(family.family) for family in ours if family.dataset.package]


def choose(
    baseline: ModelRunner, question_sets: Sequence[QuestionSet], document: Document
) -> tuple[list[QuestionSet], str]:
    """Those whose questions can tell, or all where none can; and a sentence about it."""
    found = dict(_scores(baseline, question_sets, document))
    able = [name for name, score in found.items() if score.can_tell]
    # Who understands letters needs no other form of the same questions.
    spared = {document.benchmark(name).cloze for name in able}
    chosen = [name for name in able if name not in spared] or list(found)
    left_out = [name for name in found if name not in chosen]
    shown = {name: f"{name} ({score})" for name, score in found.items()}
    text = f"by {PILOT} answers of {baseline.label} to each, "
    if not able:
        text += f"no benchmark can tell, so all are asked: {_listed(shown, found)}"
    else:
        text += f"these benchmarks can tell: {_listed(shown, chosen)}"
        text += f"; left out: {_listed(shown, left_out)}" if left_out else ""
    return [questions for questions in question_sets if questions.name in chosen], text


def _scores(
    baseline: ModelRunner, question_sets: Sequence[QuestionSet], document: Document
) -> Iterator[tuple[str, Score]]:
    for questions in question_sets:
        record = document.benchmark(questions.name)
        strata = [q.tags[0] if q.tags else "" for q in questions.questions]
        places = nested_order(strata, f"{document.settings.seed}/{questions.name}")[:PILOT]
        answers = baseline.ask(questions, places)
        margin = document.settings.margin(record.headline)
        yield questions.name, pilot_score(record, answers, margin, document.settings.confidence)


def _listed(shown: dict[str, str], names: Iterable[str]) -> str:
    return ", ".join(shown[name] for name in names)
