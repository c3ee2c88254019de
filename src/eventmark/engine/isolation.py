"""Row-level security: each statement of a tenant's becomes a function that names the tenant, then runs it.

The setting the policies look at must be made before the statement begins: within one statement, nothing
defines what is evaluated first. A transaction with ``set_config`` as its first statement takes four round
trips; a function's statements run one after the other in a single one, and what ``set_config(..., true)``
sets ends with the function's transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from eventmark.engine.fence import refuse_clients, set_fence
from eventmark.engine.orderings import ORDERINGS
from eventmark.engine.payloads import stored_payload_type
from eventmark.engine.roles import TENANTS_ROLE, grant_roles, make_roles, refused_roles, safety_script
from eventmark.engine.sessions import owner_transaction
from eventmark.engine.statements import Statement, quoted_schema
from eventmark.errors import CannotRunError

_TENANT = "tenant_id"
_FUNCTION = """
create or replace function {name}({parameters}) returns table ({columns})
language plpgsql volatile as $eventmark$
#variable_conflict use_column
begin
    perform pg_catalog.set_config('eventmark.tenant_id', {tenant}, true);
    return query
{statement};
end
$eventmark$
"""


def _tenant_statements(statements: Mapping[str, Statement]) -> list[Statement]:
    """The statements that are about one tenant."""
    return [s for s in statements.values() if any(p.name == _TENANT for p in s.parameters)]


def _function_name(statement: Statement) -> str:
    """Carries a digest of what it does, so that releases that differ in it can run side by side."""
    text = f"{_FUNCTION}{statement.parameters}{statement.template}"
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return f"{statement.name}_{digest[:8]}"


def tenant_sql(statements: Mapping[str, Statement], schema: str) -> dict[str, str]:
    """By the name of each statement of a tenant, the function call that replaces it under row-level security."""
    calls = {}
    for statement in _tenant_statements(statements):
        arguments = ", ".join(f"${number}" for number in range(1, len(statement.parameters) + 1))
        calls[statement.name] = (
            f"select * from {quoted_schema(schema)}.{_function_name(statement)}({arguments})"
        )
    return calls


async def enable_row_level_security(
    connection: asyncpg.Connection[Any], schema: str, ordering: str, *, is_new: bool = False
) -> None:
    """Bind every reader and writer of a store to one tenant at a time, and make the roles that this needs.

    From then on only roles that are neither owner nor superuser can open it. Raises ``CannotRunError``, for example
    while clients are connected: they would no longer read anything. A store that ``is_new`` has no clients.
    """
    quoted = quoted_schema(schema)
    try:
        async with owner_transaction(connection):
            await connection.execute(f"lock table {quoted}.eventmark_store in access exclusive mode")
            if not await connection.fetchval(f"select row_level_security from {quoted}.eventmark_store"):
                if not is_new:
                    await refuse_clients(connection, "switch it on")
                await grant_roles(connection, schema)
                await make_roles(connection, schema, TENANTS_ROLE)
                await connection.execute(safety_script("row_level_security", schema))
                await set_fence(connection, schema)
            else:
                await grant_roles(connection, schema)
            await create_tenant_functions(connection, schema, ordering)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.DuplicateObjectError) as error:
        raise refused_roles(schema, error) from error


async def create_tenant_functions(connection: asyncpg.Connection[Any], schema: str, ordering: str) -> None:
    """Make the functions of this release's statements; those of other releases stay."""
    payload = await stored_payload_type(connection, schema)
    for statement in _tenant_statements(ORDERINGS[ordering].statements(payload)):
        prepared = await connection.prepare(statement.sql(schema))
        await connection.execute(_definition(statement, schema, prepared.get_attributes()))


async def drop_tenant_functions(connection: asyncpg.Connection[Any], schema: str, ordering: str) -> None:
    """Drop the functions of this release's statements: they declare what they return, and it becomes another type."""
    payload = await stored_payload_type(connection, schema)
    for statement in _tenant_statements(ORDERINGS[ordering].statements(payload)):
        types = ", ".join(parameter.sql_type for parameter in statement.parameters)
        name = f"{quoted_schema(schema)}.{_function_name(statement)}"
        await connection.execute(f"drop function if exists {name}({types})")


async def check_tenant_functions(
    connection: asyncpg.Connection[Any], schema: str, statements: Mapping[str, Statement]
) -> None:
    """Raises ``CannotRunError`` where a function that these statements need is missing."""
    names = [_function_name(statement) for statement in _tenant_statements(statements)]
    missing = await connection.fetchval(
        "select pg_catalog.min(name) from pg_catalog.unnest($1::text[]) as wanted (name) where not exists"
        " (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname = $2 and p.proname = name)",
        names,
        schema,
    )
    if missing is not None:
        raise CannotRunError(
            f"schema {schema!r} has no function {missing}, which this release needs for row-level security",
            remedy="run eventmark admin migrate",
        )


def _definition(statement: Statement, schema: str, columns: Iterable[asyncpg.Attribute]) -> str:
    number = [parameter.name for parameter in statement.parameters].index(_TENANT) + 1
    return _FUNCTION.format(
        name=f"{quoted_schema(schema)}.{_function_name(statement)}",
        parameters=", ".join(parameter.sql_type for parameter in statement.parameters),
        columns=", ".join(f'"{c.name}" {_type_name(c.type)}' for c in columns),
        tenant=f"${number}",
        statement=statement.sql(schema),
    )


def _type_name(column_type: asyncpg.Type) -> str:
    """Quoted; the driver writes an array's name with brackets."""
    whole: str = column_type.name
    name = whole.removesuffix("[]")
    return f'"{column_type.schema}"."{name}"' + "[]" * (name != whole)
