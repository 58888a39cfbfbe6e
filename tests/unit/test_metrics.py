"""What a metric's values may be, and margins in their units."""

import math
from collections.abc import Sequence

import pytest
from handmade import answer_set, document
from msgspec.structs import replace
from scipy.stats import gmean, ttest_rel

from pajamas_eval.analysis.paired import paired
from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.metrics import (
    Margin,
    Metric,
    check_values,
    margin_for,
    parse_margin,
)
from pajamas_eval.errors import UsageError
from pajamas_eval.results.document import Document
from pajamas_eval.results.findings import Comparison
from pajamas_eval.statistics.verdicts import Verdict

ACC = Metric("acc")
F1 = Metric("f1", "mean")
STEPS = Metric("steps", "mean", higher_is_better=False, unit="steps")
PERPLEXITY = Metric("ppl", "ratio", higher_is_better=False, unit="perplexity")
WRONG = Metric("wrong", higher_is_better=False)
SPEEDUP = Metric("speedup", "ratio", unit="times")


# -- values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "value", "problem"),
    [
        (ACC, 0.4, "is neither 0 nor 1, as a binary metric is"),
        (ACC, 1.0000001, "is neither 0 nor 1"),
        (ACC, math.nan, "is not a finite number"),
        (ACC, "1", "is not a finite number"),
        (ACC, None, "is not a finite number"),
        (F1, 1.5, "is not in [0, 1]"),
        (F1, -0.1, "is not in [0, 1]"),
        (F1, math.inf, "is not a finite number"),
        (PERPLEXITY, 0.0, "is not above 0"),
        (PERPLEXITY, -2.0, "is not above 0"),
    ],
)
def test_a_value_that_a_metric_cannot_have_is_refused(
    metric: Metric, value: object, problem: str
) -> None:
    with pytest.raises(UsageError, match=r"^quiz 7: \w+ = .*") as caught:
        check_values("quiz 7", [metric], {metric.name: value})
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "value"),
    [(ACC, 0), (ACC, 1.0), (F1, 0.4), (STEPS, 17.5), (STEPS, -3.0), (PERPLEXITY, 1e-9)],
)
def test_a_value_that_it_can_have_passes(metric: Metric, value: float) -> None:
    check_values("quiz 7", [metric], {metric.name: value})


@pytest.mark.parametrize("values", [{}, {"acc": 1, "f1": 1}, {"f1": 1}])
def test_a_score_has_just_the_benchmarks_metrics(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"quiz 7: scored .*, not acc"):
        check_values("quiz 7", [ACC], values)


def test_an_edited_document_is_held_to_it_too() -> None:
    made = document([answer_set("base", {"a": 0.4, "b": 0.0})])
    with pytest.raises(UsageError, match=r"quiz a: acc = 0\.4 is neither 0 nor 1"):
        summarize(made)


# -- margins -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "margin"),
    [
        ("5", Margin(5.0)),
        ("0.5 points", Margin(0.5)),
        ("2%", Margin(2.0, "%")),
        (".1nats", Margin(0.1, "nats")),
        ("1. bits/byte", Margin(1.0, "bits/byte")),
    ],
)
def test_margins_are_read_with_their_units(text: str, margin: Margin) -> None:
    assert parse_margin(text) == margin


@pytest.mark.parametrize("text", ["", "points", "-1", "0", "100", "1e5", "nan", "1,5", "0%", "5 5"])
def test_what_is_no_margin_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the margin"):
        parse_margin(text)


def test_the_last_margin_of_a_unit_counts_and_units_of_their_own_have_no_default() -> None:
    given = [Margin(5.0), Margin(2.0, "%"), Margin(3.0)]
    assert margin_for(ACC, given) == margin_for(F1, given) == (Margin(3.0), False)
    assert margin_for(PERPLEXITY, given) == (Margin(2.0, "%"), False)
    assert margin_for(ACC, []) == (Margin(1.0), True)
    assert margin_for(PERPLEXITY, []) == (Margin(1.0, "%"), True)
    assert margin_for(STEPS, given) == (None, True)
    assert margin_for(STEPS, [Margin(0.5, "steps")]) == (Margin(0.5, "steps"), False)


