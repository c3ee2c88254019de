"""The monitor shows what went on, costs little, and never fails the run it watches."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import asyncpg
import psutil
import pytest

from eventmark.results.results import Series
from eventmark.server import Monitor, Server, statements_between, statements_snapshot
from eventmark.server.machine import disk_counters
from eventmark.server.monitor import SAMPLES_MAX, WAITS_MAX, _Samples
from eventmark.server.processes import ProcessTree, Usage
from eventmark.server.statistics import STATEMENTS_MAX

DEADLINE_S = 60.0  # ends a test that would hang
BUSY = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"


def by_name(series: list[Series]) -> dict[str, Series]:
    return {one.name: one for one in series}


def rates(monitor: Monitor) -> int:
    """How many intervals the server's counters were seen over."""
    return sum(len(one.values) for one in monitor.series() if one.name == "wal_rate")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - a thread's state
            await asyncio.sleep(0.02)


async def test_work_of_the_server_shows_in_every_series(server: Server, database: str) -> None:
    origin_s = time.monotonic()
    connection = await asyncpg.connect(database)
    async with Monitor(server, database, interval_s=0.1, origin_s=origin_s) as monitor:
        await connection.execute(
            "create table t as select g, repeat('x', 300) from generate_series(1, 100000) g"
        )
        await connection.execute("checkpoint")
        await connection.fetchval("select pg_sleep(0.4)")
    await connection.close()
    series = by_name(monitor.series())
    seconds = time.monotonic() - origin_s
    monitor.missing.pop("disk_read_rate, disk_write_rate", None)  # a memory file system, a container's layers
    assert monitor.missing == {}
    assert {
        "client_cpu", "client_rss", "client_write_rate", "server_cpu", "server_rss", "server_write_rate",
        "wal_rate", "commit_rate", "buffers_hit_rate", "buffers_read_rate", "checkpoints",
    } <= set(series)  # fmt: skip
    assert sum(series["checkpoints"].values) >= 1
    assert max(series["server_cpu"].values) > 0.1
    assert max(series["waits:PgSleep"].values) == 1
    assert 20 < max(series["server_rss"].values) < 2000
    for one in series.values():
        assert len(one.at_s) == len(one.values) > 0 and one.unit
        assert one.at_s == sorted(one.at_s) and one.at_s[0] >= 0 and one.at_s[-1] <= seconds + 0.1


async def test_wal_of_the_series_is_the_wal_that_was_written(server: Server, database: str) -> None:
    position = "select (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8 / 1048576"
    connection = await asyncpg.connect(database)
    async with Monitor(server, database, interval_s=0.1) as monitor:
        await until(lambda: rates(monitor) >= 1)
        before = await connection.fetchval(position)
        await connection.execute(
            "create table t as select g, repeat('x', 300) from generate_series(1, 50000) g"
        )
        written = await connection.fetchval(position) - before
    await connection.close()
    rate = by_name(monitor.series())["wal_rate"]
    intervals_s = [later - earlier for earlier, later in pairwise(rate.at_s)]
    seen = sum(value * interval_s for value, interval_s in zip(rate.values[1:], intervals_s, strict=True))
    assert written > 10 and seen == pytest.approx(written, rel=0.1)


async def test_server_that_ends_is_missing_and_the_run_goes_on(server: Server) -> None:
    gone = replace(server, pid=2**22 - 1, dsn="postgresql://me:s3cr3t@127.0.0.1:1/db")
    async with Monitor(gone, interval_s=0.05) as monitor:
        await until(lambda: "sql" in monitor.missing and "client_rss" in by_name(monitor.series()))
    assert "sql" in monitor.missing and "server_*" in monitor.missing
    assert "s3cr3t" not in str(monitor.missing)
    assert by_name(monitor.series())["client_rss"].values


async def test_lost_connection_is_noted_and_made_again(server: Server, database: str) -> None:
    connection = await asyncpg.connect(database)
    async with Monitor(server, database, interval_s=0.05) as monitor:
        await until(lambda: rates(monitor) > 0)
        ended = await connection.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where application_name = 'eventmark-monitor' and datname = current_database()"
        )
        assert ended == 1
        seen = rates(monitor)
        await until(lambda: rates(monitor) >= seen + 3)
    await connection.close()
    assert "sql" in monitor.missing


async def test_server_elsewhere_has_no_process_series_and_reports_it(server: Server) -> None:
    async with Monitor(replace(server, pid=None, directory=None), interval_s=0.05) as monitor:
        await until(lambda: rates(monitor) > 0)
    assert not any(name.startswith("server_") for name in by_name(monitor.series()))
    assert "server_*" in monitor.missing and "wal_rate" in by_name(monitor.series())


def test_server_started_by_this_process_is_not_counted_as_its_client(server: Server) -> None:
    def of(usage: Usage | str) -> Usage:
        assert isinstance(usage, Usage)
        return usage

    everything = of(ProcessTree(os.getpid()).sample())
    client = of(ProcessTree(os.getpid(), leave_out=server.pid).sample())
    alone = of(ProcessTree(server.pid or 0).sample())
    assert alone.processes > 3 and client.processes < everything.processes - 3


