"""A server that crashes: what was acknowledged is there, tokens go on, the store comes back by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore, install_schema
from eventmark.errors import OutcomeUnknownError, StoreUnavailableError, VersionConflictError
from eventmark.server import Server
from eventmark.server.cluster import Cluster, free_port
from tests.engine.builders import new_event, new_events, read_on, stream_of, until


class Crashing:
    """A cluster of the test's own, with a store in it, that can be killed and started again."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.dsn = f"postgresql://eventmark:{cluster.password}@127.0.0.1:{cluster.port}/postgres"

    async def prepare(self) -> None:
        connection = await asyncpg.connect(self.dsn)
        await install_schema(connection, "eventmark")
        await connection.close()

    async def crash(self) -> None:
        """Kill the postmaster and its processes at once: nothing is written any more."""
        assert self.cluster.pid is not None
        os.kill(self.cluster.pid, signal.SIGQUIT)
        await asyncio.to_thread(self.cluster.stop)

    async def restart(self) -> None:
        await asyncio.to_thread(self.cluster.start)


@pytest.fixture
def crashing(server: Server) -> Iterator[Crashing]:
    assert server.bin_directory is not None
    with tempfile.TemporaryDirectory(prefix="eventmark-") as name:
        Path(name).chmod(0o711)
        cluster = Cluster(server.bin_directory.parent, Path(name), port=free_port(), temporary=True)
        cluster.prepare(server.tuning)
        cluster.start()
        try:
            crashing = Crashing(cluster)
            asyncio.run(crashing.prepare())
            yield crashing
        finally:
            cluster.stop()
            cluster.remove()


async def test_a_head_token_from_before_a_crash_is_before_what_is_appended_after_it(
    crashing: Crashing,
) -> None:
    """Transactions that left nothing on disk take their ids with them; the next ones get them again."""
    watcher = await asyncpg.connect(crashing.dsn)
    await watcher.execute("alter system set wal_writer_delay = '10s'")  # nothing is flushed without need
    await watcher.execute("select pg_reload_conf()")
    await watcher.close()
    async with await PostgresEventStore.connect(crashing.dsn, notify=False) as store:
        await store.append_events(stream_of(), [new_event()], expected_version=0)
        for _ in range(50):
            with pytest.raises(VersionConflictError):
                await store.append_events(stream_of(), [new_event()], expected_version=0)
        await read_on(store, await store.create_tail_token(), 1)
        head = await store.create_head_token()
        await crashing.crash()
    await crashing.restart()
    async with await PostgresEventStore.connect(crashing.dsn, notify=False) as store:
        sent = new_event()
        await store.append_events(stream_of(), [sent], expected_version=1)
        batch = await store.stream_events(head, wait_s=5)
        assert [event.event_id for event in batch.events] == [sent.event_id]


async def test_what_was_acknowledged_survives_a_crash_and_the_store_comes_back(crashing: Crashing) -> None:
    acknowledged: dict[str, int] = {}
    errors: list[BaseException] = []

    async def write(store: PostgresEventStore, name: str) -> None:
        try:
            while True:
                version = acknowledged.get(name, 0)
                await store.append_events(stream_of(name), new_events(3), expected_version=version)
                acknowledged[name] = version + 3
        except (OutcomeUnknownError, StoreUnavailableError) as error:
            errors.append(error)

    async def has_written() -> bool:
        return sum(acknowledged.values()) >= 60

    async with await PostgresEventStore.connect(crashing.dsn) as store:
        async with asyncio.timeout(60):
            writers = [asyncio.create_task(write(store, f"a-{number}")) for number in range(4)]
            await until(has_written)
            await crashing.crash()
            await asyncio.gather(*writers)
            await crashing.restart()
        assert len(errors) == 4
        for name, version in acknowledged.items():
            events = await store.load_aggregate("acme", name)
            assert len(events) in (version, version + 3)  # the last batch is unknown: whole or not there
            assert [event.sequence_number for event in events] == list(range(1, len(events) + 1))
            await store.append_events(stream_of(name), [new_event()], expected_version=len(events))
