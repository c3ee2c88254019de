"""The port: what the proving ground asks of an event store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from eventmark.domain.events import (
    GlobalSequence,
    NewEvent,
    SequenceNumber,
    StoredEvent,
    StreamId,
    TransactionId,
)
from eventmark.domain.snapshots import Snapshot
from eventmark.domain.tokens import TrackingToken

LACKING = {
    "snapshots": "the store keeps no snapshots",
    "all_tenants_stream": "the store has no stream_events.sql",
    "tenant_stream": "the store has no stream_tenant_events.sql",
    "tokens": "the store has neither stream_events.sql nor stream_tenant_events.sql",
    "head_token": "the store has no create_head_token.sql",
    "token_at": "the store has no create_token_at.sql",
    "expected_version": "append_events.sql takes no expected version",
}
"""Why what needs a capability cannot be done on a store that has not got it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store can do. What it cannot is skipped in every experiment, with the reason that ``lack`` gives."""

    snapshots: bool = True
    all_tenants_stream: bool = True
    tenant_stream: bool = True
    head_token: bool = True
    token_at: bool = True
    expected_version: bool = True

    @property
    def tokens(self) -> bool:
        """Whether consumers can continue after the last event that they handled."""
        return self.all_tenants_stream or self.tenant_stream

    def lack(self, *needed: str) -> str:
        """Why something that needs all of these cannot be done; empty when it can."""
        return next((LACKING[name] for name in needed if not getattr(self, name)), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendResult:
    """Where a batch went: its last sequence number, its last global sequence, its transaction."""

    last_sequence_number: SequenceNumber
    last_global_sequence: GlobalSequence
    transaction_id: TransactionId


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events in the store's order, and the token to go on from (the one asked with, when empty)."""

    events: Sequence[StoredEvent]
    token: TrackingToken


class EventStore(Protocol):
    """The storage operations, as coroutines. Errors are the ``EventStoreError`` branch of ``errors``.

    ``async with store`` closes it.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

    async def append_events(
        self, stream: StreamId, events: Sequence[NewEvent], *, expected_version: int
    ) -> AppendResult:
        """Append ``events`` to ``stream`` atomically, if its version is ``expected_version`` (0: new)."""
        ...

    async def load_aggregate(
        self, tenant_id: str, aggregate_id: str, *, from_sequence: int = 1
    ) -> Sequence[StoredEvent]:
        """The aggregate's events from ``from_sequence`` on, in order; empty when there are none."""
        ...

    async def stream_events(
        self,
        token: TrackingToken,
        *,
        limit: int = 1000,
        tenant_id: str | None = None,
        wait_s: float = 0.0,
    ) -> EventBatch:
        """At most ``limit`` events after ``token``, of one tenant or of all.

        With ``wait_s`` above 0, an empty answer is withheld until an event comes or the time is over.
        """
        ...

    async def store_snapshot(self, snapshot: Snapshot) -> None: ...

    async def read_snapshot(self, tenant_id: str, aggregate_id: str) -> Snapshot | None:
        """The latest snapshot, or None."""
        ...

    async def create_tail_token(self) -> TrackingToken:
        """Before the first event."""
        ...

    async def create_head_token(self) -> TrackingToken:
        """After every event that a consumer could have been given by now, and after no other."""
        ...

    async def create_token_at(self, instant: datetime) -> TrackingToken:
        """Before the events whose timestamps are at or after ``instant``, as far as times rise along the log.

        A consumer may be given earlier events as well. How far an event may stand from its place in time without being
        missed is for the store to define.
        """
        ...

    async def close(self) -> None: ...
