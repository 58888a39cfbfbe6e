"""Alarms where a variant diverges by more than its bits explain, and none where it does not."""

import io
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from handmade import choices, document, identity
from rich.console import Console

from pajamas_eval.analysis.summary import summarize
from pajamas_eval.report.terminal.gate import show as show_gate
from pajamas_eval.report.wording.suspicion import suspicions
from pajamas_eval.results.document import AnswerRecord, AnswerSet, Document

QUESTIONS = 120


def diverging(label: str, nats: float, seed: int = 1) -> AnswerSet:
    """Answers whose mean divergence from those of 0 nats is about so much."""
    scale = math.sqrt(nats / 0.116)
    noise = np.random.default_rng(seed).normal(size=(QUESTIONS, 4))
    base = np.random.default_rng(0).normal(size=(QUESTIONS, 4)) - 3
    made = [
        AnswerRecord(doc_id=str(i), scores={"acc": 1.0}, prediction="0", parts=choices(*row))
        for i, row in enumerate((base + scale * noise).tolist())
    ]
    return AnswerSet(
        label=label,
        answers=made,
        wall_seconds=1.0,
        prompt_seconds=1.0,
        generation_seconds=0.0,
        evaluated_tokens=1,
        prompt_tokens=1,
        generated_tokens=0,
        batching="",
        batch_digest="",
        notes=[],
    )


def compared(models: Mapping[str, tuple[float, float | None]], **settings: Any) -> Document:
    """The baseline and models, each with its divergence and its bits per weight."""
    sets = [diverging(label, nats, seed) for seed, (label, (nats, _)) in enumerate(models.items())]
    made = document(sets)
    made.settings = msgspec.structs.replace(made.settings, **settings)
    for model in made.models:
        bits = models[model.label][1]
        model.identity = identity(bits_per_weight=bits, path=f"{model.label}.gguf")
        model.noise_floor = model.label in settings.get("same_weights", ())
    summarize(made)
    return made


def found(made: Document) -> list[tuple[str, str, str | None]]:
    return [(s.kind, s.label, s.than) for s in made.suspicions]


HONEST = {
    "base": (0.0, 16.0),
    "q8": (0.003, 8.5),
    "q6": (0.008, 6.6),
    "q4": (0.05, 4.8),
    "mlx4": (0.08, 4.5),
    "q2": (0.6, 2.6),
}


def test_divergence_that_bits_explain_alarms_nobody() -> None:
    assert found(compared(HONEST)) == []


def test_many_bits_that_diverge_much_are_out_of_line() -> None:
    made = compared(HONEST | {"q8": (0.08, 8.5)})
    assert ("fine", "q8", None) in found(made)
    (line, *_) = suspicions(made)
    assert line.startswith("ALARM: q8 may not be the same model as base: 8.50 bits per weight ")
    assert line.endswith("pajamas-eval verify base.gguf q8.gguf")


def test_a_gate_says_so_before_its_conclusion() -> None:
    made = compared(HONEST | {"q8": (0.08, 8.5)})
    console = Console(file=io.StringIO(), width=2000)
    show_gate(made, [], console)
    assert isinstance(console.file, io.StringIO)
    assert "ALARM: q8 may not be the same model as base: " in console.file.getvalue()


def test_more_bits_that_diverge_more_are_out_of_order() -> None:
    made = compared(HONEST | {"q4": (0.5, 4.8)})
    assert found(made) == [("out of order", "q4", "mlx4")]
    (line,) = suspicions(made)
    assert "4.80 bits per weight diverge by " in line
    assert ", 4.50 bits of mlx4 by 0." in line


def test_the_same_weights_diverge_by_rounding_only() -> None:
    models = {"base": (0.0, 16.0), "other": (0.01, 16.0)}
    assert found(compared(models)) == []
    assert found(compared(models, same_weights=("other",))) == [("same weights", "other", None)]
    models["other"] = (1e-5, 16.0)
    assert found(compared(models, same_weights=("other",))) == []


@pytest.mark.parametrize("bits", [4.5, None])
def test_a_baseline_that_is_coarser_or_unknown_explains_the_divergence(bits: float | None) -> None:
    assert found(compared(HONEST | {"base": (0.0, bits), "q8": (0.08, 8.5)})) == []


def test_few_questions_alarm_nobody() -> None:
    made = compared(HONEST | {"q8": (0.08, 8.5)})
    for answers in made.benchmarks[0].answer_sets:
        del answers.answers[2:]
    summarize(made)
    assert found(made) == []


def test_a_variant_of_unknown_bits_is_no_measure() -> None:
    assert found(compared(HONEST | {"q8": (0.5, None)})) == []
