"""Order by transaction id, read below the oldest transaction still running: nothing can come before it.

The price: a transaction that stays open, anywhere in the cluster, makes consumers wait. They never skip.
"""

from __future__ import annotations

from datetime import datetime

from eventmark.domain import EventBatch, TrackingToken
from eventmark.engine.orderings.ordering import Ordering, Read, place


class HorizonReader:
    """Reads in the order of (transaction id, global sequence), below the horizon."""

    def __init__(self, read: Read, tail: TrackingToken) -> None:
        self._read = read
        self._tail = tail

    async def read_after(self, token: TrackingToken, limit: int, tenant_id: str | None) -> EventBatch:
        after = (token.transaction_id, token.global_sequence, limit)
        if tenant_id is None:
            events = await self._read("stream_events", *after)
        else:
            events = await self._read("stream_tenant_events", tenant_id, *after)
        if not events:
            return EventBatch((), token)
        last = events[-1]
        return EventBatch(events, self._place(last["transaction_id"], last["global_sequence_id"], tenant_id))

    async def head(self, tenant_id: str | None) -> TrackingToken:
        rows = await self._read("create_head_token")
        return self._place(*rows[0]) if rows else self._tail

    async def at(self, instant: datetime, tenant_id: str | None) -> TrackingToken:
        token = await self._at(instant)
        if token is not None:
            return token
        head = await self.head(tenant_id)
        # An event that came between the two looks may be before the head and yet follow the instant.
        token = await self._at(instant)
        return head if token is None else head.lower_bound(token)

    async def _at(self, instant: datetime) -> TrackingToken | None:
        rows = await self._read("create_token_at", instant)
        if not rows:
            return None
        transaction_id, number = rows[0]
        return self._place(transaction_id, number - 1)

    def _place(self, transaction_id: int, number: int, tenant_id: str | None = None) -> TrackingToken:
        return place(self._tail, number, transaction_id=transaction_id, tenant_id=tenant_id)


HORIZON = Ordering(
    name="horizon",
    description="by transaction id, below the oldest transaction still running",
    lossless=True,
    total_order=True,
    all_tenants=True,
    by_transaction_id=True,
    directories=("horizon",),
    reader=HorizonReader,
)
