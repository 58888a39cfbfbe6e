"""What a run is asked: every option of it, named once.

The settings in a result document, a gate's `[run]` table, what the store keeps of a run and what
two stored runs must have in common are all made from these fields.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from pajamas_eval.api.benchmark import SHOT_SEED
from pajamas_eval.api.metrics import Margin, Metric, margin_for
from pajamas_eval.api.options import AFFECTS_ANSWERS, NO_EFFECT

Count = Annotated[int, Meta(ge=1)]
Confidence = Annotated[float, Meta(gt=0.5, le=0.999999)]
"""A one-sided test at 0.5 or less would prove a loss and its absence from the same answers."""


class RunConfig(msgspec.Struct, kw_only=True):
    """How the questions of a run are asked and judged, with every model alike.

    Each option says whether it affects answers: runs that differ in one that does cannot be put
    together. Names and defaults are those of the command's options.

    Attributes:
        seed: Of the subset and of the few-shot choice.
        limit: Questions per benchmark; all by default.
        shots: Few-shot examples; each benchmark's own number by default.
        apply_chat_template: Ask through the baseline's chat template.
        template_date: The date that chat templates are told; by default the day of the run.
        exact: Run one sequence at a time.
        confidence: Of every verdict and of each end of the interval that it is read from; the
            other intervals are two-sided.
        margins: Losses that a variant may have and still be no worse, each in its unit; of other
            units it is the default of the metric.
        until_decided: Ask in random order, and only until each verdict is in.
        noise_floor: Run the baseline a second time, in batches of another shape.
        equivalence: Ask whether variants are equivalent: neither worse nor better by the margin.
        control: Run the baseline a second time, damaged by noise on its weights: questions that do
            not show that it is worse certify nothing.
        same_weights: Labels of variants that are the baseline's weights in another runtime.
        allow_different_models: Compare models even where their engines resolved another
            architecture from what claims to be one.
        timeout: Seconds without a heartbeat after which an engine is taken to hang.
    """

    seed: Annotated[int, AFFECTS_ANSWERS] = SHOT_SEED
    limit: Annotated[Count | None, NO_EFFECT] = None
    shots: Annotated[Annotated[int, Meta(ge=0)] | None, AFFECTS_ANSWERS] = None
    apply_chat_template: Annotated[bool, AFFECTS_ANSWERS] = False
    template_date: Annotated[date | None, NO_EFFECT] = None
    exact: Annotated[bool, AFFECTS_ANSWERS] = False
    confidence: Annotated[Confidence, NO_EFFECT] = 0.95
    margins: Annotated[tuple[Margin, ...], NO_EFFECT] = ()
    # Decides which questions are asked, and which test their answers stand.
    until_decided: Annotated[bool, AFFECTS_ANSWERS] = False
    noise_floor: Annotated[bool, NO_EFFECT] = False
    equivalence: Annotated[bool, NO_EFFECT] = False
    control: Annotated[bool, NO_EFFECT] = False
    same_weights: Annotated[tuple[str, ...], NO_EFFECT] = ()
    allow_different_models: Annotated[bool, NO_EFFECT] = False
    timeout: Annotated[Annotated[float, Meta(gt=0)], NO_EFFECT] = 300.0

    def margin(self, metric: Metric) -> Margin | None:
        """The margin of a metric; nothing where none is given in its unit and it has no default."""
        return margin_for(metric, self.margins)[0]


class RunPlan(RunConfig, kw_only=True):
    """What to run, and how.

    Attributes:
        models: As typed on a command line.
        baseline: Label of the model to compare with; the first by default.
        benchmarks: Their names.
        data: Folder with data sets.
    """

    models: Annotated[list[str], NO_EFFECT]
    baseline: Annotated[str | None, NO_EFFECT] = None
    benchmarks: Annotated[list[str], NO_EFFECT] = []
    data: Annotated[str | None, NO_EFFECT] = None


class RunSettings(RunConfig, kw_only=True, forbid_unknown_fields=True):
    """What was asked of every model alike, and what that came to.

    Attributes:
        context_length: Tokens per sequence, the least of all models' own; nothing where none is
            known.
        template_digest: Of the baseline's chat template, if prompts went through it.
        template_date: What it was told, if it asked.
    """

    context_length: Annotated[int | None, AFFECTS_ANSWERS] = None
    template_digest: Annotated[str | None, AFFECTS_ANSWERS] = None
    template_date: Annotated[date | None, AFFECTS_ANSWERS] = None


def config_of(options: RunConfig) -> dict[str, Any]:
    """The fields of `RunConfig` alone, of what may have more."""
    return {name: getattr(options, name) for name in RunConfig.__struct_fields__}


def of_former_versions(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was asked, as it was recorded, under the names that options have now."""
    asked = dict(asked)
    if "patience" in asked:
        asked["timeout"] = asked.pop("patience")
    if isinstance(margin := asked.pop("margin", None), float) and margin != _FORMER_MARGIN:
        asked["margins"] = [{"value": 100 * margin}]
    if isinstance(asked.get("benchmarks"), str):
        asked["benchmarks"] = asked["benchmarks"].split(",")
    return asked


_FORMER_MARGIN = 0.01
"""The default, when margins were proportions."""


def settings_that_affect_answers() -> list[str]:
    """The fields of `RunSettings` that two runs must have in common."""
    hints = get_type_hints(RunSettings, include_extras=True)
    return [
        name
        for name in RunSettings.__struct_fields__
        if AFFECTS_ANSWERS in getattr(hints[name], "__metadata__", ())
    ]
