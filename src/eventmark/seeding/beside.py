"""What a store needs besides its events before tenants can be appended to that no corpus has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import asyncpg
import numpy as np

from eventmark.seeding.load import stage
from eventmark.stores import StoreDefinition, read_shape, staging_of
from eventmark.workload import CorpusPlan, make_columns

_EVENTS = 100


async def fill_beside(dsn: str, definition: StoreDefinition, schema: str, tenant_ids: Sequence[str]) -> None:
    """Run seed.sql for events of each tenant, in streams that nobody appends to; the events themselves are left out."""
    if not definition.seed_script:
        return
    assert len(tenant_ids) <= _EVENTS
    connection = await asyncpg.connect(dsn)
    try:
        shape = await read_shape(connection, definition, schema)
        staging = staging_of(definition, shape, schema)
        plan = CorpusPlan(_EVENTS, tenant_count=2, payload_profile="small")
        batch = make_columns(plan, 0, naming=shape.naming)
        new_ids = shape.naming.new_stream_ids(plan.random("beside"))
        batch = replace(
            batch, tenant=np.arange(_EVENTS) % len(tenant_ids), tenant_ids=tenant_ids, aggregate=np.arange(_EVENTS),
            aggregate_ids=list(islice(new_ids, _EVENTS)), stream_ids=[batch.stream_ids[0]] * _EVENTS,
            aggregate_types=[batch.aggregate_types[0]] * _EVENTS, sequence=np.ones(_EVENTS, np.int64),
        )  # fmt: skip
        for statement in staging.prepare:
            await connection.execute(statement)
        async with connection.transaction():
            await stage(connection, batch)
            await staging.fill_beside(connection)
    finally:
        await connection.close()
