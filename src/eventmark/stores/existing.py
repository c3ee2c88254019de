"""A store's folder held against tables that are there already and stay as they are: nothing is made or written."""

from __future__ import annotations

from typing import Any

import asyncpg

from eventmark.engine.statements import Statement, quoted_schema
from eventmark.errors import CannotRunError
from eventmark.stores.definition import StoreDefinition
from eventmark.stores.distributed import refuse_distributed
from eventmark.stores.install import check_answer, check_columns, check_parameters, statement_error
from eventmark.stores.shape import check_types, read_shape

WRITING_STATEMENTS = ("append_events", "store_snapshot")

_TABLE = """
select c.relkind::text as kind, current_user::text as role,
    has_schema_privilege(c.relnamespace, 'usage') and has_table_privilege(c.oid, 'select') as readable
from pg_class c where c.oid = to_regclass($1)
"""
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}


async def check_existing(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> None:
    """Raises ``CannotRunError`` for a table that is not there, is none, is empty or may not be read, or is distributed.

    ``StoreDefinitionError`` where the folder does not fit it: columns, their types, statements.
    """
    if not await connection.fetchval("select to_regnamespace($1) is not null", quoted_schema(schema)):
        raise CannotRunError(f"there is no schema {schema!r}", remedy="name the store's own with --schema")
    for table in filter(None, (definition.events_table, definition.snapshots_table)):
        await _check_table(connection, definition, schema, table)
    await refuse_distributed(connection, definition, schema)
    await check_columns(connection, definition, schema)
    if not definition.engine:
        check_types(definition, await read_shape(connection, definition, schema))
        for statement in definition.statements.values():
            check_parameters(statement)
            await _check_statement(connection, definition, statement, schema)
    events = f'{quoted_schema(schema)}."{definition.events_table}"'
    if not await connection.fetchval(f"select exists (select from {events})"):
        raise CannotRunError(
            f"table {schema}.{definition.events_table} is empty, so there is nothing to measure on",
            remedy="name the table that holds the events in store.toml, [tables], or leave --existing out",
        )


async def _check_table(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str, table: str
) -> None:
    row = await connection.fetchrow(_TABLE, f'{quoted_schema(schema)}."{table}"')
    toml = definition.directory / "store.toml"
    if row is None:
        raise CannotRunError(
            f"there is no table {schema}.{table}",
            remedy=f"name the schema with --schema and the table in {toml}, [tables]",
        )
    if row["kind"] in _KINDS:
        raise CannotRunError(
            f"{schema}.{table} is {_KINDS[row['kind']]}: its rows have no places and no indexes of their own",
            remedy=f"name the table behind it in {toml}, [tables]",
        )
    if not row["readable"]:
        raise CannotRunError(
            f"role {row['role']} may not read {schema}.{table}",
            remedy=f"grant usage on schema {schema} to {row['role']};"
            f" grant select on {schema}.{table} to {row['role']}",
        )


async def _check_statement(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, statement: Statement, schema: str
) -> None:
    try:
        prepared = await connection.prepare(statement.sql(schema))
    except asyncpg.PostgresError as error:
        raise statement_error(statement, schema, error) from error
    check_answer(definition, statement, [attribute.name for attribute in prepared.get_attributes()])
