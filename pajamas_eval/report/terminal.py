"""The tables and sentences at the end of a run."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from pajamas_eval.document import (
    AnswerSet,
    BenchmarkRecord,
    Comparison,
    Document,
    ScoreSummary,
)
from pajamas_eval.fairness import describe_difference
from pajamas_eval.report.text import percent, plural, points, printable, rate, size
from pajamas_eval.summary import errors


def show(document: Document, console: Console) -> None:
    """Everything a person wants to know, in the order of interest."""
    for record in document.benchmarks:
        console.print(_table(document, record))
        for line in _sentences(document, record):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print()
    for line in [*_fairness(document), *_batches(document), *_remarks(document)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(document: Document, record: BenchmarkRecord) -> Table:
    compared = len(document.models) > 1
    table = Table(box=box.SIMPLE_HEAD, title=_title(record), title_justify="left", pad_edge=False)
    table.add_column("model", overflow="fold")
    interval = rf"\[{100 * document.settings.confidence:g} %]"
    table.add_column(f"{record.metrics[0]}\n{interval}", no_wrap=True)
    for metric in record.metrics[1:]:
        table.add_column(metric.replace("_", " "), justify="right")
    if compared:
        table.add_column(f"difference\n{interval}", no_wrap=True)
        table.add_column("flips\n+/−", justify="right", no_wrap=True)
    if any(errors(answers) for answers in record.answer_sets):
        table.add_column("errors", justify="right")
    for heading in ("tokens/s", "peak\nmemory", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    for answers in record.answer_sets:
        table.add_row(*_row(document, record, answers, compared))
    return table


def _title(record: BenchmarkRecord) -> str:
    asked = plural(len(record.questions), "question")
    if len(record.questions) < record.available:
        asked = f"{len(record.questions)} of {record.available} questions"
    return f"{record.name}: {asked}, {record.shots}-shot"


def _row(
    document: Document, record: BenchmarkRecord, answers: AnswerSet, compared: bool
) -> Iterator[str]:
    model = document.model(answers.label)
    first, *others = [_score(document, record.name, answers.label, m) for m in record.metrics]
    yield printable(answers.label, markup=True)
    if first.count:
        yield rf"{percent(first.value)} \[{percent(first.lower)}, {percent(first.upper)}]"
    else:
        yield "no answers"
    for score in others:
        yield percent(score.value) if score.count else ""
    if compared:
        comparison = _comparison(document, record.name, answers.label, record.metrics[0])
        if comparison is None:
            yield from ("baseline" if answers.label == document.baseline else "", "")
        elif not comparison.count:
            yield from ("", "")
        else:
            bounds = rf"\[{points(comparison.lower)}, {points(comparison.upper)}]"
            yield f"{points(comparison.difference)} {bounds}"
            yield f"{comparison.gains}/{comparison.losses}"
    if any(errors(a) for a in record.answer_sets):
        yield str(len(errors(answers)))
    speed = answers.evaluated_tokens / answers.engine_seconds if answers.engine_seconds else 0.0
    yield rate(speed)
    yield size(model.peak_memory_bytes)
    yield size(model.identity.size_bytes) if model.identity else "?"


def _score(document: Document, benchmark: str, label: str, metric: str) -> ScoreSummary:
    return next(
        s
        for s in document.scores
        if (s.benchmark, s.label, s.metric, s.subset) == (benchmark, label, metric, None)
    )


def _comparison(document: Document, benchmark: str, label: str, metric: str) -> Comparison | None:
    for c in document.comparisons:
        if (c.benchmark, c.label, c.metric) == (benchmark, label, metric):
            return c
    return None


def _sentences(document: Document, record: BenchmarkRecord) -> Iterator[str]:
    """What one would say aloud about each variant, and what a reader must know of the questions."""
    for answers in record.answer_sets:
        comparison = _comparison(document, record.name, answers.label, record.metrics[0])
        if comparison:
            yield sentence(comparison, document.settings.confidence)
        if failed := errors(answers):
            yield (
                f"{printable(answers.label)} failed on {plural(len(failed), 'question')}, "
                f"not counted as wrong: {printable(failed[0].error or '')}"
            )
        truncated = sum(a.truncated_tokens > 0 for a in answers.answers)
        if truncated:
            yield (
                f"{printable(answers.label)}: {plural(truncated, 'prompt')} did not fit in the "
                "context and lost text on the left"
            )
        for note in dict.fromkeys(answers.notes):
            yield f"{printable(answers.label)}: {printable(note)}"
    for note in record.notes:
        yield f"Note: {printable(note)}"


def sentence(comparison: Comparison, confidence: float) -> str:
    """One comparison in words."""
    if not comparison.count:
        return f"{printable(comparison.label)} and the baseline answered no question in common."
    flips = comparison.gains + comparison.losses
    head = (
        f"{printable(comparison.label)} scores {flips} of {plural(comparison.count, 'question')} "
        f"differently from the baseline: {comparison.gains} better, {comparison.losses} worse"
        if flips
        else f"{printable(comparison.label)} is right and wrong on the same "
        f"{plural(comparison.count, 'question')} as the baseline"
    )
    return (
        f"{head}; difference {points(comparison.difference)} points, {100 * confidence:g} % "
        f"interval {points(comparison.lower)} to {points(comparison.upper)}."
    )


def _fairness(document: Document) -> Iterator[str]:
    for check in document.fairness.tokens:
        text = f"tokenization identical on {check.identical}/{check.total} requests"
        if check.first_difference:
            text += f"; {printable(describe_difference(check))}"
        yield f"{printable(check.label)}: {text}"
    if document.fairness.tokens:
        yield f"prompts identical for all models (digest {document.fairness.prompts[:12]})"
    for note in document.fairness.notes:
        yield f"Note: {printable(note)}"


def _batches(document: Document) -> Iterator[str]:
    """How each model was run, for kernels may round differently in batches of another shape."""
    for record in document.benchmarks:
        shapes: dict[str, list[str]] = {}
        for answers in record.answer_sets:
            if answers.ideal_tokens:
                wasted = answers.evaluated_tokens / answers.ideal_tokens
                shown = f"{printable(answers.label)} ({wasted:.2f})"
                shapes.setdefault(answers.batching, []).append(shown)
        if shapes:
            said = "; ".join(f"{shape}: {', '.join(labels)}" for shape, labels in shapes.items())
            yield f"Batches of {record.name} (tokens run for each distinct one): {said}"


def _remarks(document: Document) -> Iterator[str]:
    for model in document.models:
        for note in model.identity.notes if model.identity else ():
            yield f"{printable(model.label)}: {printable(note)}"
    for model in document.models:
        if model.error:
            yield f"FAILED {printable(model.error)}"
