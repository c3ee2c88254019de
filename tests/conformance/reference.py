"""An event store that anybody can check by reading: lists and dictionaries, one thing at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec

from eventmark.domain import (
    AppendResult,
    Capabilities,
    EventBatch,
    GlobalSequence,
    NewEvent,
    SequenceNumber,
    Snapshot,
    StreamId,
    TrackingToken,
    TransactionId,
)
from eventmark.domain.tokens import tenant_mark
from eventmark.errors import (
    DuplicateEventError,
    InvalidEventError,
    SnapshotRefusedError,
    TokenRefusedError,
    VersionConflictError,
)


@dataclass(frozen=True)
class Stored:
    """An event where it was put."""

    stream: StreamId
    event: NewEvent
    sequence_number: SequenceNumber
    global_sequence: GlobalSequence

    def __getattr__(self, name: str) -> Any:
        return getattr(
            self.stream if name in ("tenant_id", "aggregate_type", "aggregate_id") else self.event, name
        )

    def payload(self) -> Any:
        return self.event.payload


class ReferenceStore:
    """The port, in memory. Nothing is concurrent, so that every order is the same order."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.log: list[Stored] = []
        self.snapshots: dict[tuple[str, str], Snapshot] = {}
        self._store_id = uuid4()

    async def append_events(
        self, stream: StreamId, events: Sequence[NewEvent], *, expected_version: int
    ) -> AppendResult:
        if not events or len({event.event_id for event in events}) < len(events):
            raise InvalidEventError("an empty batch, or an event id twice")
        actual = len(self._of(stream.tenant_id, stream.aggregate_id))
        if actual != expected_version:
            raise VersionConflictError(
                tenant_id=stream.tenant_id, aggregate_id=stream.aggregate_id,
                expected_version=expected_version, actual_version=actual,
            )  # fmt: skip
        known: set[tuple[str, UUID]] = {(one.stream.tenant_id, one.event.event_id) for one in self.log}
        if any((stream.tenant_id, event.event_id) in known for event in events):
            raise DuplicateEventError(
                tenant_id=stream.tenant_id, event_ids=tuple(event.event_id for event in events)
            )
        for event in events:
            self.log.append(
                Stored(stream, event, SequenceNumber(actual := actual + 1), GlobalSequence(len(self.log) + 1))
            )
        return AppendResult(
            last_sequence_number=SequenceNumber(actual),
            last_global_sequence=GlobalSequence(len(self.log)),
            transaction_id=TransactionId(0),
        )

    async def load_aggregate(
        self, tenant_id: str, aggregate_id: str, *, from_sequence: int = 1
    ) -> Sequence[Stored]:
        return [one for one in self._of(tenant_id, aggregate_id) if one.sequence_number >= from_sequence]

    async def stream_events(
        self, token: TrackingToken, *, limit: int = 1000, tenant_id: str | None = None, wait_s: float = 0.0
    ) -> EventBatch:
        if token.store_id != self._store_id:
            raise TokenRefusedError("the token belongs to another store")
        if token.tenant and (tenant_id is None or token.tenant != tenant_mark(tenant_id)):
            raise TokenRefusedError("the token is of one tenant's events")
        after = [
            one
            for one in self.log[token.global_sequence :]
            if tenant_id is None or one.stream.tenant_id == tenant_id
        ][:limit]
        if not after:
            return EventBatch((), token)
        mark = 0 if tenant_id is None else tenant_mark(tenant_id)
        return EventBatch(after, replace(self._token(after[-1].global_sequence), tenant=mark))  # type: ignore[arg-type]

    async def store_snapshot(self, snapshot: Snapshot) -> None:
        key = (snapshot.stream.tenant_id, snapshot.stream.aggregate_id)
        older = self.snapshots.get(key)
        if snapshot.sequence_number > len(self._of(*key)) or (
            older is not None and older.sequence_number > snapshot.sequence_number
        ):
            raise SnapshotRefusedError("beyond the stream's end, or older than the one stored")
        text = (
            snapshot.payload
            if isinstance(snapshot.payload, str)
            else msgspec.json.encode(snapshot.payload).decode()
        )
        self.snapshots[key] = Snapshot(
            stream=snapshot.stream, sequence_number=snapshot.sequence_number, payload=text,
            payload_type=snapshot.payload_type, timestamp=snapshot.timestamp,
        )  # fmt: skip

    async def read_snapshot(self, tenant_id: str, aggregate_id: str) -> Snapshot | None:
        return self.snapshots.get((tenant_id, aggregate_id))

    async def create_tail_token(self) -> TrackingToken:
        return self._token(0)

    async def create_head_token(self, *, tenant_id: str | None = None) -> TrackingToken:
        return self._token(len(self.log))

    async def create_token_at(self, instant: datetime, *, tenant_id: str | None = None) -> TrackingToken:
        following = [one.global_sequence for one in self.log if one.event.timestamp >= instant]
        return self._token(min(following) - 1 if following else len(self.log))

    async def close(self) -> None: ...

    def _of(self, tenant_id: str, aggregate_id: str) -> list[Stored]:
        return [
            one
            for one in self.log
            if (one.stream.tenant_id, one.stream.aggregate_id) == (tenant_id, aggregate_id)
        ]

    def _token(self, number: int) -> TrackingToken:
        return TrackingToken(self._store_id, 1, TransactionId(0), GlobalSequence(number))
