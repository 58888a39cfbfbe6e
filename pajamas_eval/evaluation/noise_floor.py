"""The baseline a second time, in other batches: its flips are the engine's noise."""

from collections.abc import Sequence
from dataclasses import replace

from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.results.run_config import RunConfig

NOISE_BATCHES = (
    {"batch_tokens": 160, "batch_sequences": 5},
    {"batch_tokens": 96, "batch_sequences": 3},
)
"""Batches of the second run of the baseline: of another shape than any runtime's own, and another
again, where the first run has the former."""


ONE_SHAPE = "a noise floor needs batches of two shapes, and exact allows one"


def with_noise_floor(
    specs: Sequence[ModelSpec], config: RunConfig
) -> tuple[list[ModelSpec], frozenset[str]]:
    """All models to run, and the labels of those that show the engine's noise."""
    floors = set(config.same_weights)
    labels = [spec.label for spec in specs]
    for label in config.same_weights:
        if label not in labels[1:]:
            raise UsageError(f"no variant has the label {label!r}{suggestion(label, labels[1:])}")
    if config.until_decided and floors.issuperset(labels[1:]):
        raise UsageError(
            "no variant is left to decide on: one with the baseline's own weights gets no verdict"
        )
    if not config.noise_floor:
        return list(specs), frozenset(floors)
    if config.exact:
        raise UsageError(ONE_SHAPE)
    baseline, *variants = specs
    options = baseline.options
    shape = next(
        shape for shape in NOISE_BATCHES if any(str(options.get(k)) != str(shape[k]) for k in shape)
    )
    again = replace(baseline, label=f"{baseline.label} again", options={**options, **shape})
    if again.label in labels:
        raise UsageError(
            f"two models would have the label {again.label!r}: the noise floor is called so; "
            "give yours another label"
        )
    return [baseline, again, *variants], frozenset({*floors, again.label})
