"""Reading by the global sequence number alone, for orderings in which nothing can come before the last."""

from __future__ import annotations

from datetime import datetime

from eventmark.domain import EventBatch, TrackingToken
from eventmark.engine.orderings.ordering import Read, place
from eventmark.engine.records import EventRecord


class NumberReader:
    """Reads what is after the last number seen. Whether that is enough depends on how numbers are drawn."""

    def __init__(self, read: Read, tail: TrackingToken) -> None:
        self._read = read
        self._tail = tail

    async def read_after(self, token: TrackingToken, limit: int, tenant_id: str | None) -> EventBatch:
        if tenant_id is None:
            events = await self._read("stream_events", token.global_sequence, limit)
        else:
            events = await self._read("stream_tenant_events", tenant_id, token.global_sequence, limit)
        if not events:
            return EventBatch((), token)
        return EventBatch(events, place(self._tail, events[-1].global_sequence, tenant_id=tenant_id))

    async def head(self, tenant_id: str | None) -> TrackingToken:
        rows = await self._head_rows(tenant_id)
        return place(self._tail, rows[0][0]) if rows else self._tail

    async def at(self, instant: datetime, tenant_id: str | None) -> TrackingToken:
        head = await self.head(tenant_id)  # first: what comes after this look is after the head as well
        rows = await self._at_rows(instant, tenant_id)
        if not rows:
            return head
        return head.lower_bound(place(self._tail, rows[0][0] - 1))

    async def _head_rows(self, tenant_id: str | None) -> list[EventRecord]:
        return await self._read("create_head_token")

    async def _at_rows(self, instant: datetime, tenant_id: str | None) -> list[EventRecord]:
        return await self._read("create_token_at", instant)
