"""What intervals and verdicts of means promise, held against simulated comparisons.

A share p of n draws has a standard error of √(p(1 − p)/n); `noise` allows three. Beyond that, an
approximate method is allowed what is known of it, and says so where it is used.
"""

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, norm, skew

from pajamas_eval.statistics.clusters import mean_interval
from pajamas_eval.statistics.means import non_inferiority, questions_needed
from pajamas_eval.statistics.verdicts import Verdict

ALPHA = 0.05
COUNTS = (20, 50, 250)

Rows = NDArray[np.float64]


def noise(share: float, draws: int) -> float:
    return 3 * math.sqrt(share * (1 - share) / draws)


def more_by_skewness(skewness: float, count: int) -> float:
    """Hall's term, as in `means`."""
    t = norm.ppf(1 - ALPHA)
    return float(skewness / (6 * math.sqrt(count)) * (2 * t * t + 1) * norm.pdf(t))


def share_covered(
    rows: Rows, truth: float, clusters: list[int] | None = None, weights: Rows | None = None
) -> float:
    each = [None] * len(rows) if weights is None else weights
    intervals = [mean_interval(row, clusters, weights=w) for row, w in zip(rows, each, strict=True)]
    return float(np.mean([i.lower <= truth <= i.upper for i in intervals]))


def verdicts(
    rows: Rows,
    margin: float,
    clusters: list[int] | None = None,
    weights: Rows | None = None,
    bound: float | None = None,
) -> dict[Verdict, float]:
    """The share of rows that gets each verdict."""
    each: ArrayLike = [None] * len(rows) if weights is None else weights
    found = [
        non_inferiority(mean_interval(row, clusters, weights=w), margin, 1 - ALPHA, bound)
        for row, w in zip(rows, each, strict=True)
    ]
    return {verdict: found.count(verdict) / len(found) for verdict in Verdict}


