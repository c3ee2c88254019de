"""The server's own counters under one set of names, whatever its version calls them and wherever it keeps them."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

_DATABASE = """
select
    xact_commit as commits, xact_rollback as rollbacks, deadlocks, blks_hit as buffers_hit,
    blks_read as buffers_read, temp_bytes as temporary_bytes
from pg_stat_database where datname = current_database()
"""

_TABLES = """
select coalesce(sum(seq_scan), 0) as sequential_scans, coalesce(sum(seq_tup_read), 0) as sequential_rows
from pg_stat_user_tables
"""

_READS_15 = """
select blks_read as reads, blk_read_time as read_ms, null as extends, null as evictions
from pg_stat_database where datname = current_database()
"""
_READS_16 = """
select sum(reads) as reads, sum(read_time) as read_ms, sum(extends) as extends, sum(evictions) as evictions
from pg_stat_io where object = 'relation' and backend_type = 'client backend'
"""

_WAL_15 = """
select
    wal_records, wal_fpi as wal_page_images, wal_bytes, wal_buffers_full, wal_write as wal_writes,
    wal_write_time as wal_write_ms, wal_sync as wal_syncs, wal_sync_time as wal_sync_ms
from pg_stat_wal
"""
# Since 18, writes and flushes of WAL are counted where all other I/O is.
_WAL_18 = """
select
    wal_records, wal_fpi as wal_page_images, wal_bytes, wal_buffers_full, io.*
from pg_stat_wal cross join (
    select
        sum(writes) as wal_writes, sum(write_time) as wal_write_ms, sum(fsyncs) as wal_syncs,
        sum(fsync_time) as wal_sync_ms
    from pg_stat_io where object = 'wal'
) as io
"""

_CHECKPOINTS_15 = """
select
    checkpoints_timed, checkpoints_req as checkpoints_requested, checkpoint_write_time as checkpoint_write_ms,
    checkpoint_sync_time as checkpoint_sync_ms, buffers_checkpoint as checkpoint_buffers
from pg_stat_bgwriter
"""
_CHECKPOINTS_17 = """
select
    num_timed as checkpoints_timed, num_requested as checkpoints_requested, write_time as checkpoint_write_ms,
    sync_time as checkpoint_sync_ms, buffers_written as checkpoint_buffers
from pg_stat_checkpointer
"""

# Per group: from which version on, newest first, and the query.
_QUERIES: dict[str, tuple[tuple[int, str], ...]] = {
    "database": ((0, _DATABASE),),
    "tables": ((0, _TABLES),),
    "reads": ((160000, _READS_16), (0, _READS_15)),
    "WAL": ((180000, _WAL_18), (0, _WAL_15)),
    "checkpoints": ((170000, _CHECKPOINTS_17), (0, _CHECKPOINTS_15)),
}


async def counters_snapshot(connection: asyncpg.Connection, version_num: int) -> dict[str, float]:
    """Every counter by its name; what this server or role cannot tell is not in it.

    Times are milliseconds and 0 where the server does not take them (track_io_timing). A session adds its own
    counts at most once a second, and when it ends: those of the last moment may be missing.
    """
    counters: dict[str, float] = {}
    for queries in _QUERIES.values():
        query = next(query for since, query in queries if version_num >= since)
        try:
            row = await connection.fetchrow(query)
        except asyncpg.PostgresError:  # a role that may not look
            continue
        counters |= {name: float(value) for name, value in (row or {}).items() if value is not None}
    return counters


def counters_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each has grown by; one that was reset in between is left out."""
    grown = {name: after[name] - before[name] for name in after if name in before}
    return {name: value for name, value in grown.items() if value >= 0}
