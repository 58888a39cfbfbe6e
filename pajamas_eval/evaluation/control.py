"""A positive control: the baseline, damaged on purpose, must be called worse.

Questions that do not show such a loss certify nothing about the variants.
"""

from collections.abc import Sequence
from dataclasses import replace

from pajamas_eval.errors import UsageError
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.results.run_config import RunConfig

DAMAGE = 0.4
"""Noise, as a share of the weights' root mean square: that of rounding to 2 bits in groups of 64.

`pajamas-eval verify` on SmolLM2-135M and such a variant of it in MLX says 0.40 to 0.41 of nearly
all matrices.
"""

DAMAGED = "{} damaged"
"""The label of a baseline's control."""


def with_control(
    specs: Sequence[ModelSpec], config: RunConfig
) -> tuple[list[ModelSpec], str | None]:
    """All models to run, and the label of the control, if there is one.

    Raises:
        UsageError: A model is called as it would be, or nothing would be certified by it.
    """
    if not config.control:
        return list(specs), None
    baseline, *variants = specs
    if not variants:
        raise UsageError("a control certifies variants, and there is none")
    label = DAMAGED.format(baseline.label)
    if label in [spec.label for spec in specs]:
        raise UsageError(
            f"two models would have the label {label!r}: the control is called so; give yours "
            "another label"
        )
    damaged = replace(baseline, label=label, options={**baseline.options, "damage": DAMAGE})
    return [baseline, damaged, *variants], label
