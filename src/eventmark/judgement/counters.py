"""Counters compared: work that does not depend on how fast the machine is, so that it gates on any.

A counter may still wobble by what no statement decides: on which page a row came to lie, where an index page
split, whether a page was written whole after a checkpoint. For each such reason there is a tolerance with a
name; what has no reason to wobble has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from eventmark.results.results import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Two counts are the same when they differ by at most ``share`` of the base plus ``units``."""

    name: str
    share: float
    units: float
    reason: str

    def allows(self, base: float, candidate: float) -> bool:
        return abs(candidate - base) <= self.share * abs(base) + self.units + 1e-9 * abs(base)


EXACT = Tolerance(name="exact", share=0.0, units=0.0, reason="nothing but the statement decides it")
PER_CALL = Tolerance(
    name="per call", share=0.01, units=0.0, reason="a call under way at a snapshot's edge is counted or not"
)
PAGE_PLACES = Tolerance(
    name="page places", share=0.05, units=1.0,
    reason="where rows and index entries came to lie: a page more or fewer, one in twenty where there are many",
)  # fmt: skip
WAL_RECORDS = Tolerance(
    name="WAL records", share=0.10, units=0.5, reason="page splits and their clean-up come when they come"
)
PAGE_IMAGES = Tolerance(
    name="page images", share=0.50, units=1024.0,
    reason="the first change of a page after a checkpoint writes the page whole",
)  # fmt: skip
PLAN_PLACES = Tolerance(
    name="plan places", share=0.25, units=1.0,
    reason="one execution with one stream's pages: another stream, or another load, has them elsewhere",
)  # fmt: skip

WORK_TOLERANCES: Mapping[str, Tolerance] = {
    "statements": PER_CALL,
    "rows": PER_CALL,
    "buffers": PAGE_PLACES,
    "wal_records": WAL_RECORDS,
    "wal_bytes": PAGE_IMAGES,
}
"""Of an operation, per call."""

PLAN_TOLERANCES: Mapping[str, Tolerance] = {
    "buffers_per_row": PLAN_PLACES,
    "rows_removed_per_row": PLAN_PLACES,
    "sorts": EXACT,
    "seq_scans": EXACT,
    "temp_buffers": PLAN_PLACES,
}
"""Of a plan, per execution."""


class Change(StrEnum):
    """What became of a count: less work is better."""

    MORE = "more"
    FEWER = "fewer"
    SAME = "same"


class CounterChange(Document, frozen=True, kw_only=True):
    """One counter of both sides, and the tolerance they were compared with."""

    name: str
    base: float
    candidate: float
    change: Change
    tolerance: str

    @property
    def described(self) -> str:
        """``buffers 1 234 → 4 321 (page places)`` in plain words."""
        return f"{self.name.replace('_', ' ')} {self.base:.6g} before, {self.candidate:.6g} now"


def compare_counters(
    base: Mapping[str, float], candidate: Mapping[str, float], tolerances: Mapping[str, Tolerance]
) -> list[CounterChange]:
    """Those that both sides have, in the order of ``tolerances``; buffers hit and read are one counter."""
    left, right = with_buffers(base), with_buffers(candidate)
    return [
        counter_change(name, left[name], right[name], tolerance)
        for name, tolerance in tolerances.items()
        if name in left and name in right
    ]


def counter_change(name: str, base: float, candidate: float, tolerance: Tolerance) -> CounterChange:
    change = Change.MORE if candidate > base else Change.FEWER
    if tolerance.allows(base, candidate):
        change = Change.SAME
    return CounterChange(name=name, base=base, candidate=candidate, change=change, tolerance=tolerance.name)


def with_buffers(work: Mapping[str, float]) -> dict[str, float]:
    """Pages touched, whether they were in shared buffers or not: which of both is the cache's affair."""
    values = dict(work)
    parts = [values[name] for name in ("shared_hit_buffers", "shared_read_buffers") if name in values]
    if parts:
        values["buffers"] = sum(parts)
    return values
