"""The interval that is shown lies to the margin as the verdict beside it says."""

import math
import re

import numpy as np
import pytest
from handmade import answer_set, document
from hypothesis import given, settings
from hypothesis import strategies as st

from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.gate.config import BenchmarkGate, Gate
from pajamas_eval.gate.findings import Outcome, Requirement, Unit
from pajamas_eval.gate.quality import judge_benchmark
from pajamas_eval.report.wording.comparison import bounds_text
from pajamas_eval.report.wording.figures import outwards
from pajamas_eval.report.wording.gate import measured
from pajamas_eval.results.document import Document
from pajamas_eval.statistics import means
from pajamas_eval.statistics.clusters import mean_interval
from pajamas_eval.statistics.verdicts import Verdict, non_inferiority

METRICS = (
    Metric("acc"),
    Metric("wrong", higher_is_better=False),
    Metric("f1", "mean"),
    Metric("gain", "mean", unit="steps"),
    Metric("distance", "mean", higher_is_better=False, unit="steps"),
    Metric("speedup", "ratio", unit="times"),
    Metric("ppl", "ratio", higher_is_better=False, unit="perplexity"),
)
OUTCOMES = {
    Verdict.NO_WORSE: Outcome.PASSED,
    Verdict.WORSE: Outcome.FAILED,
    Verdict.UNDECIDED: Outcome.UNDECIDED,
}


@st.composite
def runs(draw: st.DrawFn) -> Document:
    """Two models on some questions, which may share passages, have weights, or lack answers."""
    metric = draw(st.sampled_from(METRICS))
    count = draw(st.integers(1, 120))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shift, spread = (
        draw(st.sampled_from((0.0, 0.02, 0.1, -0.05))),
        draw(st.sampled_from((0.0, 0.01, 0.25))),
    )
    base = generator.uniform(0.4, 0.6, count)
    ours = base + shift + spread * generator.uniform(-1, 1, count)
    if metric.kind == "binary":
        base = generator.integers(0, 2, count).astype(float)
        lost = generator.random(count) < abs(shift) + spread / 3
        ours = np.where(lost, 1 - base, base)
    missing = generator.random(count) < draw(st.sampled_from((0.0, 0.0, 0.03)))
    sets = [
        answer_set(
            label,
            {
                str(i): "no room" if label == "q4" and missing[i] else float(value)
                for i, value in enumerate(values)
            },
            metric.name,
        )
        for label, values in (("base", base), ("q4", ours))
    ]
    if metric.kind == "ratio" and draw(st.booleans()):
        for answers in sets:
            for answer in answers.answers:
                answer.weights = {metric.name: 1.0 + int(answer.doc_id) % 7}
    value = draw(st.sampled_from((0.05, 0.75, 1.0, 2.5, 5.0, 12.345)))
    in_hundredths = metric.margin_unit in ("points", "%")
    margin = Margin(value if in_hundredths else value / 10, metric.margin_unit)
    made = document(sets, metric=metric, margins=(margin,))
    size = draw(st.sampled_from((1, 1, 3)))
    for i, question in enumerate(made.benchmarks[0].questions):
        question.cluster = f"passage {i // size}" if size > 1 else ""
    made.settings.confidence = draw(st.sampled_from((0.6, 0.8, 0.9, 0.95, 0.99)))
    summarize(made)
    return made


def read_from(metric: Metric, lower: float, upper: float, margin: float) -> Verdict:
    """What a reader takes from an interval and a margin in the same unit."""
    if not metric.higher_is_better:
        lower, upper = -upper, -lower
    if lower >= -margin:
        return Verdict.NO_WORSE
    return Verdict.WORSE if upper <= -margin else Verdict.UNDECIDED


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("±", "").replace("∞", "inf"))


