"""When a snapshot pays, and what a cache of aggregates would save: from measured times and the corpus' own run.

Whoever appends loads the aggregate first. So the log, read in its order, is the order of loads as well.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CACHE_SIZES = (100, 1000, 10_000)
"""Aggregates that a cache holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTimes:
    """Milliseconds, medians through the store's interface. ``load_ms`` by events loaded; None: no snapshots."""

    load_ms: Mapping[int, float]
    read_snapshot_ms: float | None
    store_snapshot_ms: float | None

    @property
    def base_and_slope_ms(self) -> tuple[float, float]:
        """What any load takes, and each event of it, by least squares."""
        events = np.array(list(self.load_ms), float)
        slope, base = np.polyfit(events, np.array(list(self.load_ms.values())), 1)
        return max(float(base), 0.0), max(float(slope), 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """``every_events`` between snapshots costs least; streams of ``from_events`` and more gain by them."""

    every_events: int
    from_events: int


def break_even(times: LoadTimes, *, loads_per_event: float = 1.0) -> BreakEven | None:
    """For an aggregate that is loaded so many times for each event appended; None without snapshots.

    With a snapshot every k events, a load reads it and k/2 events on average, and each event bears a k-th of
    what storing one takes: least where k is the square root of twice that over what an event's loading takes.
    Without, a load reads the whole stream.
    """
    if times.read_snapshot_ms is None or times.store_snapshot_ms is None:
        return None
    base_ms, slope_ms = times.base_and_slope_ms
    every = max(math.sqrt(2 * times.store_snapshot_ms / (loads_per_event * slope_ms)), 1.0)
    with_it_ms = (
        base_ms
        + slope_ms * every / 2
        + times.read_snapshot_ms
        + times.store_snapshot_ms / every / loads_per_event
    )
    return BreakEven(
        every_events=round(every), from_events=math.ceil(max((with_it_ms - base_ms) / slope_ms, 1.0))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEffect:
    """Of a cache of ``aggregates``: the share of loads it answers, and of the time that loads take."""

    aggregates: int
    hit_share: float
    time_share: float


def cache_effects(
    loads: Iterable[tuple[str, int]], times: LoadTimes, sizes: Sequence[int] = CACHE_SIZES
) -> list[CacheEffect]:
    """What caches that forget the least recently used would have answered. ``loads``: aggregate and its length."""
    base_ms, slope_ms = times.base_and_slope_ms
    caches: list[OrderedDict[str, None]] = [OrderedDict() for _ in sizes]
    hits, saved_ms = [0] * len(sizes), [0.0] * len(sizes)
    count, total_ms = 0, 0.0
    for aggregate, events in loads:
        took_ms = base_ms + slope_ms * events
        count, total_ms = count + 1, total_ms + took_ms
        for index, (cache, size) in enumerate(zip(caches, sizes, strict=True)):
            if aggregate in cache:
                hits[index] += 1
                saved_ms[index] += took_ms
                cache.move_to_end(aggregate)
            else:
                cache[aggregate] = None
                if len(cache) > size:
                    cache.popitem(last=False)
    return [
        CacheEffect(
            aggregates=size, hit_share=hits[index] / max(count, 1), time_share=saved_ms[index] / max(total_ms, 1e-9)
        )
        for index, size in enumerate(sizes)
    ]  # fmt: skip
