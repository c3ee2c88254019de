"""The type that payloads are stored as, chosen when a schema is installed; later on the catalogue knows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError, UsageError

SQL_DIRECTORY = Path(__file__).parent / "sql"
DEFAULT_PAYLOAD = "json"

STORAGE: Mapping[str, str] = {
    # Compression begins where a row is beyond a page: see docs/adr/0026-payloads-are-json.md.
    "json": "with (toast_tuple_target = 8160)",
    "jsonb": "",
}
"""By type, the storage options of the table of events."""

_COLUMN_TYPE = (
    "select pg_catalog.format_type(atttypid, atttypmod) from pg_attribute"
    " where attrelid = pg_catalog.to_regclass($1)::oid and attname = 'payload' and not attisdropped"
)


def schema_script(payload: str) -> str:
    """The engine's tables with payloads of this type. Raises ``UsageError`` for a type that it does not know."""
    if payload not in STORAGE:
        raise UsageError(f"unknown payload type {payload!r}", remedy=f"use {' or '.join(STORAGE)}")
    script = (SQL_DIRECTORY / "schema.sql").read_text(encoding="utf-8")
    return script.replace("{payload}", payload).replace("{storage}", STORAGE[payload])


async def stored_payload_type(connection: asyncpg.Connection[Any], schema: str) -> str:
    """The type of the column. Raises ``CannotRunError`` for one that the engine's statements do not write."""
    column_type: str | None = await connection.fetchval(
        _COLUMN_TYPE, f"{quoted_schema(schema)}.domain_events"
    )
    if column_type is None or column_type not in STORAGE:
        raise CannotRunError(
            f"the column payload of {schema}.domain_events is {column_type or 'not there'}",
            remedy=f"the engine reads and writes {' and '.join(STORAGE)}",
        )
    return column_type
