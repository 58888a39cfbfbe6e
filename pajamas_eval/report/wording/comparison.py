"""What one would say aloud about a run: plain sentences, one line each."""

from collections.abc import Iterator

from pajamas_eval.analysis.comparisons import PASSING
from pajamas_eval.analysis.scores import errors
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.multiple_choice import SOFT_ACCURACY
from pajamas_eval.report.wording import sensitivity
from pajamas_eval.report.wording.figures import (
    bounds_of,
    change_of,
    margins_text,
    percent,
    plural,
    printable,
    printable_lines,
)
from pajamas_eval.results.document import (
    AnswerSet,
    ArchitectureCheck,
    BenchmarkRecord,
    Document,
    TokenCheck,
)
from pajamas_eval.results.findings import Comparison
from pajamas_eval.statistics.quantiles import two_sided
from pajamas_eval.statistics.verdicts import Verdict


def of_benchmark(document: Document, record: BenchmarkRecord) -> Iterator[str]:
    """About each variant, and what a reader must know of the questions."""
    yield from sensitivity.of_benchmark(document, record)
    for answers in record.answer_sets:
        if comparison := find(document, record.name, answers.label, record.headline):
            yield " ".join(_comparison(document, record, answers, comparison))
        if failed := errors(answers):
            yield (
                f"{printable(answers.label)} failed on {plural(len(failed), 'question')}, "
                f"not counted as wrong: {printable_lines(failed[0].error or '')}"
            )
        if truncated := sum(a.truncated_tokens > 0 for a in answers.answers):
            yield (
                f"{printable(answers.label)}: {plural(truncated, 'prompt')} did not fit in the "
                "context and lost text on the left"
            )
        for note in dict.fromkeys(answers.notes):
            yield f"{printable(answers.label)}: {printable(note)}"
    if disturbed := [a for a in record.answer_sets if a.disturbed]:
        took = (f"{printable(a.label)} ({100 * a.disturbance:.0f} %)" for a in disturbed)
        yield (
            "* Other programs had the processors for some of the time, so that the model is faster "
            f"than shown: {', '.join(took)}. End them and measure again with --no-store."
        )
    for ranking in document.rankings:
        if ranking.benchmark == record.name:
            tiers = "; then ".join(printable(", ".join(tier)) for tier in ranking.tiers)
            yield f"Ranking, as far as the questions separate the models: {tiers}"
    for note in record.notes:
        yield f"Note: {printable(note)}"


def of_run(document: Document) -> Iterator[str]:
    """About the comparison as a whole."""
    yield from _fairness(document)
    yield from _batches(document)
    if document.settings.until_decided:
        yield (
            "Questions were asked in random order until each verdict was in: the verdicts have the "
            "stated confidence; differences have no interval, and those of scores and flips are of "
            "a fixed number of questions."
        )
    for model in document.models:
        for note in [*(model.identity.notes if model.identity else ()), *model.notes]:
            yield f"{printable(model.label)}: {printable(note)}"
    for model in document.models:
        if model.error:
            yield f"FAILED {printable_lines(model.error)}"


def of_models(document: Document) -> Iterator[str]:
    """What a table of the models has no room for where the terminal is narrow."""
    for model in document.models:
        if known := model.identity:
            quantization = printable(known.quantization or "quantization unknown")
            yield f"{printable(model.label)}: {known.runtime}, {quantization}"


def legend(document: Document) -> Iterator[str]:
    """How intervals and verdicts hang together, where differences have intervals."""
    found = [c for c in document.comparisons if c.interval_confidence is not None]
    if not found:
        return
    confidence = f"{100 * document.settings.confidence:g} %"
    text = (
        f"A verdict is read from the difference's {interval_of(document)} interval, each end of "
        f"which holds at {confidence} confidence"
    )
    if any(c.unanswered for c in found):
        text += ", whatever the unanswered questions would have shown"
    yield f"{text}. Other intervals are two-sided at {confidence}."


def interval_of(document: Document) -> str:
    """The confidence of the differences' intervals."""
    return f"{100 * two_sided(document.settings.confidence):g} %"


def verdicts(document: Document) -> Iterator[str]:
    """The answer to the question that a comparison asks."""
    if not document.verdicts:
        return
    yield f"Verdict at {_terms(document)}, over all benchmarks:"
    for overall in document.verdicts:
        text = f"{printable(overall.label)}: {overall.verdict}"
        if overall.worse_on:
            text += f", on {', '.join(overall.worse_on)}"
            if len(document.verdicts) * len(document.benchmarks) > 1:
                text += " (Holm-corrected)"
        elif overall.verdict is Verdict.CANNOT_TELL:
            text += f", on {', '.join(sensitivity.cannot_tell_on(document, overall.label))}"
        elif overall.verdict is Verdict.UNDECIDED:
            undecided = [
                c.benchmark
                + (" (worse before Holm correction)" if c.verdict is Verdict.WORSE else "")
                for c in document.comparisons
                if c.label == overall.label
                and c.verdict not in PASSING
                and c.metric == document.benchmark(c.benchmark).headline.name
            ]
            text += f", on {', '.join(undecided)}"
        yield f"  {text}"


