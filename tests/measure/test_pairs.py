"""Ratios of pairs: what drifts for both is not in them, and the interval holds the truth as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from eventmark.stats.pairs import pair_ratio


def test_a_drift_that_meets_both_sides_is_not_in_the_ratio() -> None:
    base = np.linspace(100, 300, 8)
    found = pair_ratio(base.tolist(), (base * 1.4).tolist())
    assert found.value == pytest.approx(1.4)
    assert found.low == pytest.approx(1.4)
    assert found.is_above(1.39) and not found.is_above(1.41)
    assert found.is_below(1.41) and not found.is_below(1.39)


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    held = 0
    for _ in range(1000):
        base = 1000 * np.exp(random.normal(0, 0.3, 6))
        changed = base * 1.2 * np.exp(random.normal(0, 0.05, 6))
        found = pair_ratio(base.tolist(), changed.tolist())
        assert found.low is not None and found.high is not None
        held += found.low <= 1.2 <= found.high
    assert 930 <= held <= 970


def test_one_pair_has_no_interval_and_proves_nothing() -> None:
    found = pair_ratio([100.0], [150.0])
    assert (found.value, found.low, found.high) == (pytest.approx(1.5), None, None)
    assert not found.is_above(1.0)
    assert not found.is_below(2.0)


@pytest.mark.parametrize("sides", [([], []), ([1.0], [1.0, 2.0])])
def test_what_is_no_pair_is_refused(sides: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="no pairs"):
        pair_ratio(*sides)
