"""How the models of a result document read the questions."""

from collections.abc import Iterator, Sequence

from pajamas_eval.errors import UsageError
from pajamas_eval.results.document import AnswerSet, Document, LaterRounds, TokenCheck


def stored_token_checks(document: Document) -> Iterator[TokenCheck]:
    """What the digests of all readings say of each variant.

    Raises:
        UsageError: A variant has the baseline's vocabulary and reads the questions with another
            prefix: scores of the two could not be compared.
    """
    for model in document.models:
        if model.label == document.baseline:
            continue
        identical = total = unknown = 0
        for theirs, ours in _both(document, model.label):
            # A model that was lost before it read anything has none.
            for a, b in zip(theirs.reading_digests, ours.reading_digests, strict=False):
                total += 1
                unknown += not (a and b)
                identical += bool(a) and a == b
        if identical + unknown < total:
            _refuse_other_prefix(document, model.label)
        yield TokenCheck(label=model.label, identical=identical, total=total, unknown=unknown)


def later_rounds(document: Document) -> Iterator[LaterRounds]:
    """How many prompts of each variant's later rounds are the baseline's too, if it has any."""
    for model in document.models:
        if model.label == document.baseline:
            continue
        identical = total = 0
        for theirs, ours in _both(document, model.label):
            prompts = {answer.doc_id: answer.later_prompts for answer in theirs.answers}
            for answer in ours.answers:
                others = prompts.get(answer.doc_id, [])
                total += len(answer.later_prompts)
                identical += sum(a == b for a, b in zip(answer.later_prompts, others, strict=False))
        if total:
            yield LaterRounds(label=model.label, identical=identical, total=total)


def _both(document: Document, label: str) -> Iterator[tuple[AnswerSet, AnswerSet]]:
    """The baseline's and a variant's answers to each benchmark that both were asked."""
    for record in document.benchmarks:
        sets = {answers.label: answers for answers in record.answer_sets}
        if label in sets and document.baseline in sets:
            yield sets[document.baseline], sets[label]


def _refuse_other_prefix(document: Document, label: str) -> None:
    keys = document.keys()
    if label not in keys or document.baseline not in keys:
        return
    ours, theirs = keys[document.baseline].settings, keys[label].settings
    if not ours.get("vocabulary") or ours["vocabulary"] != theirs.get("vocabulary"):
        return
    prefixes = ours.get("prefix_tokens", []), theirs.get("prefix_tokens", [])
    if prefixes[0] != prefixes[1]:
        raise UsageError(bos_mismatch(document.baseline, label, *prefixes))


def bos_mismatch(baseline: str, variant: str, ours: Sequence[int], theirs: Sequence[int]) -> str:
    """What is wrong where two models start texts with other prefix tokens, and what to do."""
    return (
        f"not comparable: {baseline} starts every text with {list(ours) or 'no BOS token'}, "
        f"{variant} with {list(theirs) or 'no BOS token'}; set it for one of them, for example "
        f"{variant}=runtime[path=…,add_bos={'true' if ours else 'false'}]"
    )
