"""The store's schema: installed, marked, recognised and dropped, never anybody else's."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from eventmark.engine.claims import holder_of
from eventmark.engine.fence import fence_name, set_fence
from eventmark.engine.isolation import enable_row_level_security
from eventmark.engine.migrations import ENGINE_STORE_NAME, migrations
from eventmark.engine.orderings import HORIZON, ORDERINGS
from eventmark.engine.payloads import DEFAULT_PAYLOAD, SQL_DIRECTORY, schema_script
from eventmark.engine.roles import drop_roles, grant_roles
from eventmark.engine.sessions import owner_transaction
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError, UsageError

SCHEMA_VERSION = migrations()[-1].number
LEDGER_TABLE = "eventmark_corpus"  # of the seeding
OTHER_SCHEMA = "name another with --schema"


class Purpose(enum.StrEnum):
    """What a schema was made for. One in use is never dropped, and no measurement writes to it.

    CORPUS: seeded by Eventmark, kept for the next run. SCRATCH: made for one run, gone when it ends.
    """

    IN_USE = "in use"
    CORPUS = "corpus"
    SCRATCH = "scratch"


_KINDS = {Purpose.CORPUS: "a corpus", Purpose.SCRATCH: "a scratch schema"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """The row that makes a schema Eventmark's: whose store it is, and the epoch of its tokens.

    ``ordering`` is how the engine's consumers read; SQL files of other stores have their own. ``owner`` is the run
    that made a corpus or a scratch schema, ``digest`` is of the files that made the tables (``schema_digest``; empty
    where an older release made them).
    """

    store_id: UUID
    epoch: int
    schema_version: int
    store_name: str
    ordering: str
    created_at: datetime
    row_level_security: bool
    purpose: Purpose
    owner: str
    digest: str

    @property
    def fence(self) -> str:
        """The name of the function that stands for this identity."""
        return fence_name(self.store_id, self.epoch, self.ordering, self.row_level_security)


def schema_digest(schema_script: str, indexes_script: str) -> str:
    """Of all that makes a store's tables: a schema that was made from other files is another one."""
    return hashlib.sha256((schema_script + indexes_script).encode()).hexdigest()


async def install_schema(
    connection: asyncpg.Connection[Any],
    schema: str,
    *,
    with_indexes: bool = True,
    ordering: str = HORIZON.name,
    payload: str = DEFAULT_PAYLOAD,
    roles: bool = False,
    row_level_security: bool = False,
    purpose: Purpose = Purpose.IN_USE,
    owner: str = "",
) -> Marker:
    """Create the engine's schema, all or nothing, for one of ``ORDERINGS``.

    ``payload`` is the type of the columns that hold documents: ``json``, or ``jsonb`` for who needs its operators or
    an index on a document.
    ``roles`` makes the store's roles, ``row_level_security`` these and the policies: see ``grant_roles``
    and ``enable_row_level_security``. Refuses a name that is taken (``CannotRunError``) and an unknown
    ordering or type (``UsageError``).
    """
    if ordering not in ORDERINGS:
        raise UsageError(f"unknown ordering {ordering!r}", remedy=f"use one of {', '.join(ORDERINGS)}")
    scripts = [schema_script(payload), ORDERINGS[ordering].indexes_path.read_text()]
    async with owner_transaction(connection):
        marker = await create_marked_schema(
            connection, schema, scripts if with_indexes else scripts[:1], store_name=ENGINE_STORE_NAME,
            ordering=ordering, purpose=purpose, owner=owner, digest=schema_digest(*scripts),
        )  # fmt: skip
        if row_level_security:
            await enable_row_level_security(connection, schema, ordering, is_new=True)
        elif roles:
            await grant_roles(connection, schema)
    return replace(marker, row_level_security=row_level_security)


async def create_marked_schema(
    connection: asyncpg.Connection[Any], schema: str, scripts: list[str], *, store_name: str, ordering: str,
    purpose: Purpose, owner: str, digest: str,
) -> Marker:  # fmt: skip
    """Create ``schema`` with Eventmark's marker and run ``scripts`` in it, in one transaction."""
    quoted = quoted_schema(schema)
    marker = (SQL_DIRECTORY / "marker.sql").read_text()
    create = f"create schema {quoted}"
    try:
        async with connection.transaction():
            await connection.execute(create)
            for script in (marker, *scripts):
                await connection.execute(script.replace("{schema}", quoted))
            await connection.execute(
                f"insert into {quoted}.eventmark_store"
                " (schema_version, store_name, ordering, purpose, owner, digest) values ($1, $2, $3, $4, $5, $6)",
                SCHEMA_VERSION, store_name, ordering, purpose.value, owner, digest,
            )  # fmt: skip
            await set_fence(connection, schema)
    except asyncpg.DuplicateSchemaError as error:
        raise CannotRunError(
            f"schema {schema!r} exists already", remedy="choose another name with --schema"
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        if getattr(error, "query", None) != create:  # a script's, which its caller knows
            raise
        raise CannotRunError(
            f"no permission to create schema {schema!r}",
            remedy="grant CREATE on the database to this role, or connect as another",
        ) from error
    created = await read_marker(connection, schema)
    assert created is not None
    return created


async def schema_exists(connection: asyncpg.Connection[Any], schema: str) -> bool:
    """Whether a schema of this name is there, marked or not."""
    exists: bool = await connection.fetchval(
        "select exists (select from pg_namespace where nspname = $1)", schema
    )
    return exists


async def read_marker(connection: asyncpg.Connection[Any], schema: str) -> Marker | None:
    """The schema's marker, or None where there is no such schema.

    Raises ``CannotRunError`` for a schema without marker (somebody else's) or of another version.
    """
    row = await _marker_row(connection, schema)
    if row is None:
        return None
    if row["schema_version"] != SCHEMA_VERSION:
        raise _other_version(schema, row)
    known = {field.name: row[field.name] for field in fields(Marker)}
    return Marker(**(known | {"purpose": Purpose(row["purpose"])}))


async def _marker_row(connection: asyncpg.Connection[Any], schema: str) -> asyncpg.Record | None:
    """The marker of any version, or None where there is no such schema. One without marker is refused."""
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
            f"schema {schema!r} was not created by Eventmark and is left alone", remedy=OTHER_SCHEMA
        )
    return row


