"""The server's clock set forward and back by an hour: no order depends on it, and processors go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from eventmark.domain import StoredEvent
from eventmark.engine import EventProcessor, PostgresEventStore
from eventmark.errors import ClaimLostError
from eventmark.server import Server
from tests.engine.builders import SCHEMA, until
from tests.faults.clusters import OwnCluster, own_cluster
from tests.faults.workload import Workload

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
pytestmark = pytest.mark.skipif(
    LIBRARY is None, reason="libfaketime is not installed (apt-get install libfaketime)"
)


class Clock:
    """The time that the server's processes see, as an offset from ours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.step("+0")

    def step(self, offset: str) -> None:
        self._path.write_text(offset + "\n")
        self._path.chmod(0o644)


@pytest.fixture
def clocked(
    server: Server, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[OwnCluster, Clock]]:
    """A cluster whose clock can be set; that which measures how long something takes goes on."""

    def fake_clock(data: Path) -> None:
        monkeypatch.setenv("LD_PRELOAD", str(LIBRARY))
        monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(data.parent / "clock"))
        monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
        monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        clocks.append(Clock(data.parent / "clock"))

    clocks: list[Clock] = []
    with own_cluster(server, prepare=fake_clock) as cluster:
        for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE"):
            monkeypatch.delenv(name)
        asyncio.run(cluster.install())
        yield cluster, clocks[0]


async def server_time(dsn: str) -> datetime:
    connection = await asyncpg.connect(dsn)
    now: datetime = await connection.fetchval("select clock_timestamp()")
    await connection.close()
    return now


async def test_a_clock_that_is_set_by_an_hour_changes_no_order_and_loses_nothing(
    clocked: tuple[OwnCluster, Clock],
) -> None:
    cluster, clock = clocked
    async with await PostgresEventStore.connect(cluster.dsn, schema=SCHEMA) as store:
        watcher = await asyncpg.connect(cluster.dsn)
        await watcher.execute("create table effects (event_id uuid)")
        processors = [EventProcessor(store, "p", keep, lease_s=1.0) for _ in range(2)]
        running = [asyncio.create_task(one.run()) for one in processors]
        workload = Workload(store)
        async with workload.running():
            for offset, ahead_s in (("+3600", 3600), ("-3600", -3600), ("+0", 0)):
                await workload.progress()
                clock.step(offset)
                shift = (await server_time(cluster.dsn) - datetime.now(UTC)).total_seconds()
                assert abs(shift - ahead_s) < 60
                await workload.progress()
        assert await workload.faults(cluster.dsn) == set()
        await until(lambda: watcher.fetchval(ALL_HANDLED))
        for one in processors:
            one.stop()
        ended = await asyncio.gather(*running, return_exceptions=True)
        assert all(error is None or isinstance(error, ClaimLostError) for error in ended)
        assert await watcher.fetchval("select count(*) = count(distinct event_id) from effects")
        await watcher.close()


ALL_HANDLED = f"""
    select not exists (select from {SCHEMA}.domain_events where event_id not in (select event_id from effects))
"""


async def keep(events: Sequence[StoredEvent], connection: asyncpg.Connection | None) -> None:
    """Effects in the transaction that stores the token: an owner who has lost its claim leaves none."""
    assert connection is not None
    await connection.executemany("insert into effects values ($1)", [(event.event_id,) for event in events])
