"""The watch sees sessions, counters, statements and processes on every version of the server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import replace

import asyncpg
import pytest

from eventmark.judgement.evidence import Spent, Wait, spent_on
from eventmark.server import Server, Watch
from eventmark.server.counters import counters_between, counters_snapshot
from eventmark.server.waits import WaitSamples

COUNTERS = {
    "commits", "rollbacks", "deadlocks", "buffers_hit", "buffers_read", "temporary_bytes", "sequential_scans",
    "sequential_rows", "reads", "read_ms", "wal_records", "wal_page_images", "wal_bytes", "wal_buffers_full",
    "wal_writes", "wal_write_ms", "wal_syncs", "wal_sync_ms", "checkpoints_timed", "checkpoints_requested",
    "checkpoint_write_ms", "checkpoint_sync_ms", "checkpoint_buffers",
}  # fmt: skip
BUSY = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"


async def test_every_version_has_every_counter(server: Server, database: str) -> None:
    connection = await asyncpg.connect(database)
    counters = await counters_snapshot(connection, server.version_num)
    await connection.close()
    assert set(counters) >= COUNTERS


async def test_counters_count_what_was_done(server: Server, database: str) -> None:
    other, connection = await asyncpg.connect(database), await asyncpg.connect(database)
    before = await counters_snapshot(connection, server.version_num)
    await other.execute("create table t as select g, repeat('x', 300) from generate_series(1, 20000) g")
    for _ in range(3):
        await other.fetchval("select count(*) from t")
    await other.execute("checkpoint")
    await other.close()  # a session adds its counts when it ends
    grown: dict[str, float] = {}
    for _ in range(100):
        grown = counters_between(before, await counters_snapshot(connection, server.version_num))
        if grown["sequential_scans"] >= 3 and grown["checkpoints_requested"] >= 1:
            break
        await asyncio.sleep(0.1)
    await connection.close()
    assert grown["sequential_rows"] >= 60_000
    assert grown["wal_bytes"] > 5e6
    assert grown["checkpoints_requested"] >= 1
    assert grown["commits"] >= 5


def test_a_counter_that_was_reset_is_left_out() -> None:
    assert counters_between({"a": 5.0, "b": 1.0}, {"a": 1.0, "b": 3.0, "c": 1.0}) == {"b": 2.0}


async def test_sessions_at_work_are_seen_with_what_they_wait_for_and_instruments_are_not(
    server: Server, database: str
) -> None:
    sleeper = await asyncpg.connect(database, server_settings={"application_name": "sleeper"})
    idle = await asyncpg.connect(database)
    began_s = time.monotonic()
    async with Watch(replace(server, dsn=database)) as watch:
        await sleeper.fetchval("select pg_sleep(1)")
    asleep = 1 / (time.monotonic() - began_s)  # of the watch, at least
    evidence = watch.evidence()
    for connection in (sleeper, idle):
        await connection.close()
    assert set(watch.missing) == {"statements"}  # the database has no extension
    assert evidence.looks >= 5
    assert 0.7 * asleep < evidence.waits[Wait("Timeout", "PgSleep")] <= 1
    assert 0.7 * asleep < evidence.sessions_at_work < 1.2
    assert watch.evidence(application="sleeper").sessions_at_work > 0.7 * asleep
    assert watch.evidence(application="another").sessions_at_work == 0
    assert evidence.server is not None and evidence.client is not None


def test_the_busiest_process_shows_however_many_others_want_its_core(server: Server) -> None:
    burner = subprocess.Popen([sys.executable, "-c", f"print(flush=True)\n{BUSY}"], stdout=subprocess.PIPE)
    assert burner.stdout is not None
    burner.stdout.readline()  # it is busy from here on, however long it took to start
    with Watch(server) as watch:
        time.sleep(2)
    burner.kill()
    burner.communicate()
    evidence = watch.evidence()
    assert evidence.client is not None and evidence.client.busiest is not None
    assert evidence.client.busiest > 0.5
    assert evidence.machine_cores is None or evidence.machine_cores > 0.3


async def test_samples_of_several_stretches_add_up(server: Server, database: str) -> None:
    connection, other = await asyncpg.connect(database), await asyncpg.connect(database)
    total = WaitSamples()
    for _ in range(2):
        part = WaitSamples()
        sleeping = asyncio.create_task(other.fetchval("select pg_sleep(0.3)"))
        await asyncio.sleep(0.1)
        await part.look(connection, 5.0)
        await sleeping
        total = total + part
    await connection.close()
    await other.close()
    assert total.looks == 2
    assert total.sessions() == {Wait("Timeout", "PgSleep"): 1.0}


async def test_every_wait_event_that_a_limit_is_named_by_is_one_of_the_server_s(
    server: Server, database: str
) -> None:
    if server.version_num < 170000:
        pytest.skip("servers list their wait events since 17")
    connection = await asyncpg.connect(database)
    rows = await connection.fetch("select type, name from pg_wait_events")
    await connection.close()
    by_kind = {(row["type"], row["name"]): spent_on(Wait(row["type"], row["name"])) for row in rows}
    assert by_kind["IO", "WalSync"] is Spent.WAL
    assert by_kind["LWLock", "WALWrite"] is Spent.WAL
    assert by_kind["IPC", "SyncRep"] is Spent.WAL
    assert by_kind["IO", "DataFileRead"] is Spent.READ
    assert by_kind["IO", "DataFileExtend"] is Spent.WRITE
    assert by_kind["Lock", "transactionid"] is Spent.LOCK
    assert by_kind["LWLock", "BufferContent"] is Spent.LATCH
    assert by_kind["Timeout", "PgSleep"] is Spent.SLEEP
    assert by_kind["Client", "ClientWrite"] is Spent.CLIENT
