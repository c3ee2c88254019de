"""Whether a DSN leads to a pooler in place of the server: what it changes would be measured, or break the work.

A pooler answers a client with keys of its own for cancelling, so that the process named at the start is not the one
that runs the statements. One that passes on a session as it is, settings and all, is as good as the server.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from eventmark.errors import CannotRunError
from eventmark.server.search_path import confined_dsn

ANSWER_TIMEOUT_S = 5.0
_LOOKS = 3
_SCHEMA = "eventmark_path"
REMEDY = "name the server's own host and port, not the pooler's"
_MODES = {
    "statement": "it takes no transactions",
    "transaction": "each transaction may run in another session",
    "session": "it does not pass on a session's settings",
}


async def refuse_shared_sessions(connection: asyncpg.Connection[Any], dsn: str, address: str) -> None:
    """Raises ``CannotRunError`` where a pooler hands out the server's sessions by statement or transaction."""
    try:
        process = await _process(connection)
    except asyncpg.PostgresError as error:
        if "statement pooling" in str(error):
            raise _refused(address, "statement") from error
        raise
    if process != connection.get_server_pid() and await _moves(connection, process, dsn):
        raise _refused(address, "transaction")


async def refuse_lost_settings(dsn: str, address: str) -> None:
    """Raises ``CannotRunError`` where a new session does not have the settings that it is started with."""
    try:
        connection = await asyncpg.connect(
            confined_dsn(dsn, _SCHEMA, ()), server_settings={"synchronous_commit": "off"}
        )
    except asyncpg.ProtocolViolationError as error:
        raise _refused(address, "session") from error
    try:
        kept = await connection.fetchval(
            f"select current_setting('search_path') = '\"{_SCHEMA}\"'"
            " and current_setting('synchronous_commit') = 'off'"
        )
    finally:
        await connection.close()
    if not kept:
        raise _refused(address, "session")


def unsupported_parameter(error: Exception) -> bool:
    """Whether a pooler refused a connection for the settings that its DSN asks for."""
    return isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in str(error)


def _refused(address: str, mode: str) -> CannotRunError:
    return CannotRunError(f"{address} leads to a pooler in {mode} mode: {_MODES[mode]}", remedy=REMEDY)


async def _moves(connection: asyncpg.Connection[Any], process: int, dsn: str) -> bool:
    """Whether another client's transaction can take the session's process from it."""
    try:
        other = await asyncpg.connect(dsn, timeout=ANSWER_TIMEOUT_S, statement_cache_size=0)
    except TimeoutError:
        return False
    has_begun = False
    try:
        for _ in range(_LOOKS):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await other.execute("begin")
                has_begun = True
                if await _process(connection) != process:
                    return True
                await other.execute("rollback")
                has_begun = False
    except TimeoutError:
        return has_begun  # a pool's only process: the other's transaction has it, or the session keeps it
    finally:
        other.terminate()
    return False


async def _process(connection: asyncpg.Connection[Any]) -> int:
    # In a transaction: a pooler may change the process between the driver's messages.
    async with connection.transaction():
        process: int = await connection.fetchval("select pg_backend_pid()")
    return process
