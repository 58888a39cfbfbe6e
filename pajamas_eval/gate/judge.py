"""Judges a result document by a gate."""

from collections.abc import Iterator
from dataclasses import replace

from pajamas_eval.errors import UsageError
from pajamas_eval.gate.config import Gate
from pajamas_eval.gate.costs import judge_costs
from pajamas_eval.gate.findings import Finding, Outcome
from pajamas_eval.gate.quality import judge_benchmark
from pajamas_eval.results.document import Document


def judge(document: Document, gate: Gate) -> list[Finding]:
    """Every requirement of every variant; noise floors and controls are none.

    Raises:
        UsageError: There is nothing to judge, or the document contradicts itself.
    """
    if document.baseline not in [model.label for model in document.models]:
        raise UsageError(f"the result lacks its own baseline, {document.baseline!r}")
    labels = [model.label for model in document.variants]
    if not labels or not document.benchmarks:
        raise UsageError("the result has no variant, or no benchmark, to judge")
    try:
        return [finding for label in labels for finding in _judge(document, gate, label)]
    except (LookupError, ValueError) as error:  # edited by hand, for no run writes such a thing
        raise UsageError(f"the result contradicts itself: {error}") from None


def _judge(document: Document, gate: Gate, label: str) -> Iterator[Finding]:
    run = [record.name for record in document.benchmarks] if gate.margin is not None else []
    errors = [
        f"{name} failed: {error}"
        for name in (document.baseline, label)
        if (error := document.model(name).error) is not None
    ]
    for name in dict.fromkeys([*run, *gate.benchmarks]):
        for finding in judge_benchmark(document, gate, name, label):
            if errors and finding.outcome is Outcome.PASSED:  # nothing lets such a variant through
                finding = replace(finding, outcome=Outcome.NOT_MEASURED, reason=errors[0])
            yield finding
    yield from judge_costs(document, gate, label)