def find(document: Document, benchmark: str, label: str, metric: Metric) -> Comparison | None:
    """The comparison of a variant on one benchmark and metric."""
    for c in document.comparisons:
        if (c.benchmark, c.label, c.metric) == (benchmark, label, metric.name):
            return c
    return None


def _terms(document: Document) -> str:
    headline = {record.name: record.headline.name for record in document.benchmarks}
    margins = margins_text(
        (c.benchmark, c.margin, c.margin_is_default)
        for c in document.comparisons
        if c.margin and c.metric == headline[c.benchmark]
    )
    said = f"a margin of {margins[0]}" if len(margins) == 1 else f"margins of {', '.join(margins)}"
    return f"{said} and {100 * document.settings.confidence:g} % confidence"


def _comparison(
    document: Document, record: BenchmarkRecord, answers: AnswerSet, comparison: Comparison
) -> Iterator[str]:
    label, settings = printable(comparison.label), document.settings
    metric = record.metric(comparison.metric)
    if not comparison.count:
        yield f"{label} and the baseline answered no question in common."
        return
    noise = document.model(comparison.label).noise_floor
    if noise:
        yield f"{label} is a noise floor (baseline re-run in other batches or another runtime):"
    elif comparison.verdict is Verdict.CANNOT_TELL:
        yield f"{label}: these questions cannot tell:"
    else:
        yield f"{label} is {comparison.verdict}:"
    if metric.kind == "binary":
        yield from _flips(comparison, metric, settings.confidence)
    else:
        yield from _means(comparison, metric)
    yield from _soft(document, record, comparison)
    if comparison.choice_kl:
        yield f"KL over the choices {comparison.choice_kl.mean:.2g} nats."
    if noise:
        return
    floors = {m.label for m in document.models if m.noise_floor}
    rates = [
        c.flip_rate
        for c in document.comparisons
        if c.label in floors
        and c.count
        and c.flip_rate is not None
        and (c.benchmark, c.metric) == (record.name, comparison.metric)
    ]
    flip_rate = comparison.flip_rate
    quiet = comparison.verdict is not Verdict.WORSE and flip_rate is not None
    if quiet and rates and flip_rate is not None and flip_rate <= max(rates):
        yield f"No more than the engine's own noise ({percent(max(rates))} %)."
    if settings.until_decided:
        asked, planned = len(answers.answers), len(record.questions)
        decided = comparison.verdict is not Verdict.UNDECIDED  # if not, one of the two failed
        saved = f", {planned - asked:,} saved" if decided and asked < planned else ""
        yield f"Asked {asked:,} of {plural(planned, 'question')}{saved}."
    if comparison.verdict is Verdict.UNDECIDED:
        yield from _what_it_would_take(comparison, record, metric)


def _soft(document: Document, record: BenchmarkRecord, headline: Comparison) -> Iterator[str]:
    """The same by soft accuracy, which needs fewer questions, where the benchmark has it."""
    for metric in record.metrics:
        if metric.name == SOFT_ACCURACY != headline.metric:
            soft = find(document, record.name, headline.label, metric)
            if soft and soft.count:
                judged = f": {soft.verdict}" if soft.verdict else ""
                yield f"Soft accuracy: {_difference(soft, metric)}{judged}."


def _flips(comparison: Comparison, metric: Metric, confidence: float) -> Iterator[str]:
    count, flips = comparison.count, comparison.gains + comparison.losses
    interval = f"{100 * confidence:g} % interval"
    lower, upper = comparison.flip_lower or 0.0, comparison.flip_upper or 0.0
    if flips:
        yield (
            f"{flips:,} of {plural(count, 'question')} flip ({percent(flips / count)} %, "
            f"{interval} {percent(lower)} to {percent(upper)}), "
            f"{comparison.gains:,} fixed, {comparison.losses:,} broken"
            f"{_p_value('McNemar', comparison.p_different)}; "
            f"{_difference(comparison, metric)}."
        )
    else:
        yield (
            f"same correctness on all {plural(count, 'question')} as the baseline; "
            f"{_difference(comparison, metric)}."
        )
    if comparison.changed_wrong:
        changed = flips + comparison.changed_wrong
        yield (
            f"{plural(comparison.changed_wrong, 'different wrong answer')}: "
            f"{plural(changed, 'answer')} changed at all."
        )


def _means(comparison: Comparison, metric: Metric) -> Iterator[str]:
    yield (
        f"better on {comparison.gains:,} and worse on {comparison.losses:,} of "
        f"{plural(comparison.count, 'question')}{_p_value('paired t', comparison.p_different)}; "
        f"{_difference(comparison, metric)}."
    )


