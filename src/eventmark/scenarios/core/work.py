"""What the server did for one call of an operation, by its own statistics of statements."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from eventmark.server import StatementStatistics, statements_between, statements_snapshot

_COUNTED = ("rows", "shared_hit_buffers", "shared_read_buffers", "wal_bytes", "execution_ms", "read_ms")


async def statements_now(dsn: str) -> dict[str, StatementStatistics] | None:
    """All statements' totals; None where there are no statistics of statements."""
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
    """What was spent by those statements that ran about as often as an operation was called."""
    if before is None or after is None or not calls:
        return []
    return [one for one in statements_between(before, after) if one.calls >= calls]


def work_per_call(
    before: Mapping[str, StatementStatistics] | None,
    after: Mapping[str, StatementStatistics] | None,
    calls: int,
) -> dict[str, float]:
    """Totals of the operation's own statements for each of its calls; empty where nothing was counted."""
    own = own_statements(before, after, calls)
    if not own:
        return {}
    work = {name: sum(getattr(one, name) for one in own) / calls for name in _COUNTED}
    return {"statements": sum(one.calls for one in own) / calls, **work}
