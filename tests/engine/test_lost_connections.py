"""Cancelled, terminated, timed out, cut: an append is whole, absent or unknown, and the pool recovers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore, sessions
from eventmark.errors import AlreadyStoredError, OutcomeUnknownError, StoreUnavailableError
from tests.engine.builders import (
    DEADLINE_S,
    SCHEMA,
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
async def single(dsn: str) -> AsyncIterator[PostgresEventStore]:
    """A store with one connection, so that one that is not given back is missed at once."""
    async with await PostgresEventStore.connect(
        dsn, schema=SCHEMA, pool_max=1, acquire_timeout_s=5, notify=False
    ) as opened:
        yield opened


@asynccontextmanager
async def locked_events(dsn: str) -> AsyncIterator[Connection]:
    """Holds the events' table against everybody else."""
    holder = await asyncpg.connect(dsn)
    try:
        async with holder.transaction():
            await holder.execute(f"lock table {SCHEMA}.domain_events in access exclusive mode")
            yield holder
    finally:
        await holder.close()


async def test_a_cancelled_append_writes_nothing_and_leaves_the_pool_usable(
    single: PostgresEventStore, connection: Connection, dsn: str
) -> None:
    async with locked_events(dsn):
        append = asyncio.create_task(single.append_events(stream_of(), new_events(3), expected_version=0))
        await waiting_backend(connection)
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append
        assert single.pool.in_use == 0
    await single.append_events(stream_of("a-2"), new_events(2), expected_version=0)
    assert len(await single.load_aggregate("acme", "a-2")) == 2


async def test_an_append_cancelled_by_the_callers_deadline_leaves_the_pool_usable(
    single: PostgresEventStore, dsn: str
) -> None:
    async with locked_events(dsn):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await single.append_events(stream_of(), new_events(3), expected_version=0)
    await single.append_events(stream_of("a-2"), new_events(2), expected_version=0)
    assert single.pool.in_use == 0


async def test_an_append_whose_coroutine_is_closed_leaves_no_busy_connection_behind(
    single: PostgresEventStore, dsn: str
) -> None:
    await single.append_events(stream_of("warm"), new_events(1), expected_version=0)
    async with locked_events(dsn):
        append = single.append_events(stream_of(), new_events(3), expected_version=0)
        append.send(None)  # up to its wait for the answer
        append.close()
        assert await single.read_snapshot("acme", "a-1") is None
    await single.append_events(stream_of("a-2"), new_events(2), expected_version=0)


async def test_a_terminated_append_has_an_unknown_outcome_and_the_pool_recovers(
    single: PostgresEventStore, connection: Connection, dsn: str
) -> None:
    batch = new_events(3)
    async with locked_events(dsn) as holder:
        append = asyncio.create_task(single.append_events(stream_of(), batch, expected_version=0))
        await connection.execute("select pg_terminate_backend($1)", await waiting_backend(holder))
        with pytest.raises(OutcomeUnknownError) as unknown:
            await append
        assert unknown.value.event_ids == tuple(event.event_id for event in batch)
        assert single.pool.in_use == 0
    assert await row_count(connection) == 0
    await single.append_events(stream_of(), batch, expected_version=0)
    assert await row_count(connection) == 3


async def test_an_idle_connection_that_was_terminated_is_not_used_again(
    single: PostgresEventStore, connection: Connection
) -> None:
    await single.append_events(stream_of(), [new_event()], expected_version=0)
    (session,) = single.pool._idle
    await connection.execute("select pg_terminate_backend($1)", session.connection.get_server_pid())

    async def is_closed() -> bool:
        return session.connection.is_closed()

    await until(is_closed)
    await single.append_events(stream_of(), [new_event()], expected_version=1)


async def test_a_cancelled_statement_wrote_nothing_and_keeps_its_connection(
    single: PostgresEventStore, connection: Connection, dsn: str
) -> None:
    async with locked_events(dsn) as holder:
        append = asyncio.create_task(single.append_events(stream_of(), new_events(3), expected_version=0))
        await connection.execute("select pg_cancel_backend($1)", await waiting_backend(holder))
        with pytest.raises(StoreUnavailableError, match="cancel"):
            await append
        assert (single.pool.in_use, len(single.pool._idle)) == (0, 1)
    assert await row_count(connection) == 0


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
async def test_a_timeout_of_the_servers_wrote_nothing(dsn: str, connection: Connection, setting: str) -> None:
    async with await PostgresEventStore.connect(f"{dsn}?{setting}=100ms", schema=SCHEMA) as store:
        async with locked_events(dsn):
            with pytest.raises(StoreUnavailableError, match="timeout"):
                await store.append_events(stream_of(), new_events(3), expected_version=0)
        assert await row_count(connection) == 0
        await store.append_events(stream_of(), new_events(3), expected_version=0)


async def test_a_transaction_that_takes_longer_than_the_server_lets_it_wrote_nothing(
    dsn: str, connection: Connection
) -> None:
    if connection.get_server_version().major < 17:
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    async with await PostgresEventStore.connect(f"{dsn}?transaction_timeout=200ms", schema=SCHEMA) as store:
        async with locked_events(dsn):
            # The server hangs up, and the driver does not tell that from a connection lost.
            with pytest.raises(OutcomeUnknownError, match="transaction timeout"):
                await store.append_events(stream_of(), new_events(3), expected_version=0)
        assert (await row_count(connection), store.pool.in_use) == (0, 0)
        await store.append_events(stream_of(), new_events(3), expected_version=0)


