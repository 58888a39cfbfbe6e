"""Proves, before anything is scored, that all models are asked the same."""

from collections.abc import Mapping, Sequence

from blake3 import blake3

from pajamas_eval.api.identity import Settings
from pajamas_eval.api.requests import GenerateUntil, LogLikelihood, Request
from pajamas_eval.api.runtime import Capabilities
from pajamas_eval.errors import UsageError
from pajamas_eval.questions.prepare import QuestionSet
from pajamas_eval.results.document import Fairness, TokenCheck, TokenDifference
from pajamas_eval.workers.worker import Worker

_AT_ONCE = 1000
"""Requests tokenized in one message."""


def refuse_impossible(
    label: str, capabilities: Capabilities, question_sets: Sequence[QuestionSet]
) -> None:
    """Raises `UsageError` for the first benchmark that asks what a model cannot answer."""
    for questions in question_sets:
        wanted = questions.benchmark.request_type
        if wanted not in capabilities.requests:
            raise UsageError(
                f"{label} cannot run {questions.name}: its runtime does not answer "
                f"{wanted.__name__} requests"
            )


def all_requests(question_sets: Sequence[QuestionSet]) -> list[Request]:
    """Every request of every question, in order."""
    return [r for s in question_sets for q in s.questions for r in q.requests]


def check(
    workers: Sequence[Worker],
    settings: Mapping[str, Settings],
    question_sets: Sequence[QuestionSet],
    fingerprints: Mapping[str, Sequence[bytes]],
) -> Fairness:
    """Compares how every variant reads the questions with how the baseline does.

    Args:
        workers: The models, the baseline first.
        settings: How each reads text, by its label.
        question_sets: All questions.
        fingerprints: Of all requests as each model reads them, by its label.

    Raises:
        UsageError: The same vocabulary is used with and without a BOS token: scores of the two
            could not be compared.
    """
    baseline, *variants = workers
    requests = all_requests(question_sets)
    wanted = fingerprints[baseline.label]
    checks = []
    for variant in variants:
        got = fingerprints[variant.label]
        differing = [i for i, (a, b) in enumerate(zip(wanted, got, strict=True)) if a != b]
        first = None
        if differing:
            first = _difference(baseline, variant, question_sets, requests[differing[0]], differing)
            if settings[baseline.label].prefix_tokens != settings[variant.label].prefix_tokens:
                _refuse_bos_mismatch(baseline, variant, settings, [requests[i] for i in differing])
        checks.append(
            TokenCheck(
                label=variant.label,
                identical=len(requests) - len(differing),
                total=len(requests),
                first_difference=first,
            )
        )
    hashes = blake3()
    for questions in question_sets:
        for question in questions.questions:
            hashes.update(question.prompt_hash.encode())
    return Fairness(prompt_digest=hashes.hexdigest(), tokens=checks, notes=_notes(settings))


def _difference(
    baseline: Worker,
    variant: Worker,
    question_sets: Sequence[QuestionSet],
    request: Request,
    differing: Sequence[int],
) -> TokenDifference:
    place = differing[0]
    for questions in question_sets:
        for question in questions.questions:
            if place < len(question.requests):
                return TokenDifference(
                    benchmark=questions.name,
                    doc_id=question.doc_id,
                    text=_text(request).encode("utf-8", "replace").decode(),
                    baseline_tokens=baseline.tokenize([request])[0],
                    variant_tokens=variant.tokenize([request])[0],
                )
            place -= len(question.requests)
    raise AssertionError("the request belongs to no question")


def _text(request: Request) -> str:
    if isinstance(request, LogLikelihood):
        return request.context + request.continuation
    return request.prompt if isinstance(request, GenerateUntil) else request.text


def _refuse_bos_mismatch(
    baseline: Worker, variant: Worker, settings: Mapping[str, Settings], requests: Sequence[Request]
) -> None:
    """A BOS token on one side only, before the same tokens, is an error of set-up."""
    ours = settings[baseline.label].prefix_tokens
    theirs = settings[variant.label].prefix_tokens
    for start in range(0, len(requests), _AT_ONCE):
        chunk = requests[start : start + _AT_ONCE]
        for a, b in zip(baseline.tokenize(chunk), variant.tokenize(chunk), strict=True):
            if a[len(ours) :] == b[len(theirs) :]:
                raise UsageError(
                    f"not comparable: {baseline.label} starts every text with "
                    f"{list(ours) or 'no BOS token'}, {variant.label} with "
                    f"{list(theirs) or 'no BOS token'}; set it for one of them, for example "
                    f"{variant.label}=runtime[path=…,add_bos={'true' if ours else 'false'}]"
                )


def _notes(settings: Mapping[str, Settings]) -> list[str]:
    lengths = {label: s.context_length for label, s in settings.items()}
    if len(set(lengths.values())) == 1:
        return []
    shortest = min(lengths, key=lambda label: lengths[label])
    return [
        f"context lengths differ; all models use {lengths[shortest]} tokens, "
        f"the limit of {shortest}"
    ]
