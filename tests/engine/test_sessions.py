"""Whatever a role's, a database's or a server's defaults are, the engine's sessions have what they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from eventmark.domain import StoredEvent
from eventmark.engine import EventProcessor, PostgresEventStore
from eventmark.engine.pool import Pool
from eventmark.errors import CannotRunError, StoreUnavailableError
from tests.engine.builders import SCHEMA, every_ordering, new_events, read_on, stream_of, until
from tests.engine.pgbouncer import answers, needs_pgbouncer, pooler

Connection = asyncpg.Connection
SNAPSHOT_ISOLATIONS = ["repeatable read", "serializable"]
FORMATS = {
    "DateStyle": "German",
    "TimeZone": "Asia/Kathmandu",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "default_transaction_deferrable": "on",
}


@asynccontextmanager
async def defaults(connection: Connection, settings: dict[str, str]) -> AsyncIterator[None]:
    """A role that opens the store from now on, with these defaults for its sessions."""
    await connection.execute(
        "drop role if exists visitor; create role visitor login password 'secret';"
        f"grant usage, create on schema {SCHEMA} to visitor;"
        f"grant all on all tables in schema {SCHEMA} to visitor;"
        f"grant all on all sequences in schema {SCHEMA} to visitor"
    )
    for name, value in settings.items():
        await connection.execute(f"alter role visitor set {name} to {value if ',' in value else repr(value)}")
    yield
    await until(
        lambda: connection.fetchval("select count(*) = 0 from pg_stat_activity where usename = 'visitor'")
    )
    await connection.execute("drop owned by visitor; drop role visitor")


def as_visitor(dsn: str) -> str:
    return dsn.partition("://")[0] + "://visitor:secret@" + dsn.rpartition("@")[2]


async def progress_of_a_slow_handler(store: PostgresEventStore) -> list[StoredEvent]:
    """What a processor has handled whose handler is slower than its lease's third, so that it is prolonged."""
    await store.append_events(stream_of(), new_events(3), expected_version=0)
    handled: list[StoredEvent] = []

    async def handle(events: Sequence[StoredEvent], connection: Connection | None) -> None:
        assert connection is not None
        await connection.fetchval("select 1")  # the transaction's snapshot, where it has one
        await asyncio.sleep(0.4)
        handled.extend(events)

    processor = EventProcessor(store, "slow", handle, lease_s=0.6, batch_events=2)
    running = asyncio.create_task(processor.run())

    async def is_through() -> bool:
        return running.done() or processor.events_handled == 3

    await until(is_through)
    processor.stop()
    await running
    return handled


@pytest.mark.parametrize("isolation", SNAPSHOT_ISOLATIONS)
async def test_a_processor_slower_than_its_lease_goes_on_under_any_default_isolation(
    dsn: str, connection: Connection, isolation: str
) -> None:
    async with (
        defaults(connection, {"default_transaction_isolation": isolation}),
        await PostgresEventStore.connect(as_visitor(dsn), schema=SCHEMA) as store,
    ):
        assert len(await progress_of_a_slow_handler(store)) == 3


@needs_pgbouncer
@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
async def test_a_pooler_that_takes_no_settings_gets_them_with_each_transaction_and_keeps_none(
    dsn: str, connection: Connection, pool_mode: str
) -> None:
    async with defaults(connection, {"default_transaction_isolation": "serializable"}):
        with pooler(dsn, "visitor", "secret", pool_mode=pool_mode) as pooled:
            await until(lambda: answers(pooled))
            transaction_pooling = pool_mode == "transaction"
            async with await PostgresEventStore.connect(
                pooled, schema=SCHEMA, transaction_pooling=transaction_pooling
            ) as store:
                assert len(await progress_of_a_slow_handler(store)) == 3
                assert await isolation_of(store) == "read committed"
            other = await asyncpg.connect(pooled, statement_cache_size=0)
            async with other.transaction():
                assert await other.fetchval("show default_transaction_isolation") == "serializable"
            await other.close()