async def test_a_transaction_that_is_idle_for_longer_than_the_server_lets_it_wrote_nothing(
    dsn: str, connection: Connection
) -> None:
    setting = "idle_in_transaction_session_timeout=100ms"
    async with await PostgresEventStore.connect(f"{dsn}?{setting}", schema=SCHEMA) as store:
        with pytest.raises(StoreUnavailableError):
            async with store.transaction() as transaction:
                await transaction.append_events(stream_of(), new_events(3), expected_version=0)
                await asyncio.sleep(0.3)
                await transaction.append_events(stream_of(), new_events(3), expected_version=3)
        assert (await row_count(connection), store.pool.in_use) == (0, 0)
        await store.append_events(stream_of(), new_events(3), expected_version=0)


async def test_a_deadlock_ends_in_a_typed_error_and_all_or_nothing(
    store: PostgresEventStore, connection: Connection, dsn: str
) -> None:
    """The append holds its first event id and waits for the second; the other way round the other one."""
    ours, theirs = new_events(2)
    other = await asyncpg.connect(dsn)
    await other.execute("set deadlock_timeout = '10s'")  # so that the append is the one that is chosen
    transaction = other.transaction()
    await transaction.start()
    insert = (
        f"insert into {SCHEMA}.domain_events (sequence_number, expected_version, timestamp_utc, event_id,"
        " tenant_id, stream_id, aggregate_type, aggregate_id, event_type, payload_type, payload_revision,"
        " payload, metadata) values (1, 0, now(), $1, 'acme', 'Order:b', 'Order', $2, 'E', 'E', '1', '{}',"
        " '{}')"
    )
    await other.execute(insert, theirs.event_id, "b-1")
    append = asyncio.create_task(store.append_events(stream_of(), [ours, theirs], expected_version=0))
    await waiting_backend(connection)
    crossing = asyncio.create_task(other.execute(insert, ours.event_id, "b-2"))
    with pytest.raises(StoreUnavailableError, match="deadlock"):
        await append
    await crossing
    await transaction.commit()
    await other.close()
    assert await store.load_aggregate("acme", "a-1") == []
    assert await row_count(connection) == 2


async def test_an_answer_lost_after_the_commit_is_unknown_and_a_retry_doubles_nothing(
    dsn: str, connection: Connection
) -> None:
    async with (
        Proxy(dsn) as proxy,
        await PostgresEventStore.connect(proxy.dsn, schema=SCHEMA, pool_max=1, notify=False) as store,
    ):
        await store.append_events(stream_of("warm"), new_events(1), expected_version=0)
        batch = new_events(3)
        proxy.answers.clear()
        append = asyncio.create_task(store.append_events(stream_of(), batch, expected_version=0))
        await until(lambda: _is_stored(connection))
        proxy.cut()
        with pytest.raises(OutcomeUnknownError) as unknown:
            await append
        assert unknown.value.event_ids == tuple(event.event_id for event in batch)
        proxy.answers.set()
        found = await store.find_events("acme", unknown.value.event_ids)
        assert [event.event_id for event in found] == [event.event_id for event in batch]
        assert not await store.find_events("another", unknown.value.event_ids)
        with pytest.raises(AlreadyStoredError) as stored:
            await store.append_events(stream_of(), batch, expected_version=0)
        assert (stored.value.last_sequence_number, stored.value.last_global_sequence) == (
            found[-1].sequence_number,
            found[-1].global_sequence,
        )
        loaded = await store.load_aggregate("acme", "a-1")
        assert [event.event_id for event in loaded] == [event.event_id for event in batch]


async def _is_stored(connection: Connection) -> bool:
    return await row_count(connection) > 1


async def test_a_request_lost_on_its_way_is_unknown_and_writes_nothing(
    dsn: str, connection: Connection
) -> None:
    async with (
        Proxy(dsn) as proxy,
        await PostgresEventStore.connect(proxy.dsn, schema=SCHEMA, pool_max=1, notify=False) as store,
    ):
        await store.append_events(stream_of("warm"), new_events(1), expected_version=0)
        proxy.requests.clear()
        append = asyncio.create_task(store.append_events(stream_of(), new_events(3), expected_version=0))
        await proxy.held.wait()
        proxy.cut()
        with pytest.raises(OutcomeUnknownError) as unknown:
            await append
        proxy.requests.set()
        assert not await store.find_events("acme", unknown.value.event_ids)
        assert await row_count(connection) == 1
        await store.append_events(stream_of(), new_events(3), expected_version=0)


async def test_on_a_server_that_is_silent_an_operation_ends_at_its_callers_deadline(dsn: str) -> None:
    async with Proxy(dsn) as proxy:
        store = await PostgresEventStore.connect(proxy.dsn, schema=SCHEMA, pool_max=1, notify=False)
        token = await store.create_tail_token()
        for operation in (
            lambda: store.append_events(stream_of(), new_events(1), expected_version=0),
            lambda: store.load_aggregate("acme", "a-1"),
            lambda: store.stream_events(token, wait_s=10),
        ):
            proxy.answers.clear()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(DEADLINE_S), asyncio.timeout(0.2) as callers:
                    await operation()  # type: ignore[no-untyped-call]
            assert callers.expired()
            proxy.answers.set()
            await store.read_snapshot("acme", "a-1")
        await store.close()


async def test_closing_the_store_does_not_wait_for_a_server_that_is_silent(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "CLOSE_TIMEOUT_S", 0.2)
    async with Proxy(dsn) as proxy:
        store = await PostgresEventStore.connect(
            proxy.dsn, schema=SCHEMA, pool_min=2, acquire_timeout_s=2 * DEADLINE_S
        )
        token = await store.create_tail_token()
        await store.stream_events(token, wait_s=0.01)
        proxy.requests.clear()
        proxy.answers.clear()
        async with asyncio.timeout(DEADLINE_S):
            await store.close()
        assert store.pool.in_use == 0
