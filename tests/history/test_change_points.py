"""Change points: steps are found where they are, drift is told from steps, and noise is neither."""

from __future__ import annotations

import numpy as np
import pytest
import ruptures

from eventmark.history.change_points import (
    LOSS_SCALE,
    PENALTY,
    RUNS_MIN,
    SEGMENT_MIN,
    _steps,
    find_changes,
)


def course(random: np.random.Generator, runs: int, spread: float = 0.05) -> np.ndarray:
    return 5.0 * np.exp(random.normal(0, spread, runs))


@pytest.mark.parametrize("runs", [8, 20, 60])
def test_noise_alone_is_neither_a_step_nor_a_drift(runs: int) -> None:
    random = np.random.default_rng(runs)
    changes = [find_changes(course(random, runs)) for _ in range(100)]
    assert sum(bool(one.steps) or one.drift is not None for one in changes) <= 5


@pytest.mark.parametrize(
    ("runs", "at", "size"), [(20, 12, 0.2), (30, 25, 0.3), (50, 40, 0.12), (24, 12, -0.25)]
)
def test_a_step_is_found_at_its_run_with_what_was_before_and_after(runs: int, at: int, size: float) -> None:
    random = np.random.default_rng(int(1000 * abs(size)))
    hits = 0
    for _ in range(40):
        values = course(random, runs, 0.04)
        values[at:] *= 1 + size
        steps = find_changes(values).steps
        hits += (
            len(steps) == 1
            and abs(steps[0].at - at) <= 1
            and steps[0].ratio == pytest.approx(1 + size, abs=0.08)
        )
    assert hits >= 32


def test_the_steps_that_are_proposed_are_those_of_the_librarys_own_cost() -> None:
    random = np.random.default_rng(6)
    for runs in (9, 24, 40):
        values = random.normal(0, 1, runs)
        values[runs // 2 :] += 3
        search = ruptures.Pelt(model="l1", min_size=SEGMENT_MIN, jump=1).fit(LOSS_SCALE * values)
        assert [*_steps(values), runs] == search.predict(pen=PENALTY * np.log(runs))


def test_two_steps_are_distinguished() -> None:
    values = np.concatenate([np.full(12, 5.0), np.full(12, 8.0), np.full(12, 6.0)])
    found = find_changes(values * np.exp(np.random.default_rng(2).normal(0, 0.02, 36)))
    assert [step.at for step in found.steps] == [12, 24]
    assert found.levels[0] == pytest.approx(5, rel=0.03)
    assert found.levels[-1] == pytest.approx(6, rel=0.03)


def test_a_slow_rise_is_a_drift_and_its_size_is_reported_with_an_interval() -> None:
    random = np.random.default_rng(3)
    values = course(random, 40, 0.02) * np.exp(np.linspace(0, 0.25, 40))
    found = find_changes(values)
    assert found.steps == []
    assert found.drift is not None
    assert found.drift.low < np.exp(0.25) < found.drift.high
    assert found.drift.confidence > 0.99


def test_a_single_bad_run_is_hardly_ever_a_step() -> None:
    random = np.random.default_rng(4)
    steps = 0
    for _ in range(40):
        values = course(random, 30, 0.03)
        values[20] *= 3
        steps += bool(find_changes(values).steps)
    assert steps <= 2


def test_counters_that_never_wobble_show_the_smallest_lasting_change() -> None:
    assert find_changes([1000.0] * 20).steps == []
    (step,) = find_changes([1000.0] * 10 + [1100.0] * 10).steps
    assert (step.at, step.before, step.after) == (10, 1000.0, 1100.0)


def test_a_counter_that_rises_from_zero_is_a_step() -> None:
    (step,) = find_changes([0.0] * 10 + [1.0] * 10).steps
    assert (step.at, step.after) == (10, 1.0)


def test_too_few_runs_are_not_judged() -> None:
    found = find_changes([1.0, 9.0] * (RUNS_MIN // 2 - 1))
    assert (found.told, found.steps, found.drift) == (False, [], None)


def test_the_same_history_has_the_same_changes() -> None:
    values = course(np.random.default_rng(5), 40)
    values[25:] *= 1.3
    assert find_changes(values) == find_changes(values)
