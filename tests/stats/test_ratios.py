"""Ratios of sides measured in turns: what was planted is found, drift cancels, few rounds bound little."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventmark.stats.dependence import Samples
from eventmark.stats.ratios import mean_ratio, quantile_ratio, ratio_of_means
from tests.stats.series import correlated, independent


def rounds_of(
    factor: float, *, rounds: int, count: int, seed: int, drift: float = 1.0
) -> list[tuple[Samples, Samples]]:
    """Pairs of series, the first ``factor`` times as slow; from round to round both get slower by ``drift``."""
    random = np.random.default_rng(seed)
    pairs = []
    for number in range(rounds):
        speed = drift**number
        pairs.append(
            (
                (correlated(count, random, 0.5) * factor * speed).astype(np.int64),
                (correlated(count, random, 0.5) * speed).astype(np.int64),
            )
        )
    return pairs


@pytest.mark.parametrize(
    ("factor", "drift"),
    [
        (1.3, 1.5),
        *(pytest.param(*one, marks=pytest.mark.long) for one in ((1.0, 1.5), (1.0, 1.0), (1.3, 1.0))),
    ],
)
def test_the_interval_holds_the_planted_ratio_whatever_the_drift(factor: float, drift: float) -> None:
    held = 0
    for seed in range(12):
        pairs = rounds_of(factor, rounds=4, count=300, seed=seed, drift=drift)
        found = quantile_ratio(pairs, 0.95, random=np.random.default_rng(seed))
        held += found.low <= factor <= found.high
    assert held >= 10


def test_a_ratio_of_a_third_more_is_distinguished_from_none() -> None:
    pairs = rounds_of(1.33, rounds=6, count=1000, seed=3, drift=1.1)
    found = quantile_ratio(pairs, 0.95, random=np.random.default_rng(1))
    assert 1.0 < found.low < 1.33 < found.high


def test_a_round_unlike_the_others_widens_the_interval() -> None:
    alike = rounds_of(1.0, rounds=4, count=500, seed=5)
    unlike = [*alike[:3], (alike[3][0] * 3, alike[3][1])]
    random = np.random.default_rng(1)
    narrow, wide = (quantile_ratio(one, 0.5, random=random) for one in (alike, unlike))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_the_mean_of_ratios_is_geometric_so_that_either_way_round_states_the_same() -> None:
    ratios = [0.8, 1.1, 1.7]
    one, other = mean_ratio(ratios), mean_ratio([1 / ratio for ratio in ratios])
    assert one.value == pytest.approx(1 / other.value)
    assert one.low == pytest.approx(1 / other.high)


def test_a_single_round_bounds_no_mean() -> None:
    found = mean_ratio([0.9])
    assert (found.value, found.low, found.high) == (pytest.approx(0.9), 0.0, math.inf)


def test_the_interval_of_a_ratio_of_means_holds_the_planted_ratio() -> None:
    held = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        one, other = random.poisson(13.0, 60) + 0.0, random.poisson(10.0, 80) + 0.0
        found = ratio_of_means(one, other)
        held += found.low <= 1.3 <= found.high
    assert 180 <= held <= 199


def test_counts_that_are_all_alike_have_an_exact_ratio() -> None:
    found = ratio_of_means(np.full(5, 3.0), np.full(5, 2.0))
    assert (found.low, found.value, found.high) == (1.5, 1.5, 1.5)


def test_a_single_count_bounds_no_ratio() -> None:
    assert ratio_of_means(np.array([3.0]), np.full(5, 2.0)).high == math.inf
    with pytest.raises(ValueError, match="both sides"):
        ratio_of_means(np.array([]), np.array([1.0]))


def test_no_samples_and_no_rounds_are_refused() -> None:
    random = np.random.default_rng(1)
    some = independent(10, random)
    with pytest.raises(ValueError, match="samples of both sides"):
        quantile_ratio([(some, some[:0])], 0.5, random=random)
    with pytest.raises(ValueError, match="above 0"):
        mean_ratio([])
