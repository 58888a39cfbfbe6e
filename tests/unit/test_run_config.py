"""Every option of a run is named once, and says whether it affects answers."""

from typing import Any, get_type_hints

import msgspec
import pytest

from pajamas_eval.api.metrics import Margin
from pajamas_eval.api.options import AFFECTS_ANSWERS, NO_EFFECT
from pajamas_eval.evaluation.stored_runs import RecordedPlan
from pajamas_eval.gate.config import GATES_OWN, RunTable
from pajamas_eval.results.run_config import (
    RunConfig,
    RunPlan,
    RunSettings,
    config_of,
    of_former_versions,
    settings_that_affect_answers,
)


@pytest.mark.parametrize("kind", [RunConfig, RunPlan, RunSettings])
def test_every_option_says_whether_it_affects_answers(kind: type[Any]) -> None:
    hints = get_type_hints(kind, include_extras=True)
    for name in kind.__struct_fields__:
        said = [m for m in hints[name].__metadata__ if m in (AFFECTS_ANSWERS, NO_EFFECT)]
        assert len(said) == 1, name


def test_what_two_runs_must_have_in_common() -> None:
    assert settings_that_affect_answers() == [
        "seed",
        "shots",
        "apply_chat_template",
        "template_date",
        "exact",
        "until_decided",
        "context_length",
        "template_digest",
    ]


def test_settings_gates_and_records_have_every_option() -> None:
    options = set(RunConfig.__struct_fields__)
    for kind in (RunPlan, RunSettings, RunTable, RecordedPlan):
        assert options <= set(kind.__struct_fields__)
    assert options > GATES_OWN


def test_the_options_alone() -> None:
    plan = RunPlan(models=["a"], limit=5, margins=(Margin(2.0),))
    assert RunConfig(**config_of(plan)) == RunConfig(limit=5, margins=(Margin(2.0),))


def test_what_a_record_lacks_takes_its_default_and_what_it_has_more_is_left() -> None:
    recorded = {"models": ["a", "b"], "folder": "/", "limit": 7, "an_option_of_the_future": 1}
    plan = msgspec.convert(recorded, RecordedPlan)
    assert plan == RecordedPlan(models=["a", "b"], folder="/", limit=7)


def test_names_that_options_once_had() -> None:
    asked = {"patience": 60.0, "margin": 0.07, "benchmarks": "mmlu,gsm8k", "limit": 3}
    assert of_former_versions(asked) == {
        "timeout": 60.0,
        "margins": [{"value": pytest.approx(7.0)}],
        "benchmarks": ["mmlu", "gsm8k"],
        "limit": 3,
    }
