"""A rise is found when it is there, and hardly ever when it is not, however alike neighbours are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from eventmark.results.results import Verdict
from eventmark.stats.trend import WINDOWS_MIN, last_to_first_third, trend_of

SECONDS = 600.0
AT_S = np.arange(0, SECONDS, 0.5)
NEGLIGIBLE = 0.002


def wandering(random: np.random.Generator, memory: float, size: int = len(AT_S)) -> NDArray[np.float64]:
    """Noise whose neighbours are alike: each keeps ``memory`` of the one before it."""
    steps = random.normal(size=size)
    steps[1:] *= np.sqrt(1 - memory**2)
    return np.asarray(lfilter([1.0], [1.0, -memory], steps))


@pytest.mark.parametrize("memory", [0.0, 0.9, 0.98])
def test_what_does_not_rise_is_hardly_ever_said_to(memory: float) -> None:
    random = np.random.default_rng(4)
    said = 0
    for _ in range(60):
        trend = trend_of(AT_S, 100 + wandering(random, memory))
        assert trend is not None
        said += trend.low > 0
    assert said <= 5  # one side of a 95% interval is 1.5 in 60; three standard deviations above are 5


def test_a_leak_is_found_and_its_slope_is_right() -> None:
    random = np.random.default_rng(5)
    inside = 0
    for _ in range(50):
        trend = trend_of(AT_S, 100 + 0.02 * AT_S + wandering(random, 0.9))
        assert trend is not None
        inside += trend.low < 0.02 < trend.high
        assert trend.judged(NEGLIGIBLE) is Verdict.BROKEN
    assert inside >= 43


def test_a_flat_series_is_met_and_a_short_noisy_one_undecided() -> None:
    random = np.random.default_rng(6)
    flat = trend_of(AT_S, 100 + 0.1 * random.normal(size=len(AT_S)))
    assert flat is not None and flat.judged(NEGLIGIBLE) is Verdict.MET
    short = trend_of(AT_S[:60], 100 + random.normal(size=60))
    assert short is not None and short.judged(NEGLIGIBLE) is Verdict.INCONCLUSIVE


def test_of_too_few_samples_nothing_is_said() -> None:
    few = WINDOWS_MIN - 1
    assert trend_of(AT_S[:few], AT_S[:few]) is None
    assert trend_of([], []) is None
    assert trend_of([1.0] * 50, [1.0] * 50) is None


def test_a_series_without_any_noise_has_its_slope_alone() -> None:
    trend = trend_of(AT_S, 3 * AT_S)
    assert trend is not None
    assert (trend.slope, trend.low, trend.high) == pytest.approx((3.0, 3.0, 3.0))
    level = trend_of(AT_S, np.full(len(AT_S), 7.0))
    assert level is not None and level.judged(NEGLIGIBLE) is Verdict.MET


def latencies(random: np.random.Generator, slower: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    at_s = np.sort(random.uniform(0, 60, 6000))
    samples = random.lognormal(14, 0.5, len(at_s)) * np.where(at_s > 40, slower, 1.0)
    return at_s, samples.astype(np.int64)


def test_a_run_that_ends_slower_shows_by_how_much() -> None:
    random = np.random.default_rng(7)
    inside = 0
    for _ in range(100):
        at_s, samples = latencies(random, 1.5)
        ratio = last_to_first_third(at_s, samples, 60.0, q=0.95)
        assert ratio is not None
        inside += ratio.low < 1.5 < ratio.high
    assert inside >= 88
    ratio = last_to_first_third(*latencies(random, 2.0), 60.0, q=0.95)
    assert ratio is not None and ratio.judged(1.25) is Verdict.BROKEN
    ratio = last_to_first_third(*latencies(random, 1.0), 60.0, q=0.95)
    assert ratio is not None and ratio.judged(1.25) is Verdict.MET
    assert last_to_first_third(np.arange(10.0), np.arange(10), 10.0, q=0.95) is None
