"""Who holds the horizon: the oldest transaction with an id, behind which consumers wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

# A snapshot's oldest running transaction is one that has an id: a session's, of any database, or a prepared one.
_OLDEST = """
    with horizon as materialized (
        select
            pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint as transaction_id,
            pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint as next_id
    ), holder as (
        select
            activity.pid, activity.datname as database, activity.usename as "user", activity.application_name,
            activity.state, activity.xact_start as began_at, activity.query_start, null::text as prepared
        from pg_stat_activity as activity, horizon
        where activity.backend_xid::text::bigint = horizon.transaction_id & 4294967295
        union all
        select null, database, owner, null, 'prepared', prepared, null, gid
        from pg_prepared_xacts, horizon
        where transaction::text::bigint = horizon.transaction_id & 4294967295
    )
    select
        transaction_id, next_id - transaction_id as transactions, pid, database, "user", application_name, state,
        extract(epoch from pg_catalog.clock_timestamp() - began_at)::float8 as age_s,
        extract(epoch from pg_catalog.clock_timestamp() - query_start)::float8 as query_age_s, prepared
    from horizon cross join holder
"""


@dataclass(frozen=True, slots=True)
class Stall:
    """The transaction at the horizon. ``transactions`` have ended since; ``prepared`` is its name if it is one.

    Fields are None where the server does not show them: sessions of other users are shown to members of
    pg_read_all_stats alone. The text of queries is left out, for it may hold payloads.
    """

    transaction_id: int
    transactions: int
    pid: int | None
    database: str | None
    user: str | None
    application_name: str | None
    state: str | None
    age_s: float | None
    query_age_s: float | None
    prepared: str | None

    def __str__(self) -> str:
        age = "of unknown age" if self.age_s is None else f"open for {self.age_s:.1f} s"
        behind = f"{self.transactions} transaction ids wait behind it"
        if self.prepared is not None:
            return f"prepared transaction {self.prepared!r} of {self.user} in database {self.database}, {age}; {behind}"
        query = "" if self.query_age_s is None else f", last statement {self.query_age_s:.1f} s ago"
        return (
            f"process {self.pid} of {self.user} in database {self.database}, application "
            f"{self.application_name!r}, {self.state}, {age}{query}; {behind}"
        )


async def find_stall(connection: asyncpg.Connection[Any]) -> Stall | None:
    """The transaction that holds the horizon now; None when no other one with an id is running."""
    row = await connection.fetchrow(_OLDEST)
    return None if row is None else Stall(**dict(row))
