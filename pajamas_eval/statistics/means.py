"""Is a variant no worse by the mean of graded scores, or by a ratio? Paired t tests and plans.

The functions are named as in `verdicts` and `planning`, which are for right and wrong. The tests
take the `mean_interval` of the paired differences: variant minus baseline, turned so that a gain is
positive (where less is better, baseline minus variant). The margin is in their unit. Of a ratio,
such as a perplexity, the differences are `log_ratios`.

Source: the paired differences and their clusters as in E. Miller, "Adding Error Bars to Evals",
arXiv:2411.00640; the degrees of freedom, clusters less one, as in A. C. Cameron, D. L. Miller,
Journal of Human Resources 50 (2015); the two one-sided t tests, here both at −margin, as in
D. J. Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987), 657-680.

**What was not seen.** A t test believes the spread that it sees. Differences that are nearly all
equal show hardly any, though rare ones may be large; and unless something bounds them, no test of a
mean keeps its error rate (R. R. Bahadur, L. J. Savage, Annals of Mathematical Statistics 27 (1956),
1115-1122). So the variance is taken to be at least that of what was seen, mixed with just so many
unseen questions at the far end of what is possible that the mean of all is −margin. With
e = |mean + margin| and r the way from the mean to that end, these are a share e/r of all, and the
variance is (1 − e/r)(s² + e·r), with s² = (G − 1) · SE² over G clusters. Of differences that are 0
or a loss of 1, this is the variance in Tango's score test.

- With a bound on the differences, r is bound ± mean. A verdict is then wrong with a probability of
  at most about 1 − confidence; at 95 % it is 6.7 % in the extreme where all differences are losses
  of the whole bound, and rare. It costs questions where few scores differ: at a margin of 0.02, a
  bound of 1 and a standard deviation of 0.3 it takes 1514 instead of 1393, and at 0.1 295 for 157.
- Without a bound the t test stands as it is, except where no spread is seen at all: there r is
  `UNSEEN` times e, and at 95 % it takes 27 equal differences to decide. If a tenth of all questions
  differ, 0.9^27 = 5.8 % of such samples show none of them; rarer ones go unseen more often. Where
  losses are rare and large, the t test itself is wrong in up to a quarter of cases, so give a bound
  where there is one.
- Skewed differences add skewness/(6√n) · (2t² + 1)φ(t) to the false verdicts on one side, and take
  it off on the other (P. Hall, "The Bootstrap and Edgeworth Expansion", Springer 1992, section
  2.6). If as skewed as exponential ones, that is 3 % of 50 questions and 0.7 % of 1000. With
  weights w, it is the skewness of w · (x − mean) that counts.
"""

import math
from collections.abc import Callable

from scipy.special import stdtr, stdtrit

from pajamas_eval.statistics.clusters import MeanInterval
from pajamas_eval.statistics.planning import check_power
from pajamas_eval.statistics.quantiles import one_sided_t
from pajamas_eval.statistics.verdicts import Verdict

UNSEEN = 10.0
"""Without a bound, and without any spread, one question in so many is taken to differ unseen."""

ROUNDING = 1e-12
"""A standard error or a distance that is smaller than this share of its figures is none."""


def paired_t_p(differences: MeanInterval) -> float:
    """P-value of Student's paired t test, against "the models do not differ".

    Two-sided. 1 where the error is unknown: of fewer than two clusters, or of a mean that is not
    finite. Without any spread it is that of the sign test, 2 · 2^−G for G clusters that all differ
    by the same, as McNemar's exact test has it for flips one way only; and 1 for none that differs.
    """
    mean, error, clusters = differences.mean, differences.standard_error, differences.clusters
    if not math.isfinite(error) or mean == 0:
        return 1.0
    if error <= ROUNDING * abs(mean):
        return 2.0 ** (1 - clusters)
    return 2 * float(stdtr(clusters - 1, -abs(mean) / error))


def non_inferiority(
    differences: MeanInterval, margin: float, confidence: float = 0.95, bound: float | None = None
) -> Verdict:
    """Decide whether the loss is below the margin, above it, or cannot be told.

    No worse if t(−margin) is at least Student's one-sided quantile, worse if at most minus that:
    where a two-sided interval of confidence 2 · confidence − 1 lies all above −margin, or below.
    Undecided where the error is unknown: of fewer than two clusters, or of a mean that is not
    finite. Few differences that are all equal decide nothing either; see this module.

    Args:
        differences: Of the metric, a gain being positive; see this module.
        margin: Acceptable loss in the unit of the differences, above 0 and below the bound.
        confidence: Of each one-sided test, in (0.5, 1).
        bound: The largest size that a single difference can have (1 for scores in [0, 1]); None
            where it may have any. With clusters of very unequal weight, losses that gather in the
            heavy ones can still be missed.

    Raises:
        ValueError: For a margin, a confidence or a bound out of range.
    """
    mean, error, clusters = differences.mean, differences.standard_error, differences.clusters
    _check(margin, bound, mean)
    threshold = one_sided_t(confidence, max(clusters - 1, 1))
    if not math.isfinite(error):
        return Verdict.UNDECIDED
    t = _t(mean, error, clusters, margin, bound)
    if t >= threshold:
        return Verdict.NO_WORSE
    return Verdict.WORSE if t <= -threshold else Verdict.UNDECIDED


