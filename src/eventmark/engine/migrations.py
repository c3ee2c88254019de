"""Migrations: files that turn one version of the schema into the next; together they make what is installed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg

from eventmark.engine.fence import set_fence
from eventmark.engine.isolation import create_tenant_functions
from eventmark.engine.roles import grant_roles, roles_are_granted
from eventmark.engine.sessions import owner_transaction
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError

ENGINE_STORE_NAME = "eaf"
ENGINE_STORES = (ENGINE_STORE_NAME, "eaf-jsonb")
MIGRATIONS_DIRECTORY = Path(__file__).parent / "sql" / "migrations"

_FILE_NAME = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")
_ENGINE_PART = "-- engine tables\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """``marker_script`` is for every store's schema, ``engine_script`` for those with the engine's own tables."""

    number: int
    path: Path
    marker_script: str
    engine_script: str

    def script(self, schema: str, *, engine_tables: bool) -> str:
        text = self.marker_script + (self.engine_script if engine_tables else "")
        return text.replace("{schema}", quoted_schema(schema))


@cache
def migrations() -> tuple[Migration, ...]:
    """Every migration in its order; the first is the schema as it once began. Numbers have no gap."""
    steps = []
    for path in sorted(MIGRATIONS_DIRECTORY.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        assert match, f"{path.name} is not NNNN_name.sql"
        marker_script, _, engine_script = path.read_text(encoding="utf-8").partition(_ENGINE_PART)
        steps.append(
            Migration(
                number=int(match["number"]),
                path=path,
                marker_script=marker_script,
                engine_script=engine_script,
            )
        )
    assert [migration.number for migration in steps] == list(range(1, len(steps) + 1)), "a number is amiss"
    return tuple(steps)


async def migrate_schema(connection: asyncpg.Connection[Any], schema: str) -> tuple[int, int]:
    """Bring a store's schema to this release's version, all or nothing. Returns the version before and after.

    If several migrate at the same time, one does the work and the others find it done. Raises
    ``CannotRunError`` where there is no store, for a newer version, and for a role that does not own it.
    """
    quoted = quoted_schema(schema)
    try:
        async with owner_transaction(connection):
            await connection.execute(f"lock table {quoted}.eventmark_store in access exclusive mode")
            row = await connection.fetchrow(
                f"select schema_version, store_name from {quoted}.eventmark_store"
            )
            if row is None:
                raise _no_store(schema)
            before, last = row["schema_version"], len(migrations())
            if before > last:
                raise CannotRunError(
                    f"schema {schema!r} is of version {before}, this release knows {last} at most",
                    remedy="use the release that made it, or a newer one",
                )
            await _apply(connection, schema, before, engine_tables=row["store_name"] in ENGINE_STORES)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise _no_store(schema) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotRunError(
            f"this role may not migrate schema {schema!r}: {error}",
            remedy=f"connect as the schema's owner, or grant {schema}_owner to this role",
        ) from error
    return before, last


async def _apply(
    connection: asyncpg.Connection[Any], schema: str, before: int, *, engine_tables: bool
) -> None:
    """The migrations after version ``before``; then what follows from the tables and the statements."""
    for migration in migrations()[before:]:
        await connection.execute(migration.script(schema, engine_tables=engine_tables))
    quoted = quoted_schema(schema)
    await connection.execute(f"update {quoted}.eventmark_store set schema_version = $1", len(migrations()))
    await set_fence(connection, schema)
    if not engine_tables:
        return
    if await roles_are_granted(connection, schema):
        await grant_roles(connection, schema)
    bound, ordering = await connection.fetchrow(
        f"select row_level_security, ordering from {quoted}.eventmark_store"
    )
    if bound:
        await create_tenant_functions(connection, schema, ordering)


def _no_store(schema: str) -> CannotRunError:
    return CannotRunError(
        f"there is no event store in schema {schema!r}",
        remedy="name another with --schema, or create one with eventmark seed or install_schema",
    )
