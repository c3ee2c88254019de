"""Is this machine, and this server, fit to measure on? One finding per question, with what to do.

BROKEN: a measurement here would mislead. INCONCLUSIVE: it may, or it cannot be seen from here.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg

from eventmark.errors import CannotRunError
from eventmark.judgement.machine import DURABILITY
from eventmark.results.results import Finding, Verdict
from eventmark.server import machine
from eventmark.server.extensions import extension_schema
from eventmark.server.fitness import machine_findings
from eventmark.server.provision import Server

GIB = 2**30
MIB = 2**20
DISK_RESERVE_BYTES = GIB  # besides the corpus: WAL, logs, the index builds' temporary files
FSYNC_BLOCK_BYTES = 8192
FSYNC_REPEATS = 60
FSYNC_MET_MS = 2.0
FSYNC_BROKEN_MS = 5.0  # half of the 10 ms an append of one event may take
FSYNC_IMPLAUSIBLE_MS = 0.02
_COMMIT_REPEATS = 40
_CONNECT_TIMEOUT_S = 10.0


def examine(server: Server | None, directory: Path, needed_bytes: int | None = None) -> list[Finding]:
    """Everything that can be found out in about two seconds.

    ``directory`` is where the cluster's files are or will be; ``needed_bytes`` what the corpus will take
    there, None when not known. Without a server only the machine is examined.
    """
    ours = server is None or server.directory is not None
    findings = []
    if ours:
        findings += [fsync_finding(directory), disk_finding(directory, needed_bytes)]
    findings += machine_findings()
    if server is not None:
        with ThreadPoolExecutor(1) as executor:  # also where a loop runs already
            findings += executor.submit(lambda: asyncio.run(_server_findings(server))).result()
    return findings


def check_disk_space(directory: Path, needed_bytes: int) -> None:
    """Raises ``CannotRunError`` when a corpus of ``needed_bytes`` does not fit next to the reserve."""
    free_bytes = machine.disk_free_bytes(directory)
    if free_bytes < needed_bytes + DISK_RESERVE_BYTES:
        raise CannotRunError(
            f"the disk of {machine.existing_part(directory)} has {_size(free_bytes)} free, the corpus "
            f"needs about {_size(needed_bytes)}, and WAL and temporary files {_size(DISK_RESERVE_BYTES)}",
            remedy="make room, name another directory, or ask for fewer events",
        )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB else f"{size_bytes / MIB:.0f} MiB"


def measure_fsync_ms(directory: Path) -> float:
    """Median milliseconds to write 8 KiB and flush it to the disk of ``directory``.

    Raises ``CannotRunError`` where nothing can be written.
    """
    existing = machine.existing_part(directory)
    block = os.urandom(FSYNC_BLOCK_BYTES)
    flush = getattr(os, "fdatasync", os.fsync)  # PostgreSQL's own default where it exists
    times_ms = []
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(block * 16)
            os.fsync(file.fileno())
            for repeat in range(FSYNC_REPEATS):
                began_ns = time.perf_counter_ns()
                os.pwrite(file.fileno(), block, repeat % 16 * FSYNC_BLOCK_BYTES)
                flush(file.fileno())
                times_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
    except OSError as error:
        raise CannotRunError(
            f"cannot write to {existing}: {error.strerror}", remedy="name another directory"
        ) from error
    return statistics.median(times_ms)


def fsync_finding(directory: Path) -> Finding:
    """How long a flush takes; an append cannot be quicker than one."""
    expected = f"at most {FSYNC_MET_MS:g} ms"
    try:
        fsync_ms = measure_fsync_ms(directory)
    except CannotRunError as error:
        return Finding(
            name="flush to disk", verdict=Verdict.BROKEN, observed=error.message, expected=expected,
            remedy=error.remedy,
        )  # fmt: skip
    remedy = ""
    if fsync_ms < FSYNC_IMPLAUSIBLE_MS:
        verdict = Verdict.INCONCLUSIVE
        remedy = (
            "too quick for a disk: a memory file system, or a device that ignores flushes; use a real disk"
        )
    elif fsync_ms <= FSYNC_MET_MS:
        verdict = Verdict.MET
    else:
        verdict = Verdict.BROKEN if fsync_ms > FSYNC_BROKEN_MS else Verdict.INCONCLUSIVE
        remedy = "every commit waits for this: use a solid state disk with power loss protection"
    observed = f"{fsync_ms:.3f} ms (median of {FSYNC_REPEATS}, 8 KiB)"
    return Finding(name="flush to disk", verdict=verdict, observed=observed, expected=expected, remedy=remedy)


def disk_finding(directory: Path, needed_bytes: int | None) -> Finding:
    """Whether the corpus fits."""
    free_bytes = machine.disk_free_bytes(directory)
    least_bytes = (needed_bytes or 0) + DISK_RESERVE_BYTES
    met = free_bytes >= least_bytes
    return Finding(
        name="disk space",
        verdict=Verdict.MET if met else Verdict.BROKEN,
        observed=f"{free_bytes / GIB:.1f} GiB free",
        expected=f"at least {least_bytes / GIB:.1f} GiB",
        remedy="" if met else "make room, name another directory, or ask for fewer events",
    )


async def _server_findings(server: Server) -> list[Finding]:
    try:
        connection = await asyncpg.connect(server.dsn, timeout=_CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return [
            Finding(
                name="server", verdict=Verdict.BROKEN, observed=f"no connection: {type(error).__name__}",
                expected="a server that answers", remedy="read the server's log",
            )
        ]  # fmt: skip
    try:
        return [
            await _durability_finding(connection),
            await _statistics_finding(connection),
            *([] if server.read_only else [await _commit_finding(connection)]),
            *_settings_findings(server),
        ]
    finally:
        await connection.close()


def _settings_findings(server: Server) -> list[Finding]:
    """A note, and never a fault: Eventmark's sessions have others."""
    if not server.replaced_settings:
        return []
    return [
        Finding(
            name="session settings", verdict=Verdict.MET,
            observed=", ".join(f"{name} {value}" for name, value in server.replaced_settings.items()),
            expected="only noted: Eventmark's own sessions replace these settings",
            remedy="applications that connect as this role have these settings, which Eventmark did not measure",
        )
    ]  # fmt: skip