def one_sided_bounds(
    differences: MeanInterval, confidence: float = 0.95, scale: float = 0.0
) -> tuple[float, float]:
    """The bounds whose place tells the verdict of `non_inferiority` without a bound of differences.

    Student's, each at this confidence. Of few differences that are all equal they are −∞ and ∞, as
    these decide nothing; see this module.

    Args:
        differences, confidence: As for `non_inferiority`.
        scale: The margin, if there is one: a spread that is nothing beside it is none.

    Returns:
        Lower and upper bound in the unit of the differences; −∞ and ∞ where the error is unknown.
    """
    mean, error, clusters = differences.mean, differences.standard_error, differences.clusters
    threshold = one_sided_t(confidence, max(clusters - 1, 1))
    least = ROUNDING * max(abs(mean), scale)
    unseen = error <= least and _t(0.0, 0.0, clusters, 1.0, None) < threshold
    if unseen or not math.isfinite(error):
        return -math.inf, math.inf
    width = max(threshold * error, least)
    return mean - width, mean + width


def p_no_worse(differences: MeanInterval, margin: float, bound: float | None = None) -> float:
    """P-value against "the loss is the margin or more": small where the variant is no worse.

    Arguments as for `non_inferiority`; where the error is unknown it is 1.
    """
    return _p(differences, margin, bound, -1.0)


def p_worse(differences: MeanInterval, margin: float, bound: float | None = None) -> float:
    """P-value against "the loss is at most the margin": small where the variant is worse.

    This is what to correct by `holm` to say which of many tasks regressed. Arguments as for
    `non_inferiority`; where the error is unknown it is 1.
    """
    return _p(differences, margin, bound, 1.0)


def questions_needed(
    margin: float,
    standard_deviation: float,
    power: float = 0.8,
    confidence: float = 0.95,
    difference: float = 0.0,
    bound: float | None = None,
) -> int:
    """Number of independent questions for which `non_inferiority` decides with the wanted power.

    The smallest n that decide if the spread is σ and the mean is t_power · σ/√n less clear than the
    true difference, with Student's quantile of n − 1 degrees of freedom; and never fewer than those
    that decide if the mean is the true difference. Without a bound that is
    √n · |margin + difference| ≥ (t_confidence + t_power) · σ. The power is what it should be to
    within 0.015 from 12 normal differences on.

    Args:
        margin, confidence, bound: As for `non_inferiority`.
        standard_deviation: Of a single paired difference (σ), in its unit. From a pilot, its
            standard error times the root of its questions; that counts in what they share.
        power: Probability of the verdict, in (0, 1).
        difference: True mean difference, a gain being positive. Below −margin the verdict is
            "worse", else "no worse".

    Returns:
        The number, at least 2.

    Raises:
        ValueError: Also for a difference of exactly −margin, which no number of questions decides.
    """
    _check(margin, bound, difference)
    check_power(power)
    _check_spread(standard_deviation)
    if not math.isfinite(standard_deviation) or not math.isfinite(difference):
        raise ValueError(f"no plan for differences of {difference} ± {standard_deviation}")
    if abs(margin + difference) <= ROUNDING * margin:
        raise ValueError(f"no number of questions decides on a loss of exactly the margin {margin}")
    side = math.copysign(1.0, margin + difference)

    def enough(count: int) -> bool:
        error = standard_deviation / math.sqrt(count)
        mean = difference - side * _slack(power, count) * error
        return side * _t(mean, error, count, margin, bound) >= one_sided_t(confidence, count - 1)

    return _first(enough, 1)


