"""A plain answer does not depend on how samples depend on each other; and the bound errs no more often than it says."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from eventmark.stats.block_maxima import BLOCKS_MIN, MARGIN, block_maxima_bound
from eventmark.stats.dependence import dependence_of
from eventmark.stats.quantiles import quantile_interval

Series = Callable[[int, np.random.Generator], NDArray[np.int64]]
TRIALS = [120, pytest.param(400, marks=pytest.mark.long)]
FORKS, CALLS = 5, 1600


def autoregressive(phi: float, sigma: float = 0.5) -> Series:
    """Lognormal with a median of 1 ms; the true p95 is exp(1.645 sigma) ms."""

    def make(count: int, random: np.random.Generator) -> NDArray[np.int64]:
        noise = random.standard_normal(count + 4000) * math.sqrt(1 - phi**2)
        return np.asarray(1e6 * np.exp(sigma * lfilter([1.0], [1.0, -phi], noise)[4000:])).astype(np.int64)

    return make


def regimes(slow: float, share: float, length: int) -> Series:
    """Stretches of about ``length`` calls, a ``share`` of them ``slow`` times as long as the others."""

    def make(count: int, random: np.random.Generator) -> NDArray[np.int64]:
        lengths = random.geometric(1 / length, size=count)
        kinds = np.repeat(random.random(count) < share, lengths)[:count]
        return np.asarray(1e6 * np.where(kinds, slow, 1.0) * random.lognormal(0, 0.1, count)).astype(np.int64)

    return make


@pytest.mark.parametrize("trials", TRIALS)
@pytest.mark.parametrize(
    ("series", "true_p95_ms"),
    [
        (autoregressive(0.9), math.exp(0.5 * 1.645)),
        (autoregressive(0.99), math.exp(0.5 * 1.645)),
        (autoregressive(0.999), math.exp(0.5 * 1.645)),
        (autoregressive(0.99, sigma=1.0), math.exp(1.645)),
        (
            regimes(3.0, 0.2, 100),
            3.0 * math.exp(0.1 * 0.675),
        ),  # p95 of all is the slow stretches' third quartile
        (regimes(10.0, 0.2, 300), 10.0 * math.exp(0.1 * 0.675)),
    ],
    ids=["phi 0.9", "phi 0.99", "phi 0.999", "phi 0.99 heavy", "stretches of 100", "stretches of 300"],
)
def test_the_true_quantile_lies_above_the_bound_no_more_often_than_it_states(
    series: Series, true_p95_ms: float, trials: int
) -> None:
    random = np.random.default_rng(7)
    errors = 0
    for _ in range(trials):
        forks = [series(CALLS, random) for _ in range(FORKS)]
        bound = block_maxima_bound(forks, confidence=0.95)
        errors += bound is not None and bound / 1e6 < true_p95_ms
    assert errors <= 0.025 * trials


def test_a_quick_operation_with_a_slower_stretch_has_an_upper_bound() -> None:
    random = np.random.default_rng(3)
    fork = random.integers(2400, 2500, CALLS)  # 2.5 microseconds, against a target of a millisecond
    fork[600:680] += 400
    assert (
        CALLS / dependence_of([fork], 2499).inflation < 72
    )  # too few independent samples for order statistics
    interval = quantile_interval([fork], 0.95, random=random)
    assert interval.high is not None
    assert 1.99 * 0.0028 <= interval.high < 0.05


def test_a_slow_stretch_that_was_seen_is_in_the_bound() -> None:
    forks = [np.full(CALLS, 1_000, dtype=np.int64) for _ in range(FORKS)]
    forks[2][100:200] = 50_000_000
    bound = block_maxima_bound(forks, confidence=0.95)
    assert bound is not None
    assert bound >= 0.99 * MARGIN * 50_000_000


def test_samples_that_only_rise_have_no_bound() -> None:
    rising = np.arange(1, 501, dtype=np.int64) * 1_000_000
    assert block_maxima_bound([rising], confidence=0.95) is None
    assert block_maxima_bound([rising, rising, rising], confidence=0.95) is None


def test_too_few_samples_have_no_bound() -> None:
    assert block_maxima_bound([np.arange(1, BLOCKS_MIN, dtype=np.int64)], confidence=0.95) is None
    assert block_maxima_bound([], confidence=0.95) is None
    few = np.full(71, 1_000, dtype=np.int64)
    assert quantile_interval([few], 0.95, random=np.random.default_rng(1)).high is None
