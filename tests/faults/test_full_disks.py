"""A disk that is full: a clear error, nothing acknowledged lost, and work goes on once there is room."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore, install_schema
from eventmark.errors import StoreUnavailableError
from eventmark.server import Server
from eventmark.server.account import server_account
from eventmark.verify import Outcome
from tests.engine.builders import SCHEMA, new_event, stream_of, until
from tests.faults.clusters import OwnCluster, fill, own_cluster, small_disk
from tests.faults.workload import Workload

LARGE = {"text": "x" * 100_000}
SEGMENT_BYTES = 16 * 2**20


@pytest.fixture
async def own(server: Server):  # type: ignore[no-untyped-def]
    with own_cluster(server) as cluster:
        yield cluster


async def test_a_full_disk_of_the_data_is_a_clear_error_and_appends_go_on_once_there_is_room(
    own: OwnCluster,
) -> None:
    with small_disk(64) as disk:
        connection = await asyncpg.connect(own.dsn)
        await connection.execute(f"create tablespace small location '{disk}'")
        await connection.execute("create database small tablespace small")
        await connection.close()
        dsn = own.dsn.rpartition("/")[0] + "/small"
        connection = await asyncpg.connect(dsn)
        await install_schema(connection, SCHEMA)
        async with await PostgresEventStore.connect(dsn, schema=SCHEMA) as store:
            workload = Workload(store)
            workload.record.alone = False  # large events, by which the disk is seen to be full
            async with workload.running():
                await workload.progress()
                filler = fill(disk)
                await workload.trouble(10)
                with pytest.raises(StoreUnavailableError, match="No space left on device"):
                    for number in range(1000):
                        await store.append_events(
                            stream_of(f"{100 + number:010d}", tenant_id=f"tenant-{(100 + number) % 8}"),
                            [new_event(payload=LARGE)],
                            expected_version=0,
                        )
                filler.unlink()
                await workload.progress()
            assert workload.outcomes[Outcome.UNKNOWN] == 0  # each was told that it was refused
            await connection.execute(f"alter table {SCHEMA}.domain_events disable trigger user")
            await connection.execute(f"delete from {SCHEMA}.domain_events where event_type <> 'Hunted'")
            assert await workload.faults(dsn) == set()
        await connection.close()
        await asyncio.to_thread(own.cluster.stop)


async def test_a_full_disk_of_the_wal_takes_the_server_down_and_nothing_acknowledged_with_it(
    server: Server,
) -> None:
    def move_wal(data: Path) -> None:
        shutil.copytree(data / "pg_wal", disk / "pg_wal")
        shutil.rmtree(data / "pg_wal")
        (data / "pg_wal").symlink_to(disk / "pg_wal")
        for path in (disk / "pg_wal", *(disk / "pg_wal").rglob("*")):
            server_account().own(path)

    settings = {"min_wal_size": "32MB", "max_wal_size": "32MB", "checkpoint_timeout": "1h"}
    with small_disk(160) as disk, own_cluster(server, settings, prepare=move_wal) as cluster:
        await cluster.install()
        async with await PostgresEventStore.connect(cluster.dsn, schema=SCHEMA) as store:
            workload = Workload(store)
            async with workload.running():
                await workload.progress()
                filler = fill(disk, leaving_bytes=SEGMENT_BYTES // 4)
                bloat = asyncio.create_task(use_up_wal(cluster.dsn))
                await workload.trouble(10)
                assert "No space left on device" in log_of(cluster)
                filler.unlink()
                await bloat
                await until(lambda: running_again(cluster))
                await workload.progress()
            assert await workload.faults(cluster.dsn) == set()


async def use_up_wal(dsn: str) -> None:
    """Write until the server no longer lets it."""
    try:
        connection = await asyncpg.connect(dsn)
        for _ in range(100):
            await connection.execute("select pg_logical_emit_message(false, 'x', repeat('x', 4000000))")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return


def log_of(cluster: OwnCluster) -> str:
    return (cluster.cluster.directory / "server.log").read_text(errors="replace")


async def running_again(cluster: OwnCluster) -> bool:
    """Recovered by itself, or to be started once more by its operator."""
    try:
        await (await asyncpg.connect(cluster.dsn)).close()
    except (asyncpg.PostgresError, OSError):
        process = cluster.cluster._process
        if process is not None and process.poll() is not None:
            await asyncio.to_thread(cluster.cluster.stop)
            await cluster.start()
        return False
    return True
