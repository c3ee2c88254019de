"""The sequential test: its risk holds whenever it is looked at and whatever the noise is; and it finds what it is for."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from eventmark.sidebyside.differences import PairedTest

RISK = 0.05
EFFECT = (math.log(1.1) - math.log(1.02)) / 2


def _normal(random: np.random.Generator, pairs: int) -> np.ndarray:
    return random.normal(0, 0.06, pairs)


def _heavy(random: np.random.Generator, pairs: int) -> np.ndarray:
    return random.standard_t(1.5, pairs) * 0.04


def _drifting(random: np.random.Generator, pairs: int) -> np.ndarray:
    """Each second measurement is slower, and the machine slows down: only the coin makes that even."""
    aftermath = 0.08 + np.linspace(0, 0.3, pairs)
    return np.where(random.random(pairs) < 0.5, 1, -1) * (aftermath + np.abs(random.normal(0, 0.01, pairs)))


def _bursts(random: np.random.Generator, pairs: int) -> np.ndarray:
    sizes = np.where(np.arange(pairs) // 7 % 2, 0.5, 0.01)
    return np.where(random.random(pairs) < 0.5, 1, -1) * sizes


@pytest.mark.parametrize(
    ("noise", "trials"),
    [
        (_heavy, 100),
        (_drifting, 100),
        *(
            pytest.param(noise, 400, marks=pytest.mark.long)
            for noise in (_normal, _heavy, _drifting, _bursts)
        ),
    ],
)
def test_alike_sides_are_distinguished_no_more_often_than_the_risk_states_at_any_look(
    noise: Callable[[np.random.Generator, int], np.ndarray], trials: int
) -> None:
    random = np.random.default_rng(4)
    alarms = 0
    for _ in range(trials):
        test = PairedTest(effect=EFFECT)
        for log_ratio in noise(random, 40):
            test.add(float(log_ratio))
            if test.is_above(0.0, risk=RISK):
                alarms += 1
                break
    assert alarms <= trials * RISK + 3 * math.sqrt(trials * RISK)


def test_a_slowdown_of_a_tenth_is_found_though_pairs_lie_as_far_apart() -> None:
    random = np.random.default_rng(5)
    found = []
    for _ in range(200):
        test = PairedTest(effect=EFFECT)
        for _ in range(60):
            test.add(math.log(1.1) + random.normal(0, 0.06))
            if test.is_above(math.log(1.02), risk=0.005):
                found.append(test.pairs)
                break
    assert len(found) >= 180
    assert np.median(found) < 30


@pytest.mark.parametrize("trials", [10, pytest.param(100, marks=pytest.mark.long)])
def test_the_interval_is_right_at_all_times_together(trials: int) -> None:
    random = np.random.default_rng(6)
    hits = 0
    for _ in range(trials):
        test, right = PairedTest(effect=EFFECT), True
        for _ in range(25):
            test.add(0.05 + random.standard_t(3) * 0.04)
            low, high = test.interval(0.95)
            right = right and low <= 0.05 <= high
        hits += right
    assert hits >= trials * 0.95 - 3 * math.sqrt(trials * 0.05)


def test_the_interval_gets_narrower_around_what_is_there() -> None:
    random = np.random.default_rng(7)
    test = PairedTest(effect=EFFECT)
    assert test.interval(0.95) == (-math.inf, math.inf)
    for _ in range(80):
        test.add(0.2 + random.normal(0, 0.05))
    low, high = test.interval(0.95)
    assert 0.15 < low < 0.2 < high < 0.25


def test_few_pairs_decide_nothing_however_far_they_lie_from_each_other() -> None:
    """Signs are coins: five of them fall alike once in thirty-two times."""
    test = PairedTest(effect=EFFECT)
    for _ in range(5):
        test.add(3.0)
    assert not test.is_above(0.0, risk=0.01)
    assert test.interval(0.95) == (-math.inf, math.inf)


def test_one_outlier_takes_back_no_more_than_its_stake() -> None:
    test = PairedTest(effect=EFFECT)
    for _ in range(20):
        test.add(0.2)
    before = test.log_capital_above(0.0)
    test.add(-50.0)
    assert test.log_capital_above(0.0) - before >= math.log(0.1) - 1e-9


def test_betting_above_a_higher_centre_never_wins_more() -> None:
    random = np.random.default_rng(8)
    test = PairedTest(effect=EFFECT)
    for value in random.standard_t(2, 30) * 0.1:
        test.add(float(value))
    capitals = [test.log_capital_above(centre) for centre in np.linspace(-1, 1, 41)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(capitals))
