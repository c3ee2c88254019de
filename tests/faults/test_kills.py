"""Killed, stopped, terminated: what was acknowledged is there, nothing that was refused is, consumers go on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore
from eventmark.errors import VersionConflictError
from eventmark.server import Server
from eventmark.verify import Outcome
from tests.engine.builders import SCHEMA, new_event, read_on, stream_of
from tests.faults.clusters import CRASHES, OwnCluster, own_cluster
from tests.faults.workload import Workload

BUSY = (
    "select pid from pg_stat_activity where datname = current_database() and application_name = 'eventmark'"
    " order by state = 'active' desc"
)


@pytest.fixture
def cluster(server: Server) -> Iterator[OwnCluster]:
    """Flushes nothing without need, so that a crash takes with it what may be lost."""
    with own_cluster(server, {"wal_writer_delay": "10s"}) as own:
        asyncio.run(own.install())
        yield own


async def opened(cluster: OwnCluster) -> PostgresEventStore:
    return await PostgresEventStore.connect(cluster.dsn, schema=SCHEMA, pool_max=5)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(
            how, id=name, marks=[pytest.mark.long] * (how == signal.SIGQUIT)
        )  # as in the tests below
        for name, how in CRASHES.items()
    ],
)
async def test_what_was_acknowledged_survives_a_server_that_ends_without_a_word(
    cluster: OwnCluster, how: signal.Signals
) -> None:
    async with await opened(cluster) as store:
        workload = Workload(store)
        async with workload.running():
            for _ in range(2):
                await workload.progress()
                await cluster.crash(how)
                await workload.trouble()
                await cluster.start()
            await workload.progress()
        assert workload.outcomes[Outcome.UNKNOWN] > 0
        assert await workload.faults(cluster.dsn) == set()


@pytest.mark.parametrize(
    ("whose", "transaction_pooling"),
    [
        ("role eventmark", False),
        ("database postgres", True),
        pytest.param("system", False, marks=pytest.mark.long),
    ],
)
async def test_what_was_acknowledged_survives_where_by_default_commits_do_not_wait_for_the_disk(
    cluster: OwnCluster, whose: str, transaction_pooling: bool
) -> None:
    connection = await asyncpg.connect(cluster.dsn)
    await connection.execute(f"alter {whose} set synchronous_commit = off")
    await connection.execute("select pg_reload_conf()")
    await connection.close()
    async with await PostgresEventStore.connect(
        cluster.dsn, schema=SCHEMA, pool_max=5, transaction_pooling=transaction_pooling
    ) as store:
        workload = Workload(store)
        async with workload.running():
            await workload.progress()
            await cluster.crash()
            await workload.trouble()
            await cluster.start()
            await workload.progress()
        assert await workload.faults(cluster.dsn) == set()


async def test_what_is_acknowledged_before_it_is_on_disk_is_found_missing(cluster: OwnCluster) -> None:
    """What the tests above would miss if they could not fail."""
    async with await PostgresEventStore.connect(cluster.dsn, schema=SCHEMA, pool_max=1) as store:
        await store.with_connection(lambda session: session.execute("set synchronous_commit to off"))
        workload = Workload(store)
        async with workload.running():
            await workload.progress()
            await cluster.crash()
            await workload.trouble()
            await cluster.start()
        connection = await asyncpg.connect(cluster.dsn)
        found = {fault.what for fault in await workload.record.faults(connection)}
        await connection.close()
        assert "acknowledged and not stored" in found


async def test_what_was_acknowledged_survives_a_process_of_the_server_that_is_killed(
    cluster: OwnCluster,
) -> None:
    """The server takes all its processes down and recovers by itself."""
    async with await opened(cluster) as store:
        workload = Workload(store)
        async with workload.running():
            for _ in range(2):
                await workload.progress()
                watcher = await asyncpg.connect(cluster.dsn)
                pid = await watcher.fetchval(BUSY)
                os.kill(pid, signal.SIGKILL)
                await workload.trouble()
                watcher.terminate()
            await workload.progress()
        assert workload.outcomes[Outcome.UNKNOWN] > 0
        assert await workload.faults(cluster.dsn) == set()


@pytest.mark.parametrize("function", ["pg_terminate_backend", "pg_cancel_backend"])
async def test_appends_that_are_terminated_or_cancelled_are_whole_or_absent(
    cluster: OwnCluster, function: str
) -> None:
    async with await opened(cluster) as store:
        workload = Workload(store)
        watcher = await asyncpg.connect(cluster.dsn)
        async with workload.running():
            while workload.troubled < 10:
                await workload.progress(5)
                await watcher.execute(f"select {function}(pid) from ({BUSY}) as busy")
            await workload.progress()
        await watcher.close()
        assert await workload.faults(cluster.dsn) == set()


async def test_a_head_token_from_before_a_crash_is_before_what_is_appended_after_it(
    cluster: OwnCluster,
) -> None:
    """Transactions that left nothing on disk take their ids with them; the next ones get them again."""
    async with await opened(cluster) as store:
        await store.append_events(stream_of(), [new_event()], expected_version=0)
        for _ in range(50):
            with pytest.raises(VersionConflictError):
                await store.append_events(stream_of(), [new_event()], expected_version=0)
        await read_on(store, await store.create_tail_token(), 1)
        head = await store.create_head_token()
        await cluster.crash()
    await cluster.start()
    async with await opened(cluster) as store:
        sent = new_event()
        await store.append_events(stream_of(), [sent], expected_version=1)
        batch = await store.stream_events(head, wait_s=5)
        assert [event.event_id for event in batch.events] == [sent.event_id]
