"""The ratio of two runs, from the forks' own quantiles: its interval, and what it could have detected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmark.history.effects import ratio_effect, slower_share


def _forks(random: np.random.Generator, count: int, middle: float, spread: float) -> list[float]:
    return list(middle * np.exp(random.normal(0, spread, count)))


def test_the_ratio_is_that_of_the_forks_middles() -> None:
    effect = ratio_effect([1.0, 2.0, 4.0], [2.0, 4.0, 8.0], confidence=0.95)
    assert effect.ratio == pytest.approx(2.0)
    assert effect.low is not None and effect.high is not None
    assert effect.low < 2.0 < effect.high


@pytest.mark.parametrize(("left", "right"), [(5, 5), (2, 5), (3, 12)])
def test_the_interval_covers_the_true_ratio_as_often_as_it_states(left: int, right: int) -> None:
    """Also where the sides are not equally noisy, which is what Welch's interval is for."""
    random = np.random.default_rng(8)
    hits = 0
    for _ in range(1000):
        effect = ratio_effect(
            _forks(random, left, 1.0, 0.02), _forks(random, right, 1.1, 0.08), confidence=0.95
        )
        assert effect.low is not None and effect.high is not None
        hits += effect.low <= 1.1 <= effect.high
    assert 925 <= hits <= 999


def test_a_slowdown_as_large_as_could_be_detected_is_detected_nine_times_in_ten() -> None:
    random = np.random.default_rng(9)
    spread, forks = 0.04, 6
    detectable = np.median([
        ratio_effect(_forks(random, forks, 1, spread), _forks(random, forks, 1, spread), confidence=0.95).detectable
        for _ in range(300)
    ])  # fmt: skip
    found = 0
    for _ in range(600):
        effect = ratio_effect(
            _forks(random, forks, 1, spread), _forks(random, forks, detectable, spread), confidence=0.95
        )
        assert effect.low is not None
        found += effect.low > 1
    assert 0.83 <= found / 600 <= 0.97


def test_a_single_fork_a_side_bounds_nothing() -> None:
    effect = ratio_effect([1.0], [3.0], confidence=0.95)
    assert (effect.ratio, effect.low, effect.high, effect.detectable) == (
        pytest.approx(3.0),
        None,
        None,
        None,
    )


def test_forks_that_are_all_alike_give_an_interval_of_no_width() -> None:
    effect = ratio_effect([2.0, 2.0], [3.0, 3.0], confidence=0.95)
    assert (effect.low, effect.high) == (pytest.approx(1.5), pytest.approx(1.5))


def test_no_forks_are_refused() -> None:
    with pytest.raises(ValueError, match="both groups need values"):
        ratio_effect([], [1.0], confidence=0.95)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=40),
    st.lists(st.integers(1, 30), min_size=1, max_size=40),
)
def test_the_share_of_slower_calls_equals_comparing_each_with_each(base: list[int], now: list[int]) -> None:
    sides = [np.unique(np.array(side), return_counts=True) for side in (base, now)]
    obvious = sum((b < n) + (b == n) / 2 for b in base for n in now) / (len(base) * len(now))
    assert slower_share(sides[0], sides[1]) == pytest.approx(obvious)
