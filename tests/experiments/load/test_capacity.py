"""The search for capacity, on probes that are made up: it finds what was planted, in bounded time, and confirms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from eventmark.experiments.load.search import (
    CONFIRMATIONS_MAX,
    PRECISION,
    PROBES_MAX,
    Answer,
    Ask,
    find_capacity,
)


def planted(capacity: float, *, above: Answer = Answer.BROKE) -> Ask:
    return lambda rate, confirming: (Answer.HELD, "") if rate <= capacity else (above, "too much")


@pytest.mark.parametrize("capacity", [3.0, 47.0, 500.0, 1234.0, 9_876.0])
@pytest.mark.parametrize("first", [10.0, 500.0, 5000.0])
def test_planted_capacity_is_found_within_its_precision_and_confirmed(capacity: float, first: float) -> None:
    found = find_capacity(planted(capacity), first_per_s=first)
    assert found.rate_per_s is not None
    assert capacity / (1 + PRECISION) * 0.98 <= found.rate_per_s <= capacity
    assert found.beyond is not None and found.beyond.rate_per_s > capacity
    assert not found.at_least
    assert found.probes[-1].confirming and found.probes[-1].answer is Answer.HELD
    steps = abs(math.log2(capacity / first)) + 1 + math.log2(1 / PRECISION) + 2
    assert len(found.probes) <= steps + 2


@pytest.mark.parametrize("bad", [1, 2, 3, 5])
def test_a_bad_moment_in_the_beginning_does_not_bound_the_search(bad: int) -> None:
    counted = itertools.count()

    def ask(rate: float, confirming: bool) -> tuple[Answer, str]:
        held = next(counted) >= bad and rate <= 300.0
        return (Answer.HELD, "") if held else (Answer.UNDECIDED, "")

    found = find_capacity(ask, first_per_s=200.0, probes_max=30)
    assert found.rate_per_s is not None and 300.0 / (1 + PRECISION) * 0.98 <= found.rate_per_s <= 300.0
    assert found.beyond is not None and found.beyond.rate_per_s > 300.0


@pytest.mark.parametrize("capacity", [0.0, 1e-9, 1e12])
def test_the_search_is_bounded_whatever_the_probes_say(capacity: float) -> None:
    found = find_capacity(planted(capacity), first_per_s=100.0)
    assert len(found.probes) <= PROBES_MAX + CONFIRMATIONS_MAX


def test_a_store_that_never_holds_has_no_capacity() -> None:
    found = find_capacity(planted(0.0), first_per_s=100.0)
    assert found.rate_per_s is None
    assert found.held_per_s is None
    assert all(one.answer is Answer.BROKE for one in found.probes)


def test_what_the_generator_ends_is_at_least() -> None:
    found = find_capacity(planted(800.0, above=Answer.GENERATOR), first_per_s=100.0)
    assert found.at_least
    assert found.rate_per_s is not None and found.rate_per_s <= 800.0


def test_the_highest_rate_to_be_tried_is_at_least() -> None:
    found = find_capacity(planted(1e9), first_per_s=100.0, rate_max_per_s=1000.0)
    assert (found.rate_per_s, found.at_least, found.beyond) == (1000.0, True, None)


def test_a_rate_that_is_not_confirmed_is_lowered_until_one_is() -> None:
    """Short probes are too kind: for longer, less holds."""

    def ask(rate: float, confirming: bool) -> tuple[Answer, str]:
        held = rate <= (860.0 if confirming else 1000.0)
        return (Answer.HELD, "") if held else (Answer.BROKE, "")

    found = find_capacity(ask, first_per_s=100.0)
    assert found.rate_per_s is not None and 700 < found.rate_per_s <= 860
    assert next(one.answer for one in found.probes if one.confirming) is Answer.BROKE


@pytest.mark.parametrize("sustained", [100.0, 200.0, 300.0])
def test_where_long_probes_hold_far_less_it_is_found_what_they_hold(sustained: float) -> None:
    found = find_capacity(
        lambda rate, confirming: (
            (Answer.HELD, "") if rate <= (sustained if confirming else 340.0) else (Answer.GENERATOR, "late")
        ),
        first_per_s=100.0,
    )
    assert found.rate_per_s is not None and sustained / 2.5 < found.rate_per_s <= sustained
    assert found.beyond is not None and sustained < found.beyond.rate_per_s <= 2.5 * found.rate_per_s
    assert sum(one.confirming for one in found.probes) <= CONFIRMATIONS_MAX


def test_what_is_never_confirmed_is_never_claimed() -> None:
    found = find_capacity(
        lambda rate, confirming: (Answer.BROKE, "") if confirming or rate > 1000 else (Answer.HELD, ""),
        first_per_s=100.0,
    )
    assert found.rate_per_s is None
    assert found.held_per_s is not None and found.held_per_s > 800
    assert sum(one.confirming for one in found.probes) == CONFIRMATIONS_MAX


def test_noisy_probes_are_never_claimed_without_confirmation() -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        counted = itertools.count()

        def ask(rate: float, confirming: bool, random=random, counted=counted) -> tuple[Answer, str]:  # type: ignore[no-untyped-def]
            next(counted)
            holds = rate <= 1000 * math.exp(random.normal(0, 0.2))
            return (Answer.HELD, "") if holds else (Answer.UNDECIDED, "")

        found = find_capacity(ask, first_per_s=100.0)
        assert next(counted) == len(found.probes) <= PROBES_MAX + CONFIRMATIONS_MAX
        confirmed = [one.rate_per_s for one in found.probes if one.confirming and one.answer is Answer.HELD]
        assert found.rate_per_s == (max(confirmed) if confirmed else None)
        assert (found.confirmed.rate_per_s if found.confirmed else None) == found.rate_per_s


def test_undecided_is_not_held() -> None:
    found = find_capacity(planted(300.0, above=Answer.UNDECIDED), first_per_s=100.0)
    assert found.rate_per_s is not None and found.rate_per_s <= 300.0
    assert not found.at_least