def _other_version(schema: str, row: asyncpg.Record) -> CannotRunError:
    older = row["schema_version"] < SCHEMA_VERSION
    return CannotRunError(
        f"schema {schema!r} is of version {row['schema_version']}, this release reads {SCHEMA_VERSION}",
        remedy="run eventmark admin migrate" if older else "use the release that made it, or a newer one",
    )


async def events_are_ahead(connection: asyncpg.Connection[Any], schema: str) -> bool:
    """Whether there are events, among those the role may see, of transactions this server has not come to."""
    exists: bool = await connection.fetchval(
        f"select exists (select from {quoted_schema(schema)}.domain_events"
        " where transaction_id >= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))"
    )
    return exists


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
            remedy="run eventmark admin rebase: it orders these events before new ones and refuses old tokens",
        )


async def drop_schema(
    connection: asyncpg.Connection[Any], schema: str, *, purposes: Collection[Purpose], owner: str = ""
) -> None:
    """Drop a schema that Eventmark made for itself, and its roles, if it is there; nothing else drops one.

    Raises ``CannotRunError`` for a schema in use or of a purpose that is not among ``purposes``, for one without a
    marker, and for a scratch schema of a run, other than ``owner``, that is still going on.
    """
    row = await _marker_row(connection, schema)
    if row is None:
        return
    try:
        async with owner_transaction(connection):
            # nobody changes the marker between the question and the answer
            await connection.execute(
                f"lock table {quoted_schema(schema)}.eventmark_store in access exclusive mode"
            )
            row = await _marker_row(connection, schema)
            assert row is not None
            await _refuse_to_drop(connection, schema, row, purposes, owner)
            await connection.execute(f"drop schema {quoted_schema(schema)} cascade")
            await drop_roles(connection, schema, row["store_id"])
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotRunError(
            f"this role may not drop schema {schema!r}: {error}", remedy="connect as the schema's owner"
        ) from error


async def _refuse_to_drop(
    connection: asyncpg.Connection[Any], schema: str, row: asyncpg.Record, purposes: Collection[Purpose], owner: str
) -> None:  # fmt: skip
    if row["schema_version"] > SCHEMA_VERSION:
        raise _other_version(schema, row)
    purpose = await _purpose(connection, schema, row)
    if purpose is Purpose.IN_USE:
        raise in_use(schema)
    if purpose not in purposes:
        raise CannotRunError(
            f"schema {schema!r} was made as {_KINDS[purpose]} and is not dropped here",
            remedy="name another with --schema, or remove it with eventmark admin drop",
        )
    if purpose is Purpose.SCRATCH and row["owner"] != owner:
        holder = await holder_of(connection, row["owner"])
        if holder:
            raise CannotRunError(
                f"schema {schema!r} belongs to another run, which is still going on: {holder}",
                remedy="wait for its end, or name another with --schema",
            )


async def purpose_of(connection: asyncpg.Connection[Any], schema: str) -> Purpose | None:
    """What the schema was made for, whatever its version; None where it does not exist. Another's schema is refused."""
    row = await _marker_row(connection, schema)
    return None if row is None else await _purpose(connection, schema, row)


async def _purpose(connection: asyncpg.Connection[Any], schema: str, row: asyncpg.Record) -> Purpose:
    """As the marker tells. Older releases noted none: what has a ledger of the seeding was seeded."""
    if noted := row.get("purpose"):
        return Purpose(noted)
    ledger = f"{quoted_schema(schema)}.{LEDGER_TABLE}"
    seeded = await connection.fetchval("select pg_catalog.to_regclass($1) is not null", ledger)
    return Purpose.CORPUS if seeded else Purpose.IN_USE


def in_use(schema: str) -> CannotRunError:
    """The refusal of every verb that would have to write to a store in use."""
    return CannotRunError(
        f"schema {schema!r} holds an event store that is in use: Eventmark neither drops nor changes it",
        remedy=OTHER_SCHEMA,
    )
