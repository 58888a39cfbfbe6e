"""Puts the results of several runs together, where they were asked the same."""

import sys
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from pajamas_eval.analysis.summary import summarize
from pajamas_eval.analysis.tokenization import stored_token_checks
from pajamas_eval.api.metrics import Metric
from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.identity.architectures import compare_architectures
from pajamas_eval.results.document import BenchmarkRecord, Document, Fairness
from pajamas_eval.results.run_config import RunConfig, settings_that_affect_answers


def merged(
    documents: Sequence[tuple[str, Document]], baseline: str | None, config: RunConfig
) -> Document:
    """One document with the models of all; the first one's baseline is that of all by default.

    Models of equal labels are told apart by the name of their run.

    Args:
        documents: Each with its name.
        baseline: Label of the model to compare with.
        config: Whose margins and confidence count.

    Raises:
        UsageError: The runs were not asked the same, or nothing has the label.
    """
    _, first = documents[0]
    _refuse_other_settings(documents)
    labels = _labels(documents)
    records = [_record(record.name, documents, labels) for record in first.benchmarks]
    if not any(records):
        raise UsageError("not comparable: the runs have no benchmark in common")
    chosen = _baseline(documents, labels, baseline)
    lengths = [n for _, d in documents if (n := d.settings.context_length) is not None]
    document = Document(
        format_version=first.format_version,
        program_version=first.program_version,
        created=first.created,
        machine=first.machine,
        settings=replace(
            first.settings,
            margins=config.margins,
            confidence=config.confidence,
            equivalence=config.equivalence,
            context_length=min(lengths, default=None),
        ),
        baseline=chosen,
        models=[],
        fairness=Fairness(prompt_digest=first.fairness.prompt_digest, tokens=[], notes=[]),
        benchmarks=[record for record in records if record],
    )
    _add_models(document, documents, labels)
    document.fairness.notes = list(_notes(document, documents))
    document.models.sort(key=lambda model: model.label != chosen)
    document.fairness.tokens = list(stored_token_checks(document))
    document.fairness.architectures = compare_architectures(
        chosen,
        {model.label: model.architecture for model in document.models},
        min(lengths, default=sys.maxsize),
        allow_different=config.allow_different_models,
    )
    summarize(document)
    return document


def _refuse_other_settings(documents: Sequence[tuple[str, Document]]) -> None:
    first_name, first = documents[0]
    for name, document in documents[1:]:
        for setting in settings_that_affect_answers():
            ours, theirs = getattr(first.settings, setting), getattr(document.settings, setting)
            if ours == theirs or (setting == "context_length" and _all_fits(first, document)):
                continue
            raise UsageError(
                f"not comparable: {_said(setting, ours)} in {first_name} and "
                f"{_said(setting, theirs)} in {name}"
            )


def _all_fits(*documents: Document) -> bool:
    """Whether every text fitted into its context, so that a longer one would change nothing."""
    return not any(
        # A text in several windows has more tokens than one holds; the last token is not run.
        part.truncated_tokens or part.prompt_tokens + part.token_count > length + 1
        for document in documents
        for length in [document.settings.context_length or 0]
        for record in document.benchmarks
        for answers in record.answer_sets
        for answer in answers.answers
        for part in answer.parts
    )


def _baseline(
    documents: Sequence[tuple[str, Document]],
    labels: Sequence[dict[str, str]],
    baseline: str | None,
) -> str:
    known = [label for of_document in labels for label in of_document.values()]
    if baseline is not None and baseline not in known:
        raise UsageError(
            f"no model has the label {baseline!r}{suggestion(baseline, known)} "
            f"(labels: {', '.join(known)})"
        )
    _, first = documents[0]
    return baseline or labels[0][first.baseline]


def _add_models(
    document: Document,
    documents: Sequence[tuple[str, Document]],
    labels: Sequence[dict[str, str]],
) -> None:
    """All models under their labels here; noise floors stay so where the baseline's weights do."""
    weights = {
        renamed[model.label]: model.identity.digest
        for (_, source), renamed in zip(documents, labels, strict=True)
        for model in source.models
        if model.identity
    }
    of_chosen = weights.get(document.baseline)
    for (name, source), renamed in zip(documents, labels, strict=True):
        of_baseline = weights.get(renamed[source.baseline], name) == of_chosen
        for model in source.models:
            model.label = renamed[model.label]
            model.noise_floor &= of_baseline
            model.control &= of_baseline
            document.models.append(model)


