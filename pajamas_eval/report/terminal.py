"""The tables at the end of a run, with the sentences below them."""

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from pajamas_eval.document import (
    AnswerSet,
    BenchmarkRecord,
    Document,
    ExtractionAudit,
    ScoreSummary,
)
from pajamas_eval.report import sentences
from pajamas_eval.report.text import percent, plural, points, printable, rate, size
from pajamas_eval.summary import errors


def show(document: Document, console: Console) -> None:
    """Everything a person wants to know, in the order of interest."""
    for record in document.benchmarks:
        console.print(_benchmark(document, record))
        _say(sentences.of_benchmark(document, record), console)
        console.print()
    console.print(_models(document))
    _say(sentences.of_run(document), console)
    if document.verdicts:
        console.print()
        _say(sentences.verdicts(document), console)


def _say(lines: Iterable[str], console: Console) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _models(document: Document) -> Table:
    table = _empty("models")
    for heading in ("runtime", "quantization"):
        table.add_column(heading)
    for heading in ("bits per\nweight", "size", "peak\nmemory", "loaded in"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in document.models:
        known = model.identity
        table.add_row(
            printable(model.label, markup=True),
            known.runtime if known else "?",
            printable(known.quantization, markup=True) if known else "?",
            f"{known.bits_per_weight:.2f}" if known else "?",
            size(known.size_bytes) if known else "?",
            size(model.peak_memory_bytes) if model.load_seconds else "not loaded",
            f"{model.load_seconds:.1f} s" if model.load_seconds else "",
        )
    return table


def _empty(title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("model", overflow="fold")
    return table


def _benchmark(document: Document, record: BenchmarkRecord) -> Table:
    compared = len(document.models) > 1
    table = _empty(_title(record))
    interval = rf"\[{100 * document.settings.confidence:g} %]"
    table.add_column(f"{record.metrics[0]}\n{interval}", no_wrap=True)
    for metric in record.metrics[1:]:
        table.add_column("\n".join(metric.rsplit("_", 1)).replace("_", " "), justify="right")
    if compared:
        table.add_column(f"difference\n{interval}", no_wrap=True)
        table.add_column("flips\n+/−", justify="right", no_wrap=True)
        margin = f"{100 * document.settings.margin:g}"
        table.add_column(f"verdict\n(margin {margin})", no_wrap=True)
    if _generated(document, record):
        for heading in ("wrong", "un-\nparsed", "cut\noff"):
            table.add_column(heading, justify="right", no_wrap=True)
    if any(errors(answers) for answers in record.answer_sets):
        table.add_column("errors", justify="right")
    table.add_column("tokens/s", justify="right", no_wrap=True)
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
    first, *others = [_score(document, record.name, answers.label, m) for m in record.metrics]
    yield printable(answers.label, markup=True)
    if first.count:
        yield rf"{percent(first.value)} \[{percent(first.lower)}, {percent(first.upper)}]"
    else:
        yield "no answers"
    for score in others:
        yield percent(score.value) if score.count else ""
    if compared:
        comparison = sentences.find(document, record.name, answers.label, record.metrics[0])
        if comparison is None:
            yield from ("baseline" if answers.label == document.baseline else "", "", "")
        elif not comparison.count:
            yield from ("", "", "")
        else:
            bounds = rf"\[{points(comparison.lower)}, {points(comparison.upper)}]"
            yield f"{points(comparison.difference)} {bounds}"
            yield f"{comparison.gains}/{comparison.losses}"
            yield comparison.verdict or "noise"
    if _generated(document, record):
        audit = _audit(document, record.name, answers.label)
        counts = (audit.wrong, audit.unparseable, audit.cut_off) if audit else ("", "", "")
        yield from map(str, counts)
    if any(errors(a) for a in record.answer_sets):
        yield str(len(errors(answers)))
    if answers.engine_seconds:
        yield rate(answers.evaluated_tokens / answers.engine_seconds)
    else:
        yield "stored" if answers.reused else rate(0.0)


def _generated(document: Document, record: BenchmarkRecord) -> bool:
    return any(audit.benchmark == record.name for audit in document.audits)


def _audit(document: Document, benchmark: str, label: str) -> ExtractionAudit | None:
    for audit in document.audits:
        if (audit.benchmark, audit.label) == (benchmark, label):
            return audit
    return None


def _score(document: Document, benchmark: str, label: str, metric: str) -> ScoreSummary:
    return next(
        s
        for s in document.scores
        if (s.benchmark, s.label, s.metric, s.subset) == (benchmark, label, metric, None)
    )
