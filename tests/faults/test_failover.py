"""A replica takes over: a synchronous one has everything, an asynchronous one tells what is lost and fences old tokens."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import asyncpg
import pytest

from eventmark.domain import StoredEvent
from eventmark.engine import EventProcessor, PostgresEventStore
from eventmark.engine.rebase import rebase_store
from eventmark.engine.translation import DRIVER_ERRORS
from eventmark.errors import EventStoreError, TokenRefusedError
from eventmark.server import Server
from tests.engine.builders import LOSSLESS, SCHEMA, new_events, read_on, stream_of, until
from tests.faults.clusters import OwnCluster, own_cluster, replica_of
from tests.faults.workload import Workload

STREAMING = "select count(*) from pg_stat_replication where state = 'streaming'"


@contextmanager
def pair(server: Server) -> Iterator[tuple[OwnCluster, OwnCluster]]:
    """A primary with a store in it, and a standby that streams from it."""
    with own_cluster(server) as primary:
        asyncio.run(primary.install())
        with replica_of(server, primary) as standby:
            yield primary, standby


@pytest.fixture
def clusters(server: Server) -> Iterator[tuple[OwnCluster, OwnCluster]]:
    with pair(server) as both:
        yield both


async def execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def promote(cluster: OwnCluster) -> None:
    connection = await asyncpg.connect(cluster.dsn)
    assert await connection.fetchval("select pg_promote()")
    await until(lambda: connection.fetchval("select not pg_is_in_recovery()"))
    await connection.close()


async def streaming(cluster: OwnCluster, count: int) -> None:
    connection = await asyncpg.connect(cluster.dsn)
    await until(lambda: is_streaming(connection, count))
    await connection.close()


async def is_streaming(connection: asyncpg.Connection, count: int) -> bool:
    return bool(await connection.fetchval(STREAMING) == count)


@pytest.mark.parametrize("commit", ["on", "remote_apply"])
async def test_after_failing_over_to_a_synchronous_replica_everything_acknowledged_is_there_and_tokens_go_on(
    clusters: tuple[OwnCluster, OwnCluster], commit: str
) -> None:
    primary, standby = clusters
    await streaming(primary, 1)
    await execute(
        primary.dsn,
        "alter system set synchronous_standby_names = '*'",
        f"alter system set synchronous_commit = {commit}",
        "select pg_reload_conf()",
    )
    async with await PostgresEventStore.connect(primary.dsn, schema=SCHEMA) as store:
        workload = Workload(store)
        async with workload.running():
            await workload.progress(60)
            await primary.lose()
            await workload.trouble()
    await promote(standby)
    async with await PostgresEventStore.connect(standby.dsn, schema=SCHEMA) as store:
        workload.go_on_with(store)
        async with workload.running():
            await workload.progress()
        assert await workload.faults(standby.dsn) == set()


async def test_after_failing_over_to_an_asynchronous_replica_the_loss_is_reported_and_old_tokens_are_fenced(
    clusters: tuple[OwnCluster, OwnCluster],
) -> None:
    primary, standby = clusters
    await streaming(primary, 1)
    async with await PostgresEventStore.connect(primary.dsn, schema=SCHEMA) as store:
        workload = Workload(store)
        async with workload.running():
            await workload.progress()
            await execute(standby.dsn, "alter system set primary_conninfo = ''", "select pg_reload_conf()")
            await streaming(primary, 0)
            await workload.progress()  # acknowledged, and on the primary alone
        assert await workload.faults(primary.dsn) == set()
        await primary.lose()
    await promote(standby)
    old = workload.token
    assert old is not None
    async with await PostgresEventStore.connect(standby.dsn, schema=SCHEMA) as store:
        workload.go_on_with(store)
        connection = await asyncpg.connect(standby.dsn)
        found = {fault.what for fault in await workload.record.faults(connection)}
        assert "acknowledged and not stored" in found
        with pytest.raises(TokenRefusedError, match="ahead of the server"):
            await store.stream_events(old)
        # Once this server is as far, the place is one of its own: what it wrote on the way would be hidden.
        await connection.execute(
            "do $$ begin for one in 1..2000 loop perform pg_current_xact_id(); commit; end loop; end $$"
        )
        assert (await store.stream_events(old)).token == old
    await rebase_store(connection, SCHEMA)
    await connection.close()
    async with await PostgresEventStore.connect(standby.dsn, schema=SCHEMA) as store:
        with pytest.raises(TokenRefusedError, match="another epoch"):
            await store.stream_events(old)
        sent = new_events(2)
        await store.append_events(stream_of("after"), sent, expected_version=0)
        stored = await store.load_aggregate("acme", "after")
        batch = await read_on(store, await store.create_tail_token(), 2)
        while batch.events[-1].event_id != stored[-1].event_id:
            batch = await read_on(store, batch.token, 1)


async def test_effects_and_tokens_of_one_transaction_fail_over_together_however_the_primary_ends(
    clusters: tuple[OwnCluster, OwnCluster],
) -> None:
    """Even a commit that was seen and never replicated is not in them: they were committed after it."""
    primary, standby = clusters
    await streaming(primary, 1)
    await execute(
        primary.dsn,
        "alter system set synchronous_standby_names = '*'",
        "select pg_reload_conf()",
        "create table effects (event_id uuid)",
    )
    async with await PostgresEventStore.connect(primary.dsn, schema=SCHEMA) as store:
        workload = Workload(store)
        processor = EventProcessor(store, "p", keep, lease_s=0.5)
        running = asyncio.create_task(processor.run())
        async with workload.running():
            await workload.progress(60)
            await primary.crash(signal.SIGKILL)
            await workload.trouble()
        with pytest.raises(
            (EventStoreError, *DRIVER_ERRORS)
        ):  # the handler's own statements raise the driver's
            await running
    await promote(standby)
    connection = await asyncpg.connect(standby.dsn)
    async with await PostgresEventStore.connect(standby.dsn, schema=SCHEMA) as store:
        workload.go_on_with(store)
        processor = EventProcessor(store, "p", keep, lease_s=0.5)
        running = asyncio.create_task(processor.run())
        async with workload.running():
            await workload.progress()
        await until(lambda: connection.fetchval(ALL_HANDLED))
        processor.stop()
        await running
    assert await connection.fetchval("select count(*) = count(distinct event_id) from effects")
    await connection.close()


ALL_HANDLED = f"""
    select not exists (select from {SCHEMA}.domain_events where event_id not in (select event_id from effects))
    and not exists (select from effects where event_id not in (select event_id from {SCHEMA}.domain_events))
"""


async def keep(events: Sequence[StoredEvent], connection: asyncpg.Connection | None) -> None:
    assert connection is not None
    await connection.executemany("insert into effects values ($1)", [(event.event_id,) for event in events])


@pytest.mark.long
@pytest.mark.parametrize("ordering", [name for name in LOSSLESS if name not in ("horizon", "tenant_lock")])
async def test_under_every_ordering_a_synchronous_replica_has_everything_and_tokens_go_on(
    server: Server, ordering: str
) -> None:
    with own_cluster(server) as primary:
        await primary.install(ordering)
        with replica_of(server, primary) as standby:
            await streaming(primary, 1)
            await execute(
                primary.dsn, "alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"
            )
            async with await PostgresEventStore.connect(primary.dsn, schema=SCHEMA) as store:
                workload = Workload(store)
                async with workload.running():
                    await workload.progress(60)
                    await primary.lose()
                    await workload.trouble()
            await promote(standby)
            async with await PostgresEventStore.connect(standby.dsn, schema=SCHEMA) as store:
                workload.go_on_with(store)
                async with workload.running():
                    await workload.progress()
                assert await workload.faults(standby.dsn) == set()
