"""When a snapshot pays, and what a cache answers: held against trying every number, and against a cache by hand."""

from __future__ import annotations

import numpy as np
import pytest

from eventmark.adviser.snapshots import LoadTimes, break_even, cache_effects

BASE_MS, SLOPE_MS = 0.2, 0.004
LOADS = {events: BASE_MS + SLOPE_MS * events for events in (1, 10, 100, 1000)}


def times(read_ms: float | None = 0.3, store_ms: float | None = 2.0) -> LoadTimes:
    return LoadTimes(load_ms=LOADS, read_snapshot_ms=read_ms, store_snapshot_ms=store_ms)


def test_the_line_through_exact_times_is_found() -> None:
    assert times().base_and_slope_ms == pytest.approx((BASE_MS, SLOPE_MS))


@pytest.mark.parametrize("loads_per_event", [0.5, 1.0, 10.0])
@pytest.mark.parametrize("store_ms", [0.1, 2.0, 50.0])
def test_no_other_distance_between_snapshots_costs_less(loads_per_event: float, store_ms: float) -> None:
    found = break_even(times(store_ms=store_ms), loads_per_event=loads_per_event)
    assert found is not None

    def cost_ms(every: int) -> float:
        return loads_per_event * (BASE_MS + SLOPE_MS * every / 2 + 0.3) + store_ms / every

    best = min(range(1, 5000), key=cost_ms)
    assert found.every_events == pytest.approx(best, abs=1)


def test_streams_shorter_than_the_break_even_are_loaded_sooner_whole() -> None:
    found = break_even(times())
    assert found is not None
    with_it_ms = BASE_MS + SLOPE_MS * found.every_events / 2 + 0.3 + 2.0 / found.every_events
    assert BASE_MS + SLOPE_MS * (found.from_events - 1) < with_it_ms
    assert BASE_MS + SLOPE_MS * (found.from_events + 1) > with_it_ms


def test_a_store_without_snapshots_has_no_break_even() -> None:
    assert break_even(times(None, None)) is None


def test_a_cache_answers_what_one_kept_by_hand_answers() -> None:
    random = np.random.default_rng(5)
    loads = [(f"a{number}", int(random.integers(0, 50))) for number in random.zipf(1.5, 3000) % 40]
    for size in (1, 5, 100):
        (found,) = cache_effects(loads, times(), (size,))
        kept: list[str] = []
        hits, saved_ms, total_ms = 0, 0.0, 0.0
        for aggregate, events in loads:
            took_ms = BASE_MS + SLOPE_MS * events
            total_ms += took_ms
            if aggregate in kept:
                hits, saved_ms = hits + 1, saved_ms + took_ms
                kept.remove(aggregate)
            kept = [*kept, aggregate][-size:]
        assert found.hit_share == pytest.approx(hits / len(loads))
        assert found.time_share == pytest.approx(saved_ms / total_ms)
