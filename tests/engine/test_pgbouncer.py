"""Tenants that share server connections through PgBouncer in transaction mode are kept apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from eventmark.engine import ORDERINGS, EventProcessor, PostgresEventStore, install_schema
from eventmark.errors import DuplicateEventError, VersionConflictError
from tests.engine.builders import SCHEMA, new_event, new_events, read_on, stream_of, until
from tests.engine.pgbouncer import SERVER_CONNECTIONS, answers, needs_pgbouncer, pooler

Connection = asyncpg.Connection
pytestmark = needs_pgbouncer
COUNT = f"select count(*) from {SCHEMA}.domain_events"


@pytest.fixture
async def owner(cleared_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(cleared_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def pooled(owner: Connection, cleared_dsn: str) -> AsyncIterator[str]:
    """The DSN of a role that may log in and nothing else, through the pooler."""
    await owner.execute("drop role if exists visitor; create role visitor login password 'secret'")
    with pooler(cleared_dsn, "visitor", "secret") as dsn:
        await until(lambda: answers(dsn))
        yield dsn
    # Its server connections end when it does.
    await until(lambda: owner.fetchval("select count(*) = 0 from pg_stat_activity where usename = 'visitor'"))
    await owner.execute("drop role visitor")


async def install(owner: Connection, ordering: str) -> None:
    await install_schema(owner, SCHEMA, ordering=ordering, row_level_security=True)
    await owner.execute("grant eventmark_appender to visitor")


async def open_pooled(dsn: str) -> PostgresEventStore:
    return await PostgresEventStore.connect(dsn, schema=SCHEMA, pool_max=8, transaction_pooling=True)


async def backends(owner: Connection) -> int:
    count: int = await owner.fetchval("select count(*) from pg_stat_activity where usename = 'visitor'")
    return count


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_row_level_security_keeps_tenants_apart_on_server_connections_they_share(
    owner: Connection, pooled: str, ordering: str
) -> None:
    await install(owner, ordering)
    async with await open_pooled(pooled) as store:
        tail = await store.create_tail_token()
        seen_by_nobody = set()

        async def work(tenant: str) -> None:
            for version in range(6):
                stream = stream_of("same-id", tenant_id=tenant)
                await store.append_events(stream, new_events(1), expected_version=version)
                loaded = await store.load_aggregate(tenant, "same-id")
                assert [event.tenant_id for event in loaded] == [tenant] * (version + 1)
                batch = await store.stream_events(tail, tenant_id=tenant)
                assert {event.tenant_id for event in batch.events} <= {tenant}

        async def look() -> None:
            """What a client sees that says no tenant, on whatever connection it is given."""
            connection = await asyncpg.connect(pooled, statement_cache_size=0)
            for _ in range(30):
                async with connection.transaction():
                    seen_by_nobody.add(await connection.fetchval(COUNT))
            await connection.close()

        await asyncio.gather(look(), *(work(f"tenant-{number}") for number in range(8)))
        assert seen_by_nobody == {0}
        assert await backends(owner) <= SERVER_CONNECTIONS
        assert len((await read_on(store, tail, 6, tenant_id="tenant-3")).events) == 6
    assert await owner.fetchval(COUNT) == 48


async def test_every_operation_works_and_errors_are_the_same(owner: Connection, pooled: str) -> None:
    await install(owner, "horizon")
    await owner.execute("grant eventmark_consumer to visitor")
    async with await open_pooled(pooled) as store:
        event = new_event()
        await store.append_events(stream_of(), [event], expected_version=0)
        with pytest.raises(VersionConflictError) as conflict:
            await store.append_events(stream_of(), new_events(1), expected_version=0)
        assert conflict.value.actual_version == 1
        with pytest.raises(DuplicateEventError):
            await store.append_events(stream_of("b"), [event], expected_version=0)
        async with store.transaction() as transaction:
            await transaction.append_events(stream_of("c"), new_events(2), expected_version=0)
            await transaction.append_events(stream_of("c"), new_events(1), expected_version=2)
        assert len(await store.load_aggregate("acme", "c")) == 3
        assert await store.read_snapshot("acme", "c") is None
        handled = []

        async def handle(events: object, connection: Connection | None) -> None:
            handled.extend(events)  # type: ignore[call-overload]

        processor = EventProcessor(store, "p", handle)
        running = asyncio.create_task(processor.run())
        await until(lambda: count_of(handled, 4))
        late = asyncio.create_task(store.append_events(stream_of("late"), new_events(1), expected_version=0))
        await until(lambda: count_of(handled, 5))  # by polling: nobody listens through a pooler
        await late
        await until(lambda: caught_up(processor))
        processor.stop()
        await running
        assert store.pool.in_use == 0


async def caught_up(processor: EventProcessor) -> bool:
    return (await processor.lag()).numbers == 0


async def count_of(handled: list[object], count: int) -> bool:
    return len(handled) == count


@pytest.mark.parametrize(("planted", "leaks"), [(True, True), (False, False)])
async def test_a_tenant_that_is_set_for_the_session_leaks_into_others_transactions(
    owner: Connection, pooled: str, planted: bool, leaks: bool
) -> None:
    """SET in place of SET LOCAL: what keeps tenants apart above is that a transaction's setting ends with it."""
    await install(owner, "horizon")
    if planted:
        await owner.execute(
            "do $do$ declare one record; begin for one in select pg_get_functiondef(oid) as text from pg_proc"
            f" where pronamespace = '{SCHEMA}'::regnamespace and prosrc like '%set_config%' loop"
            r" execute regexp_replace(one.text, '(set_config\([^)]*), true\)', '\1, false)'); end loop; end $do$"
        )
    async with await open_pooled(pooled) as store:
        for tenant in ("acme", "other"):
            await store.append_events(stream_of(tenant_id=tenant), new_events(2), expected_version=0)
        async with AsyncExitStack() as held:  # one transaction on each of the server's connections
            seen = 0
            for _ in range(SERVER_CONNECTIONS):
                connection = await asyncpg.connect(pooled, statement_cache_size=0)
                held.push_async_callback(connection.close)
                await held.enter_async_context(connection.transaction())
                seen += await connection.fetchval(COUNT)
            assert bool(seen) == leaks
