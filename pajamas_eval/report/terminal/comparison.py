"""The tables at the end of a run, with the sentences below them."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console

from pajamas_eval.analysis.scores import errors
from pajamas_eval.api.identity import Identity
from pajamas_eval.api.metrics import Metric
from pajamas_eval.report.terminal.tables import Column, Form, say, show_table
from pajamas_eval.report.wording import comparison as wording
from pajamas_eval.report.wording.figures import (
    change_of,
    margin_text,
    plural,
    printable,
    rate,
    size,
    value_of,
)
from pajamas_eval.report.wording.suspicion import suspicions
from pajamas_eval.results.document import AnswerSet, BenchmarkRecord, Document
from pajamas_eval.results.findings import Comparison, ExtractionAudit, ScoreSummary


def show(document: Document, console: Console) -> None:
    """Everything a person wants to know, in the order of interest."""
    for record in document.benchmarks:
        _show_benchmark(document, record, console)
        if audits := [a for a in document.audits if a.benchmark == record.name]:
            _show_extraction(record, audits, console)
        _say(wording.of_benchmark(document, record), console)
        console.print()
    _show_models(document, console)
    _say(wording.of_run(document), console)
    _say(wording.legend(document), console)
    if document.verdicts:
        console.print()
        _say(wording.verdicts(document), console)
    _say(suspicions(document), console)


def _say(lines: Iterable[str], console: Console) -> None:
    for line in lines:
        say(line, console)


def _show_models(document: Document, console: Console) -> None:
    models = document.models
    known = [model.identity for model in models]
    columns = [
        Column("runtime", [k.runtime if k else "?" for k in known], Form.FULL, "left"),
        Column(
            "quantization",
            [printable((k and k.quantization) or "?", markup=True) for k in known],
            Form.FULL,
            "left",
        ),
        Column("bits per\nweight", [_bits(k) for k in known]),
        Column("size", [_size(k) for k in known]),
        Column(
            "peak\nmemory",
            [size(m.peak_memory_bytes) if m.load_seconds else "not loaded" for m in models],
        ),
        Column("loaded in", [f"{m.load_seconds:.1f} s" if m.load_seconds else "" for m in models]),
    ]
    labels = [model.label for model in models]
    if show_table("models", "model", labels, lambda _: columns, console) < Form.FULL:
        _say(wording.of_models(document), console)


def _bits(known: Identity | None) -> str:
    if known is None or known.bits_per_weight is None:
        return "?"
    return f"{known.bits_per_weight:.2f}"


def _size(known: Identity | None) -> str:
    return "?" if known is None or known.size_bytes is None else size(known.size_bytes)


def _show_benchmark(document: Document, record: BenchmarkRecord, console: Console) -> None:
    show_table(
        _title(record),
        "model",
        [answers.label for answers in record.answer_sets],
        lambda form: _columns(document, record, form is Form.FULL),
        console,
    )


def _show_extraction(
    record: BenchmarkRecord, audits: Sequence[ExtractionAudit], console: Console
) -> None:
    columns = [
        Column("correct", [f"{a.correct:,}" for a in audits]),
        Column("wrong", [f"{a.wrong:,}" for a in audits]),
        Column("unparsed", [f"{a.unparseable:,}" for a in audits]),
        Column("cut\noff", [f"{a.cut_off:,}" for a in audits]),
        Column("errors", [f"{a.errors:,}" for a in audits]),
    ]
    title = f"{record.name}: answer extraction"
    show_table(title, "model", [a.label for a in audits], lambda _: columns, console)


def _columns(document: Document, record: BenchmarkRecord, wide: bool) -> Iterator[Column]:
    sets = record.answer_sets
    interval = f"\n\\[{100 * document.settings.confidence:g} %]"
    first, *others = record.metrics
    yield Column(
        first.name + interval if wide else first.name.replace("_", "\n"),
        [_value(first, _score(document, record.name, a.label, first), wide) for a in sets],
        justify="left" if wide else "right",
    )
    for metric in others:
        yield Column(
            "\n".join(metric.name.rsplit("_", 1)).replace("_", " "),
            [_value(metric, _score(document, record.name, a.label, metric), False) for a in sets],
            Form.FULL,
        )
    if len(document.models) > 1:
        yield from _against_baseline(document, record, wide)
    if any(errors(a) for a in sets):
        yield Column("errors", [f"{len(errors(a)):,}" for a in sets], Form.NARROW)
    yield Column("prompt\ntokens/s", [_speed(a, a.prompt_tokens_per_second) for a in sets])
    if any(a.is_generated for a in sets):
        speeds = [_speed(a, a.generated_tokens_per_second) for a in sets]
        yield Column("generated\ntokens/s", speeds)


def _against_baseline(document: Document, record: BenchmarkRecord, wide: bool) -> Iterator[Column]:
    metric, sets = record.headline, record.answer_sets
    found = [wording.find(document, record.name, a.label, metric) for a in sets]
    unit = "" if metric.is_proportion else f" ({metric.margin_unit})"
    known = wide and not document.settings.until_decided
    interval = f"\n\\[{wording.interval_of(document)}]" if known else ""
    yield Column(
        f"difference{unit}{interval}",
        [
            _difference(metric, c, wide) or ("baseline" if a.label == document.baseline else "")
            for c, a in zip(found, sets, strict=True)
        ],
        justify="left" if wide else "right",
    )
    yield Column(
        "flips\n+/−" if metric.kind == "binary" else "better/\nworse",
        [f"{c.gains:,}/{c.losses:,}" if c and c.count else "" for c in found],
        Form.NARROW,
    )
    margin = document.settings.margin(metric)
    shown = margin_text(margin).removesuffix(" points").removesuffix(" point") if margin else "none"
    yield Column(
        f"verdict\n(margin {shown})",
        [_verdict(document, c) if c and c.count else "" for c in found],
        justify="left",
    )


def _verdict(document: Document, comparison: Comparison) -> str:
    if document.model(comparison.label).noise_floor:
        return "noise"
    return comparison.verdict or "no margin"


def _value(metric: Metric, score: ScoreSummary, with_interval: bool) -> str:
    if not score.count:
        return "no answers" if with_interval else ""
    value = value_of(metric, score.value)
    if not with_interval or score.lower is None or score.upper is None:
        return value
    return rf"{value} \[{value_of(metric, score.lower)}, {value_of(metric, score.upper)}]"


def _difference(metric: Metric, comparison: Comparison | None, with_interval: bool) -> str:
    if comparison is None or not comparison.count:
        return ""
    value = change_of(metric, comparison.difference)
    bounds = wording.bounds_text(comparison, metric)
    return rf"{value} \[{', '.join(bounds)}]" if with_interval and bounds else value


def _speed(answers: AnswerSet, tokens_per_second: float) -> str:
    if tokens_per_second:
        return ("* " if answers.disturbed else "") + rate(tokens_per_second)
    return "stored" if answers.cached_responses else "?"


def _title(record: BenchmarkRecord) -> str:
    asked = plural(len(record.questions), "question")
    if len(record.questions) < record.available:
        asked = f"{len(record.questions):,} of {record.available:,} questions"
    return f"{record.name}: {asked}, {record.shots}-shot"


def _score(document: Document, benchmark: str, label: str, metric: Metric) -> ScoreSummary:
    return next(
        s
        for s in document.scores
        if (s.benchmark, s.label, s.metric, s.subset) == (benchmark, label, metric.name, None)
    )