def cluster_labels(count: int) -> list[int]:
    """Clusters of 1 to 9 questions, five on average."""
    sizes = np.resize([5, 1, 9, 3, 7], count // 5)
    return np.repeat(np.arange(len(sizes)), sizes).tolist()


def documents(draws: int, count: int, seed: int) -> tuple[Rows, Rows]:
    """Values and weights of documents, the longer of which have the larger values.

    The weights are lognormal with σ = 0.6, as the words of Wikipedia's pages about are, and a value
    is half the logarithm of its weight, and noise: so the mean over words is σ²/2 = 0.18.
    """
    generator = np.random.default_rng(seed)
    logs = generator.normal(0, 0.6, size=(draws, count))
    return logs / 2 + generator.normal(0, 0.5, size=logs.shape), np.exp(logs)


# -- Coverage ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [62, 250])
def test_weighted_t_covers_the_mean_over_words(count: int) -> None:
    """Unequal weights act like fewer documents than there are: 0.015 at 62 is allowed for that."""
    draws = 2000
    rows, weights = documents(draws, count, seed=count)
    covered = share_covered(rows, 0.18, weights=weights)
    assert covered >= 0.95 - 0.015 * 62 / count - noise(0.95, draws)
    assert share_covered(rows, 0.18) < 0.6


@pytest.mark.parametrize("count", [250, 1000])
def test_weighted_clustered_t_covers_the_mean_over_words(count: int) -> None:
    """Windows of one document share what it is about; 0.015 at 50 clusters is allowed for their
    unequal weights."""
    draws = 1000
    labels = cluster_labels(count)
    shared, _ = documents(draws, max(labels) + 1, seed=count)
    own, weights = documents(draws, count, seed=count + 1)
    rows = own + shared[:, labels]
    covered = share_covered(rows, 0.18, labels, weights)
    assert covered >= 0.95 - 0.015 * 250 / count - noise(0.95, draws)
    assert share_covered(rows, 0.18, weights=weights) < 0.9


# -- False verdicts at the margin ----------------------------------------------------------


@pytest.mark.parametrize("count", [3, *COUNTS])
def test_normal_differences_get_a_false_verdict_in_as_many_cases_as_allowed(count: int) -> None:
    draws = 4000
    rows = np.random.default_rng(count).normal(-0.02, 0.1, size=(draws, count))
    found = verdicts(rows, 0.02)
    for verdict in (Verdict.NO_WORSE, Verdict.WORSE):
        assert found[verdict] == pytest.approx(ALPHA, abs=noise(ALPHA, draws))


@pytest.mark.parametrize("count", [50, 250, 1000])
def test_skewed_differences_get_more_on_one_side_and_fewer_on_the_other(count: int) -> None:
    """The error of Hall's term falls as 1/n."""
    draws, more = 3000, more_by_skewness(2, count)
    rows = np.random.default_rng(count).exponential(size=(draws, count))
    for sign, likely, rare in (
        (1, Verdict.WORSE, Verdict.NO_WORSE),
        (-1, Verdict.NO_WORSE, Verdict.WORSE),
    ):
        found = verdicts(sign * (rows - 1) - 0.3, 0.3)
        assert found[likely] <= ALPHA + more + 0.01 * 50 / count + noise(ALPHA + more, draws)
        assert found[rare] <= ALPHA
    assert more == pytest.approx({50: 0.031, 250: 0.014, 1000: 0.007}[count], abs=0.0005)


@pytest.mark.parametrize("count", [250, 1000])
def test_clustered_differences_keep_to_the_error_rate(count: int) -> None:
    draws = 1500
    labels = cluster_labels(count)
    generator = np.random.default_rng(count)
    shared = generator.normal(size=(draws, max(labels) + 1))[:, labels]
    rows = 0.1 * (shared + generator.normal(size=shared.shape)) - 0.02
    found, unclustered = verdicts(rows, 0.02, labels), verdicts(rows, 0.02)
    for verdict in (Verdict.NO_WORSE, Verdict.WORSE):
        assert found[verdict] <= ALPHA + noise(ALPHA, draws)
        assert unclustered[verdict] > 0.15


@pytest.mark.parametrize("count", [62, 250])
def test_weighted_differences_keep_to_the_error_rate_that_their_skewness_leaves(count: int) -> None:
    """That of w(x − mean): 3.1, for the longer documents have the larger values."""
    draws, more = 2000, more_by_skewness(3.1, count)
    rows, weights = documents(draws, count, seed=count)
    influences = weights * (rows - 0.18)
    assert skew(influences, axis=None) == pytest.approx(3.1, abs=0.3)
    for sign in (1, -1):
        at_the_margin = sign * (rows - 0.18) - 0.05
        found = verdicts(at_the_margin, 0.05, weights=weights)
        assert max(found[Verdict.NO_WORSE], found[Verdict.WORSE]) <= (
            ALPHA + more + noise(ALPHA + more, draws)
        )
        assert min(found[Verdict.NO_WORSE], found[Verdict.WORSE]) <= ALPHA
        unweighted = verdicts(at_the_margin, 0.05)
        assert max(unweighted[Verdict.NO_WORSE], unweighted[Verdict.WORSE]) > 0.4


# -- Differences that are rare -------------------------------------------------------------


def rare_differences(draws: int, count: int, discordance: float, loss: float, seed: int) -> Rows:
    """Of graded scores, up to 1 each, of which few differ; their mean is the loss."""
    uniform = np.random.default_rng(seed).random((2, draws, count))
    signs = np.where(uniform[0] < discordance / 2 + loss, -1.0, 1.0)
    return np.where(uniform[0] < discordance, signs * uniform[1], 0.0)


@pytest.mark.parametrize(
    ("count", "discordance", "margin"),
    [(100, 0.04, 0.01), (250, 0.1, 0.04), (250, 0.2, 0.05), (1000, 0.05, 0.02)],
)
def test_within_a_bound_rare_differences_keep_to_the_error_rate(
    count: int, discordance: float, margin: float
) -> None:
    draws = 2000
    rows = rare_differences(draws, count, discordance, margin, seed=count)
    assert rows.mean() == pytest.approx(-margin, rel=0.05)
    found = verdicts(rows, margin, bound=1.0)
    assert max(found[Verdict.NO_WORSE], found[Verdict.WORSE]) <= ALPHA


def test_without_a_bound_rare_differences_are_often_called_no_worse() -> None:
    """Why a bound is worth to be given."""
    rows = rare_differences(2000, 100, 0.02, 0.01, seed=100)
    assert verdicts(rows, 0.01)[Verdict.NO_WORSE] > 0.2
    assert verdicts(rows, 0.01, bound=1.0)[Verdict.NO_WORSE] <= ALPHA


def false_passes(count: int, share: float, bound: float | None) -> float:
    """Exactly: the chance of "no worse" where such a share is lost whole, which is the margin."""
    losses = np.arange(min(count, 40))
    passed = [
        non_inferiority(mean_interval([-1.0] * k + [0.0] * (count - k)), share, 1 - ALPHA, bound)
        is Verdict.NO_WORSE
        for k in losses.tolist()
    ]
    return float(binom.pmf(losses, count, share)[passed].sum())


def test_where_every_difference_is_a_whole_loss_a_bound_errs_a_little_more() -> None:
    """The smallest sets that can pass are the worst, as they are with Tango's test."""
    for count, share in ((270, 0.01), (271, 0.01), (400, 0.01), (54, 0.05), (27, 0.1), (250, 0.1)):
        assert false_passes(count, share, 1.0) <= 0.067
    assert false_passes(269, 0.01, 1.0) == 0
    assert false_passes(270, 0.01, 1.0) > 0.06


def test_where_every_difference_is_a_whole_loss_the_t_test_errs_far_more() -> None:
    assert 0.2 < false_passes(28, 0.1, None) < 0.25
    assert 0.2 < false_passes(266, 0.01, None) < 0.26


def test_equal_differences_hide_one_in_ten_rarely_and_one_in_a_hundred_often() -> None:
    """Of samples that show no spread at all; none but these can be told from identical models."""
    assert non_inferiority(mean_interval([0.0] * 27), 0.01) is Verdict.NO_WORSE
    unseen = {share: (1 - share) ** 27 for share in (0.1, 0.01)}
    assert unseen[0.1] == pytest.approx(0.058, abs=0.0005)
    assert unseen[0.01] > 0.7


# -- Power ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difference", "verdict"), [(0.0, Verdict.NO_WORSE), (-0.06, Verdict.WORSE)]
)
@pytest.mark.parametrize("bound", [None, 1.0])
def test_the_questions_needed_give_the_verdict_at_the_power_asked_for(
    difference: float, verdict: Verdict, bound: float | None
) -> None:
    draws = 2000
    count = questions_needed(0.02, 0.1, 0.8, 1 - ALPHA, difference, bound)
    rows = np.random.default_rng(4).normal(difference, 0.1, size=(draws, count))
    reached = verdicts(rows, 0.02, bound=bound)[verdict]
    assert reached == pytest.approx(0.8, abs=0.015 + noise(0.8, draws))