async def _durability_finding(connection: asyncpg.Connection) -> Finding:
    row = await connection.fetchrow(
        "select current_setting('fsync') as fsync,"
        " current_setting('synchronous_commit') as synchronous_commit,"
        " current_setting('full_page_writes') as full_page_writes"
    )
    durable = row["fsync"] == "on" and row["full_page_writes"] == "on" and row["synchronous_commit"] != "off"
    return Finding(
        name=DURABILITY,
        verdict=Verdict.MET if durable else Verdict.BROKEN,
        observed=", ".join(f"{name} {value}" for name, value in row.items()),
        expected="fsync on, synchronous_commit not off, full_page_writes on",
        remedy="" if durable else "turn them on: without them appends are quick and can be lost",
    )


async def _statistics_finding(connection: asyncpg.Connection) -> Finding:
    try:
        installed_in = await extension_schema(connection, "pg_stat_statements")
        await connection.fetchval(
            f"select count(*) from {installed_in or 'public'}.pg_stat_statements(false)"
        )
        observed, verdict = "answers", Verdict.MET
    except asyncpg.PostgresError as error:
        observed, verdict = str(error).partition("\n")[0], Verdict.INCONCLUSIVE
    return Finding(
        name="pg_stat_statements",
        verdict=verdict,
        observed=observed,
        expected="loaded and readable",
        remedy=""
        if verdict is Verdict.MET
        else "add it to shared_preload_libraries and create the extension; runs go without it",
    )


async def _commit_finding(connection: asyncpg.Connection) -> Finding:
    """A commit's time beyond the round trip: the one flush that can be measured of a server elsewhere."""
    trip_ms = await _median_ms(connection, "select 1")
    # One WAL record and a commit; writes to no table and leaves nothing behind.
    commit_ms = await _median_ms(connection, "select pg_logical_emit_message(true, 'eventmark', '')")
    flush_ms = max(0.0, commit_ms - trip_ms)
    verdict = Verdict.MET if flush_ms <= FSYNC_MET_MS else Verdict.INCONCLUSIVE
    if flush_ms > FSYNC_BROKEN_MS:
        verdict = Verdict.BROKEN
    return Finding(
        name="commit",
        verdict=verdict,
        observed=f"{flush_ms:.3f} ms beyond a round trip of {trip_ms:.3f} ms (medians of {_COMMIT_REPEATS})",
        expected=f"at most {FSYNC_MET_MS:g} ms",
        remedy="" if verdict is Verdict.MET else "the server's disk, or a synchronous standby, is slow",
    )


async def _median_ms(connection: asyncpg.Connection, query: str) -> float:
    statement = await connection.prepare(query)
    times_ms = []
    for _ in range(_COMMIT_REPEATS):
        began_ns = time.perf_counter_ns()
        await statement.fetchval()
        times_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
    return statistics.median(times_ms)
