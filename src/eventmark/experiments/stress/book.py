"""Every append of a stretch with what its writer was told, held against what is stored afterwards.

The invariants and their checker are those of ``verify``; here they are asked of any store, by the columns of its
definition, and of streams that this book has made.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import numpy as np

from eventmark.domain import AppendResult, EventStore, NewEvent, StreamId
from eventmark.engine.statements import quoted_schema
from eventmark.errors import (
    EventStoreError,
    OutcomeUnknownError,
    TransactionOrderError,
    VersionConflictError,
)
from eventmark.results.results import Finding
from eventmark.stores import StoreDefinition
from eventmark.verify import History, Outcome, check
from eventmark.verify.findings import findings
from eventmark.verify.history import ATTEMPT, PART, STORED, event_id, expanded, key_of_id
from eventmark.verify.stored import number_of
from eventmark.workload import Naming

CHECKED = ("I1", "I2", "I3", "I4", "I5", "I6", "I13")
"""Invariants of appends; consumers are not asked here."""

AGGREGATE_TYPE = "Stress"
_NUMBERED = 1 << 30  # streams that are numbered begin here or later, beyond the corpus'
_STREAMS_MAX = 1 << 20
_KEY_BITS = 24
"""Events of one book; its other bits tell books apart, whose events may stand in the same table."""

_BOOK_BITS = 37
_NEVER_SENT = 1 << 62
_PAYLOAD = '{"stress": "a line of text that is as long as most values are", "lines": [1, 2, 3]}'


@dataclass(slots=True)
class Attempt:
    """One transaction's events: (stream, first key, first sequence number, count)."""

    invoked_ns: int = field(default_factory=time.monotonic_ns)
    parts: list[tuple[int, int, int, int]] = field(default_factory=list)


