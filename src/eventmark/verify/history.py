"""What was recorded while writers and consumers ran, as arrays: millions of events in tens of megabytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from eventmark.domain import NewEvent, StoredEvent, StreamId, TrackingToken
from eventmark.engine.processor import segment_of_stream
from eventmark.workload import ONLY_TENANT, Naming

TENANTS = 8
"""Stream n belongs to tenant n modulo this."""

SEGMENTS = 2
"""Shares of the streams; a consumer of one is given its own streams' events alone."""

Table = NDArray[np.void]
_NAMING = Naming()


class Outcome(IntEnum):
    """How an attempt to write ended, as its writer was told."""

    OK = 0
    CONFLICT = 1
    FAILED = 2  # refused or rolled back
    UNKNOWN = 3  # the connection was lost: all or nothing


# One transaction each. Times are of the monotonic clock of the machine that asked; commit_ns is when
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

STRANGER = 0
"""The key of an event that the hunt's writers did not make."""

NO_STREAM = -1
"""The number of a stream that is none of the hunt's."""

KEY_MAX = (1 << 63) - 1
ID_PREFIX = "45564d4b00007000"  # of every event id, as hexadecimal digits: the first half
AGGREGATE_PREFIX = "00000000-0000-4000-8000-"
TENANT_PREFIX = "tenant-"
TENANT_ID_PREFIX = "00000000-0000-4000-9000-"  # where tenants are UUIDs

_KEY_BITS = 64
_ID_HIGH = int(ID_PREFIX, 16)


def tenant_of(stream: int, naming: Naming = _NAMING) -> str:
    number = stream % TENANTS
    if naming.tenant == "none":
        return ONLY_TENANT
    if naming.tenant == "uuid":
        return f"{TENANT_ID_PREFIX}{number:012d}"
    return f"{TENANT_PREFIX}{number}" if naming.tenant == "text" else str(number + 1)


def stream_id(stream: int, naming: Naming = _NAMING) -> StreamId:
    """A stream, its ids of the types that the store keeps.

    ``TENANTS`` streams in a row, one of each tenant, have the same aggregate id: a store that does not keep
    tenants apart mixes them up. Without tenants each has its own.
    """
    number = stream if naming.tenant == "none" else stream // TENANTS
    is_uuid = naming.stream in ("text", "uuid")
    return StreamId(
        tenant_id=tenant_of(stream, naming),
        aggregate_type="Hunt",
        aggregate_id=f"{AGGREGATE_PREFIX}{number:012d}" if is_uuid else str(number + 1),
    )


def segment_of_number(stream: int) -> int:
    """Which of ``SEGMENTS`` a stream belongs to."""
    name = stream_id(stream)
    return segment_of_stream(name.tenant_id, name.aggregate_id, SEGMENTS)


def event_id(key: int) -> UUID:
    """The id of the event with a key (1 to ``KEY_MAX``)."""
    return UUID(int=(_ID_HIGH << _KEY_BITS) | key)


def payload_of(key: int) -> dict[str, object]:
    """The payload of the event with a key; ``stored.count_damaged`` has the server make the same."""
    digest = hashlib.md5(str(key).encode(), usedforsecurity=False).hexdigest()
    return {"key": key, "text": digest * (key % 8)}


def new_event(key: int) -> NewEvent:
    """The event with a key, as every writer makes it."""
    return NewEvent(
        event_id=event_id(key), event_type="Hunted", payload=payload_of(key), metadata={},
        timestamp=datetime.now(UTC), payload_type="Hunted",
    )  # fmt: skip


def _key_of(event_id: UUID) -> int:
    """The key of an event by its id; ``STRANGER`` where ``event_id`` did not make it."""
    high, key = divmod(event_id.int, 1 << _KEY_BITS)
    return key if high == _ID_HIGH and key <= KEY_MAX else STRANGER


def key_of_event(event: StoredEvent) -> int:
    """By its id, or by its payload where the store does not answer with the ids that it was given.

    ``STRANGER`` for whatever else a store delivers: it is counted, and never ends the hunt.
    """
    try:
        key = key_of_id(event.event_id)
    except KeyError:
        key = STRANGER
    return key or _key_of_payload(event)


def is_foreign(event: StoredEvent, tenant_id: str) -> bool:
    """Whether it says to be another tenant's. One that does not say is found by where it is stored."""
    try:
        return str(event.tenant_id).rstrip() != tenant_id  # char(n) is filled up with spaces
    except KeyError:
        return False


def key_of_id(value: object) -> int:
    """The key of an event by its id in whatever form a store answers with it."""
    try:
        if isinstance(value, bytes):
            return _key_of(UUID(bytes=value))
        return _key_of(value if isinstance(value, UUID) else UUID(str(value)))
    except ValueError:
        return STRANGER


def _key_of_payload(event: StoredEvent) -> int:
    try:
        key = event.payload()["key"]
    except (
        KeyError,
        TypeError,
        IndexError,
        ValueError,
        msgspec.MsgspecError,
    ):  # not a document of the hunt's
        return STRANGER
    return key if type(key) is int and 0 < key <= KEY_MAX else STRANGER


@dataclass(slots=True)
class WriterLog:
    """What one writer process did. ``errors`` are of no kind that a store may raise; ``refused`` is the last append
    that failed, in the store's words.
    """

    attempts: Table = field(default_factory=lambda: np.empty(0, ATTEMPT))
    parts: Table = field(default_factory=lambda: np.empty(0, PART))
    errors: list[str] = field(default_factory=list)
    refused: str = ""
    seconds: float = 0.0  # at full speed
    cpu_s: float = 0.0


@dataclass(slots=True)
class Consumption:
    """What one consumer was given, in that order.

    ``start`` is its first token, ``made_ns`` when it had it; ``tenant`` None reads all tenants, ``segment`` None
    all streams. ``foreign`` counts events of other tenants, ``tokens_back`` tokens that were before the one
    asked with. ``cut_off`` is how often the server ended a read that was then made again. ``ended`` says why a
    consumer gave up, with ``last`` as its token: it was to be given nothing beyond.
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
    cut_off: int = 0
    ended: str = ""
    last: TrackingToken | None = None
    errors: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class History:
    """Everything that is known about one hunt. ``damaged`` counts stored events that are not as they were sent;
    ``refused`` is an append that failed, in the store's words.

    ``alone``: nobody but the hunt writes to the store. ``has_transaction_ids``: what is stored as such is
    the id of the whole transaction, not of a part of it. ``doubt_ns``: how wrong a time may be to another, where they
    were read on the clocks of several machines: what rests on which was first counts where it is sure.
    """

    total_order: bool
    by_number: bool
    alone: bool = True
    has_transaction_ids: bool = False
    attempts: Table
    written: Table
    stored: Table
    consumptions: list[Consumption]
    doubt_ns: int = 0
    damaged: int = 0
    replay_differences: int = 0
    errors: list[str] = field(default_factory=list)
    refused: str = ""

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
