"""Who may do what with a store: its owner, its appenders, its readers, and consumers of all tenants."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from eventmark.engine.sessions import owner_transaction
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError

SAFETY_DIRECTORY = Path(__file__).parent / "sql" / "safety"

_GRANTED = """
select exists (
    select from pg_roles where rolname = $1 and pg_catalog.has_schema_privilege(rolname, $2, 'usage')
)
"""
_OWN_ROLE = """
select current_user as name, r.rolsuper, r.rolbypassrls, pg_catalog.pg_has_role(c.relowner, 'usage') as is_owner,
    coalesce(c.relrowsecurity and c.relforcerowsecurity, false) as is_forced,
    coalesce(
        (select pg_catalog.pg_has_role(oid, 'usage') from pg_roles where rolname = $2), false
    ) as reads_every_tenant
from pg_class c, pg_roles r
where c.oid = pg_catalog.to_regclass($1)::oid and r.rolname = current_user
"""


STORE_ROLES = ("owner", "appender", "reader")
TENANTS_ROLE = "consumer"  # with row-level security: who reads every tenant's events
_MARK = "eventmark store {store_id}"


def safety_script(name: str, schema: str) -> str:
    """The script ``name`` of sql/safety, for ``schema`` and the roles that are named after the schema."""
    text = (SAFETY_DIRECTORY / f"{name}.sql").read_text(encoding="utf-8")
    return text.replace("{schema}", quoted_schema(schema)).replace("{prefix}", schema)


async def grant_roles(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Make ``<schema>_owner``, ``<schema>_appender`` and ``<schema>_reader`` and grant them what is theirs.

    They are groups without login, the cluster's own, and this store's alone: a role of such a name that is somebody
    else's, the store's of another database for one, is refused. The schema comes to belong to the owner's role.
    Raises ``CannotRunError``.
    """
    try:
        async with owner_transaction(connection):
            await make_roles(connection, schema, *STORE_ROLES)
            await connection.execute(safety_script("roles", schema))
    except (asyncpg.InsufficientPrivilegeError, asyncpg.DuplicateObjectError) as error:
        raise refused_roles(schema, error) from error


async def make_roles(connection: asyncpg.Connection[Any], schema: str, *kinds: str) -> None:
    """``<schema>_<kind>`` for each, marked as this store's. Raises ``DuplicateObjectError`` for one that is not."""
    for kind in kinds:
        await connection.execute(safety_script("role", schema).replace("{role}", f"{schema}_{kind}"))


async def drop_roles(connection: asyncpg.Connection[Any], schema: str, store_id: UUID) -> None:
    """Drop those that ``make_roles`` made for a store that is gone; one that is in use elsewhere stays."""
    for kind in (*STORE_ROLES, TENANTS_ROLE):
        made = await connection.fetchval(
            "select exists (select from pg_roles"
            " where rolname = $1 and pg_catalog.shobj_description(oid, 'pg_authid') = $2)",
            f"{schema}_{kind}",
            _MARK.format(store_id=store_id),
        )
        if made:
            with suppress(asyncpg.DependentObjectsStillExistError, asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(f'drop role "{schema}_{kind}"')


async def roles_are_granted(connection: asyncpg.Connection[Any], schema: str) -> bool:
    """Whether the store has its roles: there are such in the cluster, and they may use this schema."""
    granted: bool = await connection.fetchval(_GRANTED, f"{schema}_appender", schema)
    return granted


async def check_runtime_role(connection: asyncpg.Connection[Any], schema: str) -> bool:
    """Whether the role may read the events of every tenant, in a store with row-level security.

    Raises ``CannotRunError`` for a role that bypasses the policies, and where the policies were removed.
    """
    role = await connection.fetchrow(
        _OWN_ROLE, f"{quoted_schema(schema)}.domain_events", f"{schema}_consumer"
    )
    if not role["is_forced"]:
        raise CannotRunError(
            f"row-level security was switched off on the tables of schema {schema!r}",
            remedy="alter table ... enable row level security, force row level security",
        )
    reasons = {
        "is a superuser": role["rolsuper"],
        "has BYPASSRLS": role["rolbypassrls"],
        "owns the tables": role["is_owner"],
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise CannotRunError(
                f"role {role['name']!r} {reason}: row-level security would not keep tenants apart",
                remedy=f"connect as a role of its own that was granted {schema}_appender, "
                f"{schema}_reader or {schema}_consumer",
            )
    reads_every_tenant: bool = role["reads_every_tenant"]
    return reads_every_tenant


def refused_roles(schema: str, error: asyncpg.PostgresError) -> CannotRunError:
    """What a server answers that does not allow roles to be created."""
    remedy = "run eventmark admin roles as a role with CREATEROLE that owns the schema"
    if isinstance(error, asyncpg.DuplicateObjectError):
        meant = f"; if it is meant for this store: {error.hint}" if error.hint else ""
        remedy = "rename it, or give the schema another name" + meant
    return CannotRunError(f"the roles of schema {schema!r} cannot be made: {error}", remedy=remedy)
