"""Ratios of pairs: what drifts for both is not in them, and the interval holds the truth as often as it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventmark.stats.ratios import paired_ratio


def test_a_drift_that_meets_both_sides_is_not_in_the_ratio() -> None:
    base = np.linspace(100, 300, 8)
    found = paired_ratio((base * 1.4).tolist(), base.tolist())
    assert found.value == pytest.approx(1.4)
    assert found.low == pytest.approx(1.4)
    assert found.is_above(1.39) and not found.is_above(1.41)
    assert found.is_below(1.41) and not found.is_below(1.39)


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_states() -> None:
    random = np.random.default_rng(3)
    held = 0
    for _ in range(1000):
        base = 1000 * np.exp(random.normal(0, 0.3, 6))
        changed = base * 1.2 * np.exp(random.normal(0, 0.05, 6))
        found = paired_ratio(changed.tolist(), base.tolist())
        held += found.low <= 1.2 <= found.high
    assert 930 <= held <= 970


def test_one_pair_has_no_interval_and_proves_nothing() -> None:
    found = paired_ratio([150.0], [100.0])
    assert (found.value, found.low, found.high) == (pytest.approx(1.5), 0.0, math.inf)
    assert not found.is_above(1.0)
    assert not found.is_below(2.0)


@pytest.mark.parametrize("sides", [([], []), ([1.0], [1.0, 2.0])])
def test_what_is_no_pair_is_refused(sides: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="not pairs"):
        paired_ratio(*sides)


def test_pairs_cancel_what_drifts_for_both() -> None:
    random = np.random.default_rng(8)
    inside = 0
    for _ in range(100):
        drift = np.exp(np.cumsum(random.normal(0, 0.5, 12)))
        under = drift * random.lognormal(0, 0.05, 12)
        over = 1.3 * drift * random.lognormal(0, 0.05, 12)
        ratio = paired_ratio(over.tolist(), under.tolist())
        inside += ratio.low < 1.3 < ratio.high
        assert ratio.high / ratio.low < 1.3
    assert inside >= 88
    with pytest.raises(ValueError, match="above 0"):
        paired_ratio([1.0, 0.0, 1.0], [1.0, 1.0, 1.0])
