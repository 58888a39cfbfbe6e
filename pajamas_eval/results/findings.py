"""What is computed from the answers in a result document."""

from typing import Literal

from pajamas_eval.api.metrics import Margin
from pajamas_eval.results.record import Record
from pajamas_eval.statistics.verdicts import Verdict


class ScoreSummary(Record):
    """One metric of one model over the questions it answered, or over a subset of them.

    Attributes:
        subset: A tag of the questions, or nothing for all.
        value: Mean of binary and mean metrics, geometric mean of ratios.
        lower, upper: At the run's confidence: Wilson's interval of a binary metric, else Student's.
            Nothing where a single question or cluster says nothing of the spread.
        standard_error: Of the mean, for ratios of its logarithm; clustered where questions share a
            passage. Nothing for fewer than two.
    """

    benchmark: str
    label: str
    metric: str
    subset: str | None
    count: int
    value: float
    lower: float | None
    upper: float | None
    standard_error: float | None


class ExtractionAudit(Record):
    """What became of the texts that a model generated; every question counts once.

    Attributes:
        correct: By the benchmark's first metric.
        wrong: An answer was made out, and it is another.
        unparseable: None was made out, and the text had come to its end.
        cut_off: Not correct, and ended by the token limit.
        errors: Questions that could not be answered.
    """

    benchmark: str
    label: str
    correct: int
    wrong: int
    unparseable: int
    cut_off: int
    errors: int


class MeanSummary(Record):
    """A mean over questions with its t interval, clustered where questions share a passage.

    Attributes:
        lower, upper: Nothing where a single question or cluster says nothing of the spread.
    """

    mean: float
    lower: float | None
    upper: float | None
    count: int


class Comparison(Record):
    """A variant against the baseline, on the questions that both answered.

    Attributes:
        gains: Questions on which the variant is better: those that only it has right.
        losses: Questions on which the baseline is better.
        unanswered: Questions that at least one of the two was asked and could not answer.
        difference: Variant minus baseline, in the metric's unit (points as a proportion); for a
            ratio the change relative to the baseline.
        lower, upper: The interval that the verdict is read from: Tango's for a binary metric, else
            Student's. It holds whatever the unanswered questions would have shown. Nothing where it
            has no end, as where a single question or cluster says nothing of the spread, and where
            questions were asked until a verdict was in: none of a fixed number holds then.
        interval_confidence: Of that interval, two-sided: 0.9 where the run's confidence, that of
            the verdict and of each end, is 0.95.
        p_different: Test of no difference, two-sided: McNemar's exact one for a binary metric, else
            the paired t test. Nothing where questions were asked until a verdict was in, for it
            holds for a fixed number of questions only.
        flip_rate: Questions that one of the two has right, as a proportion; of a binary metric, as
            are the next two.
        flip_lower, flip_upper: Wilson's interval of it.
        changed_wrong: Questions that both have wrong, with different answers.
        choice_kl: Kullback-Leibler divergence of the variant's distribution over a question's
            choices from the baseline's, in nats; nothing for generated answers.
        margin: Loss that is still no worse; nothing where there is none in the metric's unit.
        margin_is_default: Whether it is the metric's own, as the run named none in its unit.
        verdict: Non-inferiority at the margin and the run's confidence; undecided where unanswered
            questions could change it; "cannot tell" where the baseline is not proven above chance
            by more than the margin, unless a loss is. Nothing for a noise floor or without a
            margin.
        p_worse: p-value of "the loss is at most the margin", with unanswered questions as gains;
            by Holm over all variants and benchmarks for a benchmark's first metric, unadjusted for
            its others.
        smallest_margin: Smallest margin that so many questions can certify with 80 % power, as
            seen from their flips or their spread; in the unit of `difference`.
        further_questions: About how many more it would take to decide; 0 if decided, nothing if
            no number would.
    """

    benchmark: str
    label: str
    metric: str
    count: int
    gains: int
    losses: int
    unanswered: int
    difference: float
    lower: float | None
    upper: float | None
    interval_confidence: float | None
    p_different: float | None
    flip_rate: float | None
    flip_lower: float | None
    flip_upper: float | None
    changed_wrong: int | None
    choice_kl: MeanSummary | None
    margin: Margin | None
    margin_is_default: bool
    verdict: Verdict | None
    p_worse: float
    smallest_margin: float | None
    further_questions: int | None


class Sensitivity(Record):
    """A model's score by one metric beside that of a guess.

    Attributes:
        chance: Score of one who knows nothing and guesses blindly, or always gives the answer that
            is right most often, whichever is better.
        chance_is_constant: Whether it is the latter.
        lower: One-sided lower bound of the model's score at the run's confidence, questions without
            an answer counted as wrong; nothing where a single question or cluster says nothing.
        can_tell: Whether that is above chance by more than the margin: only then can the questions
            show that a variant of this model lost as much.
        same_answer: The answer that the model gives to nearly all questions, if it does.
        same_answer_share: Share of the questions with the model's most frequent answer.
        by_place: The model's score by the place of the right choice, where it depends on that.
    """

    benchmark: str
    label: str
    metric: str
    chance: float
    chance_is_constant: bool
    lower: float | None
    can_tell: bool
    same_answer: str | None
    same_answer_share: float
    by_place: list[float]


SuspicionKind = Literal["same weights", "fine", "out of order"]


class Suspicion(Record):
    """A variant that diverges from the baseline by more than its bits explain.

    Attributes:
        kind: `same weights` in another engine; `fine`: too many bits for so much; `out of order`:
            a variant with fewer bits diverges much less.
        nats: Its mean divergence over the choices.
        limit: The divergence that is out of line; of the other variant where there is one.
        than: The variant with fewer bits.
    """

    benchmark: str
    label: str
    kind: SuspicionKind
    nats: float
    limit: float
    than: str | None = None


class OverallVerdict(Record):
    """One variant over all benchmarks, by their first metrics.

    No worse if it is on every one; worse if it is on one after Holm's correction; else "cannot
    tell" where the questions of one cannot.

    Attributes:
        worse_on: Benchmarks on which it is, after the correction.
    """

    label: str
    verdict: Verdict
    worse_on: list[str]


class Ranking(Record):
    """The models of one benchmark in tiers, the best first.

    Every model of a tier is proven better than every model of the next ones (McNemar, Holm over
    all pairs); within a tier the data do not separate them.
    """

    benchmark: str
    tiers: list[list[str]]
