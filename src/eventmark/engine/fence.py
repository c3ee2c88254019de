"""The fence: every statement of an open store names the identity that it was opened with.

The identity is the marker's: store id, epoch, ordering, row-level security. A function of the schema is named after
it, and each statement mentions the function in a common table expression that nothing reads. The server looks the
name up when it parses the statement, and again when the function has gone or was renamed since; it never calls it,
and the plan is the same without it. So a statement that outlived its store (a rebase, a failover, a schema that was
dropped and made anew, a pooler that leads to another server) fails before it reads or writes a row.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from uuid import UUID

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError, StoreReplacedError

_PREFIX = "fence_"
_WITH = re.compile(r"with\s+(recursive\s+)?", re.IGNORECASE)
_STANDING = """
select p.proname as name, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)) as owner
from pg_class c left join pg_proc p
    on p.pronamespace = c.relnamespace and pg_catalog.starts_with(p.proname::text, $2)
where c.oid = pg_catalog.to_regclass($1)::oid
"""
_OTHERS = """
select pg_catalog.count(*) from pg_stat_activity
where datname = pg_catalog.current_database() and application_name = 'eventmark' and pid <> pg_catalog.pg_backend_pid()
"""


def fence_name(store_id: UUID, epoch: int, ordering: str, row_level_security: bool) -> str:
    """The name of the function that stands for this identity."""
    identity = f"{store_id} {epoch} {ordering} {row_level_security}"
    return _PREFIX + hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()


def fenced(sql: str, schema: str, name: str) -> str:
    """The statement, which fails where the schema's identity is another one than ``name`` stands for."""
    fence = f'eventmark_fence as (select {quoted_schema(schema)}."{name}"())'
    keywords = _WITH.match(sql)
    if keywords is None:
        return f"with {fence} {sql}"
    return f"{keywords[0]}{fence}, {sql[keywords.end() :]}"


async def set_fence(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Give the schema's fence the name of the identity that is in its marker, or make it.

    Renamed, not made anew: it keeps its owner, so that every member of the owning role can rename it again.
    """
    quoted = quoted_schema(schema)
    identity = await connection.fetchrow(
        f"select store_id, epoch, ordering, row_level_security from {quoted}.eventmark_store"
    )
    name = fence_name(*identity)
    standing = await connection.fetchrow(_STANDING, f"{quoted}.eventmark_store", _PREFIX)
    if standing["name"] is None:
        await connection.execute(
            f"create function {quoted}.{name}() returns boolean language sql immutable as 'select true'"
        )
        await connection.execute(f"alter function {quoted}.{name}() owner to {standing['owner']}")
    elif standing["name"] != name:
        await connection.execute(f"alter function {quoted}.{standing['name']}() rename to {name}")


async def check_fence(connection: asyncpg.Connection[Any], schema: str, name: str) -> None:
    """Raises ``CannotRunError`` where the schema has no fence of this name."""
    if (
        await connection.fetchval(
            "select pg_catalog.to_regprocedure($1)", f"{quoted_schema(schema)}.{name}()"
        )
        is None
    ):
        raise CannotRunError(
            f"schema {schema!r} has no fence that fits its marker: it is an older store, or was altered by hand",
            remedy="run eventmark admin migrate",
        )


async def refuse_clients(connection: asyncpg.Connection[Any], then: str) -> None:
    """Raises ``CannotRunError`` while the event store has other connections: a changed fence would break them.

    Call it while the marker is locked: a client that connects meanwhile waits, and reads the changed marker.
    """
    clients = await connection.fetchval(_OTHERS)
    if clients:
        raise CannotRunError(
            f"{clients} connections of the event store are open in this database",
            remedy=f"stop appenders and consumers, {then}, start them again",
        )


def replaced_error(error: asyncpg.UndefinedFunctionError) -> StoreReplacedError | None:
    """The error to raise where the fence is missing; None where another function is missing."""
    if _PREFIX not in str(error):
        return None
    return StoreReplacedError(
        "the store is no longer the one that was opened: it was rebased, replaced or given row-level security",
        remedy="close this store object and connect again; tokens kept elsewhere are of the old one",
    )
