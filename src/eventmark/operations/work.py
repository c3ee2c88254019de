"""What the server did for one call of an operation: its own account before and after."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from eventmark.server import StatementStatistics, statements_between, statements_snapshot

_COUNTERS = (
    "rows",
    "shared_hit_buffers",
    "shared_read_buffers",
    "wal_records",
    "wal_bytes",
    "execution_ms",
    "read_ms",
)


async def statements_now(dsn: str) -> dict[str, StatementStatistics] | None:
    """A snapshot over a connection of its own; None where pg_stat_statements is not available."""
    connection = await asyncpg.connect(dsn)
    try:
        return await statements_snapshot(connection)
    finally:
        await connection.close()


def own_statements(
    before: Mapping[str, StatementStatistics] | None,
    after: Mapping[str, StatementStatistics] | None,
    calls: int,
) -> list[StatementStatistics]:
    """What was spent by those statements that ran at least as often as an operation was called."""
    if before is None or after is None or not calls:
        return []
    return [statement for statement in statements_between(before, after) if statement.calls >= calls]


def work_per_call(
    before: Mapping[str, StatementStatistics] | None,
    after: Mapping[str, StatementStatistics] | None,
    calls: int,
) -> dict[str, float]:
    """By counter: the statements run at least as often as the operation was called. Empty where unknown.

    Nobody else may call operations meanwhile, not even on another schema: from PostgreSQL 18 on, the server takes
    the same statement on tables of the same name for one.
    """
    own = own_statements(before, after, calls)
    if not own:
        return {}
    work = {name: sum(getattr(statement, name) for statement in own) / calls for name in _COUNTERS}
    return {"statements": sum(statement.calls for statement in own) / calls, **work}
