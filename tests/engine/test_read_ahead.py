"""Reading ahead: every batch once and in order, its token its own, whatever the ordering and whoever is slower."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventmark.domain import EventBatch, TrackingToken
from eventmark.engine import ORDERINGS, PostgresEventStore, read_ahead
from eventmark.engine.read_ahead import BATCHES_AT_ONCE, ReadAhead
from eventmark.errors import StoreUnavailableError
from tests.engine.builders import new_events, stream_of, until

BATCH = 7


@pytest.fixture(params=[name for name, one in ORDERINGS.items() if one.all_tenants])
def store_ordering(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Reading:
    """The store's reading, which counts what it is asked for."""

    def __init__(self, store: PostgresEventStore) -> None:
        self._store = store
        self.limits: list[int] = []
        self.fails_at = 0
        self.takes_s = 0.0

    async def __call__(self, token: TrackingToken, limit: int) -> EventBatch:
        self.limits.append(limit)
        if len(self.limits) == self.fails_at:
            raise StoreUnavailableError("the server is gone")
        await asyncio.sleep(self.takes_s)
        return await self._store.stream_events(token, limit=limit, wait_s=0.05)


@asynccontextmanager
async def reading_ahead(store: PostgresEventStore, reading: Reading) -> AsyncIterator[ReadAhead]:
    tail = await store.create_tail_token()
    ahead = ReadAhead(reading, tail, batch_events=BATCH, token_after=store.token_after)
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


async def test_many_batches_are_read_at_once_while_there_are_many_and_one_at_the_head(
    store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "READ_S", 60.0)
    await filled(store, 200)
    reading = Reading(store)
    async with reading_ahead(store, reading) as ahead:
        events = 0
        while events < 200:
            batch = await ahead.next()
            assert batch is not None
            events += len(batch.events)
        await until(lambda: _at_the_head(reading))
    most = BATCH if store.ordering.gaps else BATCHES_AT_ONCE * BATCH
    assert reading.limits[0] == reading.limits[-1] == BATCH
    assert max(reading.limits) == most


async def _at_the_head(reading: Reading) -> bool:
    return reading.limits[-1] == BATCH and len(reading.limits) > 2


async def test_of_a_slow_server_batches_are_read_one_by_one(store: PostgresEventStore) -> None:
    await filled(store, 100)
    reading = Reading(store)
    reading.takes_s = 0.03
    async with reading_ahead(store, reading) as ahead:
        for _ in range(10):
            await ahead.next()
    assert set(reading.limits) == {BATCH}


async def test_reading_waits_for_a_handler_that_takes_its_time(store: PostgresEventStore) -> None:
    await filled(store, 500)
    reading = Reading(store)
    async with reading_ahead(store, reading) as ahead:
        await ahead.next()
        await asyncio.sleep(0.3)
        asked = len(reading.limits)
        await asyncio.sleep(0.2)
        assert len(reading.limits) == asked
        assert sum(reading.limits) <= (2 * BATCHES_AT_ONCE + 2) * BATCH


async def test_an_error_of_reading_comes_after_the_batches_that_were_read_before_it(
    store: PostgresEventStore,
) -> None:
    await filled(store, 20)
    reading = Reading(store)
    reading.fails_at = 2
    async with reading_ahead(store, reading) as ahead:
        await asyncio.sleep(0.1)
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
        async with asyncio.timeout(1):
            assert await waiting is None
        assert await ahead.next() is None