async def isolation_of(store: PostgresEventStore) -> str:
    async with store.transaction() as transaction:
        isolation: str = await transaction.connection.fetchval("show transaction_isolation")
    return isolation


async def test_settings_take_precedence_over_the_dsns_and_survive_a_reset(dsn: str) -> None:
    options = "?options=-c%20default_transaction_isolation%3Dserializable&default_transaction_isolation=serializable"
    async with await PostgresEventStore.connect(dsn + options, schema=SCHEMA, pool_max=1) as store:
        for statement in ("select 1", "reset all"):
            session = await store.pool.acquire()
            await session.connection.execute(statement)
            assert await session.connection.fetchval("show transaction_isolation") == "read committed"
            store.pool.release(session)
            assert await isolation_of(store) == "read committed"


async def test_a_savepoint_of_the_callers_own_has_its_transactions_isolation(
    store: PostgresEventStore,
) -> None:
    async with store.transaction() as transaction, transaction.connection.transaction():
        assert await transaction.connection.fetchval("show transaction_isolation") == "read committed"


async def commit_of(store: PostgresEventStore) -> str:
    async with store.transaction() as transaction:
        commit: str = await transaction.connection.fetchval("show synchronous_commit")
    return commit


@pytest.mark.parametrize(
    ("default", "expected"),
    [("off", "on"), ("local", "local"), ("remote_write", "remote_write"), ("remote_apply", "remote_apply")],
)
async def test_commits_wait_for_the_disk_whatever_the_default_is_and_a_stronger_one_is_kept(
    dsn: str, connection: Connection, caplog: pytest.LogCaptureFixture, default: str, expected: str
) -> None:
    async with defaults(connection, {"synchronous_commit": default}):
        for options in ("", f"?options=-c%20synchronous_commit%3D{default}"):
            caplog.clear()
            async with await PostgresEventStore.connect(
                as_visitor(dsn) + options, schema=SCHEMA, pool_min=2
            ) as store:
                assert await commit_of(store) == expected
                session = await store.pool.acquire()
                assert await session.connection.fetchval("show synchronous_commit") == expected
                assert session.connection.missing == {}
                store.pool.release(session)
            told = [record.message for record in caplog.records if "synchronous_commit" in record.message]
            assert len(told) == (default == "off")


@needs_pgbouncer
@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
async def test_through_a_pooler_commits_wait_for_the_disk_and_other_clients_keep_their_default(
    dsn: str, connection: Connection, pool_mode: str
) -> None:
    async with defaults(connection, {"synchronous_commit": "off"}):
        with pooler(dsn, "visitor", "secret", pool_mode=pool_mode) as pooled:
            await until(lambda: answers(pooled))
            async with await PostgresEventStore.connect(
                pooled, schema=SCHEMA, transaction_pooling=pool_mode == "transaction"
            ) as store:
                assert await commit_of(store) == "on"
                await store.append_events(stream_of(), new_events(1), expected_version=0)
            other = await asyncpg.connect(pooled, statement_cache_size=0)
            assert await other.fetchval("show synchronous_commit") == "off"
            await other.close()


@needs_pgbouncer
async def test_through_a_pooler_every_missing_setting_holds_for_statements_and_transactions_alone(
    dsn: str, connection: Connection
) -> None:
    name = "enable_seqscan"
    async with defaults(connection, {name: "off"}):
        with pooler(dsn, "visitor", "secret") as pooled:
            await until(lambda: answers(pooled))
            pool = Pool(
                pooled, {"show": f"select current_setting('{name}') as value"}, record_class=asyncpg.Record,
                size_max=1, acquire_timeout_s=5, application_name="test", transaction_pooling=True,
                settings={name: "on"},
            )  # fmt: skip
            session = await pool.acquire()
            assert session.connection.missing == {name: "on"}
            assert (await session.fetch("show"))[0]["value"] == "on"
            async with session.connection.transaction(), session.connection.transaction():
                assert (await session.fetch("show"))[0]["value"] == "on"
            pool.release(session)
            await pool.close()
            other = await asyncpg.connect(pooled, statement_cache_size=0)
            async with other.transaction():
                assert await other.fetchval(f"show {name}") == "off"
            await other.close()


