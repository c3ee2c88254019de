"""Sessions that read, and write nothing, on a server whose data is in use.

What a session may do is an option of its connection, in the DSN, so that each driver and worker process has it from
the start. A statement that takes too long, or waits for a lock, is ended: the application's own must not wait for it.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from eventmark.errors import CannotRunError
from eventmark.redaction import redact
from eventmark.server.search_path import with_options

LIMITS_S = {"statement_timeout": 10, "lock_timeout": 1, "idle_in_transaction_session_timeout": 60}
"""Where the role or the database has a lower limit of its own, that one holds."""

_LIMITS = "select name, setting::bigint as milliseconds from pg_settings where name = any($1::text[])"
_IN_FORCE = """
select current_setting('default_transaction_read_only') = 'on' and current_setting('transaction_read_only') = 'on'
"""


# A limit of the session's own that is lower stays.
_LIMIT = """
select set_config(name, $2, true) from pg_settings where name = $1 and setting::bigint not between 1 and $2::bigint
"""


async def limit(connection: asyncpg.Connection[Any], name: str, seconds: float) -> None:
    """A limit of time, in milliseconds by the server, for this transaction: lowered where it is higher or none."""
    await connection.fetchval(_LIMIT, name, str(round(seconds * 1000)))


async def read_only_dsn(dsn: str) -> str:
    """The DSN whose sessions are read-only and bounded in time. Raises ``CannotRunError`` where they are not."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(_LIMITS, list(LIMITS_S))
    finally:
        await connection.close()
    limits = {
        row["name"]: min(1000 * LIMITS_S[row["name"]], row["milliseconds"] or 1000 * LIMITS_S[row["name"]])
        for row in rows
    }
    options = {"default_transaction_read_only": "on", **limits}
    confined = with_options(dsn, " ".join(f"-c {name}={value}" for name, value in options.items()))
    await _check(confined)
    return confined


async def _check(dsn: str) -> None:
    """Raises ``CannotRunError`` where a session of the DSN could write: a pooler may drop what it asks for."""
    connection = await asyncpg.connect(dsn)
    try:
        if not await connection.fetchval(_IN_FORCE):
            raise CannotRunError(
                f"{redact(dsn)} does not make a session read-only",
                remedy="connect to the server itself, not by way of a pooler",
            )
    finally:
        await connection.close()
