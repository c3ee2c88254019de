"""Tables that Citus keeps on several nodes: each node has positions of its own, so all of them have no one order."""

from __future__ import annotations

from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.stores.definition import StoreDefinition

_CATALOGUE = "pg_catalog.pg_dist_partition"


async def refuse_distributed(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> None:
    """Raises ``CannotRunError`` where events of all tenants are streamed from a table that Citus distributes."""
    if not definition.capabilities.all_tenants_stream:
        return
    if await connection.fetchval("select to_regclass($1)", _CATALOGUE) is None:
        return
    is_distributed = await connection.fetchval(
        f"select exists (select from {_CATALOGUE} where logicalrelid = to_regclass($1) and partmethod <> 'n')",
        f'{quoted_schema(schema)}."{definition.events_table}"',
    )
    if is_distributed:
        raise CannotRunError(
            f"table {schema}.{definition.events_table} is distributed over the nodes of Citus, which have no order in "
            "common: a consumer of all tenants can miss events",
            remedy="leave out stream_events.sql: within a tenant the order holds; or keep the table on one node",
        )
