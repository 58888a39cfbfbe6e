"""Whether the variants of a run are one model, as far as their engines' architectures tell."""

from collections.abc import Mapping

from pajamas_eval.api.architecture import ArchitectureFacts, FactDifference
from pajamas_eval.errors import UsageError
from pajamas_eval.identity.facts import compare_facts
from pajamas_eval.results.document import ArchitectureCheck

_CLAIM = (
    "family",
    "layers",
    "hidden_size",
    "heads",
    "kv_heads",
    "head_size",
    "feed_forward_size",
    "experts",
)
"""What two models have in common that claim to be one."""

_PROVEN_ON_TOKENS = ("bos_token_id", "eos_token_id", "prefix")
"""How texts begin and end is compared on the questions themselves."""

_WINDOWS = ("sliding_window", "sliding_layers")


def compare_architectures(
    baseline: str,
    architectures: Mapping[str, ArchitectureFacts | None],
    context_length: int,
    *,
    allow_different: bool,
) -> list[ArchitectureCheck]:
    """Each variant's architecture against the baseline's.

    Args:
        baseline: Its label.
        architectures: By label, that of the baseline among them.
        context_length: Tokens that a text of this run has at most.
        allow_different: Whether a variant may have another architecture than it claims.

    Raises:
        UsageError: A variant claims to be the baseline's model, and its engine runs another.
    """
    base = architectures.get(baseline)
    checks = []
    for label, facts in architectures.items():
        if label == baseline or base is None or facts is None:
            continue
        found = compare_facts(base, facts).differences
        windows = _window(base, context_length), _window(facts, context_length)
        affecting = [
            d
            for d in found
            if d.affects_answers
            and d.name not in _PROVEN_ON_TOKENS
            and not (d.name in _WINDOWS and windows == (None, None))
        ]
        different = any(d.name in _CLAIM for d in affecting)
        said = [_said(d, baseline, label) for d in affecting]
        if said and not different and not allow_different:
            meaning = affecting[0].meaning
            raise UsageError(
                f"{label} is run as another model than {baseline}: {'; '.join(said)} ({meaning}). "
                "`pajamas-eval verify` tells more; to compare them all the same: "
                "--allow-different-models"
            )
        known = len(base.known().keys() & facts.known().keys())
        checks.append(
            ArchitectureCheck(
                label=label, known=known, differences=said, different_models=different
            )
        )
    return checks


def _window(facts: ArchitectureFacts, context_length: int) -> int | None:
    """The window, where a layer has one that a text of the run can be too long for."""
    size, layers = facts.sliding_window, facts.sliding_layers
    if layers is not None and not layers.value:
        return None
    return None if size and (not size.value or size.value >= context_length) else -1


def _said(difference: FactDifference, baseline: str, label: str) -> str:
    name = difference.name.replace("_", " ")
    return (
        f"{name} {_value(difference.base.value)} in {baseline} ({difference.base.source}) and "
        f"{_value(difference.variant.value)} in {label} ({difference.variant.source})"
    )


def _value(value: object) -> str:
    if isinstance(value, tuple):
        shown = ", ".join(map(_value, value[:4]))
        return f"[{shown}{', …' if value[4:] else ''}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