def test_cpu_of_child_processes_is_counted() -> None:
    tree = ProcessTree(os.getpid())
    tree.sample()
    child = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        while psutil.Process(child.pid).cpu_times().user < 0.3:
            time.sleep(0.02)
        usage = tree.sample()
    finally:
        child.kill()
        child.wait()
    assert isinstance(usage, Usage) and usage.cpu_s >= 0.3 and usage.processes >= 2


WRITING = """
import os
with open("written", "wb") as file:
    file.write(bytes(16 * 2**20))
    os.fsync(file.fileno())
    print(flush=True)
    input()
    for number in range(200):
        os.pwrite(file.fileno(), b"x" * 8192, number * 8192)
        os.fdatasync(file.fileno())
    print(flush=True)
    input()
"""


def test_what_a_process_writes_is_counted_as_much_as_it_wrote(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITING],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdout.readline()
        tree = ProcessTree(child.pid)
        tree.sample()
        child.stdin.write("\n")
        child.stdin.flush()
        child.stdout.readline()
        usage = tree.sample()
    finally:
        child.kill()
        child.communicate()
    assert isinstance(usage, Usage) and usage.write_bytes is not None
    assert 200 * 8192 <= usage.write_bytes < 300 * 8192


def test_process_that_ended_and_is_not_reaped_hides_no_counters() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)
        usage = ProcessTree(os.getpid()).sample()
    finally:
        child.wait()
    assert isinstance(usage, Usage)
    assert usage.processes == 1 + len(psutil.Process().children(recursive=True))
    assert usage.read_bytes is not None


async def test_disk_of_the_cluster_is_seen_where_it_has_one(server: Server, tmp_path: Path) -> None:
    assert server.directory is not None
    if disk_counters(server.directory) is None:
        pytest.skip("the cluster lies on no disk of its own: a memory file system, a container's layers")

    def most(monitor: Monitor) -> float:
        return max(by_name(monitor.series())["disk_write_rate"].values)

    async with Monitor(server, interval_s=0.05) as monitor:
        await until(lambda: "disk_write_rate" in by_name(monitor.series()))
        with (server.directory / "probe").open("wb") as file:
            file.write(os.urandom(2**20))
            file.flush()
            os.fsync(file.fileno())
        (server.directory / "probe").unlink()
        await until(lambda: most(monitor) > 0)


def test_long_runs_are_thinned_by_averaging_and_stay_bounded() -> None:
    samples = _Samples()
    for at in range(3 * SAMPLES_MAX):
        samples.add("steady", "unit", float(at), 5.0)
        samples.add_waits(float(at), ["WALWrite", "WALWrite"])
    series = by_name(samples.series())
    for name, value in (("steady", 5.0), ("waits:WALWrite", 2.0)):
        assert SAMPLES_MAX // 2 <= len(series[name].values) <= SAMPLES_MAX
        assert set(series[name].values) == {value}
        assert series[name].at_s == sorted(series[name].at_s)


def test_rare_waits_are_summed_so_that_no_session_is_lost() -> None:
    samples = _Samples()
    names = [f"wait{number:02}" for number in range(WAITS_MAX + 5)]
    samples.add_waits(0.0, names)
    series = by_name(samples.series())
    assert len(series) == WAITS_MAX + 1
    assert sum(one.values[0] for one in series.values()) == len(names)


async def test_statements_between_two_snapshots_are_what_was_run_between(server: Server) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute("create table if not exists counted (n int)")
        before = await statements_snapshot(connection)
        for number in range(7):
            await connection.execute("insert into counted values ($1)", number)
        after = await statements_snapshot(connection)
    finally:
        await connection.execute("drop table counted")
        await connection.close()
    assert before is not None and after is not None
    spent = {one.query: one for one in statements_between(before, after)}
    inserted = spent["insert into counted values ($1)"]
    assert inserted.calls == inserted.rows == 7 and inserted.wal_bytes > 0 and inserted.execution_ms > 0


async def test_cheap_statement_is_counted_though_the_server_has_a_long_history_of_dear_ones(
    server: Server,
) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute("create table if not exists cheap (n int)")
        for number in range(STATEMENTS_MAX + 20):
            columns = ", ".join(["n"] * (number + 1))  # names and constants do not tell statements apart
            await connection.execute(f"select {columns} from generate_series(1, 100) as n")
        before = await statements_snapshot(connection)
        await connection.execute("select n from cheap")
        after = await statements_snapshot(connection)
    finally:
        await connection.execute("drop table cheap")
        await connection.close()
    assert before is not None and after is not None
    assert [one.calls for one in statements_between(before, after) if one.query == "select n from cheap"] == [
        1
    ]


async def test_password_set_by_a_statement_is_in_no_snapshot(server: Server) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute("create role visitor login password 's3cr3t-never-shown'")
        await connection.execute("drop role visitor")
        found = await statements_snapshot(connection)
    finally:
        await connection.close()
    assert found is not None and "s3cr3t-never-shown" not in str(found)


async def test_database_without_statistics_gives_none(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await statements_snapshot(connection) is None
    finally:
        await connection.close()