@settings(max_examples=600, deadline=None)
@given(runs())
def test_the_interval_and_the_verdict_agree(made: Document) -> None:
    """In the document, in the report's rounded figures, and in the gate's."""
    record = made.benchmarks[0]
    metric = record.headline
    (found,) = made.comparisons
    assert found.margin is not None
    assert found.verdict is not None
    lower = -math.inf if found.lower is None else found.lower
    upper = math.inf if found.upper is None else found.upper
    scale = 100 if metric.margin_unit in ("points", "%") else 1
    assert found.interval_confidence == pytest.approx(2 * made.settings.confidence - 1)
    assert read_from(metric, lower, upper, found.margin.value / scale) is found.verdict
    assert not found.count or lower <= found.difference <= upper
    if bounds := bounds_text(found, metric):
        shown = number(bounds[0]), number(bounds[1])
        assert read_from(metric, *shown, found.margin.value) is found.verdict
    elif found.lower is None and found.upper is None:
        assert found.verdict is Verdict.UNDECIDED

    table = BenchmarkGate(margin=found.margin.value)
    gate = Gate(confidence=made.settings.confidence, benchmarks={record.name: table})
    (finding,) = judge_benchmark(made, gate, record.name, "q4")
    if found.count:
        assert finding.outcome is OUTCOMES[found.verdict]
        inside = re.search(r"\[(.*), (.*)\]", measured(finding))
        assert inside
        shown = number(inside[1]), number(inside[2])
        assert read_from(metric, *shown, found.margin.value) is found.verdict


@settings(max_examples=300, deadline=None)
@given(runs())
def test_the_verdict_is_that_of_the_test(made: Document) -> None:
    """Of Tango's, or of Student's with clusters and weights, where all was answered."""
    (found,) = made.comparisons
    if found.unanswered or not found.margin:
        return
    record = made.benchmarks[0]
    metric, confidence = record.headline, made.settings.confidence
    size = metric.margin_size(found.margin)
    if metric.kind == "binary":
        expected = non_inferiority(found.gains, found.losses, found.count, size, confidence)
    else:
        base, ours = (
            np.array([answer.scores[metric.name] for answer in answers.answers])
            for answers in record.answer_sets
        )
        differences = np.log(ours / base) if metric.kind == "ratio" else ours - base
        weights = [a.weights.get(metric.name, 1.0) for a in record.answer_sets[0].answers]
        clusters = list(record.clusters().values())
        interval = mean_interval(metric.sign * differences, clusters, weights=weights)
        expected = means.non_inferiority(interval, size, confidence)
    assert found.verdict is expected


@pytest.mark.parametrize("count", [26, 27])
def test_few_equal_differences_have_no_interval_as_they_have_no_verdict(count: int) -> None:
    """Student's would be a point, beside "undecided"."""
    values = {str(i): 0.5 for i in range(count)}
    metric = Metric("f1", "mean")
    made = document([answer_set(label, values, "f1") for label in ("base", "q4")], metric=metric)
    summarize(made)
    (found,) = made.comparisons
    assert (found.lower is None) is (found.verdict is Verdict.UNDECIDED) is (count == 26)


@pytest.mark.parametrize(
    ("bounds", "limit", "decimals", "shown"),
    [
        ((-0.0104, 0.0096), 1.0, 1, (-0.011, 0.01, 1)),
        ((-0.0096, 0.0104), 1.0, 1, (-0.01, 0.011, 1)),
        ((-0.0074, 0.0), 0.75, 1, (-0.0074, 0.0, 2)),
        ((-0.07, 0.07), 7.0, 1, (-0.07, 0.07, 1)),
        ((-0.10004, 0.2), 0.1, None, (-0.101, 0.2, 3)),
        ((-1.23456, 1.23456), 1.2345, None, (-1.2346, 1.2346, 5)),
        ((-math.inf, math.inf), 1.0, 1, (-math.inf, math.inf, 1)),
        ((-0.04, 0.04), None, 1, (-0.04, 0.04, 1)),
    ],
)
def test_bounds_are_rounded_away_from_each_other_and_never_across_the_limit(
    bounds: tuple[float, float],
    limit: float | None,
    decimals: int | None,
    shown: tuple[float, float, int],
) -> None:
    assert outwards(bounds, limit, decimals) == shown


def test_the_gates_requirement_includes_the_threshold_as_its_verdict_does() -> None:
    from pajamas_eval.report.wording.gate import required

    for metric, said in ((METRICS[0], "≥ −5 points"), (METRICS[1], "≤ +5 points")):
        requirement = Requirement(name="margin", unit=Unit.POINTS, threshold=0.05, metric=metric)
        assert required(requirement) == said