def test_a_metrics_own_default_is_in_its_unit_and_gives_way_to_what_is_named() -> None:
    acc, steps = replace(ACC, default_margin=4.0), replace(STEPS, default_margin=0.75)
    ppl = replace(PERPLEXITY, default_margin=2.5)
    assert margin_for(acc, [Margin(3.0, "%")]) == (Margin(4.0), True)
    assert margin_for(steps, []) == (Margin(0.75, "steps"), True)
    assert margin_for(ppl, [Margin(3.0)]) == (Margin(2.5, "%"), True)
    assert margin_for(acc, [Margin(3.0)]) == (Margin(3.0), False)


def test_a_margin_is_as_large_as_the_differences_that_it_is_compared_with() -> None:
    assert ACC.margin_size(Margin(5.0)) == 0.05
    assert PERPLEXITY.margin_size(Margin(5.0, "%")) == pytest.approx(math.log(1.05))
    assert PERPLEXITY.margin_size(Margin(150.0, "%")) == pytest.approx(math.log(2.5))
    assert SPEEDUP.margin_size(Margin(5.0, "%")) == pytest.approx(-math.log(0.95))
    assert STEPS.margin_size(Margin(0.5, "steps")) == 0.5


@pytest.mark.parametrize(
    ("metric", "margin"),
    [
        (ACC, Margin(0.0)),
        (ACC, Margin(100.0)),
        (ACC, Margin(math.nan)),
        (STEPS, Margin(-1.0, "steps")),
        (STEPS, Margin(math.inf, "steps")),
        (SPEEDUP, Margin(100.0, "%")),
    ],
)
def test_a_margin_that_its_metric_cannot_have_is_refused(metric: Metric, margin: Margin) -> None:
    with pytest.raises(UsageError, match=rf"^{metric.name}: a margin of .* is not above 0"):
        metric.margin_size(margin)


# -- comparisons by kind -------------------------------------------------------------------


def compared(
    metric: Metric,
    base: Sequence[float | str],
    ours: Sequence[float | str],
    *margins: Margin,
) -> tuple[Document, Comparison]:
    sets = [
        answer_set(label, {str(i): v for i, v in enumerate(values)}, metric.name)
        for label, values in (("base", base), ("q4", ours))
    ]
    made = document(sets, metric=metric, margins=margins)
    summarize(made)
    (found,) = made.comparisons
    return made, found


def test_a_binary_metric_where_less_is_better_turns_flips_round() -> None:
    base, ours = [0.0] * 98 + [1.0, 1.0], [1.0] * 30 + [0.0] * 70
    _, found = compared(WRONG, base, ours)
    assert (found.gains, found.losses) == (2, 30)
    assert found.difference == pytest.approx(0.28)
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < 0.28 < found.upper
    assert found.verdict is Verdict.WORSE
    _, mirrored = compared(ACC, [1 - float(v) for v in base], [1 - float(v) for v in ours])
    assert (mirrored.lower, mirrored.upper) == (-found.upper, -found.lower)
    assert (mirrored.verdict, mirrored.p_worse) == (found.verdict, found.p_worse)


def test_a_mean_is_judged_by_the_paired_t_test() -> None:
    base = [0.1 * (i % 10) for i in range(60)]
    ours = [max(0.0, v - 0.02 * (i % 3)) for i, v in enumerate(base)]
    made, found = compared(F1, base, ours, Margin(5.0))
    test = ttest_rel(ours, base)
    interval = test.confidence_interval(0.9)
    assert found.difference == pytest.approx(sum(ours) / 60 - sum(base) / 60)
    assert (found.lower, found.upper) == pytest.approx((interval.low, interval.high))
    assert found.p_different == pytest.approx(test.pvalue)
    greater = ttest_rel([v + 0.05 for v in ours], base, alternative="greater")
    assert found.verdict is (Verdict.NO_WORSE if greater.pvalue <= 0.05 else Verdict.UNDECIDED)
    assert found.verdict is Verdict.NO_WORSE
    assert (found.flip_rate, found.flip_lower, found.changed_wrong) == (None, None, None)
    assert made.audits == []