@every_ordering
async def test_formats_of_dates_and_texts_change_nothing(
    dsn: str, connection: Connection, store_ordering: str
) -> None:
    tenant = None if store_ordering != "tenant_lock" else "acme"
    sent = new_events(3, payload={"at": "1e3 \\' \\n", "n": 0.1234567890123456789})
    async with (
        defaults(connection, FORMATS),
        await PostgresEventStore.connect(as_visitor(dsn), schema=SCHEMA) as store,
    ):
        await store.append_events(stream_of("a\\"), sent, expected_version=0)
        batch = await read_on(store, await store.create_tail_token(), 3, tenant_id=tenant)
        assert [(e.timestamp, e.payload(), e.event_id) for e in batch.events] == [
            (e.timestamp, e.payload, e.event_id) for e in sent
        ]
        assert await store.create_token_at(sent[0].timestamp, tenant_id=tenant)


async def test_a_read_only_default_is_kept_and_refuses_an_append_with_a_typed_error(
    dsn: str, connection: Connection
) -> None:
    async with (
        defaults(connection, {"default_transaction_read_only": "on"}),
        await PostgresEventStore.connect(as_visitor(dsn), schema=SCHEMA) as store,
    ):
        with pytest.raises(StoreUnavailableError, match="read-only transaction"):
            await store.append_events(stream_of(), new_events(1), expected_version=0)
        assert not (await store.stream_events(await store.create_tail_token())).events


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"lock_timeout": "50ms"}, "lock timeout"),
        ({"statement_timeout": "50ms"}, "statement timeout"),
    ],
)
async def test_an_operators_limits_are_kept_and_end_an_append_with_a_typed_error(
    dsn: str, connection: Connection, limits: dict[str, str], reason: str
) -> None:
    async with (
        defaults(connection, limits),
        await PostgresEventStore.connect(as_visitor(dsn), schema=SCHEMA, notify=False) as store,
    ):
        async with connection.transaction():
            await connection.execute(f"lock table {SCHEMA}.domain_events in exclusive mode")
            with pytest.raises(StoreUnavailableError, match=reason):
                await store.append_events(stream_of(), new_events(1), expected_version=0)
        assert not await store.load_aggregate("acme", "a-1")


async def test_a_handlers_idle_transaction_ended_by_the_servers_limit_is_a_typed_error(
    dsn: str, connection: Connection
) -> None:
    async def dawdle(events: Sequence[StoredEvent], connection: Connection | None) -> None:
        await asyncio.sleep(0.3)

    async with (
        defaults(connection, {"idle_in_transaction_session_timeout": "50ms"}),
        await PostgresEventStore.connect(as_visitor(dsn), schema=SCHEMA) as store,
    ):
        await store.append_events(stream_of(), new_events(1), expected_version=0)
        with pytest.raises(StoreUnavailableError):
            await EventProcessor(store, "p", dawdle).run()
        assert store.pool.in_use == 0


async def test_a_search_path_that_hides_the_servers_own_functions_is_refused(
    dsn: str, connection: Connection
) -> None:
    await connection.execute("create schema if not exists public; grant usage on schema public to public")
    async with defaults(connection, {"search_path": "public, pg_catalog"}):
        with pytest.raises(CannotRunError, match=r"'public' before pg_catalog"):
            await PostgresEventStore.connect(as_visitor(dsn), schema=SCHEMA)
    async with (
        defaults(connection, {"search_path": "pg_temp, pg_catalog, public"}),
        await PostgresEventStore.connect(as_visitor(dsn), schema=SCHEMA) as store,
    ):
        await store.create_head_token()
