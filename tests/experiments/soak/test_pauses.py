"""Samples that met a pause are told apart from those beside it."""

from __future__ import annotations

import numpy as np
import pytest

from eventmark.experiments.soak.pauses import cost_of_pauses, met_pause


def test_a_sample_meets_a_pause_that_begins_or_ends_or_lies_within_it_and_no_other() -> None:
    pauses, lengths = np.array([1.0, 3.0]), np.array([0.5, 0.1])
    began = np.array([0.0, 0.9, 1.4, 1.1, 1.6, 2.9, 0.5, 3.2])
    ended = np.array([0.9, 1.1, 1.6, 1.2, 2.9, 3.5, 4.0, 9.0])
    expected = [False, True, True, True, False, True, True, False]
    assert met_pause(began, ended, pauses, lengths).tolist() == expected
    assert not met_pause(began, ended, np.empty(0), np.empty(0)).any()


def test_the_cost_is_what_the_tail_loses_without_them() -> None:
    samples = np.full(1000, 1_000_000)
    samples[:50] = 20_000_000
    met = samples > 1_000_000
    cost = cost_of_pauses(samples, met, 0.99)
    assert cost is not None
    assert (cost.with_ms, cost.without_ms, cost.met_share) == pytest.approx((20.0, 1.0, 0.05))
    assert cost.cost_ms == pytest.approx(19.0)
    assert cost_of_pauses(samples, np.ones(1000, bool), 0.99) is None
