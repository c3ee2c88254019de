"""The store's schema: installed, marked, recognised and dropped, never anybody else's."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from eventmark.engine.isolation import enable_row_level_security
from eventmark.engine.migrations import ENGINE_STORE_NAME, migrations
from eventmark.engine.orderings import HORIZON, ORDERINGS
from eventmark.engine.orderings.ordering import SQL_DIRECTORY
from eventmark.engine.roles import grant_roles
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError, UsageError

SCHEMA_VERSION = migrations()[-1].number

_STATEMENT_END = re.compile(r";\s*(?:\n|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """The row that makes a schema Eventmark's: whose store it is, and the epoch of its tokens.

    ``ordering`` is how the engine's consumers read; SQL files of other stores have their own.
    """

    store_id: UUID
    epoch: int
    schema_version: int
    store_name: str
    ordering: str
    created_at: datetime
    row_level_security: bool


def split_statements(script: str) -> tuple[str, ...]:
    """The statements of an SQL file, each with the comment above it; one ends where a line ends in ``;``."""
    return tuple(part.strip() for part in _STATEMENT_END.split(script) if part.strip())


async def install_schema(
    connection: asyncpg.Connection[Any],
    schema: str,
    *,
    with_indexes: bool = True,
    ordering: str = HORIZON.name,
    roles: bool = False,
    row_level_security: bool = False,
) -> Marker:
    """Create the engine's schema, all or nothing, for one of ``ORDERINGS``.

    ``roles`` makes the store's roles, ``row_level_security`` these and the policies: see ``grant_roles``
    and ``enable_row_level_security``. Refuses a name that is taken (``CannotRunError``) and an unknown
    ordering (``UsageError``).
    """
    if ordering not in ORDERINGS:
        raise UsageError(f"unknown ordering {ordering!r}", remedy=f"use one of {', '.join(ORDERINGS)}")
    scripts = [(SQL_DIRECTORY / "schema.sql").read_text()]
    if with_indexes:
        scripts.append(ORDERINGS[ordering].indexes_path.read_text())
    async with connection.transaction():
        marker = await create_marked_schema(
            connection, schema, scripts, store_name=ENGINE_STORE_NAME, ordering=ordering
        )
        if row_level_security:
            await enable_row_level_security(connection, schema, ordering)
        elif roles:
            await grant_roles(connection, schema)
    return replace(marker, row_level_security=row_level_security)


async def create_marked_schema(
    connection: asyncpg.Connection[Any], schema: str, scripts: list[str], *, store_name: str, ordering: str
) -> Marker:
    """Create ``schema`` with Eventmark's marker and run ``scripts`` in it, in one transaction."""
    quoted = quoted_schema(schema)
    marker = (SQL_DIRECTORY / "marker.sql").read_text()
    try:
        async with connection.transaction():
            await connection.execute(f"create schema {quoted}")
            for script in (marker, *scripts):
                await connection.execute(script.replace("{schema}", quoted))
            await connection.execute(
                f"insert into {quoted}.eventmark_store (schema_version, store_name, ordering)"
                " values ($1, $2, $3)",
                SCHEMA_VERSION,
                store_name,
                ordering,
            )
    except asyncpg.DuplicateSchemaError as error:
        raise CannotRunError(
            f"schema {schema!r} exists already", remedy="choose another name with --schema"
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotRunError(
            f"no permission to create schema {schema!r}",
            remedy="grant CREATE on the database to this role, or connect as another",
        ) from error
    created = await read_marker(connection, schema)
    assert created is not None
    return created


async def schema_exists(connection: asyncpg.Connection[Any], schema: str) -> bool:
    """Whether a schema of this name is there, marked or not."""
    found: bool = await connection.fetchval(
        "select exists (select from pg_namespace where nspname = $1)", schema
    )
    return found


async def read_marker(connection: asyncpg.Connection[Any], schema: str) -> Marker | None:
    """The schema's marker, or None where there is no such schema.

    Raises ``CannotRunError`` for a schema without marker (somebody else's) or of another version.
    """
    quoted = quoted_schema(schema)
    if not await schema_exists(connection, schema):
        return None
    try:
        # of any version: which columns there are is known after it
        row = await connection.fetchrow(f"select * from {quoted}.eventmark_store")
    except asyncpg.UndefinedTableError:
        row = None
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotRunError(
            f"no permission to read schema {schema!r}", remedy="grant USAGE and SELECT to this role"
        ) from error
    if row is None:
        raise CannotRunError(
            f"schema {schema!r} was not created by Eventmark and is left alone",
            remedy="choose another name with --schema",
        )
    if row["schema_version"] != SCHEMA_VERSION:
        older = row["schema_version"] < SCHEMA_VERSION
        raise CannotRunError(
            f"schema {schema!r} is of version {row['schema_version']}, this release reads {SCHEMA_VERSION}",
            remedy="run eventmark store migrate" if older else "use the release that made it, or a newer one",
        )
    return Marker(**{field.name: row[field.name] for field in fields(Marker)})


async def events_are_ahead(connection: asyncpg.Connection[Any], schema: str) -> bool:
    """Whether there are events, among those the role may see, of transactions this server has not come to."""
    found: bool = await connection.fetchval(
        f"select exists (select from {quoted_schema(schema)}.domain_events"
        " where transaction_id >= pg_snapshot_xmax(pg_current_snapshot()))"
    )
    return found


async def check_transaction_ids(
    connection: asyncpg.Connection[Any], schema: str, *, sees_every_event: bool = True
) -> None:
    """Raises ``CannotRunError`` for events of transactions that this server has not come to yet.

    They were restored from a server that was ahead: consumers would not see them until this one is as far.
    """
    if sees_every_event:
        ahead = await events_are_ahead(connection, schema)
    else:
        ahead = await connection.fetchval(f"select {quoted_schema(schema)}.events_ahead()")
    if ahead:
        raise CannotRunError(
            f"schema {schema!r} was restored from a server whose transaction ids were ahead of this one's",
            remedy="run eventmark store rebase: it orders these events before new ones and refuses old tokens",
        )


async def drop_schema(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Drop a schema of Eventmark's with all that is in it; one without a marker is refused."""
    if await read_marker(connection, schema) is not None:
        await connection.execute(f"drop schema {quoted_schema(schema)} cascade")
