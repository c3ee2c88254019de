"""Appends and the caller's own statements in one transaction: all or nothing, and never silently nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore
from eventmark.errors import (
    DuplicateEventError,
    InvalidEventError,
    OutcomeUnknownError,
    StoreUnavailableError,
    VersionConflictError,
)
from tests.engine.builders import (
    SCHEMA,
    every_ordering,
    new_event,
    new_events,
    row_count,
    stream_of,
    until,
    waiting_backend,
)
from tests.engine.proxy import Proxy

Connection = asyncpg.Connection


@pytest.fixture
async def notes(connection: Connection) -> None:
    await connection.execute("create table notes (text text primary key deferrable initially deferred)")


async def note(connection: Connection, text: str) -> None:
    await connection.execute("insert into notes values ($1)", text)


async def unused(store: PostgresEventStore) -> bool:
    return store.pool.in_use == 0


async def stored(store: PostgresEventStore, aggregate_id: str = "a-1") -> list[UUID]:
    return [event.event_id for event in await store.load_aggregate("acme", aggregate_id)]


@every_ordering
async def test_appends_and_own_statements_are_stored_together_when_the_block_is_left(
    store: PostgresEventStore, connection: Connection, notes: None
) -> None:
    one, two, three = new_events(3)
    async with store.transaction() as transaction:
        first = await transaction.append_events(stream_of(), [one], expected_version=0)
        second = await transaction.append_events(stream_of(), [two], expected_version=1)
        third = await transaction.append_events(stream_of("b"), [three], expected_version=0)
        await note(transaction.connection, "kept")
        assert await row_count(connection) == 0
    assert (first.last_sequence_number, second.last_sequence_number) == (1, 2)
    assert first.transaction_id == second.transaction_id == third.transaction_id
    assert await stored(store) == [one.event_id, two.event_id]
    assert await connection.fetchval("select count(*) from notes") == 1
    await until(lambda: unused(store))  # a notification may be on its way


@every_ordering
async def test_an_exception_in_the_block_stores_nothing_and_comes_through(
    store: PostgresEventStore, connection: Connection, notes: None
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as transaction:
            await transaction.append_events(stream_of(), new_events(2), expected_version=0)
            await note(transaction.connection, "lost")
            raise ZeroDivisionError
    assert await row_count(connection) == 0
    assert await connection.fetchval("select count(*) from notes") == 0
    assert store.pool.in_use == 0
    await store.append_events(stream_of(), new_events(1), expected_version=0)


async def test_an_error_that_is_swallowed_does_not_turn_into_a_silent_rollback(
    store: PostgresEventStore, connection: Connection
) -> None:
    """The server answers COMMIT with ROLLBACK and no error: what was appended before would be gone unsaid."""
    event = new_event()
    with pytest.raises(StoreUnavailableError, match="nothing was written"):
        async with store.transaction() as transaction:
            await transaction.append_events(stream_of(), [event], expected_version=0)
            with pytest.raises(DuplicateEventError):
                await transaction.append_events(stream_of("b"), [event], expected_version=0)
    assert await row_count(connection) == 0
    assert store.pool.in_use == 0


@every_ordering
async def test_a_savepoint_confines_an_error(store: PostgresEventStore) -> None:
    event = new_event()
    async with store.transaction() as transaction:
        await transaction.append_events(stream_of(), [event], expected_version=0)
        with pytest.raises(DuplicateEventError):
            async with transaction.connection.transaction():
                await transaction.append_events(stream_of("b"), [event], expected_version=0)
    assert await stored(store) == [event.event_id]


@every_ordering
async def test_a_conflict_or_a_refused_input_leaves_the_transaction_usable(store: PostgresEventStore) -> None:
    async with store.transaction() as transaction:
        await transaction.append_events(stream_of(), new_events(2), expected_version=0)
        with pytest.raises(VersionConflictError) as conflict:
            await transaction.append_events(stream_of(), new_events(1), expected_version=1)
        assert conflict.value.actual_version == 2
        with pytest.raises(InvalidEventError):
            await transaction.append_events(stream_of(), [], expected_version=2)
        await transaction.append_events(stream_of(), new_events(1), expected_version=2)
    assert len(await stored(store)) == 3


@every_ordering
async def test_a_race_that_the_statement_could_not_see_is_a_conflict_even_on_the_only_connection(
    dsn: str, connection: Connection
) -> None:
    async with (
        await PostgresEventStore.connect(dsn, pool_max=1, acquire_timeout_s=1) as store,
        await PostgresEventStore.connect(dsn) as other,
    ):
        async with other.transaction() as winner:
            await winner.append_events(stream_of(), new_events(2), expected_version=0)

            async def lose() -> None:
                async with store.transaction() as loser:
                    await loser.append_events(stream_of(), new_events(1), expected_version=0)

            losing = asyncio.create_task(lose())
            await waiting_backend(connection)
        with pytest.raises(VersionConflictError) as conflict:
            await losing
        assert conflict.value.actual_version == 2
        assert store.pool.in_use == 0
        await store.append_events(stream_of(), new_events(1), expected_version=2)


async def test_a_commit_that_is_refused_is_an_error_and_stores_nothing(
    store: PostgresEventStore, connection: Connection, notes: None
) -> None:
    await note(connection, "there")
    with pytest.raises(StoreUnavailableError, match="commit was refused"):
        async with store.transaction() as transaction:
            await transaction.append_events(stream_of(), new_events(1), expected_version=0)
            await note(transaction.connection, "there")  # found out at the commit
    assert await row_count(connection) == 0
    assert store.pool.in_use == 0


async def test_a_connection_lost_before_the_commit_wrote_nothing_and_reports_it(
    store: PostgresEventStore, connection: Connection
) -> None:
    with pytest.raises(StoreUnavailableError):
        async with store.transaction() as transaction:
            await transaction.append_events(stream_of(), new_events(1), expected_version=0)
            pid = transaction.connection.get_server_pid()
            await connection.execute("select pg_terminate_backend($1, 5000)", pid)
            await transaction.append_events(stream_of(), new_events(1), expected_version=1)
    assert await row_count(connection) == 0
    assert store.pool.in_use == 0


@pytest.mark.parametrize("direction", ["requests", "answers"])
async def test_a_connection_lost_during_the_commit_is_an_unknown_outcome(
    dsn: str, connection: Connection, direction: str
) -> None:
    event = new_event()
    async with (
        Proxy(dsn) as proxy,
        await PostgresEventStore.connect(proxy.dsn, schema=SCHEMA, pool_max=1, notify=False) as store,
    ):

        async def write() -> None:
            async with store.transaction() as transaction:
                await transaction.append_events(stream_of(), [event], expected_version=0)
                getattr(proxy, direction).clear()

        writing = asyncio.create_task(write())
        await proxy.held.wait()
        proxy.cut()
        with pytest.raises(OutcomeUnknownError) as unknown:
            await writing
        assert unknown.value.event_ids == (event.event_id,)
        assert await row_count(connection) == (1 if direction == "answers" else 0)
        assert store.pool.in_use == 0


async def test_a_cancelled_block_stores_nothing_and_gives_its_connection_back(
    store: PostgresEventStore, connection: Connection
) -> None:
    entered = asyncio.Event()

    async def write() -> None:
        async with store.transaction() as transaction:
            await transaction.append_events(stream_of(), new_events(1), expected_version=0)
            entered.set()
            await asyncio.Event().wait()

    writing = asyncio.create_task(write())
    await entered.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert store.pool.in_use == 0
    assert await row_count(connection) == 0


async def test_consumers_are_woken_by_a_committed_transaction(store: PostgresEventStore) -> None:
    token = await store.create_tail_token()
    waiting = asyncio.create_task(store.stream_events(token, wait_s=20))
    await asyncio.sleep(0)
    async with store.transaction() as transaction:
        await transaction.append_events(stream_of(), new_events(1), expected_version=0)
    assert len((await waiting).events) == 1


async def test_an_unknown_outcome_names_no_event_that_was_rolled_back_to_a_savepoint(dsn: str) -> None:
    kept, undone, after, later = new_events(4)
    async with (
        Proxy(dsn) as proxy,
        await PostgresEventStore.connect(proxy.dsn, schema=SCHEMA, pool_max=1, notify=False) as store,
    ):
        with pytest.raises(OutcomeUnknownError) as unknown:
            async with store.transaction() as transaction:
                await transaction.append_events(stream_of(), [kept], expected_version=0)
                with suppress(LookupError):
                    async with transaction.connection.transaction():
                        await transaction.append_events(stream_of(), [undone], expected_version=1)
                        raise LookupError
                async with transaction.connection.transaction():
                    await transaction.append_events(stream_of(), [after], expected_version=1)
                await transaction.connection.execute("savepoint mine")
                await transaction.append_events(stream_of("b"), new_events(2), expected_version=0)
                await transaction.connection.execute("rollback to savepoint mine;")
                await transaction.append_events(stream_of("b"), [later], expected_version=0)
                await transaction.connection.execute("rollback to mine")
                await transaction.append_events(stream_of("c"), [later], expected_version=0)
                await transaction.connection.execute("release mine")
                proxy.cut()
        assert unknown.value.event_ids == (kept.event_id, after.event_id, later.event_id)
