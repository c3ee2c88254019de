"""How much memory a large answer takes: events streamed in one call by a fresh process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from eventmark.domain import GlobalSequence, TransactionId
from eventmark.errors import CannotRunError, EventStoreError
from eventmark.experiments.scale.steps import LargeRead
from eventmark.stores import find_store, open_store
from eventmark.workers import own_peak_rss_mib

EVENTS = (1_000, 10_000, 100_000)
"""Of one call; the last is the most that a call may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeReadTask:
    """What travels to a worker. ``place``: transaction id and number after which there are ``events``."""

    dsn: str
    store: str
    schema: str
    events: int
    place: tuple[int, int]


def places_for(positions: Sequence[tuple[int, int]], volume: int) -> dict[int, tuple[int, int]]:
    """From where to read each number of events: late in the log, with as many left to read."""
    places = {}
    for events in EVENTS:
        before = [position for position in positions if position[1] <= volume - events]
        if events <= volume:
            places[events] = before[-1] if before else (0, 0)
    return places


async def run_large_read(task: LargeReadTask) -> LargeRead:
    """Run in a fresh process. Raises ``CannotRunError``."""
    try:
        return await _read(task)
    except EventStoreError as error:
        raise CannotRunError(f"{task.events:,} events could not be read: {error}") from None


async def _read(task: LargeReadTask) -> LargeRead:
    store = await open_store(find_store(task.store), task.dsn, schema=task.schema, pool_max=1)
    try:
        token = await store.create_tail_token()
        await store.stream_events(
            token, limit=1
        )  # what the first call brings into memory is not the answer's
        transaction_id, number = task.place
        place = replace(
            token, transaction_id=TransactionId(transaction_id), global_sequence=GlobalSequence(number)
        )
        before_mib, began_s = own_peak_rss_mib(), time.monotonic()
        batch = await store.stream_events(place, limit=task.events)
        seconds = time.monotonic() - began_s
        return LargeRead(
            events=len(batch.events), seconds=seconds, peak_mib=max(own_peak_rss_mib() - before_mib, 0.0)
        )
    finally:
        await store.close()
