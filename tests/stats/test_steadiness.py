"""Warm-up: steady series are seen as such, moving ones are not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventmark.stats.drift import Drift
from eventmark.stats.steadiness import WarmUp, drift_of, is_steady


@pytest.mark.parametrize(
    "medians_ms",
    [
        [2.0, 2.0, 2.0, 2.0, 2.0],
        [2.00, 2.05, 1.98, 2.03, 2.01],
        [9.0, 5.0, 3.0, 2.00, 2.05, 1.98, 2.03, 2.01],  # what was before the window does not matter
        [2.0, 2.001, 2.002, 2.003, 2.004],  # a trend of 0.2% is not worth waiting for
    ],
)
def test_level_medians_are_steady(medians_ms: list[float]) -> None:
    assert is_steady(medians_ms)


@pytest.mark.parametrize(
    "medians_ms",
    [
        [],
        [2.0] * 4,  # fewer than the window
        [3.0, 2.6, 2.3, 2.15, 2.05],  # still falling
        [2.00, 1.98, 1.96, 1.94, 1.92],  # within the tolerance, and still falling
        [1.92, 1.94, 1.96, 1.98, 2.00],  # rising: a leak, a growing table
        [2.0, 3.0, 2.0, 3.0, 2.0],  # no trend, no level either
        [2.0, 2.0, 2.0, 2.0, math.nan],
        [2.0, 2.0, 2.0, 2.0, math.inf],
    ],
)
def test_moving_medians_are_not_steady(medians_ms: list[float]) -> None:
    assert not is_steady(medians_ms)


def test_window_and_tolerance_are_the_callers() -> None:
    assert is_steady([1.0, 1.3, 1.1], window=3, tolerance=0.3)
    assert not is_steady([1.0, 1.3, 1.1], window=3, tolerance=0.15)


def test_noise_around_a_level_is_mostly_steady() -> None:
    random = np.random.default_rng(3)
    steady = [is_steady(list(2 + random.normal(0, 0.03, 5))) for _ in range(500)]
    assert np.mean(steady) > 0.95


def test_warm_up_ends_soon_after_the_latency_has_settled() -> None:
    random = np.random.default_rng(4)
    warm_up = WarmUp()
    while not warm_up.over:
        place = warm_up.iterations
        warm_up.add(2 + 6 * math.exp(-place / 2) + random.normal(0, 0.02))
    assert warm_up.steady and not warm_up.exhausted
    assert 8 <= warm_up.iterations <= 18


def test_warm_up_that_never_settles_is_exhausted_at_its_limit() -> None:
    warm_up = WarmUp(iterations_max=12)
    while not warm_up.over:
        warm_up.add(2.0 if warm_up.iterations % 2 else 4.0)
    assert warm_up.exhausted and not warm_up.steady
    assert warm_up.iterations == 12


def test_warm_up_steady_at_the_last_moment_is_not_exhausted() -> None:
    warm_up = WarmUp(iterations_max=5)
    for _ in range(5):
        warm_up.add(2.0)
    assert warm_up.steady and not warm_up.exhausted


def windows(*medians_ms: float, samples: int = 400, spread: float = 0.3) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [(median * 1e6 * random.lognormal(0, spread, samples)).astype(np.int64) for median in medians_ms]


@pytest.mark.parametrize(
    ("medians_ms", "drift"),
    [
        ((2.0, 2.0, 2.0, 2.0, 2.0), Drift.NONE),
        ((2.0, 2.0, 2.0, 2.0, 2.6), Drift.SLOWER),
        ((1.6, 2.0, 2.0, 2.0, 2.0), Drift.SLOWER),  # what was measured first is no longer so
        ((2.6, 2.0, 2.0, 2.0, 2.0), Drift.FASTER),
        ((2.0, 2.0, 3.0, 2.0, 2.0), Drift.FASTER),  # a slow stretch that is over: the store was only made to look slower
        ((2.0, 2.0, 1.4, 2.0, 2.0), Drift.SLOWER),
        ((1.4, 2.6, 2.0, 2.0, 2.0), Drift.EITHER),
        ((1.0, 1.2, 1.4, 1.6, 1.8), Drift.SLOWER),
    ],
)  # fmt: skip
def test_a_drift_is_of_the_end_against_what_was_before(medians_ms: tuple[float, ...], drift: Drift) -> None:
    assert drift_of(windows(*medians_ms), np.random.default_rng(1)) is drift


def test_a_rise_at_every_step_counts_though_no_two_windows_differ_by_much() -> None:
    rising = [np.full(400, int(level * 1e6)) for level in (2.00, 2.02, 2.04, 2.06, 2.08)]
    assert drift_of(rising, np.random.default_rng(1)) is Drift.SLOWER
    assert drift_of(rising[::-1], np.random.default_rng(1)) is Drift.FASTER
    flat = [np.full(400, int(level * 1e6)) for level in (2.00, 2.001, 2.002, 2.003, 2.004)]
    assert drift_of(flat, np.random.default_rng(1)) is Drift.NONE


def test_medians_of_few_samples_differ_by_chance_and_that_is_no_drift() -> None:
    random = np.random.default_rng(6)
    seen = [
        drift_of([(2e6 * random.lognormal(0, 0.5, 100)).astype(np.int64) for _ in range(5)], random)
        for _ in range(200)
    ]
    assert np.mean([drift is not Drift.NONE for drift in seen]) < 0.1
