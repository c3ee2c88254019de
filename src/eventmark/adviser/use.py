"""Which indexes the store's own operations search: every one of them run through the port, and counted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import numpy as np

from eventmark.adviser.copies import Copies
from eventmark.adviser.index_facts import read_indexes
from eventmark.errors import CannotRunError, EventStoreError
from eventmark.operations.catalogue import OPERATIONS
from eventmark.seeding import sample_corpus
from eventmark.stores import open_store

CALLS = 20
"""Of each operation. One is enough to see an index searched; so many meet large and small tenants."""

_GONE_WITHIN_S = 5.0


async def scans_by_operations(
    copies: Copies, connection: asyncpg.Connection[Any], schema: str
) -> dict[str, int]:
    """How often each index of ``schema`` was searched meanwhile. Raises ``CannotRunError``."""
    before = await _scans(copies, connection, schema)
    sample = await sample_corpus(connection, copies.definition, schema=schema, events=copies.events)
    store = await open_store(copies.definition, copies.job.server.dsn, schema=schema, pool_max=1)
    try:
        for number, kind in enumerate(OPERATIONS.values()):
            # Streams of its own: appends of one operation change the versions that another one knows
            own = replace(sample, streams=sample.streams[number :: len(OPERATIONS)])
            if kind.missing(copies.definition.capabilities, own):
                continue
            operation = kind(store, own, np.random.default_rng(1))
            await operation.prepare()
            for _ in range(CALLS):
                arguments = operation.draw()
                operation.is_right(arguments, await operation.call(arguments))
    except EventStoreError as error:
        raise CannotRunError(f"the store's own operations fail: {error}") from None
    finally:
        await store.close()
    await _counted(connection)
    after = await _scans(copies, connection, schema)
    return {name: count - before.get(name, 0) for name, count in after.items()}


async def _scans(copies: Copies, connection: asyncpg.Connection[Any], schema: str) -> dict[str, int]:
    return {index.name: index.scans for index in await read_indexes(connection, schema, copies.tables)}


async def _counted(connection: asyncpg.Connection[Any]) -> None:
    """Until the sessions that ran them are gone: they hand in what they counted when they go, at the latest."""
    for _ in range(int(_GONE_WITHIN_S / 0.1)):
        left = await connection.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name = 'eventmark'"
        )
        if not left:
            break
        await asyncio.sleep(0.1)
