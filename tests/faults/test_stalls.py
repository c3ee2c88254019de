"""Writers that stand still: consumers wait and skip nothing, the one that holds them up is named, lag returns to 0."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest

from eventmark.engine import EventProcessor, PostgresEventStore, find_stall
from eventmark.engine.orderings import ORDERINGS
from eventmark.server import Server
from tests.engine.builders import IMMEDIATE, SCHEMA, new_event, opened, stream_of, until
from tests.engine.interleavings import Consumer
from tests.faults.clusters import OwnCluster, own_cluster

Connection = asyncpg.Connection


@pytest.fixture(scope="module")
def cluster(server: Server) -> Iterator[OwnCluster]:
    with own_cluster(server, {"max_prepared_transactions": "5"}) as own:
        yield own


@pytest.fixture
def database(cluster: OwnCluster) -> Iterator[str]:
    """A database of the test's own in that cluster."""
    name = f"stalled_{uuid4().hex}"

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(cluster.dsn)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute(f"create database {name}"))
    yield cluster.dsn.rpartition("/")[0] + f"/{name}"
    asyncio.run(execute(f"drop database {name} with (force)"))


async def append_beside(store: PostgresEventStore, consumer: Consumer, count: int = 5) -> list[UUID]:
    """Events of others, while the consumer polls."""
    sent = []
    for version in range(count):
        sent.append((event := new_event()).event_id)
        await store.append_events(stream_of("quick"), [event], expected_version=version)
        await consumer.poll()
    return sent


async def catches_up(
    store: PostgresEventStore, consumer: Consumer, sent: list[UUID], observer: Connection
) -> None:
    await consumer.drain(observer)
    assert sorted(consumer.delivered) == sorted(sent)
    processor = EventProcessor(store, "lag", ignore, start=consumer.token)

    async def nothing_left() -> bool:
        lag = await processor.lag()
        return lag.numbers == 0 and lag.stall is None

    await until(nothing_left)


async def ignore(*_: object) -> None: ...


@pytest.mark.parametrize("ordering", IMMEDIATE)
async def test_a_process_of_the_server_that_stands_still_with_a_transaction_is_waited_for_and_named(
    database: str, ordering: str
) -> None:
    observer = await asyncpg.connect(database)
    async with opened(database, ordering) as store:
        consumer = Consumer(store, await store.create_tail_token(), None)
        slow = new_event()
        async with store.transaction() as transaction:
            await transaction.append_events(stream_of("slow"), [slow], expected_version=0)
            pid = transaction.connection.get_server_pid()
            os.kill(pid, signal.SIGSTOP)
            try:
                sent = await append_beside(store, consumer)
                assert consumer.delivered == ([] if ordering == "horizon" else sent)
                stall = await find_stall(observer)
                assert stall is not None and stall.pid == pid
                assert str(pid) in str(stall) and "eventmark" in str(stall)
            finally:
                os.kill(pid, signal.SIGCONT)
        await catches_up(store, consumer, [slow.event_id, *sent], observer)
    await observer.close()


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("ordering", IMMEDIATE)
async def test_a_forgotten_prepared_transaction_is_waited_for_and_named(
    database: str, ordering: str, commits: bool
) -> None:
    observer = await asyncpg.connect(database)
    async with opened(database, ordering) as store:
        consumer = Consumer(store, await store.create_tail_token(), None)
        forgotten = uuid4()
        async with observer.transaction():  # left by PREPARE, which ends it
            append = ORDERINGS[ordering].statements()["append_events"].sql(SCHEMA)
            await observer.execute("select pg_current_xact_id()")
            await observer.fetch(
                append, "acme", "forgotten", "Order", 0, [forgotten], ["E"], ["{}"], ["{}"], [datetime.now(UTC)],
                ["E"], ["1"],
            )  # fmt: skip
            await observer.execute("prepare transaction 'forgotten'")
        sent = await append_beside(store, consumer)
        assert consumer.delivered == ([] if ordering == "horizon" else sent)
        stall = await find_stall(observer)
        assert stall is not None
        assert (stall.prepared, stall.pid, stall.state) == ("forgotten", None, "prepared")
        assert "prepared transaction 'forgotten'" in str(stall)
        await observer.execute(f"{'commit' if commits else 'rollback'} prepared 'forgotten'")
        await catches_up(store, consumer, [*sent, *[forgotten] * commits], observer)
    await observer.close()


@pytest.mark.parametrize("elsewhere", [True, False])
@pytest.mark.parametrize("ordering", IMMEDIATE)
async def test_an_idle_writer_of_whatever_database_makes_consumers_wait_at_most(
    database: str, cluster: OwnCluster, ordering: str, elsewhere: bool
) -> None:
    observer = await asyncpg.connect(database)
    idle = await asyncpg.connect(cluster.dsn if elsewhere else database)
    async with opened(database, ordering) as store:
        consumer = Consumer(store, await store.create_tail_token(), None)
        async with idle.transaction():
            await idle.execute("select pg_current_xact_id()")
            sent = await append_beside(store, consumer)
            assert consumer.delivered == ([] if ordering == "horizon" else sent)
            stall = await find_stall(observer)
            assert stall is not None and stall.pid == idle.get_server_pid()
        await catches_up(store, consumer, sent, observer)
    await idle.close()
    await observer.close()