def smallest_margin(
    count: int,
    standard_error: float,
    power: float = 0.8,
    confidence: float = 0.95,
    bound: float | None = None,
) -> float:
    """The smallest margin at which a variant without loss would be certified.

    The inverse of `questions_needed` at no difference.

    Args:
        count: Number of independent questions; where they share passages, of clusters.
        standard_error: Of the mean paired difference, in its unit; infinite where unknown.
        power: Probability of the verdict "no worse", in (0, 1).
        confidence, bound: As for `non_inferiority`.

    Returns:
        In the unit of the differences; at most the bound. Infinite, or the bound, where no margin
        would be certified: of fewer than two questions, or an unknown error. 0 where every margin
        would: without spread or bound, of enough questions.
    """
    check_power(power)
    _check_spread(standard_error)
    threshold = one_sided_t(confidence, max(count - 1, 1))
    largest = math.inf if bound is None else _check_bound(bound)
    if count < 0:
        raise ValueError(f"{count} questions")
    if count < 2 or not math.isfinite(standard_error):
        return largest
    if standard_error == 0 and bound is None:
        return 0.0 if _t(0.0, 0.0, count, 1.0, None) >= threshold else math.inf
    slack, excess = _slack(power, count) * standard_error, threshold * standard_error
    if bound is not None and slack < bound:
        # The root of √n·e = t·√((1 − e/r)(s² + e·r)), the excess e at which `_t` is the quantile.
        reach, variance = bound - slack, (count - 1) * standard_error**2
        a, b = count + threshold**2, threshold**2 * (reach - variance / reach)
        excess = max(excess, (b + math.sqrt(b * b + 4 * a * threshold**2 * variance)) / (2 * a))
    return min(largest, excess + slack)


def further_questions(
    differences: MeanInterval, margin: float, confidence: float = 0.95, bound: float | None = None
) -> int | None:
    """How many more questions the verdict would take, either way, at the mean and spread so far.

    A standard error falls with the root of the clusters; further ones are as large as those so far.

    Args:
        differences, margin, confidence, bound: As for `non_inferiority`.

    Returns:
        0 where `non_inferiority` has decided. None where no number can be told: of fewer than two
        clusters, a mean that is not finite, or an observed loss that is the margin itself.
    """
    if non_inferiority(differences, margin, confidence, bound) is not Verdict.UNDECIDED:
        return 0
    mean, error, have = differences.mean, differences.standard_error, differences.clusters
    if not math.isfinite(error) or abs(_t(mean, error, have, margin, bound)) < 1e-9:
        return None

    def decided(clusters: int) -> bool:
        expected = error * math.sqrt(have / clusters)
        t = _t(mean, expected, clusters, margin, bound)
        return abs(t) >= one_sided_t(confidence, clusters - 1)

    # Of a part of a cluster, the whole is needed; rounded up in whole numbers.
    return -(-differences.count * _first(decided, have) // have) - differences.count


def _t(mean: float, error: float, clusters: int, margin: float, bound: float | None) -> float:
    """Student's t for a true difference of −margin, with the variance that this module explains."""
    excess, scale = mean + margin, max(abs(mean), margin)
    if abs(excess) <= ROUNDING * scale:
        return 0.0
    if bound is not None:
        reach = bound + math.copysign(1.0, excess) * mean
    elif error > ROUNDING * scale:
        return excess / error
    else:
        reach = UNSEEN * abs(excess)
    variance = (1 - abs(excess) / reach) * ((clusters - 1) * error**2 + abs(excess) * reach)
    return excess / max(error, math.sqrt(variance / clusters))


def _slack(power: float, count: int) -> float:
    """By how many standard errors a mean may be less clear than expected, at this power."""
    return max(0.0, float(stdtrit(count - 1, power)))


def _p(differences: MeanInterval, margin: float, bound: float | None, sign: float) -> float:
    mean, error, clusters = differences.mean, differences.standard_error, differences.clusters
    _check(margin, bound, mean)
    if not math.isfinite(error):
        return 1.0
    return float(stdtr(clusters - 1, sign * _t(mean, error, clusters, margin, bound)))


def _first(enough: Callable[[int], bool], too_few: int) -> int:
    """The smallest number that is enough, if all above it are."""
    high = 2 * too_few
    while not enough(high):
        too_few, high = high, 2 * high
    while high - too_few > 1:
        middle = (too_few + high) // 2
        too_few, high = (too_few, middle) if enough(middle) else (middle, high)
    return high


def _check(margin: float, bound: float | None, mean: float) -> None:
    if not 0 < margin < math.inf:
        raise ValueError(f"margin {margin} is not a number above 0")
    if bound is None:
        return
    if margin >= _check_bound(bound):
        raise ValueError(f"margin {margin} is not below the bound {bound} of a difference")
    if abs(mean) > bound * (1 + 1e-9):
        raise ValueError(f"a mean difference of {mean} exceeds the bound {bound} of each")


def _check_bound(bound: float) -> float:
    if not 0 < bound < math.inf:
        raise ValueError(f"bound {bound} is not a number above 0")
    return bound


def _check_spread(spread: float) -> None:
    if not spread >= 0:
        raise ValueError(f"a spread of {spread} is not a number of at least 0")
