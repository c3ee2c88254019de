"""Schemas that are made for a measurement and dropped after it."""

from __future__ import annotations

import os
from typing import Any
from uuid import uuid4

import asyncpg

from eventmark.engine import install_schema
from eventmark.engine.orderings import HORIZON
from eventmark.engine.schema import Purpose, drop_schema

SCHEMA_LENGTH_MAX = 48
RUN_VARIABLE = "EVENTMARK_RUN"


def run_id() -> str:
    """This run's id, the owner of the schemas that it makes: the same in every process that it starts."""
    return os.environ.setdefault(RUN_VARIABLE, uuid4().hex)


def begin_run() -> None:
    """A new run in this process: what an earlier one left is no longer its own."""
    os.environ[RUN_VARIABLE] = uuid4().hex


def scratch_name(schema: str, suffix: str) -> str:
    """The name of a second schema, made from ``schema``, no longer than names may be."""
    return schema[: SCHEMA_LENGTH_MAX - len(suffix)] + suffix


async def make_scratch_schema(dsn: str, schema: str, *, ordering: str = HORIZON.name) -> None:
    """An empty store of the engine's in ``schema``, in place of one that is left from before."""
    connection = await asyncpg.connect(dsn)
    try:
        await drop_scratch(connection, schema)
        await install_schema(connection, schema, ordering=ordering, purpose=Purpose.SCRATCH, owner=run_id())
    finally:
        await connection.close()


async def drop_scratch(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Drop a scratch schema, if it is there. Anything else is refused: see ``drop_schema``."""
    await drop_schema(connection, schema, purposes={Purpose.SCRATCH}, owner=run_id())


async def drop_scratch_schema(dsn: str, schema: str) -> None:
    """``drop_scratch`` on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await drop_scratch(connection, schema)
    finally:
        await connection.close()
