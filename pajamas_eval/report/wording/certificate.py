"""A certificate in words."""

from collections.abc import Iterator, Sequence
from typing import Any

from pajamas_eval.api.architecture import Fact
from pajamas_eval.identity.certificate import Comparison, Outcome, TensorFinding
from pajamas_eval.identity.contents import Contents
from pajamas_eval.report.wording.figures import plural, printable, size

_CONCLUSIONS = {
    Outcome.SAME: "the same model",
    Outcome.DIFFERS: "not the same model",
    Outcome.CANNOT_TELL: "cannot tell whether it is the same model",
}


def heading(contents: Contents) -> str:
    """A model in a line."""
    family = contents.facts.family.value if contents.facts.family else "unknown architecture"
    stated = f" ({contents.stated_type})" if contents.stated_type else ""
    return (
        f"{contents.label}: {contents.format}{stated}, {family}, "
        f"{contents.parameters / 1e6:,.1f} million parameters, {size(contents.bytes)}, "
        f"{contents.bits_per_weight:.2f} bits per weight"
    )


def origin(contents: Contents) -> Iterator[str]:
    """Who made a model and how, as far as its metadata say."""
    if contents.maker:
        said = ", ".join(f"{k.removeprefix('general.')} {v}" for k, v in contents.maker.items())
        yield f"made by, as it says: {said}"
    if contents.format == "GGUF":
        matrix = ", ".join(f"{key} {value}" for key, value in contents.importance_matrix.items())
        yield f"importance matrix: {matrix or 'none is named'}"
    if contents.left_out.tensors:
        left = contents.left_out
        yield f"not counted: {plural(left.tensors, 'tensor')} of other parts, {size(left.bytes)}"
    for note in contents.notes:
        yield f"Note: {note}"


def types_in_words(types: dict[str, int]) -> str:
    """`Q4_K 86 %, Q6_K 14 %`; one type alone stands without its share."""
    total = sum(types.values())
    if len(types) == 1:
        return next(iter(types))
    return ", ".join(f"{name} {_share(count, total)}" for name, count in types.items())


def _share(part: int, total: int) -> str:
    share = 100 * part / max(total, 1)
    return f"{share:.0f} %" if share >= 0.95 else f"{share:.1g} %"


def conclusion(comparison: Comparison) -> str:
    """The one line that matters."""
    reasons = []
    serious = [fact for fact in comparison.facts if fact.affects_answers]
    if any(fact.name == "family" for fact in serious):
        reasons.append("another family")
    if serious:
        reasons.append(f"{plural(len(serious), 'difference')} of architecture")
    if comparison.vocabulary and comparison.vocabulary.different:
        reasons.append(plural(comparison.vocabulary.different, "differing token"))
    if comparison.faults:
        reasons.append(f"{len(comparison.faults):,} of {plural(len(comparison.tensors), 'tensor')}")
    why = f" ({'; '.join(reasons)})" if reasons else ""
    subject = f"{comparison.variant} against {comparison.base}"
    return f"{subject}: {_CONCLUSIONS[comparison.outcome]}{why}"


def architecture(comparison: Comparison) -> Iterator[str]:
    """Differences of architecture, and what is not known."""
    for difference in comparison.facts:
        values = f"{_value(difference.base)} against {_value(difference.variant)}"
        yield f"{_named(difference.name)}: {values}"
        yield f"  {difference.meaning}"
    if not comparison.facts:
        known = plural(comparison.compared_facts, "value")
        yield f"architecture: {known} known of both, all equal"
    if comparison.unknown_facts:
        names = ", ".join(map(_named, comparison.unknown_facts))
        yield f"  known of one of the two only: {names}"


def _named(field: str) -> str:
    return field.replace("_token_id", " token").replace("_", " ")


def _value(fact: Fact[Any]) -> str:
    return f"{_shown(fact.value)} ({fact.source})"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.8g}"
    if isinstance(value, tuple):
        if not value:
            return "none"
        shown = ", ".join(_shown(item) for item in value[:6])
        return shown + (f", … {_shown(value[-1])} ({len(value)})" if len(value) > 6 else "")
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def vocabulary(comparison: Comparison) -> Iterator[str]:
    """Tokens that differ."""
    found = comparison.vocabulary
    if found is None:
        return
    if not found.different:
        yield f"vocabulary: {plural(found.compared, 'token')}, all equal"
        return
    yield f"vocabulary: {found.different:,} of {plural(found.compared, 'token')} differ"
    for token in found.first:
        text = token.base if token.base is not None else token.variant
        here = f" ({token.variant!r})" if None not in (token.base, token.variant) else ""
        here = here if token.base != token.variant else ""
        yield f"  {token.id} {text!r} {token.what}{here}"
    if found.different > len(found.first):
        yield f"  and {found.different - len(found.first):,} more"


def weights(comparison: Comparison) -> Iterator[str]:
    """Tensors that are not what they should be: alike faults of several layers together."""
    faults = comparison.faults
    total = len(comparison.tensors)
    if not faults:
        yield f"weights: all {plural(total, 'tensor')} are what their bits explain"
    else:
        yield f"weights: {len(faults):,} of {plural(total, 'tensor')} are not what they should be"
    for group in _alike(faults):
        yield f"  {_tensors(group)}: {_fault(group)}"
    notes = {f"{finding.name}: {finding.note}" for finding in comparison.tensors if finding.note}
    yield from (f"  {note}" for note in sorted(notes))
    yield from (f"Note: {note}" for note in comparison.notes)


def _alike(faults: Sequence[TensorFinding]) -> list[list[TensorFinding]]:
    groups: dict[tuple[str, str], list[TensorFinding]] = {}
    for finding in faults:
        kind = finding.fault.kind if finding.fault else ""
        groups.setdefault((_part(finding), kind), []).append(finding)
    return list(groups.values())


def _part(finding: TensorFinding) -> str:
    """The name without the layer."""
    return finding.name.replace(f".{finding.layer}.", ".*.")


def _tensors(group: Sequence[TensorFinding]) -> str:
    if len(group) == 1:
        return group[0].name
    layers = [finding.layer for finding in group if finding.layer is not None]
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    said = ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
    return f"{_part(group[0])} in layers {said}"


def _fault(group: Sequence[TensorFinding]) -> str:
    fault = group[0].fault
    if fault is None:
        return ""
    details = {finding.fault.detail for finding in group if finding.fault}
    first = "" if len(details) == 1 else f"in {group[0].name} "
    return f"{fault.kind}: {first}{printable(fault.detail)}"
