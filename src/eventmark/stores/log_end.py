"""Where a log ends, also of a store that has no statement for it."""

from __future__ import annotations

from eventmark.domain import EventStore, TrackingToken

_BATCH_EVENTS = 10_000


async def end_of_log(store: EventStore, tenant_id: str | None = None) -> TrackingToken:
    """The token of a consumer that has been given everything: the head's, or where reading from the tail ends.

    ``tenant_id``: whose events are read where they have to be.
    """
    if store.capabilities.head_token:
        return await store.create_head_token()
    token = await store.create_tail_token()
    while True:
        batch = await store.stream_events(token, limit=_BATCH_EVENTS, tenant_id=tenant_id)
        if not batch.events:
            return token
        token = batch.token