def test_less_is_better_turns_the_verdict_and_not_the_difference() -> None:
    base = [float(i % 7) for i in range(50)]
    ours = [v + 1 + (i % 2) for i, v in enumerate(base)]
    _, found = compared(STEPS, base, ours, Margin(1.0, "steps"))
    assert (found.difference, found.verdict) == (1.5, Verdict.WORSE)
    assert (found.gains, found.losses) == (0, 50)
    _, found = compared(STEPS, ours, base, Margin(1.0, "steps"))
    assert (found.difference, found.verdict) == (-1.5, Verdict.NO_WORSE)


def test_a_ratio_is_compared_on_logarithms() -> None:
    base = [5.0 + i % 4 for i in range(40)]
    ours = [v * (1.02 + 0.01 * (i % 3)) for i, v in enumerate(base)]
    made, found = compared(PERPLEXITY, base, ours, Margin(5.0, "%"))
    test = ttest_rel([math.log(v) for v in ours], [math.log(v) for v in base])
    interval = test.confidence_interval(0.9)
    expected = [math.expm1(v) for v in (interval.low, interval.high)]
    assert (found.lower, found.upper) == pytest.approx(tuple(expected))
    assert found.difference == pytest.approx(gmean(ours) / gmean(base) - 1)
    assert found.verdict is Verdict.NO_WORSE
    assert compared(PERPLEXITY, base, ours)[1].verdict is Verdict.WORSE, "by default 1 %"
    assert [s.value for s in made.scores] == pytest.approx([gmean(base), gmean(ours)])


def test_what_was_not_answered_decides_nothing_where_it_may_be_anything() -> None:
    base: list[float | str] = [float(i % 7) for i in range(50)]
    ours: list[float | str] = ["no room", *base[1:]]
    _, found = compared(STEPS, base, ours, Margin(5.0, "steps"))
    assert (found.verdict, found.unanswered, found.p_worse) == (Verdict.UNDECIDED, 1, 1.0)
    proportions: list[float | str] = [0.1 * (i % 7) for i in range(200)]
    _, found = compared(F1, proportions, ["no room", *proportions[1:]], Margin(5.0))
    assert found.verdict is Verdict.NO_WORSE, "at worst it lost one point in 200"
    _, found = compared(F1, proportions, ["no room"] * 20 + proportions[20:], Margin(5.0))
    assert found.verdict is Verdict.UNDECIDED


def test_without_a_margin_there_is_no_verdict_and_the_figures_stand() -> None:
    base = [float(i % 7) for i in range(50)]
    _, found = compared(STEPS, base, [v + 1 + i % 2 for i, v in enumerate(base)])
    assert (found.verdict, found.margin, found.difference) == (None, None, 1.5)


def test_one_question_says_nothing_of_the_spread() -> None:
    _, found = compared(STEPS, [1.0], [2.0], Margin(1.0, "steps"))
    assert (found.lower, found.upper, found.smallest_margin) == (None, None, None)
    assert (found.verdict, found.p_different) == (Verdict.UNDECIDED, 1.0)


def test_weights_and_clusters_are_those_of_the_questions() -> None:
    made, _ = compared(PERPLEXITY, [5.0, 6.0, 7.0], [5.5, 6.1, 7.2])
    record = made.benchmarks[0]
    for question, cluster in zip(record.questions, ("x", "x", ""), strict=True):
        question.cluster = cluster
    for answers in record.answer_sets:
        answers.answers[1].weights = {"ppl": 10.0}
    pairs = paired(record, PERPLEXITY, *record.answer_sets)
    assert pairs.clusters == ["x", "x", "2"]
    assert pairs.weights.tolist() == [1.0, 10.0, 1.0]
    summarize(made)
    logs = [math.log(v) for v in (5.0, 6.0, 7.0)]
    mean = math.exp((logs[0] + 10 * logs[1] + logs[2]) / 12)
    assert made.scores[0].value == pytest.approx(mean)
