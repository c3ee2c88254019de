"""Laws of growth: planted ones are recovered, and what the data cannot tell is not told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from eventmark.experiments.scale.laws import Growth, Law, fit_growth

VOLUMES = (1e6, 2e6, 5e6, 10e6)
LAWS: dict[Law, Callable[[float], float]] = {
    Law.CONSTANT: lambda n: 5.0,
    Law.LOGARITHMIC: lambda n: 5.0 + 1.0 * math.log(n / 1e6),
    Law.LINEAR: lambda n: 4.6 + 0.4 * n / 1e6,
}


def measured(
    law: Law, *, noise: float, seed: int = 1, volumes: Sequence[float] = VOLUMES, rounds: int = 1
) -> Growth:
    random = np.random.default_rng(seed)
    points = [(n, LAWS[law](n)) for n in volumes for _ in range(rounds)]
    return fit_growth(
        [n for n, _ in points],
        [value * (1 + noise * float(random.standard_normal())) for _, value in points],
        [value * noise for _, value in points],
    )


@pytest.mark.parametrize("law", Law)
def test_a_planted_law_is_recovered_from_four_volumes(law: Law) -> None:
    found = [measured(law, noise=0.02, seed=seed).law for seed in range(100)]
    assert found.count(law) >= 90
    assert len([one for one in found if one not in (law, None)]) <= 10


@pytest.mark.parametrize("law", Law)
def test_exact_values_recover_the_law_and_its_parameters(law: Law) -> None:
    growth = fit_growth(VOLUMES, [LAWS[law](n) for n in VOLUMES], [0.02] * 4)
    assert growth.law is law
    at_100m = growth.at(100e6)
    assert at_100m is not None
    if law is not Law.CONSTANT:  # which the other two, not being ruled out, widen
        assert at_100m.value == pytest.approx(LAWS[law](100e6), rel=0.02)
    assert at_100m.low <= LAWS[law](100e6) <= at_100m.high


def test_noise_as_large_as_the_growth_is_inconclusive_and_states_what_is_not_ruled_out() -> None:
    growth = measured(Law.CONSTANT, noise=0.3)
    assert growth.law is None
    assert "not ruled out" in growth.reason


@pytest.mark.parametrize("volumes", [(), (1e6,), (1e6, 10e6)])
def test_two_volumes_tell_no_law_however_exact(volumes: tuple[float, ...]) -> None:
    growth = measured(Law.LINEAR, noise=0.001, volumes=volumes, rounds=5)
    assert growth.law is None
    assert growth.at(100e6) is None
    assert "show no law" in growth.reason


def test_growth_whose_form_is_undecided_is_said_to_grow_and_no_more() -> None:
    growth = fit_growth((1e6, 1.5e6, 2e6), (5.0, 5.9, 6.5), (0.3, 0.3, 0.3))
    assert growth.law is None
    assert growth.reason == "it grows, whether logarithmic or linear is undecided" or (
        growth.reason == "it grows, whether linear or logarithmic is undecided"
    )


def test_scatter_beyond_the_errors_follows_no_law_and_is_not_extrapolated() -> None:
    growth = fit_growth(VOLUMES, (5.0, 9.0, 4.0, 8.0), (0.05, 0.05, 0.05, 0.05))
    assert growth.law is None
    assert growth.at(100e6) is None
    assert "scatter" in growth.reason


def test_what_falls_is_no_growth_but_a_law_all_the_same() -> None:
    growth = fit_growth(VOLUMES, [10.0 - math.log(n / 1e6) for n in VOLUMES], [0.05] * 4)
    assert growth.law is Law.LOGARITHMIC
    assert "-23" in growth.reason


@pytest.mark.parametrize("law", Law)
def test_the_interval_at_ten_times_the_volume_holds_what_would_be_measured_there(law: Law) -> None:
    held = 0
    for seed in range(100):
        prediction = measured(law, noise=0.03, seed=seed).at(100e6)
        if prediction is None:  # the scatter was out of the ordinary: nothing is claimed
            held += 1
            continue
        held += prediction.low <= LAWS[law](100e6) <= prediction.high
    assert held >= 90


def test_more_volumes_and_rounds_narrow_the_interval() -> None:
    few = measured(Law.LOGARITHMIC, noise=0.03, rounds=1).at(100e6)
    many = measured(Law.LOGARITHMIC, noise=0.03, rounds=16).at(100e6)
    assert few is not None
    assert many is not None
    assert many.high - many.low < few.high - few.low


def test_counters_that_do_not_move_at_all_are_constant() -> None:
    growth = fit_growth(VOLUMES, [4.0] * 4, [0.04] * 4)
    assert growth.law is Law.CONSTANT


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="as many"):
        fit_growth(VOLUMES, (1.0,), (0.1,))
    with pytest.raises(ValueError, match="above 0"):
        fit_growth(VOLUMES, (1.0,) * 4, (0.0,) * 4)
