"""What each statement cost, by the server's own account: pg_stat_statements before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import asyncpg

from eventmark.server.extensions import extension_schema

STATEMENTS_MAX = 200

# Utility statements can hold a password in clear text; they are left out by their text.
_STATEMENTS = """
select
    queryid::text as statement_id,
    query,
    calls,
    rows,
    total_exec_time as execution_ms,
    total_plan_time as planning_ms,
    shared_blks_hit as shared_hit_buffers,
    shared_blks_read as shared_read_buffers,
    {read_time} as read_ms,
    shared_blks_dirtied as shared_dirtied_buffers,
    temp_blks_written as temp_written_buffers,
    wal_records,
    wal_bytes::float8 as wal_bytes
from {place}.pg_stat_statements(true)
where dbid = (select oid from pg_database where datname = current_database())
    and queryid is not null
    and query !~* 'password|pg_stat_|pgstatindex'
"""
_OF_OTHERS = " and userid <> (select oid from pg_roles where rolname = current_user)"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementStatistics:
    """One normalised statement's totals: times in milliseconds, buffers in pages of 8 KiB.

    ``read_ms``: waiting for pages that were not in shared buffers; 0 where ``track_io_timing`` is off.
    """

    statement_id: str
    query: str
    calls: int
    rows: int
    execution_ms: float
    planning_ms: float
    shared_hit_buffers: int
    shared_read_buffers: int
    read_ms: float
    shared_dirtied_buffers: int
    temp_written_buffers: int
    wal_records: int
    wal_bytes: float


async def statements_snapshot(
    connection: asyncpg.Connection, *, of_others: bool = False
) -> dict[str, StatementStatistics] | None:
    """Totals of this database's statements by id, or None where pg_stat_statements is not available.

    ``of_others`` leaves out those of the connection's own role.
    """
    installed_in = await extension_schema(connection, "pg_stat_statements")
    if installed_in is None:
        return None
    try:
        query = _STATEMENTS.format(read_time=read_time_column(connection), place=installed_in)
        rows = await connection.fetch(query + (_OF_OTHERS if of_others else ""))
    except asyncpg.PostgresError:  # not preloaded, no permission: both say the same
        return None
    totals: dict[str, StatementStatistics] = {}
    for row in rows:
        statistics = StatementStatistics(**dict(row))
        earlier = totals.get(statistics.statement_id)  # the same statement of another role
        totals[statistics.statement_id] = _combined(earlier, statistics, 1) if earlier else statistics
    return totals


def read_time_column(connection: asyncpg.Connection) -> str:
    """The column of pg_stat_statements with the milliseconds of reading, which was renamed in PostgreSQL 17."""
    return "shared_blk_read_time" if connection.get_server_version().major >= 17 else "blk_read_time"


def statements_between(
    before: Mapping[str, StatementStatistics], after: Mapping[str, StatementStatistics]
) -> list[StatementStatistics]:
    """What was spent between two snapshots: the STATEMENTS_MAX most expensive, the worst first.

    The snapshots are whole: on a server with a long history, what is dear in between need not be dear in all.
    A statement whose calls went down was evicted or reset in between; its later total is all there is.
    """
    spent = []
    for statement_id, total in after.items():
        earlier = before.get(statement_id)
        if earlier is None or earlier.calls > total.calls:
            spent.append(total)
        elif total.calls > earlier.calls:
            spent.append(_combined(total, earlier, -1))
    return sorted(spent, key=lambda statement: statement.execution_ms, reverse=True)[:STATEMENTS_MAX]


def _combined(statistics: StatementStatistics, other: StatementStatistics, sign: int) -> StatementStatistics:
    names = [field.name for field in fields(statistics) if field.name not in ("statement_id", "query")]
    return replace(
        statistics, **{name: getattr(statistics, name) + sign * getattr(other, name) for name in names}
    )