def _difference(comparison: Comparison, metric: Metric) -> str:
    text = f"difference {change_of(metric, comparison.difference)} {metric.margin_unit}"
    if (bounds := bounds_text(comparison, metric)) is None:
        return text
    confidence = 100 * (comparison.interval_confidence or 0)
    return f"{text}, {confidence:g} % interval {bounds[0]} to {bounds[1]}"


def bounds_text(comparison: Comparison, metric: Metric) -> tuple[str, str] | None:
    """The ends of the difference's interval, where both are known."""
    if comparison.lower is None or comparison.upper is None:
        return None
    return bounds_of(metric, (comparison.lower, comparison.upper), comparison.margin)


def _what_it_would_take(
    comparison: Comparison, record: BenchmarkRecord, metric: Metric
) -> Iterator[str]:
    if comparison.unanswered:
        yield (
            f"{plural(comparison.unanswered, 'question')} without an answer "
            f"{'counts' if comparison.unanswered == 1 else 'count'} against either verdict."
        )
    if further := comparison.further_questions:
        left = record.available - len(record.questions)
        few = f"; the benchmark has {f'{left:,}' if left else 'no'} more" if left < further else ""
        yield f"About {plural(further, 'further question')} would decide{few}."
    if comparison.smallest_margin is None:
        return
    seen = "this spread"
    if comparison.flip_rate is not None:
        seen = f"{percent(comparison.flip_rate)} % discordance"
    smallest = change_of(metric, comparison.smallest_margin).lstrip("+±")
    yield (
        f"With {plural(comparison.count, 'question')} and {seen} the smallest margin this set can "
        f"certify with 80 % power is {smallest} {metric.margin_unit}."
    )


def _p_value(test: str, p: float | None) -> str:
    if p is None:
        return ""
    return f" ({test} p = {p:.2g})" if p >= 0.001 else f" ({test} p < 0.001)"


def _fairness(document: Document) -> Iterator[str]:
    for check in document.fairness.tokens:
        text = f"tokenization identical on {check.identical:,}/{check.total:,} requests"
        if check.unknown:
            text += f", unknown on {check.unknown:,}"
        if check.first_difference:
            text += f"; {printable(describe_difference(check))}"
        yield f"{printable(check.label)}: {text}"
    for architecture in document.fairness.architectures:
        yield _architecture(document, architecture)
    if document.fairness.tokens:
        yield f"prompts identical for all models (digest {document.fairness.prompt_digest[:12]})"
    for rounds in document.fairness.later_rounds:
        yield (
            f"{printable(rounds.label)}: {rounds.identical:,} of {rounds.total:,} prompts of later "
            "rounds, which follow from its own answers, are the baseline's too"
        )
    for note in document.fairness.notes:
        yield f"Note: {printable(note)}"


def _architecture(document: Document, check: ArchitectureCheck) -> str:
    label, differences = printable(check.label), printable("; ".join(check.differences))
    if check.different_models:
        return f"{label} and {printable(document.baseline)} are different models: {differences}"
    if differences:
        return f"{label} is run as another model than the baseline, as allowed: {differences}"
    return f"{label}: the baseline's architecture, by {plural(check.known, 'value')} known of both"


def _batches(document: Document) -> Iterator[str]:
    """How each model was run, for kernels may round differently in batches of another shape."""
    for record in document.benchmarks:
        shapes: dict[str, list[str]] = {}
        for answers in record.answer_sets:
            if answers.overhead:
                shown = f"{printable(answers.label)} ({answers.overhead:.2f})"
                shapes.setdefault(answers.batching, []).append(shown)
        if shapes:
            said = "; ".join(f"{shape}: {', '.join(labels)}" for shape, labels in shapes.items())
            yield f"Batches of {record.name} (tokens run for each distinct one): {said}"


_SHOWN = 40
"""Characters of a text shown around the place where two tokenizations part."""


def describe_difference(check: TokenCheck) -> str:
    """Where the first differing request's tokens part, in words."""
    first = check.first_difference
    if first is None:
        return ""
    if first.baseline_tokens == first.variant_tokens:
        return (
            f"first in {first.benchmark} {first.doc_id}: the same tokens, divided otherwise "
            f"between context and continuation, in a text that ends {first.text[-_SHOWN:]!r}"
        )
    pairs = zip(first.baseline_tokens, first.variant_tokens, strict=False)
    shared = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if shared is None:
        shared = min(len(first.baseline_tokens), len(first.variant_tokens))
    return (
        f"first in {first.benchmark} {first.doc_id}, from token {shared}: "
        f"{first.baseline_tokens[shared : shared + 5]} against "
        f"{first.variant_tokens[shared : shared + 5]}, in a text that ends "
        f"{first.text[-_SHOWN:]!r}"
    )
