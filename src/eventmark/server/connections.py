"""How many connections a server has left for a role, so that a pool that is too large is refused by its limit."""

from __future__ import annotations

from typing import Any

import asyncpg

from eventmark.errors import CONNECTIONS_REMEDY, CannotRunError

# Whose sessions are whose is all that every role may see of others': no client's lacks a user and a database.
_COUNTED = """
with sessions as (
    select usename, datname from pg_catalog.pg_stat_activity
    where usename is not null and datname is not null and pid <> pg_catalog.pg_backend_pid()
)
select
    current_setting('max_connections')::int as most,
    case when rolsuper then 0 else current_setting('superuser_reserved_connections')::int
        + coalesce(current_setting('reserved_connections', true), '0')::int end as reserved,
    (select count(*) from sessions)::int as in_use,
    rolsuper as superuser,
    rolconnlimit as role_limit,
    (select count(*) from sessions where usename = rolname)::int as by_role,
    datconnlimit as database_limit,
    (select count(*) from sessions where datname = current_database())::int as in_database
from pg_catalog.pg_roles, pg_catalog.pg_database
where rolname = current_user and datname = current_database()
"""


async def check_connections(connection: asyncpg.Connection[Any], wanted: int) -> None:
    """Raises ``CannotRunError`` where the server has no room for ``wanted`` connections besides this one."""
    row = await connection.fetchrow(_COUNTED)
    limits = [(row["most"] - row["reserved"], row["in_use"], f"max_connections {row['most']}")]
    if not row["superuser"]:
        limits += [
            (most, used, f"the {of}'s connection limit {most}")
            for most, used, of in (
                (row["role_limit"], row["by_role"], "role"),
                (row["database_limit"], row["in_database"], "database"),
            )
            if most >= 0
        ]
    # this session is one of them, too
    left, name = min((most - used - 1, name) for most, used, name in limits)
    if left < wanted:
        raise CannotRunError(
            f"{wanted} connections are needed, and the server has {max(left, 0)} left ({name})",
            remedy=CONNECTIONS_REMEDY,
        )
