"""What two models' answers add up to: divergence, verdicts, corrections and ranks."""

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from handmade import answer_set, choices, document
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax
from scipy.stats import entropy

from pajamas_eval.analysis.divergence import choice_kl_values
from pajamas_eval.analysis.paired_binary import PairedBinary
from pajamas_eval.analysis.paired_binary import verdict_until_decided as until_decided
from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.results.document import AnswerSet, Document
from pajamas_eval.results.findings import Comparison, OverallVerdict, ScoreSummary
from pajamas_eval.statistics.clusters import mean_interval
from pajamas_eval.statistics.multiplicity import holm
from pajamas_eval.statistics.paired import mcnemar_p
from pajamas_eval.statistics.planning import further_questions, smallest_margin
from pajamas_eval.statistics.proportions import wilson_interval
from pajamas_eval.statistics.sequential import (
    SEQUENTIAL_SHARE,
    final_verdict,
    sequential_verdict,
)
from pajamas_eval.statistics.verdicts import Verdict, non_inferiority, p_no_worse, p_worse

NO_WORSE, WORSE, UNDECIDED = Verdict.NO_WORSE, Verdict.WORSE, Verdict.UNDECIDED


def compared(*sets: AnswerSet, noise: Sequence[str] = (), **changes: Any) -> Document:
    """A document of one benchmark, the first model its baseline, with all that is computed."""
    return computed(document(sets), noise=noise, **changes)


def computed(made: Document, noise: Sequence[str] = (), **changes: Any) -> Document:
    """All that is computed from its answers, with other settings and some models noise floors."""
    if "margin" in changes:
        changes["margins"] = (Margin(100 * changes.pop("margin")),)
    made.settings = msgspec.structs.replace(made.settings, **changes)
    for model in made.models:
        model.noise_floor = model.label in noise
    summarize(made)
    return made


def answers(
    label: str,
    *,
    gains: int = 0,
    losses: int = 0,
    unanswered: int = 0,
    wrong: int = 0,
    of: int = 100,
) -> AnswerSet:
    """Answers to questions of which the baseline of no gains has the first `wrong` ones wrong.

    Gains are the first of these, losses the first of the others, and what is unanswered the last.
    """
    values: list[float | str] = [*[0.0] * wrong, *[1.0] * (of - wrong)]
    values[:gains] = [1.0] * gains
    values[wrong : wrong + losses] = [0.0] * losses
    values[of - unanswered :] = ["no room"] * unanswered
    return answer_set(label, {str(i): value for i, value in enumerate(values)})


# -- divergence over the choices -----------------------------------------------------------


def choosing(label: str, *log_probabilities: Sequence[float] | None) -> AnswerSet:
    """Answers with these log-probabilities of the choices; an error for nothing."""
    made = answer_set(label, {str(i): 1.0 for i in range(len(log_probabilities))})
    for answer, values in zip(made.answers, log_probabilities, strict=True):
        answer.parts = choices(*values or ())
        answer.error = None if values else "no room"
    return made


