"""Quantiles against their plain definition, intervals against distributions whose truth is known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eventmark.results.results import LatencyInterval
from eventmark.results.targets import QUANTILES
from eventmark.stats.quantiles import intervals_of, latency_of, quantile_interval
from eventmark.stats.ranks import least_samples, nearest_rank

from .series import NS_PER_MS, correlated, independent, true_quantile_ms

Series = Callable[[int, np.random.Generator], NDArray[np.int64]]


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def width_ms(interval: LatencyInterval) -> float:
    return math.inf if interval.high is None else interval.high - interval.low


def coverage(series: Series, q: float, *, forks: int, count: int, repetitions: int) -> float:
    """How often the interval holds the true quantile."""
    held = 0
    for seed in range(repetitions):
        random = generator(seed)
        interval = quantile_interval([series(count, random) for _ in range(forks)], q, random=random)
        high = math.inf if interval.high is None else interval.high
        held += interval.low <= true_quantile_ms(q) <= high
    return held / repetitions


@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=300))
def test_quantiles_are_the_nearest_rank_of_the_sorted_samples(samples: list[int]) -> None:
    latency = latency_of(np.array(samples, dtype=np.int64))
    for name, permille in (("p50", 500), ("p95", 950), ("p99", 990), ("p999", 999)):
        rank = -(-len(samples) * permille // 1000)  # in whole numbers, so without rounding
        assert getattr(latency, name) == sorted(samples)[rank - 1] / NS_PER_MS
    assert latency.max == max(samples) / NS_PER_MS


def test_rank_does_not_suffer_from_binary_fractions() -> None:
    assert nearest_rank(0.07, 100) == 7  # 0.07 * 100 is above 7 in floating point
    assert nearest_rank(0.999, 1000) == 999
    assert nearest_rank(0.5, 1) == 1


def test_planted_delay_shows_in_the_quantiles_it_belongs_to() -> None:
    samples = np.full(1000, 2 * NS_PER_MS, dtype=np.int64)
    samples[::50] = 40 * NS_PER_MS  # 2% of the calls
    latency = latency_of(samples)
    assert (latency.p50, latency.p95, latency.p99, latency.max) == (2.0, 2.0, 40.0, 40.0)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        latency_of(np.array([], dtype=np.int64))
    with pytest.raises(ValueError, match="no samples"):
        quantile_interval([np.array([], dtype=np.int64)], 0.5, random=generator())


REPETITIONS = [60, pytest.param(300, marks=pytest.mark.long)]


@pytest.mark.parametrize("repetitions", REPETITIONS)
@pytest.mark.parametrize(
    ("q", "forks", "count"), [(0.95, 1, 400), (0.95, 3, 300), (0.5, 3, 300), (0.99, 1, 800)]
)
def test_interval_holds_the_true_quantile_of_independent_samples(
    q: float, forks: int, count: int, repetitions: int
) -> None:
    assert coverage(independent, q, forks=forks, count=count, repetitions=repetitions) >= 0.90


@pytest.mark.parametrize("repetitions", REPETITIONS)
@pytest.mark.parametrize("q", [0.5, 0.95])
def test_interval_holds_the_true_quantile_of_autocorrelated_samples(q: float, repetitions: int) -> None:
    """Order statistics alone hold it in about half of these."""
    assert coverage(correlated, q, forks=3, count=1500, repetitions=repetitions) >= 0.90


def test_interval_of_independent_samples_is_not_needlessly_wide() -> None:
    """Holding the truth is easy for an interval that holds everything."""
    random = generator()
    interval = quantile_interval([independent(20_000, random)], 0.95, random=random)
    assert interval.high is not None
    assert interval.low < true_quantile_ms(0.95) < interval.high
    assert width_ms(interval) < 0.06 * true_quantile_ms(0.95)


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_autocorrelated_samples_have_a_wider_interval_than_independent_ones(q: float) -> None:
    ratios = []
    for seed in range(20):
        random = generator(seed)
        plain = quantile_interval([independent(3000, random)], q, random=random)
        runs = quantile_interval([correlated(3000, random, 0.95)], q, random=random)
        ratios.append(width_ms(runs) / width_ms(plain))
    assert min(ratios) > 1
    assert np.median(ratios) > 2.5


def test_order_of_the_samples_matters() -> None:
    """The same values: scattered slow calls say more about the p95 than one slow stretch."""
    stretch = np.full(2000, NS_PER_MS, dtype=np.int64) + generator(5).integers(0, 1000, 2000)
    stretch[900:1010] *= 20  # 5.5% of the calls: the p95 is slow, and hangs on this one stretch
    scattered = generator(6).permutation(np.repeat(stretch, 10))
    lasting = np.repeat(stretch, 10)
    assert quantile_interval([scattered], 0.95, random=generator()).low > 15
    assert quantile_interval([lasting], 0.95, random=generator()).low < 2


def test_forks_unlike_each_other_widen_the_interval() -> None:
    random = generator()
    alike = [independent(3000, random) for _ in range(3)]
    unlike = [alike[0], alike[1] * 2, alike[2] * 3]
    interval = quantile_interval(unlike, 0.5, random=generator())
    assert interval.low < 1.4 and interval.high is not None and interval.high > 2.5
    assert width_ms(interval) > 5 * width_ms(quantile_interval(alike, 0.5, random=generator()))


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_interval_allows_for_levels_that_differ_from_fork_to_fork(repetitions: int) -> None:
    """Three forks are few to know them by; resampling each within itself holds the truth in 4 of 10."""
    held = 0
    for seed in range(repetitions):
        random = generator(seed)
        levels = np.exp(0.1 * random.standard_normal(3))
        forks = [(independent(2000, random) * level).astype(np.int64) for level in levels]
        interval = quantile_interval(forks, 0.5, random=random)
        assert interval.high is not None
        held += interval.low <= 1.0 <= interval.high
    assert held >= 0.70 * repetitions


def test_one_drift_bounds_nothing_from_above() -> None:
    """Samples that only ever rise are one observation: where they would end nobody knows."""
    rising = np.arange(1, 501) * NS_PER_MS
    assert quantile_interval([rising], 0.95, random=generator()).high is None


def test_forks_of_different_sizes_count_by_their_samples() -> None:
    random = generator()
    forks = [independent(9000, random), independent(5, random) * 100, np.array([], dtype=np.int64)]
    interval = quantile_interval(forks, 0.5, random=generator())
    assert interval.low < 1 and interval.high is not None and interval.high < 1.1


@pytest.mark.parametrize("q", QUANTILES.values())
def test_upper_end_is_open_until_there_are_samples_enough(q: float) -> None:
    _, needed = least_samples(q)
    samples = independent(needed, generator())
    assert quantile_interval([samples[:-1]], q, random=generator()).high is None
    assert quantile_interval([samples], q, random=generator()).high is not None


def test_independent_samples_of_small_forks_are_not_taken_for_dependent() -> None:
    """Six slow calls in 120: two of them beside each other by chance must not open the interval."""
    intervals = []
    for seed in range(150):
        random = generator(seed)
        forks = [independent(60, random) for _ in range(2)]
        intervals.append(quantile_interval(forks, 0.95, random=random))
    assert sum(interval.high is None for interval in intervals) <= 3


def test_least_samples_are_those_of_the_textbook() -> None:
    assert least_samples(0.5) == (6, 6)
    assert [least_samples(q)[1] for q in (0.95, 0.99, 0.999)] == [72, 368, 3688]


@pytest.mark.parametrize("count", [1, 2, 3, 11, 12])
def test_few_samples_give_an_interval_from_the_smallest_with_an_open_end(count: int) -> None:
    samples = independent(count, generator())
    interval = quantile_interval([samples], 0.95, random=generator())
    assert interval.high is None
    assert samples.min() / NS_PER_MS <= interval.low <= samples.max() / NS_PER_MS


@given(
    st.lists(st.lists(st.integers(0, 10**11), max_size=60), min_size=1, max_size=4).filter(any),
    st.sampled_from(sorted(QUANTILES.values())),
)
def test_interval_holds_the_observed_quantile_and_ends_at_samples(forks: list[list[int]], q: float) -> None:
    arrays = [np.array(fork, dtype=np.int64) for fork in forks]
    together = np.sort(np.concatenate(arrays))
    observed_ms = together[nearest_rank(q, len(together)) - 1] / NS_PER_MS
    interval = quantile_interval(arrays, q, random=generator())
    assert interval.low <= observed_ms
    assert interval.high is None or interval.high >= observed_ms
    values_ms = set((together / NS_PER_MS).tolist())
    assert {interval.low, interval.high} <= values_ms | {None}


def test_samples_all_the_same_have_an_interval_without_width() -> None:
    samples = np.full(500, 3 * NS_PER_MS, dtype=np.int64)
    assert quantile_interval([samples], 0.95, random=generator()) == LatencyInterval(low=3.0, high=3.0)


def test_same_seed_gives_the_same_intervals() -> None:
    samples = correlated(2000, generator())
    first, second = (intervals_of([samples], random=generator(7)) for _ in range(2))
    assert first == second and list(first) == ["p50", "p95", "p99", "p999"]


def test_interval_is_quick_for_twenty_thousand_samples() -> None:
    random = generator()
    forks = [correlated(10_000, random) for _ in range(2)]
    began = time.process_time()
    quantile_interval(forks, 0.95, random=random)
    assert time.process_time() - began < 0.5
