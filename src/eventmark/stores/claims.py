"""A schema claimed for a whole run, so that a second run on it is told who is there instead of disturbing it."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import asyncpg

from eventmark.engine.claims import claim, holder_of
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.stores.scratch import run_id

APPLICATION = "eventmark-run"
_APPLICATION_LENGTH_MAX = 63  # what the server keeps of it


@contextmanager
def claimed(dsn: str, schema: str) -> Iterator[None]:
    """The schema is this run's, and the run is seen to live, until the context is left or the process ends.

    The claim is a session's own: it needs a connection to the server itself, not to a pooler that hands sessions
    on. Worker processes take none. Raises ``CannotRunError`` where another run has the schema.
    """
    quoted_schema(schema)
    # The session has nothing to do but to be there: its loop runs only while it comes and goes.
    loop = asyncio.new_event_loop()
    connection: asyncpg.Connection[Any] | None = None
    try:
        connection = loop.run_until_complete(_claim(dsn, schema))
        yield
    finally:
        if connection is not None:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                loop.run_until_complete(connection.close(timeout=5))
        loop.close()


async def _claim(dsn: str, schema: str) -> asyncpg.Connection[Any]:
    who = f"{APPLICATION} of process {os.getpid()} on {platform.node()}"[:_APPLICATION_LENGTH_MAX]
    connection = await asyncpg.connect(dsn, server_settings={"application_name": who})
    try:
        await connection.execute("set idle_session_timeout = 0")
        if not await claim(connection, f"schema {schema}"):
            holder = await holder_of(connection, f"schema {schema}")
            raise CannotRunError(
                f"schema {schema!r} is being used by another run: {holder or 'it has just ended'}",
                remedy="wait for its end, or name another with --schema",
            )
        await claim(connection, run_id())  # its scratch schemas are nobody else's for as long
    except BaseException:
        await connection.close()
        raise
    return connection
