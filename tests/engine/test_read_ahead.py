"""Reading ahead: every batch once and in order, its token its own, whatever the ordering and whoever is slower."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventmark.domain import EventBatch, TrackingToken
from eventmark.engine import ORDERINGS, PostgresEventStore
from eventmark.engine.read_ahead import BATCHES_WAITING, ReadAhead
from eventmark.errors import StoreUnavailableError
from tests.engine.builders import DEADLINE_S, new_events, stream_of, until
from tests.engine.test_processor import later

BATCH = 7


@pytest.fixture(params=[name for name, one in ORDERINGS.items() if one.all_tenants])
def store_ordering(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Reading:
    """The store's reading, which counts what it is asked for."""

    def __init__(self, store: PostgresEventStore) -> None:
        self._store = store
        self.asked = 0
        self.fails_at = 0

    async def __call__(self, token: TrackingToken) -> EventBatch:
        self.asked += 1
        if self.asked == self.fails_at:
            raise StoreUnavailableError("the server is gone")
        return await self._store.stream_events(token, limit=BATCH, wait_s=0.05)


@asynccontextmanager
async def reading_ahead(store: PostgresEventStore, reading: Reading) -> AsyncIterator[ReadAhead]:
    tail = await store.create_tail_token()
    ahead = ReadAhead(reading, tail)
    try:
        yield ahead
    finally:
        await ahead.close()


async def filled(store: PostgresEventStore, events: int) -> None:
    for number in range(events // 10):
        await store.append_events(stream_of(f"s-{number}"), new_events(10), expected_version=0)


async def test_each_batch_comes_once_in_order_and_its_token_goes_on_right_after_it(
    store: PostgresEventStore,
) -> None:
    await filled(store, 200)
    everything = (await store.stream_events(await store.create_tail_token(), limit=1000)).events
    seen = []
    async with reading_ahead(store, Reading(store)) as ahead:
        while len(seen) < 200:
            batch = await ahead.next()
            assert batch is not None
            assert len(batch.events) <= BATCH
            seen += [event.event_id for event in batch.events]
            after = await store.stream_events(batch.token, limit=1)
            assert [event.event_id for event in after.events] == [
                event.event_id for event in everything[len(seen) : len(seen) + 1]
            ]
    assert seen == [event.event_id for event in everything]


async def test_reading_waits_for_a_handler_that_takes_its_time(store: PostgresEventStore) -> None:
    await filled(store, 500)
    reading = Reading(store)
    async with reading_ahead(store, reading) as ahead:
        await ahead.next()
        await until(lambda: later(reading.asked == 1 + BATCHES_WAITING))  # the one taken, and those that wait
        await asyncio.sleep(0.2)
        assert reading.asked == 1 + BATCHES_WAITING


async def test_an_error_of_reading_comes_after_the_batches_that_were_read_before_it(
    store: PostgresEventStore,
) -> None:
    await filled(store, 20)
    reading = Reading(store)
    reading.fails_at = 2
    async with reading_ahead(store, reading) as ahead:
        await until(lambda: later(reading.asked == 2))
        first = await ahead.next()
        assert first is not None
        assert len(first.events) == BATCH
        with pytest.raises(StoreUnavailableError):
            await ahead.next()


async def test_ended_it_gives_nothing_more_and_wakes_who_waits(store: PostgresEventStore) -> None:
    async with reading_ahead(store, Reading(store)) as ahead:
        assert (await ahead.next()) is not None  # the empty answer of an empty log
        waiting = asyncio.create_task(ahead.next())
        await asyncio.sleep(0)
        ahead.end()
        async with asyncio.timeout(DEADLINE_S):
            assert await waiting is None
        assert await ahead.next() is None
