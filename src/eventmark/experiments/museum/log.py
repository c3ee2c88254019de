"""Logs for exhibits: stores of the engine's in schemas of their own, filled by the server itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg

from eventmark.engine.orderings import HORIZON
from eventmark.experiments.museum.exhibit import Room
from eventmark.stores import drop_scratch_schema, make_scratch_schema, scratch_name

LONG_STREAM = "long"
LARGE, SMALL, LATE = "large", "small", "late"
EVENTS_PER_TRANSACTION = 100
LATE_EVENTS = 300
FIRST_INSTANT = datetime(2026, 1, 1, tzinfo=UTC)  # a second before the first event

# One event in a hundred is the small tenant's, evenly; the last few are all the late tenant's; one in thirty of the
# large tenant's belongs to one long stream, scattered over the whole log.
_FILL = """
insert into {schema}.domain_events (
    global_sequence_id, transaction_id, sequence_number, expected_version, timestamp_utc, event_id, tenant_id,
    stream_id, aggregate_type, aggregate_id, event_type, payload_type, payload_revision, payload, metadata
)
select
    place, (3 + place / {per_transaction})::text::xid8, row_number() over stream, row_number() over stream - 1,
    timestamptz '2026-01-01 00:00:00+00' + place * interval '1 second', gen_random_uuid(), tenant_id,
    'Order:' || aggregate_id, 'Order', aggregate_id, 'OrderChanged', 'OrderChanged', '1.0',
    json_build_object('text', repeat(md5(place::text), 8)), '{{}}'
from (
    select
        place,
        case when place > {events} - {late} then '{late_tenant}' when place % 100 = 7 then '{small}' else '{large}' end
            as tenant_id,
        case when place <= {events} - {late} and place % 100 <> 7 and place % 30 = 0 then '{long}'
            else 'a-' || place % ({events} / 10) end as aggregate_id
    from generate_series(1, {events}) as place
) as event
window stream as (partition by tenant_id, aggregate_id order by place)
order by place
"""
_TRANSACTIONS = "do $$ begin for i in 1..{count} loop perform pg_current_xact_id(); commit; end loop; end $$"


@asynccontextmanager
async def filled_log(
    room: Room, *, ordering: str = HORIZON.name, vacuum: bool = True
) -> AsyncIterator[tuple[asyncpg.Connection[Any], str]]:
    """A connection, and the name of a schema with ``room.events`` events, dropped when it is left.

    Without ``vacuum`` nobody comes round to it: its visibility map is as an append-only table's is, empty.
    """
    async with empty_log(room, ordering=ordering) as (connection, schema):
        await connection.execute(
            f'alter table "{schema}".domain_events set (autovacuum_enabled = off, toast.autovacuum_enabled = off)'
        )
        # Places must lie below the transactions of this server
        await connection.execute(_TRANSACTIONS.format(count=room.events // EVENTS_PER_TRANSACTION + 10))
        await connection.execute(
            _FILL.format(
                schema=f'"{schema}"', events=room.events, per_transaction=EVENTS_PER_TRANSACTION, late=LATE_EVENTS,
                late_tenant=LATE, small=SMALL, large=LARGE, long=LONG_STREAM,
            )
        )  # fmt: skip
        await connection.fetchval(
            "select setval(pg_get_serial_sequence($1, 'global_sequence_id')::regclass, $2)",
            f'"{schema}".domain_events',
            room.events,
        )
        await connection.execute(f'{"vacuum " if vacuum else ""}analyze "{schema}".domain_events')
        yield connection, schema


@asynccontextmanager
async def empty_log(
    room: Room, *, ordering: str = HORIZON.name
) -> AsyncIterator[tuple[asyncpg.Connection[Any], str]]:
    """A connection, and the name of a schema with a store that is empty, dropped when it is left."""
    schema = scratch_name(room.schema, "_museum")
    await make_scratch_schema(room.server.dsn, schema, ordering=ordering)
    connection = await asyncpg.connect(room.server.dsn)
    try:
        yield connection, schema
    finally:
        await connection.close()
        await drop_scratch_schema(room.server.dsn, schema)
