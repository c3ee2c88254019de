"""A table that Citus distributes: refused where it is streamed whole, and only there. By a catalogue as Citus has it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from eventmark.errors import CannotRunError
from eventmark.stores import find_store
from eventmark.stores.distributed import refuse_distributed
from eventmark.stores.existing import check_existing
from eventmark.stores.install import install_store
from tests.database import execute


def catalogue(method: str) -> tuple[str, ...]:
    """In which every table of that name is distributed by ``method``: h by a hash, n not at all."""
    return (
        "set allow_system_table_mods = on",
        "create view pg_catalog.pg_dist_partition as"
        f" select oid::regclass as logicalrelid, '{method}'::\"char\" as partmethod"
        " from pg_class where relname = 'domain_events'",
    )


async def installed(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await install_store(connection, find_store("eaf"), "eventmark")
    finally:
        await connection.close()


def test_a_table_on_several_nodes_is_refused_before_and_after_it_is_there(database: str) -> None:
    async def look() -> None:
        connection = await asyncpg.connect(database)
        definition = find_store("eaf")
        try:
            with pytest.raises(CannotRunError, match="can miss events"):
                await check_existing(connection, definition, "eventmark")
            one_tenant = replace(
                definition, capabilities=replace(definition.capabilities, all_tenants_stream=False)
            )
            await refuse_distributed(connection, one_tenant, "eventmark")
        finally:
            await connection.close()

    execute(database, *catalogue("h"))
    with pytest.raises(
        CannotRunError, match=r"eventmark\.domain_events is distributed over the nodes of Citus"
    ):
        asyncio.run(installed(database))
    execute(database, "set allow_system_table_mods = on", "drop view pg_catalog.pg_dist_partition")
    asyncio.run(installed(database))
    execute(database, *catalogue("h"))
    asyncio.run(look())


def test_a_table_on_one_node_of_citus_is_taken(database: str) -> None:
    execute(database, *catalogue("n"))
    asyncio.run(installed(database))
