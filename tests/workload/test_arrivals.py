"""Arrival schedules: what each promises about its rate and its gaps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from eventmark.errors import UsageError
from eventmark.workload.arrivals import PEAK, SCHEDULES, SPIKE, Arrivals, Stage, parse_stages


def due_s(schedule: str, rate: float = 1000.0, seconds: float = 20.0, seed: int = 1) -> np.ndarray:
    return Arrivals(schedule, rate).due_s(seconds, np.random.default_rng(seed))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_arrivals_ascend_within_the_time_and_are_the_same_for_the_same_seed(schedule: str) -> None:
    due = due_s(schedule)
    assert due[0] >= 0 and due[-1] < 20.0
    assert np.all(np.diff(due) >= 0)
    assert np.array_equal(due, due_s(schedule))


def test_constant_arrivals_are_evenly_spaced() -> None:
    due = due_s("constant", rate=250.0, seconds=2.0)
    assert len(due) == 500
    assert np.allclose(np.diff(due), 0.004)


def test_poisson_arrivals_have_exponential_gaps_and_counts_that_vary_like_poissons() -> None:
    due = due_s("poisson", rate=2000.0)
    assert kstest(np.diff(due), "expon", args=(0, 1 / 2000.0)).pvalue > 0.001
    counts = np.histogram(due, bins=2000, range=(0, 20.0))[0]
    assert counts.mean() == pytest.approx(20.0, rel=0.02)
    assert counts.var() == pytest.approx(20.0, rel=0.15)


def test_constant_arrivals_would_not_pass_for_poisson() -> None:
    due = due_s("constant", rate=2000.0)
    assert kstest(np.diff(due), "expon", args=(0, 1 / 2000.0)).pvalue < 1e-6


def test_ramp_rises_evenly_to_its_peak() -> None:
    counts = np.histogram(due_s("ramp"), bins=10, range=(0, 20.0))[0] / 2.0
    expected = 1000.0 * (1 + (PEAK - 1) * (np.arange(10) + 0.5) / 10)
    assert counts == pytest.approx(expected, rel=0.1)


def test_spike_is_the_peak_in_its_time_alone() -> None:
    due = due_s("spike")
    within = (due >= SPIKE[0] * 20) & (due < SPIKE[1] * 20)
    assert within.sum() == pytest.approx(4 * 1000.0 * PEAK, rel=0.05)
    assert (~within).sum() == pytest.approx(16 * 1000.0, rel=0.05)


def test_steps_rise_to_the_peak() -> None:
    counts = np.histogram(due_s("step"), bins=4, range=(0, 20.0))[0] / 5.0
    assert counts == pytest.approx([1000.0, 2000.0, 3000.0, 4000.0], rel=0.1)


@pytest.mark.parametrize(
    ("schedule", "rate", "said"),
    [
        ("poison", 1.0, "did you mean 'poisson'"),
        ("constant", 0.0, "above 0"),
        ("constant", float("nan"), "above 0"),
    ],
)
def test_arrivals_that_are_none_are_refused(schedule: str, rate: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Arrivals(schedule, rate)


def test_a_schedule_that_would_not_fit_the_memory_is_refused() -> None:
    with pytest.raises(UsageError, match="more than one load may hold"):
        Arrivals("ramp", 1_000_000.0).due_s(3600.0, np.random.default_rng(1))


def test_stages_are_read_with_their_lengths_and_the_rates_they_end_at() -> None:
    assert parse_stages("30s:100, 2m:1000,0.5h:0") == (Stage(30, 100), Stage(120, 1000), Stage(1800, 0))


def test_the_rate_of_stages_moves_evenly_from_one_to_the_next() -> None:
    staged = Arrivals.staged(parse_stages("10s:2000,10s:2000,20s:0"))
    due = staged.due_s(staged.stage_ends_s[-1], np.random.default_rng(1))
    assert staged.stage_ends_s == [10.0, 20.0, 40.0]
    counts = np.histogram(due, bins=8, range=(0, 40.0))[0] / 5.0
    assert counts == pytest.approx([500, 1500, 2000, 2000, 1750, 1250, 750, 250], rel=0.08)


@pytest.mark.parametrize("text", ["", "30s", "30:100", "30s:-1", "0s:5", "30s:100,", "30s:100;2m:5", "30s:x"])
def test_what_is_no_stage_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a stage"):
        parse_stages(text)


def test_stages_without_any_load_are_refused() -> None:
    with pytest.raises(UsageError, match="above 0"):
        Arrivals.staged(parse_stages("30s:0"))


def test_stages_are_no_name_of_a_schedule() -> None:
    with pytest.raises(UsageError, match="unknown arrivals 'stages'"):
        Arrivals("stages", 5)
