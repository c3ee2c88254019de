"""Counters: the same within a tolerance that has a name, or more, or fewer."""

from __future__ import annotations

import pytest

from eventmark.judgement.counters import (
    EXACT,
    PAGE_PLACES,
    PLAN_TOLERANCES,
    WORK_TOLERANCES,
    Change,
    compare_counters,
    counter_change,
)


@pytest.mark.parametrize(
    ("base", "candidate", "change"),
    [(1000, 1000, Change.SAME), (1000, 1050, Change.SAME), (1000, 1060, Change.MORE), (1000, 900, Change.FEWER),
     (3, 4, Change.SAME), (3, 5, Change.MORE), (0, 1, Change.SAME), (0, 2, Change.MORE)],
)  # fmt: skip
def test_pages_may_lie_elsewhere_but_not_be_more(base: float, candidate: float, change: Change) -> None:
    assert counter_change("buffers", base, candidate, PAGE_PLACES).change is change


def test_what_has_no_reason_to_wobble_has_no_tolerance() -> None:
    assert counter_change("sorts", 0, 1, EXACT).change is Change.MORE
    assert counter_change("sorts", 1e9, 1e9 + 0.5, EXACT).change is Change.SAME  # the sum of many fractions


def test_pages_hit_and_pages_read_are_one_counter() -> None:
    """Which of both is the cache's affair: a cold run does no more work than a warm one."""
    warm = {"shared_hit_buffers": 900.0, "shared_read_buffers": 0.0, "rows": 1000.0}
    cold = {"shared_hit_buffers": 100.0, "shared_read_buffers": 800.0, "rows": 1000.0}
    assert [one.change for one in compare_counters(warm, cold, WORK_TOLERANCES)] == [Change.SAME, Change.SAME]


def test_only_what_both_have_is_compared_and_times_never_are() -> None:
    base = {"rows": 1.0, "wal_bytes": 100.0, "execution_ms": 1.0}
    found = compare_counters(base, {"rows": 2.0, "execution_ms": 50.0}, WORK_TOLERANCES)
    assert [(one.name, one.change) for one in found] == [("rows", Change.MORE)]


def test_every_tolerance_shows_its_reason() -> None:
    for tolerance in (*WORK_TOLERANCES.values(), *PLAN_TOLERANCES.values()):
        assert tolerance.name and tolerance.reason
