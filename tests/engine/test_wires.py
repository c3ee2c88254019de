"""Wires that are cut at any message, slow, silent or half open: whole or absent, typed, within the deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from eventmark.engine import EventProcessor, GroupAppender, PostgresEventStore
from eventmark.errors import (
    DuplicateEventError,
    OutcomeUnknownError,
    StoreUnavailableError,
    VersionConflictError,
)
from tests.engine.builders import DEADLINE_S, SCHEMA, new_events, row_count, stream_of, until
from tests.engine.proxy import Proxy

Connection = asyncpg.Connection
OPERATION_TIMEOUT_S = 0.7


@asynccontextmanager
async def wired(dsn: str) -> AsyncIterator[tuple[Proxy, PostgresEventStore]]:
    """A store behind a proxy, its one connection open and its statement prepared."""
    async with (
        Proxy(dsn) as proxy,
        await PostgresEventStore.connect(
            proxy.dsn, schema=SCHEMA, pool_max=1, notify=False, operation_timeout_s=OPERATION_TIMEOUT_S
        ) as store,
    ):
        await store.append_events(stream_of("warm"), new_events(1), expected_version=0)
        yield proxy, store


async def others_gone(connection: Connection) -> bool:
    """Whether the server has noticed that its clients are gone, so that what they asked for is decided."""
    return not await connection.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and application_name = 'eventmark'"
    )


# An append is Bind, Execute, Sync, answered by BindComplete, DataRow, CommandComplete, ReadyForQuery.
@pytest.mark.parametrize(
    ("direction", "count", "stored"),
    [("requests", 0, False), ("requests", 1, False), ("requests", 2, None), ("requests", 3, True)]
    + [("answers", count, True) for count in range(4)],
)
async def test_an_append_cut_after_any_message_is_resolved_by_its_event_ids(
    dsn: str, connection: Connection, direction: str, count: int, stored: bool | None
) -> None:
    async with wired(dsn) as (proxy, store):
        batch = new_events(3)
        proxy.cut_after(**{direction: count})
        with pytest.raises(OutcomeUnknownError) as unknown:
            await store.append_events(stream_of(), batch, expected_version=0)
        assert proxy.was_cut.is_set()
        assert unknown.value.event_ids == tuple(event.event_id for event in batch)
        await until(lambda: others_gone(connection))
        found = await store.find_events("acme", unknown.value.event_ids)
        assert len(found) in (0, 3)
        assert stored is None or bool(found) == stored
        try:
            await store.append_events(stream_of(), batch, expected_version=0)
            assert not found
        except (VersionConflictError, DuplicateEventError):
            assert found
        loaded = await store.load_aggregate("acme", "a-1")
        assert [event.event_id for event in loaded] == [event.event_id for event in batch]


# BEGIN, then Bind, Execute, Sync, then COMMIT. What was said before COMMIT is no unknown outcome.
@pytest.mark.parametrize(
    ("direction", "count", "unknown"),
    [("requests", count, False) for count in range(5)]
    + [("requests", 5, True)]
    + [("answers", count, False) for count in range(6)]
    + [("answers", 6, True), ("answers", 7, True)],
)
async def test_a_transaction_cut_after_any_message_is_whole_or_absent_and_states_what_it_knows(
    dsn: str, connection: Connection, direction: str, count: int, unknown: bool
) -> None:
    async with wired(dsn) as (proxy, store):
        batch = new_events(2)
        proxy.cut_after(**{direction: count})
        expected = OutcomeUnknownError if unknown else StoreUnavailableError
        with pytest.raises(expected):
            async with store.transaction() as transaction:
                await transaction.append_events(stream_of(), batch, expected_version=0)
        assert proxy.was_cut.is_set()
        await until(lambda: others_gone(connection))
        found = await store.find_events("acme", [event.event_id for event in batch])
        assert len(found) in ((0, 2) if unknown else (0,))
        assert store.pool.in_use == 0


async def test_a_slow_wire_changes_nothing_but_the_time(dsn: str) -> None:
    async with Proxy(dsn) as proxy, await PostgresEventStore.connect(proxy.dsn, notify=False) as store:
        proxy.delay_s = 0.02
        batches = [new_events(2) for _ in range(3)]
        for version, batch in enumerate(batches):
            await store.append_events(stream_of(), batch, expected_version=2 * version)
        async with store.transaction() as transaction:
            await transaction.append_events(stream_of("b"), new_events(1), expected_version=0)
        with pytest.raises(VersionConflictError):
            await store.append_events(stream_of(), new_events(1), expected_version=5)
        loaded = await store.load_aggregate("acme", "a-1")
        assert [event.event_id for event in loaded] == [e.event_id for batch in batches for e in batch]


@asynccontextmanager
async def silent(proxy: Proxy, how: str) -> AsyncIterator[None]:
    """A wire on which nothing is answered: stalled in one direction, or its other end gone."""
    if how == "half open":
        proxy.leave_half_open()
        yield
        return
    getattr(proxy, how).clear()
    yield
    getattr(proxy, how).set()
    proxy.cut()


@pytest.mark.parametrize("how", ["requests", "answers", "half open"])
async def test_on_a_silent_wire_everything_ends_at_its_deadline_with_a_typed_error(
    dsn: str, connection: Connection, how: str
) -> None:
    """One after the other, each on a connection that was good before."""
    batch = new_events(2)

    async def transact(store: PostgresEventStore) -> None:
        async with store.transaction() as transaction:
            await transaction.append_events(stream_of(), new_events(1), expected_version=0)

    async def group(store: PostgresEventStore) -> None:
        async with GroupAppender(store) as appender:
            await appender.append_events(stream_of(), batch, expected_version=0)

    async def process(store: PostgresEventStore) -> None:
        await EventProcessor(store, "p", ignore, transactional=False).run()

    for operation, expected in (
        (lambda store: store.append_events(stream_of(), batch, expected_version=0), OutcomeUnknownError),
        (group, OutcomeUnknownError),
        (transact, StoreUnavailableError),
        (lambda store: store.load_aggregate("acme", "a-1"), StoreUnavailableError),
        (process, StoreUnavailableError),
    ):
        async with wired_again(dsn) as (proxy, store):
            async with silent(proxy, how):
                with pytest.raises(expected) as ended:
                    async with asyncio.timeout(DEADLINE_S):
                        await operation(store)  # type: ignore[no-untyped-call]
                assert how == "half open" or "in time" in str(ended.value)
            proxy.requests.set()
            assert store.pool.in_use == 0
    await until(lambda: others_gone(connection))
    assert await row_count(connection) in (0, 2)


async def test_a_session_that_the_server_has_ended_unnoticed_is_a_typed_error_and_not_used_again(
    dsn: str, connection: Connection
) -> None:
    """The driver has been told why it ends, and not yet that it has ended: it takes nothing, in words of its own."""
    async with wired(dsn) as (proxy, store):
        proxy.hides_ends = True
        (session,) = store.pool._idle
        await connection.execute("select pg_terminate_backend($1)", session.connection.get_server_pid())
        await until(lambda: others_gone(connection))
        with pytest.raises((OutcomeUnknownError, StoreUnavailableError)):
            await store.append_events(stream_of(), new_events(1), expected_version=0)
        await store.append_events(stream_of(), new_events(1), expected_version=0)
        assert store.pool.in_use == 0


async def ignore(*_: object) -> None: ...


@asynccontextmanager
async def wired_again(dsn: str) -> AsyncIterator[tuple[Proxy, PostgresEventStore]]:
    """As ``wired``, writing nothing."""
    async with (
        Proxy(dsn) as proxy,
        await PostgresEventStore.connect(
            proxy.dsn, schema=SCHEMA, pool_max=1, notify=False, operation_timeout_s=OPERATION_TIMEOUT_S
        ) as store,
    ):
        await store.read_snapshot("acme", "a-1")
        yield proxy, store
