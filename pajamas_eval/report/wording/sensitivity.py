"""Whether the questions of a benchmark can show a loss, in words."""

from collections.abc import Iterator

from pajamas_eval.report.wording.figures import change_of, margin_text, percent, printable
from pajamas_eval.results.document import BenchmarkRecord, Document
from pajamas_eval.results.findings import Comparison, Sensitivity
from pajamas_eval.statistics.verdicts import Verdict


def of_benchmark(document: Document, record: BenchmarkRecord) -> Iterator[str]:
    """About the baseline, and about every model that does not really answer."""
    metric = record.headline
    for answers in record.answer_sets:
        if found := document.sensitivity(record.name, answers.label, metric):
            yield from _of_model(document, record, found)
    if control := document.control(record.name, metric):
        yield _of_control(record, control)


def _of_model(document: Document, record: BenchmarkRecord, found: Sensitivity) -> Iterator[str]:
    label = printable(found.label)
    if document.model(found.label).control:
        return
    if found.label == document.baseline and not found.can_tell and len(document.models) > 1:
        yield _cannot_tell(document, record, found)
    elif found.lower is None or found.lower <= found.chance:
        yield f"{label} is not proven better than chance ({percent(found.chance)} %)."
    if found.same_answer is not None:
        yield (
            f"{label} gives the same answer to {percent(found.same_answer_share)} % of the "
            "questions: it hardly answers them."
        )
    elif found.by_place:
        scores = ", ".join(percent(score) for score in found.by_place)
        yield f"{label}: its score hangs on the place of the right choice ({scores} % by place)."


def _of_control(record: BenchmarkRecord, control: Comparison) -> str:
    change = f"{change_of(record.headline, control.difference)} {record.headline.margin_unit}"
    label = printable(control.label)
    if control.verdict is Verdict.WORSE:
        return f"Control: {label} ({change}) is called worse; so large a loss these questions show."
    return (
        f"Control: {label} ({change}) is not called worse: these questions certify no variant. Ask "
        "more of them, or others."
    )


def _cannot_tell(document: Document, record: BenchmarkRecord, found: Sensitivity) -> str:
    """Why, and what can."""
    margin = document.settings.margin(record.headline)
    strategy = "always one answer" if found.chance_is_constant else "guessing"
    least = f" by more than {margin_text(margin)}" if margin else ""
    proven = "" if found.lower is None else f", of which {percent(found.lower)} % are proven"
    value = next(
        s.value
        for s in document.scores
        if (s.benchmark, s.label, s.metric, s.subset)
        == (record.name, found.label, found.metric, None)
    )
    shots = record.max_shots is None or record.shots < record.max_shots
    can = [f"the cloze form (--benchmarks {record.cloze})"] if record.cloze else []
    can += ["more few-shot examples (--shots)"] if shots else []
    can += ["another set (--benchmarks auto)"]
    return (
        f"These questions cannot tell: the baseline scores {percent(value)} %{proven}, not better "
        f"than {strategy} ({percent(found.chance)} %){least}. A variant that lost as much would "
        f"not show it. What may: {', '.join(can)}."
    )


def cannot_tell_on(document: Document, label: str) -> list[str]:
    """The benchmarks whose questions cannot tell of a variant."""
    return [
        c.benchmark
        for c in document.comparisons
        if c.label == label
        and c.verdict is Verdict.CANNOT_TELL
        and c.metric == document.benchmark(c.benchmark).headline.name
    ]
