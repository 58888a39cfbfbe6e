"""The tables at the end of a run, with the sentences below them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

from pajamas_eval.document import (
    AnswerSet,
    BenchmarkRecord,
    Comparison,
    Document,
    ExtractionAudit,
    ScoreSummary,
)
from pajamas_eval.report import sentences
from pajamas_eval.report.text import percent, plural, points, printable, rate, size
from pajamas_eval.summary import errors

ANY_WIDTH = 10_000
"""More characters than any table needs."""


def show(document: Document, console: Console) -> None:
    """Everything a person wants to know, in the order of interest."""
    for record in document.benchmarks:
        wide = _benchmark(document, record, wide=True)
        unbounded = console.options.update(width=ANY_WIDTH)
        fits = console.measure(wide, options=unbounded).maximum <= console.width
        console.print(wide if fits else _benchmark(document, record, wide=False))
        if audits := [a for a in document.audits if a.benchmark == record.name]:
            console.print(_extraction(record, audits))
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


@dataclass(frozen=True)
class _Column:
    """One column with a cell for each model.

    Attributes:
        wide: Whether it is left out of a narrow terminal; the sentences say most of it too.
    """

    heading: str
    cells: list[str]
    wide: bool = False
    justify: JustifyMethod = "right"


def _benchmark(document: Document, record: BenchmarkRecord, *, wide: bool) -> Table:
    table = _empty(_title(record))
    columns = [c for c in _columns(document, record, wide) if wide or not c.wide]
    for column in columns:
        table.add_column(column.heading, justify=column.justify, no_wrap=True)
    labels = [printable(answers.label, markup=True) for answers in record.answer_sets]
    for row in zip(labels, *(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table


def _extraction(record: BenchmarkRecord, audits: Sequence[ExtractionAudit]) -> Table:
    table = _empty(f"{record.name}: what became of the generated texts")
    for heading in ("correct", "wrong", "unparsed", "cut off", "errors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for audit in audits:
        counts = (audit.correct, audit.wrong, audit.unparseable, audit.cut_off, audit.errors)
        table.add_row(printable(audit.label, markup=True), *map(str, counts))
    return table


def _columns(document: Document, record: BenchmarkRecord, wide: bool) -> Iterator[_Column]:
    sets = record.answer_sets
    interval = f"\n\\[{100 * document.settings.confidence:g} %]"
    first, *others = record.metrics
    yield _Column(
        first + interval if wide else "\n".join(first.rsplit("_", 1)),
        [_percent(_score(document, record.name, a.label, first), wide) for a in sets],
        justify="left" if wide else "right",
    )
    for metric in others:
        yield _Column(
            "\n".join(metric.rsplit("_", 1)).replace("_", " "),
            [_percent(_score(document, record.name, a.label, metric), False) for a in sets],
            wide=True,
        )
    if len(document.models) > 1:
        found = [sentences.find(document, record.name, a.label, first) for a in sets]
        baseline = [a.label == document.baseline for a in sets]
        yield _Column(
            "difference" + interval if wide else "difference",
            [
                _difference(c, wide) or ("baseline" if is_baseline else "")
                for c, is_baseline in zip(found, baseline, strict=True)
            ],
            justify="left" if wide else "right",
        )
        yield _Column(
            "flips\n+/−", [f"{c.gains}/{c.losses}" if c and c.count else "" for c in found]
        )
        yield _Column(
            f"verdict\n(margin {100 * document.settings.margin:g})",
            [(c.verdict or "noise") if c and c.count else "" for c in found],
            justify="left",
        )
    if any(errors(a) for a in sets):
        yield _Column("errors", [str(len(errors(a))) for a in sets])
    yield _Column("tokens/s", [_speed(a) for a in sets])


def _percent(score: ScoreSummary, with_interval: bool) -> str:
    if not score.count:
        return "no answers" if with_interval else ""
    if not with_interval:
        return percent(score.value)
    return rf"{percent(score.value)} \[{percent(score.lower)}, {percent(score.upper)}]"


def _difference(comparison: Comparison | None, with_interval: bool) -> str:
    if comparison is None or not comparison.count:
        return ""
    if not with_interval:
        return points(comparison.difference)
    bounds = rf"\[{points(comparison.lower)}, {points(comparison.upper)}]"
    return f"{points(comparison.difference)} {bounds}"


def _speed(answers: AnswerSet) -> str:
    if answers.engine_seconds:
        return rate(answers.evaluated_tokens / answers.engine_seconds)
    return "stored" if answers.reused else rate(0.0)


def _title(record: BenchmarkRecord) -> str:
    asked = plural(len(record.questions), "question")
    if len(record.questions) < record.available:
        asked = f"{len(record.questions)} of {record.available} questions"
    return f"{record.name}: {asked}, {record.shots}-shot"


def _score(document: Document, benchmark: str, label: str, metric: str) -> ScoreSummary:
    return next(
        s
        for s in document.scores
        if (s.benchmark, s.label, s.metric, s.subset) == (benchmark, label, metric, None)
    )
