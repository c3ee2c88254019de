"""The Universal Scalability Law: planted parameters are found again, and what was not measured is not claimed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventmark.experiments.load.scalability import fit_scalability

CLIENTS = [1, 2, 4, 8, 16, 32, 64]


def law(rate: float, sigma: float, kappa: float, *, noise: float = 0.0, seed: int = 1) -> list[float]:
    n = np.array(CLIENTS, dtype=float)
    exact = rate * n / (1 + sigma * (n - 1) + kappa * n * (n - 1))
    return (exact * (1 + noise * np.random.default_rng(seed).standard_normal(len(n)))).tolist()


@pytest.mark.parametrize(
    ("rate", "sigma", "kappa"), [(3000, 0.05, 0.0005), (200, 0.3, 0.002), (15_000, 0.9, 0.01)]
)
def test_planted_parameters_are_recovered(rate: float, sigma: float, kappa: float) -> None:
    found = fit_scalability(CLIENTS, law(rate, sigma, kappa))
    assert found.rate_per_s.value == pytest.approx(rate, rel=1e-3)
    assert found.contention.value == pytest.approx(sigma, rel=1e-2)
    assert found.coherency.value == pytest.approx(kappa, rel=1e-2)
    assert found.error < 1e-3
    assert found.knee_clients == pytest.approx(math.sqrt((1 - sigma) / kappa), rel=1e-2)


def test_intervals_hold_the_planted_parameters_most_of_the_time() -> None:
    held = 0
    for seed in range(100):
        found = fit_scalability(CLIENTS, law(3000, 0.1, 0.001, noise=0.03, seed=seed))
        interval = found.contention
        assert interval.low is not None and interval.high is not None
        held += interval.low <= 0.1 <= interval.high
    assert held >= 85


def test_throughput_is_highest_at_the_knee() -> None:
    found = fit_scalability(CLIENTS, law(1000, 0.1, 0.004))
    knee = found.knee_clients
    assert knee is not None and found.peak_per_s is not None
    assert found.peak_per_s == pytest.approx(found.throughput_per_s(knee))
    assert found.peak_per_s >= max(found.throughput_per_s(knee * 0.8), found.throughput_per_s(knee * 1.25))


def test_linear_growth_has_no_knee_within_sight() -> None:
    found = fit_scalability(CLIENTS, law(100, 0.0, 0.0))
    assert found.knee_clients is None or found.knee_clients > 640
    assert found.throughput_per_s(64) == pytest.approx(6400, rel=0.01)


def test_no_growth_at_all_is_contention_alone() -> None:
    found = fit_scalability(CLIENTS, [500.0] * len(CLIENTS))
    assert found.contention.value == pytest.approx(1.0, abs=0.01)


def test_too_few_points_are_refused_as_any_law_would_fit_them() -> None:
    with pytest.raises(ValueError, match="4 points"):
        fit_scalability([1, 2, 4], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="above 0"):
        fit_scalability([1, 2, 4, 8], [1.0, 2.0, 3.0, 0.0])
