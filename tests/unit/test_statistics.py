"""Intervals against scipy, against published values, by definition, and by simulation."""

import math
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from pajamas_eval.statistics.paired import tango_interval, tango_z
from pajamas_eval.statistics.proportions import wilson_interval

# -- Wilson --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 7, 50, 200, 1319, 14042])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_agrees_with_scipy(count: int, confidence: float) -> None:
    for successes in {0, 1, count // 3, count // 2, count - 1, count}:
        theirs = binomtest(successes, count).proportion_ci(confidence, method="wilson")
        ours = wilson_interval(successes, count, confidence)
        assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_is_exact_at_the_ends() -> None:
    for count in range(1, 60):
        assert wilson_interval(0, count)[0] == 0.0
        assert wilson_interval(count, count)[1] == 1.0
        assert 0 < wilson_interval(0, count)[1] < 1


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    "arguments", [(-1, 5), (6, 5), (1, 0), (1, 5, 0.0), (1, 5, 1.0), (1, 5, 95)]
)
def test_wilson_refuses_what_is_no_proportion(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"trials|confidence"):
        wilson_interval(*arguments)


# -- Tango ---------------------------------------------------------------------------------

TABLES = [
    (0, 0, 1),
    (1, 0, 1),
    (0, 1, 1),
    (0, 0, 50),
    (3, 0, 50),
    (0, 3, 50),
    (7, 5, 50),
    (50, 0, 50),
    (0, 50, 50),
    (25, 25, 50),
    (1, 1, 14042),
    (140, 260, 14042),
    (0, 14042, 14042),
]
"""Gains, losses, questions."""


@pytest.mark.parametrize(("gains", "losses", "count"), TABLES)
def test_tango_z_vanishes_at_the_estimate(gains: int, losses: int, count: int) -> None:
    assert tango_z(gains, losses, count, (gains - losses) / count) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("gains", "losses", "count"), TABLES)
def test_tango_z_falls_as_the_difference_grows(gains: int, losses: int, count: int) -> None:
    values = [tango_z(gains, losses, count, d) for d in np.linspace(-1, 1, 801)]
    assert all(a > b or a == b == math.inf or a == b == -math.inf for a, b in pairwise(values))
    assert values[0] >= 0 >= values[-1]


def score_statistic(gains: int, losses: int, count: int, difference: float) -> float:
    """Z from the restricted likelihood itself, maximised numerically."""

    def minus_log_likelihood(q: float) -> float:
        same = 1 - 2 * q - difference
        terms = [(losses, q), (gains, q + difference), (count - gains - losses, same)]
        return -sum(n * math.log(p) for n, p in terms if n)

    lowest, highest = max(0.0, -difference), (1 - difference) / 2
    q = minimize_scalar(
        minus_log_likelihood,
        bounds=(lowest + 1e-12, highest - 1e-12),
        method="bounded",
        options={"xatol": 1e-12},
    ).x
    variance = count * (2 * q + difference - difference**2)
    return (gains - losses - count * difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("gains", "losses", "count"), [(3, 1, 50), (7, 5, 50), (2, 9, 21), (60, 80, 1000), (20, 20, 50)]
)
def test_tango_z_is_the_score_statistic_of_the_restricted_likelihood(
    gains: int, losses: int, count: int
) -> None:
    for difference in (-0.6, -0.2, -0.05, -0.01, 0.01, 0.05, 0.3):
        assert tango_z(gains, losses, count, difference) == pytest.approx(
            score_statistic(gains, losses, count, difference), rel=1e-4
        )


def test_tango_z_at_no_difference_is_mcnemars_statistic() -> None:
    assert tango_z(14, 5, 200, 0.0) == pytest.approx((14 - 5) / math.sqrt(14 + 5))


def test_tango_interval_of_a_published_example() -> None:
    """Airway hyper-responsiveness before and after a transplantation.

    M. W. Fagerland, S. Lydersen, P. Laake, "Recommended tests and confidence intervals for paired
    binomial proportions", Statistics in Medicine 33 (2014), 2850-2875: 21 children, 1 discordant
    pair one way and 7 the other; Tango's interval is −0.517 to −0.026.
    """
    assert tango_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("gains", "losses", "count"), TABLES)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_tango_interval_ends_where_z_is_the_normal_quantile(
    gains: int, losses: int, count: int, confidence: float
) -> None:
    z = norm.ppf((1 + confidence) / 2)
    lower, upper = tango_interval(gains, losses, count, confidence)
    assert -1 <= lower <= (gains - losses) / count <= upper <= 1
    assert lower < upper
    for bound, target in ((lower, z), (upper, -z)):
        if -1 < bound < 1:
            assert tango_z(gains, losses, count, bound) == pytest.approx(target, abs=1e-6)
        else:
            assert abs(tango_z(gains, losses, count, bound)) <= z


@pytest.mark.parametrize(("gains", "losses", "count"), TABLES)
def test_tango_interval_turns_around_with_gains_and_losses(
    gains: int, losses: int, count: int
) -> None:
    lower, upper = tango_interval(gains, losses, count)
    assert tango_interval(losses, gains, count) == pytest.approx((-upper, -lower), abs=1e-9)


def test_tango_interval_without_discordant_pairs_still_has_a_width() -> None:
    widths = [tango_interval(0, 0, n)[1] for n in (1, 10, 100, 1000)]
    assert widths == sorted(widths, reverse=True)
    z2 = norm.ppf(0.975) ** 2
    assert widths == pytest.approx([z2 / (n + z2) for n in (1, 10, 100, 1000)])


def test_tango_interval_of_nothing_is_everything() -> None:
    assert tango_interval(0, 0, 0) == (-1.0, 1.0)


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (1, 0, 0), (1, 0, 5, 0.0), (1, 0, 5, 1.0)]
)
def test_tango_interval_refuses_what_is_no_table(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"questions|confidence"):
        tango_interval(*arguments)


@cache
def interval(gains: int, losses: int, count: int) -> tuple[float, float]:
    return tango_interval(gains, losses, count)


@pytest.mark.parametrize(
    ("count", "discordance", "loss"), [*product((50, 250), (0.05, 0.2), (0.0, 0.03))]
)
def test_tango_interval_covers_the_truth_often_enough(
    count: int, discordance: float, loss: float
) -> None:
    """`discordance` is p(gain) + p(loss), `loss` their difference."""
    p_loss, p_gain = (discordance + loss) / 2, (discordance - loss) / 2
    generator = np.random.default_rng(20250101)
    draws = generator.multinomial(count, [p_gain, p_loss, 1 - discordance], size=4000)
    tables, repeats = np.unique(draws[:, :2], axis=0, return_counts=True)
    covered = sum(
        int(n)
        for (gains, losses), n in zip(tables.tolist(), repeats, strict=True)
        if interval(gains, losses, count)[0] <= -loss <= interval(gains, losses, count)[1]
    )
    assert covered / len(draws) >= 0.93
