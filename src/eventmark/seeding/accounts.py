"""Whether all that is in a corpus is Eventmark's own: only then is it dropped, appended to or aged."""

from __future__ import annotations

from typing import Any

import asyncpg

from eventmark.engine.schema import Purpose, drop_schema
from eventmark.stores import run_id


async def drop_corpus(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Drop what was seeded in ``schema``, if anything is there. Anything else is refused (``CannotRunError``)."""
    await drop_schema(connection, schema, purposes={Purpose.CORPUS, Purpose.SCRATCH}, owner=run_id())


async def drop_corpus_schema(dsn: str, schema: str) -> None:
    """``drop_corpus`` on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await drop_corpus(connection, schema)
    finally:
        await connection.close()
