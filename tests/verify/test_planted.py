"""Each wrong that event stores are known for, planted in a real store, is found by the checker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from eventmark.domain import EventBatch, TrackingToken
from eventmark.engine import PostgresEventStore, install_schema
from eventmark.server import Server
from eventmark.verify import Outcome
from eventmark.verify.history import stream_id, tenant_of
from eventmark.verify.recording import Recording
from tests.engine.builders import SCHEMA, until, waiting_backend
from tests.faults.clusters import OwnCluster, own_cluster

Connection = asyncpg.Connection


@pytest.fixture
def dsn(database: str) -> str:
    return database


@asynccontextmanager
async def recording(dsn: str, ordering: str) -> AsyncIterator[tuple[Recording, Connection]]:
    connection = await asyncpg.connect(dsn)
    await install_schema(connection, SCHEMA, ordering=ordering)
    async with await PostgresEventStore.connect(dsn, schema=SCHEMA, notify=False) as store:
        yield Recording(store, SCHEMA), connection
    await connection.close()


async def found(record: Recording, connection: Connection) -> set[str]:
    return {f"{fault.invariant} {fault.what}" for fault in await record.faults(connection)}


async def settled(connection: Connection) -> None:
    """Every transaction that was running has ended: consumers may be given everything."""
    bound = await connection.fetchval("select pg_current_xact_id()")
    ended = "select pg_snapshot_xmin(pg_current_snapshot()) > $1"
    await until(lambda: connection.fetchval(ended, bound))


async def slow_and_quick(record: Recording, read, start: TrackingToken) -> TrackingToken:  # type: ignore[no-untyped-def]
    """A transaction appends; another one after it commits before it; a consumer polls in between."""
    async with record.store.transaction() as transaction:
        first = await record.append_in(transaction, 8)
        await record.append(16)
        token = await record.consume(read, start, polls=3)
    record.note(Outcome.OK, 8, first, 1, 1)
    return token


@pytest.mark.parametrize(
    ("ordering", "faults"),
    [("naive", {"I7 lost of planted"}), ("horizon", set()), ("gap_aware", set())],
)
async def test_a_token_that_is_the_last_number_seen(dsn: str, ordering: str, faults: set[str]) -> None:
    async with recording(dsn, ordering) as (record, connection):
        read = record.store.stream_events
        token = await slow_and_quick(record, read, await record.store.create_tail_token())
        await settled(connection)
        await record.consume(read, token, polls=3)
        assert await found(record, connection) == faults


@pytest.mark.parametrize(
    ("step", "faults"), [(1, {"I7 lost of planted"}), (-1, {"I7 duplicated of planted"}), (0, set())]
)
async def test_a_token_that_is_off_by_one(dsn: str, step: int, faults: set[str]) -> None:
    async with recording(dsn, "horizon") as (record, connection):
        await record.append(8, 5)
        await settled(connection)

        async def read(token: TrackingToken) -> EventBatch:
            batch = await record.store.stream_events(token, limit=2)
            moved = replace(batch.token, global_sequence=batch.token.global_sequence + step)  # type: ignore[arg-type]
            return EventBatch(batch.events, moved if batch.events else batch.token)

        await record.consume(read, await record.store.create_tail_token(), polls=3)
        names = await found(record, connection)
        assert faults <= names
        assert bool(names) == bool(faults)


async def test_a_gap_that_is_given_up_after_a_time(dsn: str) -> None:
    async with recording(dsn, "gap_aware") as (record, connection):

        async def read(token: TrackingToken) -> EventBatch:
            batch = await record.store.stream_events(token)
            return EventBatch(batch.events, replace(batch.token, gaps=()))  # it has been long enough

        token = await slow_and_quick(record, read, await record.store.create_tail_token())
        await record.consume(read, token, polls=3)
        assert await found(record, connection) == {"I7 lost of planted"}


async def test_a_reader_of_several_snapshots(dsn: str) -> None:
    async with recording(dsn, "horizon") as (record, connection):

        async def read(token: TrackingToken) -> EventBatch:
            batch = await record.store.stream_events(token)
            await record.append(16)  # comes between the reader's two looks
            await settled(connection)
            return EventBatch(batch.events, await record.store.create_head_token())

        await record.append(8)
        await settled(connection)
        await record.consume(read, await record.store.create_tail_token())
        assert await found(record, connection) == {"I7 lost of planted"}


@pytest.mark.parametrize(("planted", "faults"), [(True, {"I7 lost of planted"}), (False, set())])
async def test_a_head_token_that_is_the_last_row(dsn: str, planted: bool, faults: set[str]) -> None:
    async with recording(dsn, "horizon") as (record, connection):
        store = record.store
        async with store.transaction() as transaction:
            first = await record.append_in(transaction, 8)
            await record.append(16)
            head = await store.create_head_token()
            if planted:
                row = await connection.fetchrow(
                    f"select transaction_id, global_sequence_id from {SCHEMA}.domain_events"
                    " order by transaction_id desc, global_sequence_id desc limit 1"
                )
                head = replace(head, transaction_id=row[0], global_sequence=row[1])
            made_ns = time.monotonic_ns()
        record.note(Outcome.OK, 8, first, 1, 1, commit_ns=made_ns + 1)
        await settled(connection)
        await record.consume(store.stream_events, head, made_ns=made_ns)
        assert await found(record, connection) == faults


async def test_an_append_that_does_nothing_on_conflict(dsn: str) -> None:
    async with recording(dsn, "horizon") as (record, connection):
        insert = (
            f"insert into {SCHEMA}.domain_events (sequence_number, expected_version, timestamp_utc, event_id,"
            " tenant_id, stream_id, aggregate_type, aggregate_id, event_type, payload_type, payload_revision,"
            " payload, metadata) values (1, 0, now(), $1, $2, 's', 'Hunt', $3, 'Hunted', 'Hunted', '1', $4, '{}')"
            " on conflict do nothing"
        )

        async def append(on: Connection) -> None:
            first, (new,) = record.new(1)
            stream = stream_id(8)
            text = json.dumps(new.payload)
            await on.execute(insert, new.event_id, stream.tenant_id, stream.aggregate_id, text)
            record.note(Outcome.OK, 8, first, 1, 1)  # no error: it must have been stored

        other = await asyncpg.connect(dsn)
        held = connection.transaction()
        await held.start()
        await append(connection)
        second = asyncio.create_task(append(other))
        observer = await asyncpg.connect(dsn)
        await waiting_backend(observer)
        await held.commit()
        await second
        await other.close()
        await observer.close()
        assert await found(record, connection) == {"I1 acknowledged and not stored", "I5 won by several"}


@pytest.mark.parametrize("planted", [True, False])
async def test_a_tenant_set_for_the_session_instead_of_the_transaction(dsn: str, planted: bool) -> None:
    async with recording(dsn, "horizon") as (record, connection):
        await record.append(0)
        await record.append(1)
        await settled(connection)
        pooled = await asyncpg.connect(dsn)  # one connection that two consumers take in turns

        def reader(tenant: int, *, planted: bool):  # type: ignore[no-untyped-def]
            async def read(token: TrackingToken) -> EventBatch:
                if not planted:
                    await pooled.execute("select set_config('test.tenant', $1, false)", tenant_of(tenant))
                seen = await pooled.fetchval("select current_setting('test.tenant')")
                return await record.store.stream_events(token, tenant_id=seen)

            return read

        tail = await record.store.create_tail_token()
        await record.consume(reader(0, planted=False), tail, name="first", tenant=0)
        await record.consume(reader(1, planted=planted), tail, name="second", tenant=1)
        names = await found(record, connection)
        assert "I10 events of other tenants of second" in names if planted else not names
        await pooled.close()


@pytest.fixture
def cluster(server: Server) -> Iterator[OwnCluster]:
    """Flushes nothing without need."""
    with own_cluster(server, {"wal_writer_delay": "10s"}) as own:
        asyncio.run(own.install())
        yield own


@pytest.mark.parametrize(("commit", "faults"), [("off", {"I1 acknowledged and not stored"}), ("on", set())])
async def test_commits_that_wait_for_no_disk_and_a_crash(
    cluster: OwnCluster, commit: str, faults: set[str]
) -> None:
    async with await PostgresEventStore.connect(
        cluster.dsn, schema=SCHEMA, notify=False, pool_max=1
    ) as store:
        await store.with_connection(lambda session: session.execute(f"set synchronous_commit to {commit}"))
        record = Recording(store, SCHEMA)
        for stream in range(8, 12):
            await record.append(stream)
        await cluster.crash()
    await cluster.start()
    connection = await asyncpg.connect(cluster.dsn)
    assert await found(record, connection) == faults
    await connection.close()