def _notes(document: Document, documents: Sequence[tuple[str, Document]]) -> Iterator[str]:
    """What a reader should know of the runs that are put together."""
    first_name, first = documents[0]
    asked = {record.name for record in document.benchmarks}
    for name, source in documents:
        for note in source.fairness.notes:
            yield f"{name}: {note}"
        if left_out := {record.name for record in source.benchmarks} - asked:
            yield f"{', '.join(sorted(left_out))} of {name} is left out: not all runs asked it"
        if source.program_version != first.program_version:
            yield (
                f"{name} ran with pajamas-eval {source.program_version}, {first_name} with "
                f"{first.program_version}"
            )
        lengths = source.settings.context_length, first.settings.context_length
        if lengths[0] != lengths[1]:
            yield (
                f"{name} had a context of {lengths[0]} tokens, {first_name} of {lengths[1]}; "
                "every text fitted into both"
            )
        if _hardware(source) != _hardware(first):
            yield f"{name} ran on another machine: {source.machine.processor}"


def _said(setting: str, value: object) -> str:
    """A setting as the option it comes from, where there is one."""
    if setting == "context_length":
        return f"a context of {value} tokens"
    option = "--apply-chat-template" if setting == "template_digest" else f"--{setting}"
    option = option.replace("_", "-")
    if isinstance(value, bool) or setting == "template_digest":
        digest = f" ({value[:12]})" if isinstance(value, str) else ""
        return f"{option if value else 'no ' + option}{digest}"
    return f"{option} {value}" if value is not None else f"no {option}"


def _hardware(document: Document) -> tuple[object, ...]:
    """What does not change with every update of the system."""
    machine = document.machine
    return machine.processor, machine.cores, machine.memory_bytes


def _labels(documents: Sequence[tuple[str, Document]]) -> list[dict[str, str]]:
    """The label in the merged document of each model, by its own label."""
    seen: set[str] = set()
    labels = []
    for name, document in documents:
        of_document = {}
        for model in document.models:
            label = model.label
            while label in seen:
                label = f"{name}:{label}"
            seen.add(label)
            of_document[model.label] = label
        labels.append(of_document)
    return labels


def _record(
    name: str,
    documents: Sequence[tuple[str, Document]],
    labels: Sequence[dict[str, str]],
) -> BenchmarkRecord | None:
    """One benchmark with the answers of all runs; nothing where a run has not asked it."""
    records = []
    for run, document in documents:
        found = next((r for r in document.benchmarks if r.name == name), None)
        if found is None:
            return None
        records.append((run, found))
    first_run, first = records[0]
    for run, record in records[1:]:
        for what, fields in _ALIKE.items():
            if _fields(record, fields) != _fields(first, fields):
                raise UsageError(f"not comparable: {first_run} and {run} {what.format(name)}")
    for (_, record), renamed in zip(records, labels, strict=True):
        for answers in record.answer_sets:
            answers.label = renamed[answers.label]
    first.answer_sets = [a for _, record in records for a in record.answer_sets]
    _keep_common_metrics(first, [record.metrics for _, record in records])
    return first


def _keep_common_metrics(record: BenchmarkRecord, metrics: Sequence[Sequence[Metric]]) -> None:
    """A metric that a former version did not have cannot be compared."""
    names = [{metric.name for metric in of_run} for of_run in metrics]
    record.metrics = [m for m in record.metrics if all(m.name in known for known in names)]
    kept = {metric.name for metric in record.metrics}
    if not kept:
        raise UsageError(f"not comparable: the runs have no metric of {record.name} in common")
    for answers in record.answer_sets:
        for answer in answers.answers:
            answer.scores = {n: value for n, value in answer.scores.items() if n in kept}


_ALIKE = {
    "asked different questions of {} (another --limit, or other data)": ("doc_id", "prompt_hash"),
    "asked {} with other data, such as other right answers": ("gold", "doc_hash"),
}
"""What is wrong where these fields of the questions differ."""


def _fields(record: BenchmarkRecord, names: Sequence[str]) -> list[list[str]]:
    return [[getattr(question, name) for name in names] for question in record.questions]
