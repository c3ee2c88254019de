"""What was recorded while writers and consumers ran, as arrays: millions of events in tens of megabytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from eventmark.domain import StoredEvent, StreamId, TrackingToken
from eventmark.engine.processor import segment_of_stream

TENANTS = 8
"""Stream n belongs to tenant n modulo this."""

SEGMENTS = 2
"""Shares of the streams; a consumer of one is given its own streams' events alone."""

Table = NDArray[np.void]


class Outcome(IntEnum):
    """How an attempt to write ended, as its writer was told."""

    OK = 0
    CONFLICT = 1
    FAILED = 2  # refused or rolled back
    UNKNOWN = 3  # the connection was lost: all or nothing


# One transaction each. Times are of the monotonic clock, the same for all processes of a machine; commit_ns is when
# the statement that commits was sent.
ATTEMPT = np.dtype(
    [("outcome", "i1"), ("single", "?"), ("invoked_ns", "i8"), ("commit_ns", "i8"), ("ended_ns", "i8")]
)
# What an attempt appended to one stream: count events with consecutive keys and sequence numbers.
PART = np.dtype([("attempt", "i8"), ("stream", "i8"), ("key", "i8"), ("sequence", "i8"), ("count", "i8")])
WRITTEN = np.dtype([("attempt", "i8"), ("stream", "i8"), ("key", "i8"), ("sequence", "i8")])
STORED = np.dtype(
    [("key", "i8"), ("stream", "i8"), ("sequence", "i8"), ("transaction_id", "i8"), ("number", "i8")]
)
DELIVERED = np.dtype([("key", "i8"), ("at_ns", "i8"), ("handled_ns", "i8")])

_KEY_BITS = 64
_ID_BASE = 0x45564D4B_00007000 << _KEY_BITS


def tenant_of(stream: int) -> str:
    return f"tenant-{stream % TENANTS}"


def stream_id(stream: int) -> StreamId:
    """A stream whose aggregate id is a UUID, as stores may ask for; its last twelve digits are the number."""
    return StreamId(
        tenant_id=tenant_of(stream),
        aggregate_type="Hunt",
        aggregate_id=f"00000000-0000-4000-8000-{stream:012d}",
    )


def segment_of_number(stream: int) -> int:
    """Which of ``SEGMENTS`` a stream belongs to."""
    name = stream_id(stream)
    return segment_of_stream(name.tenant_id, name.aggregate_id, SEGMENTS)


def event_id(key: int) -> UUID:
    """The id of the event with a key (1 to 2^63 - 1)."""
    return UUID(int=_ID_BASE | key)


def key_of(event_id: UUID) -> int:
    """The key of an event by its id."""
    return event_id.int & ((1 << _KEY_BITS) - 1)


def key_of_event(event: StoredEvent) -> int:
    """By its id, or by its payload where the store does not answer with ids."""
    try:
        found: object = event.event_id
    except KeyError:
        return int(event.payload()["key"])
    return key_of(found if isinstance(found, UUID) else UUID(str(found)))


@dataclass(slots=True)
class WriterLog:
    """What one writer process did. ``errors`` are of no kind that a store may raise."""

    attempts: Table = field(default_factory=lambda: np.empty(0, ATTEMPT))
    parts: Table = field(default_factory=lambda: np.empty(0, PART))
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0  # at full speed
    cpu_s: float = 0.0


@dataclass(slots=True)
class Consumption:
    """What one consumer was given, in that order.

    ``start`` is its first token, ``made_ns`` when it had it; ``tenant`` None reads all tenants, ``segment`` None
    all streams. ``foreign`` counts events of other tenants, ``tokens_back`` tokens that were before the one
    asked with.
    """

    name: str
    tenant: int | None
    start: TrackingToken
    made_ns: int
    delivered: Table
    segment: int | None = None
    foreign: int = 0
    tokens_back: int = 0
    caught_up: bool = True
    errors: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class History:
    """Everything that is known about one hunt. ``damaged`` counts stored events that are not as they were sent."""

    total_order: bool
    by_number: bool
    attempts: Table
    written: Table
    stored: Table
    consumptions: list[Consumption]
    damaged: int = 0
    replay_differences: int = 0
    errors: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Everything but the summary counts, for a look with numpy."""
        delivered: dict[str, Any] = {
            f"delivered_{consumption.name}": consumption.delivered for consumption in self.consumptions
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path, attempts=self.attempts, written=self.written, stored=self.stored, **delivered
        )


def joined(logs: Sequence[WriterLog]) -> tuple[Table, Table]:
    """The attempts of all writers one after the other, and every event written with the place of its attempt."""
    attempts = [log.attempts for log in logs]
    parts = []
    before = 0
    for log in logs:
        own = log.parts.copy()
        own["attempt"] += before
        parts.append(own)
        before += len(log.attempts)
    return np.concatenate(attempts), expanded(np.concatenate(parts))


def expanded(parts: Table) -> Table:
    """One row per event."""
    counts = parts["count"]
    written = np.empty(int(counts.sum()), WRITTEN)
    within = np.arange(len(written)) - np.repeat(np.cumsum(counts) - counts, counts)
    for name in ("attempt", "stream"):
        written[name] = np.repeat(parts[name], counts)
    for name in ("key", "sequence"):
        written[name] = np.repeat(parts[name], counts) + within
    return written
