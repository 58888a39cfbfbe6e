"""Proves, before anything is scored, that all models are asked the same."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blake3 import blake3

from pajamas_eval.analysis.tokenization import bos_mismatch
from pajamas_eval.api.benchmark import Benchmark
from pajamas_eval.api.identity import Settings
from pajamas_eval.api.requests import GenerateUntil, Request
from pajamas_eval.api.runtime import Capabilities
from pajamas_eval.errors import UsageError
from pajamas_eval.identity.architectures import compare_architectures
from pajamas_eval.questions.prepare import QuestionSet
from pajamas_eval.results.document import Fairness, TokenCheck, TokenDifference
from pajamas_eval.results.run_config import RunConfig
from pajamas_eval.workers.messages import Opened, Readings
from pajamas_eval.workers.worker import Worker

_SHOWN = 5
"""Tokens that are named."""

_AT_ONCE = 1000
"""Requests tokenized in one message."""


def refuse_impossible(
    label: str, capabilities: Capabilities, question_sets: Sequence[QuestionSet]
) -> None:
    """Raises `UsageError` for the first benchmark that asks what a model cannot answer."""
    for questions in question_sets:
        for why in _impossible(questions.benchmark, capabilities):
            raise UsageError(f"{label} cannot run {questions.name}: {why}")


def _impossible(benchmark: Benchmark[Any], capabilities: Capabilities) -> Iterator[str]:
    """Why a model cannot answer a benchmark."""
    for kind in benchmark.request_types:
        if kind not in capabilities.requests:
            yield f"its runtime does not answer {kind.__name__} requests"
    for modality in sorted(benchmark.modalities - capabilities.modalities):
        yield f"its runtime takes no {modality}"
    if benchmark.sampling and not capabilities.sampling:
        yield "its runtime does not sample"


def all_requests(question_sets: Sequence[QuestionSet]) -> list[Request]:
    """Every request of the first round of every question, in order."""
    return [r for s in question_sets for q in s.questions for r in q.requests]


def check(
    workers: Sequence[Worker],
    opened: Mapping[str, Opened],
    question_sets: Sequence[QuestionSet],
    readings: Mapping[str, Readings],
    config: RunConfig,
) -> Fairness:
    """Compares how every variant reads the questions with how the baseline does.

    Args:
        workers: The models, the baseline first.
        opened: What each said of itself, by its label.
        question_sets: All questions.
        readings: How each model reads all requests, by its label.
        config: Whether models may differ.

    Raises:
        UsageError: Two engines resolved what claims to be one model to different ones; or the same
            vocabulary is used with and without a BOS token: scores of the two
            could not be compared.
    """
    baseline, *variants = workers
    checks = [
        _compare_readings(baseline, variant, opened, question_sets, readings)
        for variant in variants
    ]
    hashes = blake3()
    for questions in question_sets:
        for question in questions.questions:
            hashes.update(question.prompt_hash.encode())
    settings = {w.label: s for w in workers if (s := opened[w.label].settings)}
    notes = [*_context_lengths(settings)]
    if any(GenerateUntil in questions.benchmark.request_types for questions in question_sets):
        notes += _end_tokens(baseline.label, settings)
    return Fairness(
        prompt_digest=hashes.hexdigest(),
        tokens=checks,
        notes=notes,
        architectures=compare_architectures(
            baseline.label,
            {w.label: opened[w.label].architecture for w in workers},
            min((s.context_length or sys.maxsize for s in settings.values()), default=sys.maxsize),
            allow_different=config.allow_different_models,
        ),
    )


def _compare_readings(
    baseline: Worker,
    variant: Worker,
    opened: Mapping[str, Opened],
    question_sets: Sequence[QuestionSet],
    readings: Mapping[str, Readings],
) -> TokenCheck:
    requests = all_requests(question_sets)
    wanted, got = readings[baseline.label], readings[variant.label]
    unknown = wanted.unknown | got.unknown
    differing = [
        i
        for i, (a, b) in enumerate(zip(wanted.fingerprints, got.fingerprints, strict=True))
        if a != b and i not in unknown
    ]
    first = None
    settings = opened[baseline.label].settings, opened[variant.label].settings
    if differing and settings[0] and settings[1]:
        first = _difference(baseline, variant, question_sets, requests[differing[0]], differing[0])
        if settings[0].prefix_tokens != settings[1].prefix_tokens:
            chosen = [requests[i] for i in differing]
            _refuse_bos_mismatch(baseline, variant, settings[0], settings[1], chosen)
    return TokenCheck(
        label=variant.label,
        identical=len(requests) - len(differing) - len(unknown),
        total=len(requests),
        unknown=len(unknown),
        first_difference=first,
    )


def _difference(
    baseline: Worker,
    variant: Worker,
    question_sets: Sequence[QuestionSet],
    request: Request,
    place: int,
) -> TokenDifference:
    for questions in question_sets:
        for question in questions.questions:
            if place < len(question.requests):
                return TokenDifference(
                    benchmark=questions.name,
                    doc_id=question.doc_id,
                    text="".join(request.texts()).encode("utf-8", "replace").decode(),
                    baseline_tokens=baseline.tokenize([request])[0],
                    variant_tokens=variant.tokenize([request])[0],
                )
            place -= len(question.requests)
    raise AssertionError("the request belongs to no question")


def _refuse_bos_mismatch(
    baseline: Worker,
    variant: Worker,
    of_baseline: Settings,
    of_variant: Settings,
    requests: Sequence[Request],
) -> None:
    """A BOS token on one side only, before the same tokens, is an error of set-up."""
    ours, theirs = of_baseline.prefix_tokens, of_variant.prefix_tokens
    for start in range(0, len(requests), _AT_ONCE):
        chunk = requests[start : start + _AT_ONCE]
        for a, b in zip(baseline.tokenize(chunk), variant.tokenize(chunk), strict=True):
            if a[len(ours) :] == b[len(theirs) :]:
                raise UsageError(bos_mismatch(baseline.label, variant.label, ours, theirs))


def _context_lengths(settings: Mapping[str, Settings]) -> Iterator[str]:
    lengths = {
        label: s.context_length for label, s in settings.items() if s.context_length is not None
    }
    if len(set(lengths.values())) > 1:
        shortest = min(lengths, key=lambda label: lengths[label])
        yield (
            f"context lengths differ; all models use {lengths[shortest]} tokens, "
            f"the limit of {shortest}"
        )


def _end_tokens(baseline: str, settings: Mapping[str, Settings]) -> Iterator[str]:
    """Tokens that end a text in one of two models only: the same weights write other texts then."""
    if baseline not in settings:
        return
    ours = settings[baseline].end_tokens
    for label, of_variant in settings.items():
        theirs = of_variant.end_tokens
        for only, other, tokens in (
            (label, baseline, [token for token in theirs if token not in ours]),
            (baseline, label, [token for token in ours if token not in theirs]),
        ):
            if tokens:
                shown = ", ".join(map(repr, tokens[:_SHOWN])) + ("…" if tokens[_SHOWN:] else "")
                yield f"{only} ends its texts at {shown}, where {other} goes on"
