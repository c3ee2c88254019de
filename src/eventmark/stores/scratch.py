"""Schemas that are made for a measurement and dropped after it."""

from __future__ import annotations

import asyncpg

from eventmark.engine import drop_schema, install_schema
from eventmark.engine.orderings import HORIZON

SCHEMA_LENGTH_MAX = 48


def scratch_name(schema: str, suffix: str) -> str:
    """A schema's name beside ``schema``, no longer than names may be."""
    return schema[: SCHEMA_LENGTH_MAX - len(suffix)] + suffix


async def make_scratch_schema(dsn: str, schema: str, *, ordering: str = HORIZON.name) -> None:
    """An empty store of the engine's in ``schema``, in place of one that is left from before."""
    connection = await asyncpg.connect(dsn)
    try:
        await drop_schema(connection, schema)
        await install_schema(connection, schema, ordering=ordering)
    finally:
        await connection.close()


async def drop_scratch_schema(dsn: str, schema: str) -> None:
    """Drop it, if it is there. One that is not Eventmark's is refused (``CannotRunError``)."""
    connection = await asyncpg.connect(dsn)
    try:
        await drop_schema(connection, schema)
    finally:
        await connection.close()