class Book:
    """Appends to streams of its own, through a store or without its client, each written down with its outcome."""

    def __init__(
        self, definition: StoreDefinition, tenants: Sequence[str], naming: Naming | None = None
    ) -> None:
        self._definition = definition
        self._tenants = tuple(tenants)
        self._run = uuid4().hex[:12]  # streams of an earlier run may still be there
        self._form = (naming or Naming()).stream
        self._first = _NUMBERED + secrets.randbelow(_NUMBERED - _STREAMS_MAX)
        self._streams: list[StreamId] = []
        self._next_key = (secrets.randbits(_BOOK_BITS) << _KEY_BITS) + 1
        self._attempts: list[tuple[int, bool, int, int, int]] = []
        self._parts: list[tuple[int, int, int, int, int]] = []
        self._errors: list[str] = []
        self._acknowledged: Counter[int] = Counter()

    def new_stream(self) -> StreamId:
        number = len(self._streams)
        stream = StreamId(
            tenant_id=self._tenants[number % len(self._tenants)],
            aggregate_type=AGGREGATE_TYPE,
            aggregate_id=self._name(number),
        )
        self._streams.append(stream)
        return stream

    def events(self, attempt: Attempt, stream: StreamId, count: int, version: int) -> list[NewEvent]:
        """Events for an attempt, which is to append them after ``version``."""
        first, now = self._next_key, datetime.now(UTC)
        self._next_key += count
        attempt.parts.append((self._number(stream), first, version + 1, count))
        return [
            NewEvent(
                event_id=event_id(key), event_type="Stressed", payload=_PAYLOAD, metadata="{}", timestamp=now,
                payload_type="Stressed",
            )
            for key in range(first, first + count)
        ]  # fmt: skip

    def settle(self, attempt: Attempt, outcome: Outcome) -> None:
        number = len(self._attempts)
        ended_ns = time.monotonic_ns()
        self._attempts.append((outcome, len(attempt.parts) == 1, attempt.invoked_ns, 0, ended_ns))
        self._parts += [(number, *part) for part in attempt.parts]
        if outcome is Outcome.OK:
            for stream, _, _, count in attempt.parts:
                self._acknowledged[stream] += count

    async def append(self, store: EventStore, stream: StreamId, count: int, version: int) -> AppendResult:
        """Append through the store. Raises what the store raises, after it is written down."""
        attempt, outcome = Attempt(), Outcome.FAILED
        events = self.events(attempt, stream, count, version)
        try:
            answer = await store.append_events(stream, events, expected_version=version)
            outcome = Outcome.OK
        except (VersionConflictError, TransactionOrderError):
            outcome = Outcome.CONFLICT
            raise
        except OutcomeUnknownError:
            outcome = Outcome.UNKNOWN
            raise
        except EventStoreError:
            raise
        except BaseException as error:  # cancelled, or of no kind that a store may raise
            outcome = Outcome.UNKNOWN
            if isinstance(error, Exception):
                self._errors.append(f"{type(error).__name__}: {error}"[:300])
            raise
        finally:
            self.settle(attempt, outcome)
        return answer

    def acknowledged(self, stream: StreamId) -> int:
        """Events that their writers were told to be stored in the stream."""
        return self._acknowledged[self._number(stream)]

    async def check(self, connection: asyncpg.Connection[Any], schema: str) -> list[Finding]:
        """One finding per invariant, over everything in the book."""
        parts = np.array(self._parts, PART)
        written = expanded(parts) if len(parts) else expanded(np.empty(0, PART))
        history = History(
            total_order=False, by_number=True, attempts=np.array(self._attempts, ATTEMPT), written=written,
            stored=await self._stored(connection, schema, written), consumptions=[], errors=self._errors,
        )  # fmt: skip
        return [finding for finding in findings(check(history)) if finding.name in CHECKED]

    async def _stored(self, connection: asyncpg.Connection[Any], schema: str, written: Any) -> Any:
        """What the table holds of the book's streams. Where it keeps no event id, an event is known by its place."""
        columns = self._definition.sql_columns
        known = self._definition.takes_event_ids
        sequence, number = (
            number_of(column) for column in (self._definition.sql_sequence, columns["global_sequence_id"])
        )
        rows = await connection.fetch(
            f"select {columns['event_id'] if known else 'null'} as id, {columns['aggregate_id']}::text as aggregate,"
            f" {sequence} as sequence, {number} as number"
            f' from {quoted_schema(schema)}."{self._definition.events_table}"'
            f" where {columns['tenant_id']}::text = any($1) and {columns['aggregate_id']}::text = any($2)",
            sorted({stream.tenant_id for stream in self._streams}),
            [stream.aggregate_id for stream in self._streams],
        )
        places = {stream.aggregate_id: index for index, stream in enumerate(self._streams)}
        by_place = {(int(row["stream"]), int(row["sequence"])): int(row["key"]) for row in self._won(written)}
        stored = np.empty(len(rows), STORED)
        for at, row in enumerate(rows):
            index = places[row["aggregate"]]
            key = key_of_id(row["id"]) if known else by_place.get((index, row["sequence"]), _NEVER_SENT + at)
            stored[at] = (key, index, row["sequence"], 0, row["number"])
        return stored

    def _won(self, written: Any) -> Any:
        """The events of attempts that may be stored."""
        outcomes = np.array([attempt[0] for attempt in self._attempts], "i1")
        return (
            written[np.isin(outcomes[written["attempt"]], (Outcome.OK, Outcome.UNKNOWN))]
            if len(written)
            else []
        )

    def _name(self, number: int) -> str:
        if self._form == "text":
            return f"stress-{self._run}-{number:06d}"
        if self._form == "uuid":
            return f"{self._run[:8]}-{self._run[8:]}-4000-8000-{number:012d}"
        return str(self._first + number)

    def _number(self, stream: StreamId) -> int:
        """The way back from ``_name``."""
        last = int(stream.aggregate_id.rpartition("-")[2])
        return last if self._form in ("text", "uuid") else last - self._first
