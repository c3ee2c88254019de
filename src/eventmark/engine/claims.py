"""Claims: a run holds a session's advisory lock on a name for as long as it lives; others see whose it is.

The key is 64 bits of a digest of the name, so that it meets no other program's by accident. Like every advisory lock
it belongs to one database.
"""

from __future__ import annotations

import hashlib
from typing import Any

import asyncpg

_HOLDER = """
select a.pid, a.application_name, a.usename, a.client_addr::text as client,
    pg_catalog.to_char(a.backend_start at time zone 'utc', 'YYYY-MM-DD HH24:MI') as since
from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
    and l.database = (select oid from pg_database where datname = pg_catalog.current_database())
    and ((l.classid::bigint << 32) | l.objid::bigint) = $1
limit 1
"""


def _claim_key(name: str) -> int:
    """The advisory lock's key of ``name``: a signed number of 64 bits."""
    digest = hashlib.blake2b(f"eventmark claim {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


async def claim(connection: asyncpg.Connection[Any], name: str) -> bool:
    """Hold ``name`` until the connection is closed; False where another session holds it."""
    held: bool = await connection.fetchval("select pg_catalog.pg_try_advisory_lock($1)", _claim_key(name))
    return held


async def holder_of(connection: asyncpg.Connection[Any], name: str) -> str:
    """Who holds ``name``, in words; empty where nobody does."""
    row = await connection.fetchrow(_HOLDER, _claim_key(name))
    if row is None:
        return ""
    since = f", since {row['since']} UTC" if row["since"] else ""  # hidden from other roles
    client = f" from {row['client']}" if row["client"] else ""
    return f"{row['application_name']} (role {row['usename']}{client}, server process {row['pid']}{since})"
