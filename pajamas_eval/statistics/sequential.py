"""Non-inferiority with a look after every question: stop as soon as the answer is known.

A gambler bets, before each question, that the variant's score will exceed the baseline's by more
than −margin. If in truth it does not, no way of betting makes money on average, and by Ville's
inequality the wealth ever reaches 1/α with a probability of at most α, however often one looks.
So a wealth of 1/α proves "no worse" at confidence 1 − α. A second gambler bets on the opposite, and
proves "worse". Source: I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by
betting", J. Royal Statistical Society B 86 (2024), 1-27, arXiv:2010.09686.

**The questions must come in random order.** The bound holds if, whatever came before, the next
question is as likely as any to be lost. In a benchmark's own order (subject by subject, easy to
hard) the first questions are no sample of the whole, and the verdict would be one about them. An
order by `nested_order` will do: with strata it is more even than chance, which by simulation is no
less safe.

A gate that may also end undecided, and then falls back on the fixed test over all questions, gets
two chances to be wrong. They share α: `SEQUENTIAL_SHARE` of it is for stopping early, the rest is
for `final_verdict`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pajamas_eval.statistics.quantiles import error_rate
from pajamas_eval.statistics.verdicts import Verdict, check_margin, non_inferiority

SEQUENTIAL_SHARE = 0.6
"""Share of the error probability 1 − confidence that `sequential_verdict` may use.

A larger one stops earlier, a smaller one makes the final test stronger. At a margin of one point
and 10,042 questions, 0.6 takes 2900 questions on average to prove no loss (4 % discordance) and 900
to prove a loss of three points (5 %); 0.5 takes 3050 and 940, 0.8 takes 2700 and 820.
"""

PRIOR_DISCORDANCE = 0.05
"""Expected squared difference before any was seen; it weighs as much as 1/margin questions."""

PRIOR_LOSS = 3.0
"""The loss, in margins, that the bet on "worse" expects at first; it weighs as much as the
questions after which the mean difference is known to one margin."""


def log_wealths(
    differences: ArrayLike, margin: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Natural logarithm of both gamblers' wealth after each question.

    The wealths are Π(1 + λ_i(D_i + m)) for "no worse" and Π(1 − λ_i(D_i + m)) for "worse". Any bets
    λ_i are valid that depend on earlier differences only and leave no factor negative; they decide
    how fast a wealth grows. Here they maximise its expected logarithm (J. L. Kelly, Bell System
    Technical Journal 35 (1956), 917-926) for D in {−1, 0, 1} as estimated so far: at no difference
    for "no worse", at the estimated loss for "worse".

    Args:
        differences: Shape (..., n), score of the variant minus that of the baseline on the same
            question, each in [−1, 1], in random order.
        margin: Acceptable loss as a proportion (m), in (0, 1).

    Returns:
        Two arrays of shape (..., n): for "no worse", for "worse".
    """
    check_margin(margin)
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim == 0 or not (np.abs(d) <= 1).all():
        raise ValueError("differences of scores must be rows of numbers in [-1, 1]")
    seen = np.arange(d.shape[-1])
    discordance = (PRIOR_DISCORDANCE / margin + _before(d * d)) / (1 / margin + seen)

    no_worse = _kelly(margin, discordance, margin)

    prior_weight = np.maximum(discordance, margin) / margin**2
    prior_excess = (PRIOR_LOSS - 1) * margin
    excess = (prior_weight * prior_excess - _before(d) - margin * seen) / (prior_weight + seen)
    excess = np.maximum(excess, 0.0)
    # A loss of margin + excess takes at least as much discordance.
    worse = _kelly(excess, np.maximum(discordance, margin + excess), -margin)
    # One gain may cost half the wealth, no more: the loss is estimated, and often too high.
    worse = np.minimum(worse, 0.5 / (1 + margin))

    return (
        np.cumsum(np.log1p(no_worse * (d + margin)), axis=-1),
        np.cumsum(np.log1p(-worse * (d + margin)), axis=-1),
    )


def sequential_verdict(
    differences: ArrayLike, margin: float, confidence: float = 0.95
) -> tuple[Verdict, int]:
    """The verdict after the first question at which either wealth proves one.

    Each verdict is wrong with a probability of at most SEQUENTIAL_SHARE · (1 − confidence), with a
    look after every question; see this module for the random order it relies on.

    Args:
        differences: Shape (n,), as for `log_wealths`; n may be 0.
        margin: Acceptable loss as a proportion, in (0, 1).
        confidence: Of sequential and final test together, in (0.5, 1).

    Returns:
        The verdict and the number of questions it took; undecided after all n.
    """
    threshold = -math.log(SEQUENTIAL_SHARE * error_rate(confidence))
    no_worse, worse = log_wealths(differences, margin)
    if no_worse.ndim != 1:
        raise ValueError(f"one row of differences, not shape {no_worse.shape}")
    # What lets one wealth grow lets the other shrink, so they never cross together.
    crossed = np.flatnonzero((no_worse >= threshold) | (worse >= threshold))
    if len(crossed) == 0:
        return Verdict.UNDECIDED, len(no_worse)
    first = int(crossed[0])
    verdict = Verdict.NO_WORSE if no_worse[first] >= threshold else Verdict.WORSE
    return verdict, first + 1


def final_verdict(
    gains: int, losses: int, count: int, margin: float, confidence: float = 0.95
) -> Verdict:
    """The fixed test over all questions, after `sequential_verdict` ended undecided.

    Arguments as for `non_inferiority`, which it calls at the share of 1 − confidence that is left.
    """
    return non_inferiority(gains, losses, count, margin, final_confidence(confidence))


def final_confidence(confidence: float) -> float:
    """Confidence of the fixed test after `sequential_verdict`, given that of both together."""
    return 1 - (1 - SEQUENTIAL_SHARE) * error_rate(confidence)


def _kelly(
    excess: NDArray[np.float64] | float, discordance: NDArray[np.float64], margin: float
) -> NDArray[np.float64]:
    """Bet λ on D ± 1 or 0 whose mean exceeds −margin by `excess`; maximises E log(1 + λ(D + m)).

    To first order in the margin the derivative is zero where m(1 − λ²) + E D = λψ, whose root in
    [0, 1] this is, in the form that does not cancel. For bets on "worse", −D and −m take the place
    of D and m.
    """
    root = np.sqrt(np.maximum(discordance**2 + 4 * margin * excess, 0.0))
    bet: NDArray[np.float64] = 2 * excess / (discordance + root)
    return bet


def _before(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the earlier values: a bet may not know what it is about."""
    sums = np.zeros_like(values)
    np.cumsum(values[..., :-1], axis=-1, out=sums[..., 1:])
    return sums
