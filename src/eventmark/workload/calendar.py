"""When tenants are active: months of history, business hours, quiet nights and weekends, by time zone.

Activity is a density over the hours of the history. Its integral, running from 0 to 1, is a tenant's
operational time: what is spread evenly over it is busy at noon and quiet at night.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np

HISTORY_START = datetime(2025, 1, 6, tzinfo=UTC)
HISTORY_WEEKS = 26
WEEKEND_ACTIVITY = 0.2
_HOURS = HISTORY_WEEKS * 7 * 24
_MICROSECONDS_PER_HOUR = 3_600_000_000

# Relative activity by local hour: night, morning rise, lunch dip, afternoon, evening fall.
_HOURS_OF_DAY = np.array(
    [2, 1, 1, 1, 1, 2, 5, 15, 45, 85, 100, 95, 75, 85, 95, 90, 80, 60, 35, 22, 15, 10, 6, 4], dtype=float
)


class Calendar:
    """The history's hours and how active each time zone is in them."""

    def __init__(self, time_zones: Sequence[str], weights: Sequence[float]) -> None:
        self._weights = dict(zip(time_zones, [0.0] * len(time_zones), strict=True))
        for zone, weight in zip(time_zones, weights, strict=True):
            self._weights[zone] += weight

    @cached_property
    def _activity(self) -> dict[str, np.ndarray]:
        return {zone: _activity_of(ZoneInfo(zone)) for zone in self._weights}

    @cached_property
    def _overall(self) -> np.ndarray:
        parts = [weight * self._activity[zone] for zone, weight in self._weights.items()]
        return _running_share(np.sum(parts, axis=0))

    def slice_hours(self, part: int, parts: int) -> tuple[float, float]:
        """Begin and end, in hours since the history's start, of one of ``parts`` equally active slices."""
        hours = np.arange(_HOURS + 1)
        begin, end = np.interp([part / parts, (part + 1) / parts], self._overall, hours)
        return float(begin), float(end)

    def operational_time(self, time_zone: str, hours: Sequence[float]) -> np.ndarray:
        """Operational time, 0..1, at ``hours`` since the history's start."""
        return np.asarray(np.interp(hours, np.arange(_HOURS + 1), self._operational[time_zone]))

    def microseconds_at(self, time_zone: str, operational: np.ndarray) -> np.ndarray:
        """Microseconds since the history's start at points of operational time."""
        hours = np.interp(operational, self._operational[time_zone], np.arange(_HOURS + 1))
        return np.asarray(hours * _MICROSECONDS_PER_HOUR, dtype=np.float64).astype(np.int64)

    @cached_property
    def _operational(self) -> dict[str, np.ndarray]:
        return {zone: _running_share(activity) for zone, activity in self._activity.items()}


def _activity_of(zone: ZoneInfo) -> np.ndarray:
    """Relative activity of each hour of the history, summing to 1."""
    local = [(HISTORY_START + timedelta(hours=hour)).astimezone(zone) for hour in range(_HOURS)]
    activity = np.array(
        [_HOURS_OF_DAY[at.hour] * (WEEKEND_ACTIVITY if at.weekday() >= 5 else 1.0) for at in local]
    )
    return np.asarray(activity / activity.sum())


def _running_share(activity: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(activity) / activity.sum()])