def divergence(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return choice_kl_values(choosing("base", ours), choosing("q4", theirs))["0"]


four_choices = st.lists(st.floats(-60, 0), min_size=4, max_size=4)


@given(four_choices, four_choices)
def test_divergence_is_that_of_the_choices_probabilities(
    ours: list[float], theirs: list[float]
) -> None:
    """A choice is a whole text, so that the probabilities of all choices add up to any number."""
    p, q = softmax(ours), softmax(theirs)
    assert divergence(ours, theirs) == pytest.approx(rel_entr(p, q).sum(), abs=1e-12)
    assert divergence(ours, theirs) == pytest.approx(entropy(p, q), abs=1e-12)


@given(four_choices, st.floats(-1e4, 0))
def test_equal_choices_do_not_diverge_however_long_they_are(
    values: list[float], shift: float
) -> None:
    assert divergence(values, values) == 0
    assert 0 <= divergence(values, [v + shift for v in values]) < 1e-9


def test_divergence_is_not_symmetric_and_is_the_baselines_surprise() -> None:
    even, sure = [math.log(0.5)] * 2, [math.log(0.99), math.log(0.01)]
    assert divergence(even, sure) == pytest.approx(
        0.5 * math.log(0.5 / 0.99) + 0.5 * math.log(0.5 / 0.01)
    )
    assert divergence(sure, even) == pytest.approx(
        0.99 * math.log(0.99 / 0.5) + 0.01 * math.log(0.01 / 0.5)
    )


def test_choices_too_improbable_for_a_float_diverge_by_their_logarithms() -> None:
    """e⁻²⁰⁰⁰ is 0 as a float, yet a long choice may well be as improbable."""
    assert divergence([0, -2000], [-2000, 0]) == pytest.approx(2000)
    assert divergence([-1e5, -1e5], [-1e5, -1e5 - 3000]) == pytest.approx(1500 - math.log(2))


@pytest.mark.parametrize(
    ("ours", "theirs", "nats"),
    [
        pytest.param([0, -math.inf], [0, 0], math.log(2), id="not by the baseline"),
        pytest.param([0, 0], [0, -math.inf], math.inf, id="not by the variant"),
        pytest.param([0, 0, -math.inf], [0, -1, -math.inf], None, id="by neither"),
        pytest.param([0, -1, -900], [0, 0, -math.inf], None, id="hardly by the baseline"),
    ],
)
def test_a_choice_that_is_not_held_possible(
    ours: list[float], theirs: list[float], nats: float | None
) -> None:
    if nats is None:  # as if that choice were not there
        nats = entropy(softmax(ours[:2]), softmax(theirs[:2]))
        assert nats > 0.05
    assert divergence(ours, theirs) == pytest.approx(nats)


def test_questions_that_one_could_not_answer_have_no_divergence() -> None:
    base = choosing("base", [0, -1], [0, -2], None)
    variant = choosing("q4", [-1, 0], None, [0, -3])
    assert choice_kl_values(base, variant).keys() == {"0"}


def test_questions_that_one_was_not_asked_have_no_divergence() -> None:
    base, variant = choosing("base", [0, -1], [0, -2]), choosing("q4", [-1, 0])
    assert choice_kl_values(base, variant).keys() == {"0"}
    assert choice_kl_values(variant, base).keys() == {"0"}


def test_generated_answers_have_no_divergence() -> None:
    base, variant = (answer_set(label, {"a": 1.0, "b": 0.0}) for label in ("base", "q4"))
    (comparison,) = compared(base, variant).comparisons
    assert comparison.choice_kl is None


# -- verdicts with questions left unanswered -----------------------------------------------


def verdict_with_unanswered(
    gains: int, losses: int, unanswered: int, count: int, margin: float, confidence: float
) -> Verdict:
    """Of so many questions without an answer, in addition to `count`."""
    same = count - gains - losses
    differences = row((gains, 1.0), (losses, -1.0), (same, 0.0), (unanswered, math.nan))
    total = len(differences)
    pairs = PairedBinary(
        metric=Metric("acc"),
        differences=differences,
        clusters=[str(i) for i in range(total)],
        weights=np.ones(total),
        planned=total,
    )
    return pairs.verdict(Margin(100 * margin), confidence, until_decided=False)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Gains, losses, unanswered and count of a few questions."""
    count, unanswered = draw(st.integers(0, 40)), draw(st.integers(0, 6))
    gains = draw(st.integers(0, count))
    return gains, draw(st.integers(0, count - gains)), unanswered, count


margins = st.sampled_from((0.01, 0.05, 0.1, 0.2, 0.5, 0.9))
confidences = st.sampled_from((0.6, 0.8, 0.95))


def fillings(unanswered: int) -> list[tuple[int, int]]:
    """Gains and losses that unanswered questions may have been, the rest no difference."""
    return [(g, k) for g in range(unanswered + 1) for k in range(unanswered - g + 1)]


@settings(max_examples=200, deadline=None)
@given(tables(), margins, confidences)
def test_a_verdict_is_the_one_that_all_answers_to_the_missing_questions_lead_to(
    table: tuple[int, int, int, int], margin: float, confidence: float
) -> None:
    gains, losses, unanswered, count = table
    possible = {
        non_inferiority(gains + g, losses + k, count + unanswered, margin, confidence)
        for g, k in fillings(unanswered)
    }
    (expected,) = possible if len(possible) == 1 else {UNDECIDED}
    assert verdict_with_unanswered(gains, losses, unanswered, count, margin, confidence) is expected


@pytest.mark.parametrize(
    ("gains", "losses", "count", "verdict"),
    [(0, 0, 100, NO_WORSE), (0, 30, 100, WORSE), (10, 10, 100, UNDECIDED)],
)
def test_missing_questions_take_a_verdict_back_and_never_make_one(
    gains: int, losses: int, count: int, verdict: Verdict
) -> None:
    verdicts = [
        verdict_with_unanswered(gains, losses, unanswered, count, margin=0.05, confidence=0.95)
        for unanswered in range(100)
    ]
    assert verdicts[0] is verdict
    taken_back = verdicts.index(UNDECIDED)
    assert set(verdicts[:taken_back]) <= {verdict}
    assert set(verdicts[taken_back:]) == {UNDECIDED}


def test_no_question_at_all_decides_nothing() -> None:
    assert verdict_with_unanswered(0, 0, 0, 0, 0.01, 0.95) is UNDECIDED
    assert verdict_with_unanswered(0, 0, 5, 0, 0.01, 0.95) is UNDECIDED


# -- questions asked until a verdict is in -------------------------------------------------


def row(*parts: tuple[int, float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """So many questions of each difference, one part after the other."""
    return np.concatenate([np.full(count, value) for count, value in parts])


SAME, LOST, GONE = 0.0, -1.0, math.nan


@pytest.mark.parametrize(
    ("start", "then", "verdict"), [(SAME, LOST, NO_WORSE), (LOST, SAME, WORSE)]
)
def test_a_verdict_stands_once_it_is_in_whatever_follows(
    start: float, then: float, verdict: Verdict
) -> None:
    _, took = sequential_verdict(row((500, start)), 0.05, 0.95)
    for asked, expected in ((took - 1, UNDECIDED), (took, verdict)):
        assert until_decided(row((asked, start)), 1000, 0.05, 0.95) is expected
    assert until_decided(row((took, start), (1000 - took, then)), 1000, 0.05, 0.95) is verdict


@pytest.mark.parametrize(
    ("differences", "verdict"), [(row((85, SAME)), NO_WORSE), (row((33, SAME), (7, LOST)), WORSE)]
)
def test_with_all_questions_asked_the_fixed_test_has_the_last_word(
    differences: Any, verdict: Verdict
) -> None:
    margin, count = 0.05, len(differences)
    assert sequential_verdict(differences, margin, 0.95) == (UNDECIDED, count)
    assert until_decided(differences, count, margin, 0.95) is verdict
    assert until_decided(differences, count + 1, margin, 0.95) is UNDECIDED


def test_the_fixed_test_at_the_end_has_its_own_share_of_the_error_only() -> None:
    """Having looked before, one may not judge as if one had not."""
    differences = row((60, SAME))
    assert non_inferiority(0, 0, 60, 0.05, 0.95) is NO_WORSE
    assert final_verdict(0, 0, 60, 0.05, 0.95) is UNDECIDED
    assert until_decided(differences, 60, 0.05, 0.95) is UNDECIDED


def test_what_could_not_be_answered_counts_against_either_verdict() -> None:
    whole = until_decided(row((150, SAME)), 150, 0.05, 0.95)
    assert whole is NO_WORSE
    assert until_decided(row((10, GONE), (140, SAME)), 150, 0.05, 0.95) is UNDECIDED
    assert until_decided(row((40, LOST)), 100, 0.05, 0.95) is WORSE
    assert until_decided(row((4, GONE), (36, LOST)), 100, 0.05, 0.95) is WORSE
    assert until_decided(row((20, GONE), (20, LOST)), 100, 0.05, 0.95) is UNDECIDED


def test_questions_that_nobody_answered_decide_nothing() -> None:
    assert until_decided(row((0, SAME)), 100, 0.05, 0.95) is UNDECIDED
    assert until_decided(row((100, GONE)), 100, 0.05, 0.95) is UNDECIDED


def test_a_verdict_is_the_same_whatever_the_missing_answers_were() -> None:
    """On a fixed sample of rows with up to four questions unanswered, all their answers tried."""
    generator, decided = random.Random(7), 0
    for _ in range(200):
        count = generator.randrange(10, 30)
        lost = generator.choice((0.0, 0.3, 0.8))
        differences = np.array([-float(generator.random() < lost) for _ in range(count)])
        places = generator.sample(range(count), generator.randrange(1, 5))
        differences[places] = np.nan
        verdict = until_decided(differences, count, 0.3, 0.8)
        if verdict is UNDECIDED:
            continue
        decided += 1
        for answers in itertools.product((-1, 0, 1), repeat=len(places)):
            differences[places] = answers
            assert until_decided(differences, count, 0.3, 0.8) is verdict
    assert decided > 50


# -- what a document says of a comparison --------------------------------------------------


def only(made: Document) -> Comparison:
    (comparison,) = made.comparisons
    return comparison


def test_a_comparison_holds_what_the_statistics_say_of_its_table() -> None:
    found = only(
        compared(
            answers("base", wrong=20),
            answers("q4", wrong=20, gains=2, losses=5, unanswered=3),
            confidence=0.9,
            margin=0.02,
        )
    )
    assert (found.gains, found.losses, found.count, found.unanswered) == (2, 5, 97, 3)
    assert found.flip_rate == 7 / 97
    assert (found.flip_lower, found.flip_upper) == wilson_interval(7, 97, 0.9)
    assert found.p_different == mcnemar_p(2, 5)
    assert found.p_worse == p_worse(2 + 3, 5, 97 + 3, 0.02)
    assert found.verdict is verdict_with_unanswered(2, 5, 3, 97, 0.02, 0.9)
    assert found.smallest_margin == smallest_margin(97, 7 / 97, power=0.8, confidence=0.9)
    assert found.further_questions == further_questions(2, 5, 97, 0.02, 0.9)


def test_a_wrong_answer_that_became_another_wrong_one_is_no_flip_and_is_counted() -> None:
    base, q4 = answers("base", wrong=10), answers("q4", wrong=10, gains=1, losses=1, unanswered=1)
    for place in range(5):  # the gain and four that both have wrong, one of them unanswered
        q4.answers[place].prediction = "another"
    q4.answers[10].prediction = "another"  # the loss
    base.answers[4].error = "no room"
    found = only(compared(base, q4))
    assert (found.changed_wrong, found.gains, found.losses) == (3, 1, 1)


def test_each_metric_counts_the_wrong_answers_that_it_sees_itself() -> None:
    """The most probable choice may stay while the most probable per character changes."""
    base, q4 = answers("base", wrong=3), answers("q4", wrong=3)
    for answer in (*base.answers, *q4.answers):
        answer.scores = {"acc": answer.scores["acc"], "acc_norm": answer.scores["acc"]}
    q4.answers[0].predictions = {"acc_norm": "3"}
    q4.answers[1].predictions = {"acc_norm": "3"}
    q4.answers[2].prediction = "2"
    made = document([base, q4])
    made.benchmarks[0].metrics.append(Metric("acc_norm"))
    assert [c.changed_wrong for c in computed(made).comparisons] == [1, 3]
    q4.answers[2].predictions = {"acc_norm": base.answers[2].prediction or ""}
    assert [c.changed_wrong for c in computed(made).comparisons] == [1, 2]


@pytest.mark.parametrize(
    ("losses", "unanswered", "further"),
    [
        pytest.param(0, 0, 0, id="decided"),
        pytest.param(3, 0, further_questions(0, 3, 100, 0.05), id="undecided"),
        pytest.param(5, 0, None, id="a loss of the margin"),
        pytest.param(0, 10, None, id="asked enough, answered too few"),
        pytest.param(0, 100, None, id="nothing answered"),
    ],
)
def test_further_questions_are_told_where_they_would_decide(
    losses: int, unanswered: int, further: int | None
) -> None:
    found = only(
        compared(answers("base"), answers("q4", losses=losses, unanswered=unanswered), margin=0.05)
    )
    assert (found.verdict is UNDECIDED) is (further != 0)
    assert found.further_questions == further


def test_a_noise_floor_is_compared_and_gets_no_verdict() -> None:
    made = compared(
        answers("base"), answers("base again", losses=30), answers("q4"), noise=["base again"]
    )
    noise, variant = made.comparisons
    assert (noise.label, noise.losses, noise.verdict, noise.further_questions) == (
        "base again", 30, None, 0,
    )  # fmt: skip
    assert variant.verdict is not None
    assert [v.label for v in made.verdicts] == ["q4"]


def test_asked_until_decided_the_order_of_the_questions_counts() -> None:
    """Ten losses at the start prove at once what ten after twenty equal answers do not yet."""
    base, early = answers("base", of=40), answers("q4", losses=10, of=40)
    del early.answers[30:]
    late = answer_set("q4", {a.doc_id: a.scores["acc"] for a in reversed(early.answers)})
    for part, verdict in ((early, WORSE), (late, UNDECIDED)):
        found = only(compared(base, part, until_decided=True, margin=0.05))
        assert (found.count, found.losses, found.unanswered) == (30, 10, 0)
        assert found.verdict is verdict
        assert found.p_different is None  # it holds for a fixed number of questions


@pytest.mark.parametrize("sequential", [False, True])
def test_a_verdict_of_worse_and_its_p_value_agree(sequential: bool) -> None:
    """Wherever asking stopped, and whatever was not answered."""
    generator, verdicts = random.Random(3), []
    for _ in range(150):
        planned = generator.randrange(20, 60)
        asked = planned if generator.random() < 0.5 else generator.randrange(10, planned)
        lost, failed = generator.choice((0.02, 0.2, 0.3)), generator.choice((0, 0, 0.1))
        values: dict[str, float | str] = {
            str(i): "no room" if generator.random() < failed else float(generator.random() > lost)
            for i in range(asked)
        }
        base, q4 = answers("base", of=planned), answer_set("q4", values)
        found = only(compared(base, q4, until_decided=sequential, margin=0.05, confidence=0.9))
        assert (found.verdict is WORSE) == (found.p_worse <= 0.1)
        verdicts.append((found.verdict, asked < planned, found.unanswered > 0))
    for verdict, stopped, unanswered in itertools.product(
        (WORSE, UNDECIDED), (False, True), (False, True)
    ):
        assert (verdict, stopped, unanswered) in verdicts


def test_with_all_questions_asked_the_fixed_test_has_its_share_in_the_p_value() -> None:
    """33 equal answers and 7 losses: no bet proves it, the test of all 40 does."""
    base, q4 = answers("base", of=40), answers("q4", wrong=33, gains=33, losses=7, of=40)
    found = only(compared(base, q4, until_decided=True, margin=0.05))
    assert found.p_worse == p_worse(0, 7, 40, 0.05) / (1 - SEQUENTIAL_SHARE)
    assert found.p_worse <= 0.05


# -- several variants and benchmarks -------------------------------------------------------


def several(
    losses: dict[str, tuple[int, ...]], *, unanswered: dict[str, int] | None = None, **changes: Any
) -> Document:
    """Each variant's losses on benchmarks A, B and so on, of 100 questions that base has right."""
    parts = [
        document(
            [
                answers("base"),
                *[
                    answers(label, losses=lost[place], unanswered=(unanswered or {}).get(label, 0))
                    for label, lost in losses.items()
                ],
            ]
        )
        for place in range(len(next(iter(losses.values()))))
    ]
    made = parts[0]
    made.benchmarks = [part.benchmarks[0] for part in parts]
    for letter, record in zip("ABCDEFGH", made.benchmarks, strict=False):
        record.name = letter
    return computed(made, **{"margin": 0.05, **changes})


def test_p_values_are_corrected_for_all_variants_and_benchmarks_together() -> None:
    made = several({"q8": (6, 0), "q4": (11, 12), "noise": (40, 40)}, noise=["noise"])
    found = {(c.benchmark, c.label): c.p_worse for c in made.comparisons}
    tested = [("A", "q8"), ("A", "q4"), ("B", "q8"), ("B", "q4")]
    raw = [p_worse(0, losses, 100, 0.05) for losses in (6, 11, 0, 12)]
    assert [found[key] for key in tested] == list(holm(raw))
    assert found["B", "q4"] == 4 * raw[3]
    assert found["A", "noise"] == p_worse(0, 40, 100, 0.05)


def test_p_values_of_further_metrics_are_not_corrected() -> None:
    sets = [answers("base"), answers("q4", losses=12), answers("q2", losses=12)]
    for answer in itertools.chain.from_iterable(made.answers for made in sets):
        answer.scores["acc_norm"] = answer.scores["acc"]
    made = document(sets)
    made.benchmarks[0].metrics = [Metric("acc"), Metric("acc_norm")]
    found = [(c.label, c.metric, c.p_worse) for c in computed(made, margin=0.05).comparisons]
    raw = p_worse(0, 12, 100, 0.05)
    assert found == [
        ("q4", "acc", 2 * raw),
        ("q4", "acc_norm", raw),
        ("q2", "acc", 2 * raw),
        ("q2", "acc_norm", raw),
    ]


@pytest.mark.parametrize(
    ("losses", "unanswered", "verdict", "worse_on"),
    [
        pytest.param((0, 0), 0, NO_WORSE, [], id="no worse on all"),
        pytest.param((0, 3), 0, UNDECIDED, [], id="undecided on one"),
        pytest.param((0, 30), 0, WORSE, ["B"], id="worse on one, no worse on the other"),
        pytest.param((30, 3), 0, WORSE, ["A"], id="worse on one, undecided on the other"),
        pytest.param((30, 30), 0, WORSE, ["A", "B"], id="worse on all"),
        pytest.param((0, 9), 0, UNDECIDED, [], id="worse on one, were it the only one"),
        pytest.param((0, 0), 20, UNDECIDED, [], id="too much unanswered to be no worse"),
        pytest.param((12, 12), 20, UNDECIDED, [], id="too much unanswered to be worse"),
        pytest.param((0, 0), 100, UNDECIDED, [], id="nothing answered"),
    ],
)
def test_the_verdict_over_all_benchmarks(
    losses: tuple[int, ...], unanswered: int, verdict: Verdict, worse_on: list[str]
) -> None:
    made = several({"q4": losses}, unanswered={"q4": unanswered})
    assert made.verdicts == [OverallVerdict(label="q4", verdict=verdict, worse_on=worse_on)]


def test_no_worse_on_all_needs_no_correction_for_their_number() -> None:
    assert 8 * p_no_worse(0, 0, 100, 0.05) > 0.05
    made = several({"q4": (0,) * 8})
    assert [v.verdict for v in made.verdicts] == [NO_WORSE]


def test_one_more_variant_can_take_a_corrected_verdict_back() -> None:
    alone, beside = several({"q4": (9,)}), several({"q4": (9,), "q8": (0,)})
    assert [v.verdict for v in alone.verdicts] == [WORSE]
    assert [v.verdict for v in beside.verdicts] == [UNDECIDED, NO_WORSE]


def test_unanswered_questions_correct_others_by_no_less() -> None:
    """A loss that is not proven, for want of answers, is no step in Holm's correction."""
    made = several({"q4": (9,), "q2": (14,)}, unanswered={"q2": 30})
    assert [(v.label, v.verdict) for v in made.verdicts] == [("q4", UNDECIDED), ("q2", UNDECIDED)]


def test_a_single_model_has_no_verdict() -> None:
    made = compared(answers("only"))
    assert (made.comparisons, made.verdicts, made.rankings) == ([], [], [])


def test_a_variant_that_is_compared_with_nothing_is_undecided() -> None:
    made = document([answers("base"), answers("q4")])
    del made.benchmarks[0].answer_sets[0]
    assert [v.verdict for v in computed(made).verdicts] == [UNDECIDED]


# -- rankings ------------------------------------------------------------------------------


def tiers(*sets: AnswerSet, noise: Sequence[str] = (), **changes: Any) -> list[list[list[str]]]:
    return [r.tiers for r in compared(*sets, noise=noise, **changes).rankings]


def test_models_are_ranked_where_the_questions_separate_them() -> None:
    base, near = answers("base"), answers("near", losses=2)
    far, broken = answers("far", losses=20), answers("broken", losses=60)
    assert tiers(base, near) == []
    assert tiers(base, far) == [[["base"], ["far"]]]
    assert tiers(broken, base, far, near) == [[["base", "near"], ["far"], ["broken"]]]


def test_a_model_between_two_tiers_that_is_separated_from_neither_joins_them() -> None:
    """0 and 10 losses differ; 5 is told neither from 0 nor from 10."""
    sets = [answers(str(losses), losses=losses) for losses in (0, 5, 10)]
    assert tiers(sets[0], sets[2]) == [[["0"], ["10"]]]
    assert tiers(*sets) == []


def test_ranks_are_corrected_for_the_number_of_pairs() -> None:
    pair = answers("base"), answers("q4", losses=6)
    assert tiers(*pair) == [[["base"], ["q4"]]]
    assert tiers(*pair, answers("q8")) == []  # three pairs: 3 · 2/2⁶ is not below 0.05


def test_a_rank_that_would_rest_on_unequal_questions_is_none() -> None:
    base, far = answers("base"), answers("far", losses=60)
    assert tiers(base, far, answers("ill", unanswered=1)) == []
    floor = answers("base again", unanswered=1)
    assert tiers(base, far, floor, noise=["base again"]) == [[["base"], ["far"]]]


def test_a_noise_floor_has_no_rank() -> None:
    sets = answers("base"), answers("base again", losses=60), answers("q4", losses=1)
    assert tiers(*sets, noise=["base again"]) == []


def test_questions_asked_until_decided_rank_nothing() -> None:
    sets = answers("base"), answers("q4", losses=60)
    assert tiers(*sets) == [[["base"], ["q4"]]]
    assert tiers(*sets, until_decided=True) == []


def test_every_benchmark_has_a_ranking_of_its_own() -> None:
    made = several({"q4": (60, 0, 60), "q2": (0, 0, 60)})
    assert [(r.benchmark, r.tiers) for r in made.rankings] == [
        ("A", [["base", "q2"], ["q4"]]),
        ("C", [["base"], ["q4", "q2"]]),
    ]


# -- clusters ------------------------------------------------------------------------------


def clustered(size: int) -> tuple[Document, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Twelve questions, each cluster of one divergence; and the divergences."""
    drawn = np.random.default_rng(5).uniform(-3, 0, 12)
    theirs = [[float(drawn[i // size]), -1.0] for i in range(12)]
    base, q4 = choosing("base", *[[-1.0, -1.0]] * 12), choosing("q4", *theirs)
    for answer in q4.answers:
        answer.scores["acc"] = float(int(answer.doc_id) // size % 2)
    made = document([base, q4])
    for i, question in enumerate(made.benchmarks[0].questions):
        question.cluster = f"passage {i // size}" if size > 1 else ""
    values = np.array(list(choice_kl_values(base, q4).values()))
    return computed(made, confidence=0.9), values


@pytest.mark.parametrize("size", [1, 2, 4])
def test_questions_on_one_passage_widen_the_interval_of_the_divergence(size: int) -> None:
    made, values = clustered(size)
    summary = only(made).choice_kl
    assert summary is not None
    expected = mean_interval(values, [i // size for i in range(12)], 0.9)
    assert (summary.mean, summary.count) == (expected.mean, 12)
    assert summary.lower == max(0.0, expected.lower)
    assert summary.upper == expected.upper
    if size > 1:
        assert summary.upper > mean_interval(values, None, 0.9).upper


@pytest.mark.parametrize("size", [1, 2, 4])
def test_questions_on_one_passage_widen_the_error_of_a_score(size: int) -> None:
    made, _ = clustered(size)
    right = [float(i // size % 2) for i in range(12)]
    expected = mean_interval(right, [i // size for i in range(12)]).standard_error
    assert score(made, "q4").standard_error == expected
    if size > 1:
        assert expected > mean_interval(right).standard_error


def test_one_passage_says_nothing_of_the_spread() -> None:
    made, values = clustered(12)
    summary = only(made).choice_kl
    assert summary is not None
    assert (summary.mean, summary.lower, summary.upper) == (values.mean(), None, None)
    assert score(made, "q4").standard_error is None


def test_no_divergence_is_below_zero_nor_is_a_bound_of_it() -> None:
    """A single question that diverges has a t interval that reaches below zero."""
    equal = [[-1.0, -1.0]] * 9
    made = compared(choosing("base", *equal, [-1, -1]), choosing("q4", *equal, [-1, -9]))
    summary = only(made).choice_kl
    assert summary is not None
    assert mean_interval([*[0.0] * 9, 10 * summary.mean]).lower < 0
    assert (summary.lower, summary.count) == (0.0, 10)


def score(made: Document, label: str) -> ScoreSummary:
    (found,) = (s for s in made.scores if s.label == label)
    return found
