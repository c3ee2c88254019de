"""A store of 30,000 events as a template, and a clone of it for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count

import asyncpg
import pytest

from eventmark.engine import install_schema
from eventmark.engine.statements import Statement
from eventmark.server import Server
from eventmark.stores import find_store
from tests.database import drop_database

SCHEMA = "store"
EVENTS = 30_000
COLUMNS = {
    name: name
    for name in (
        "tenant_id", "aggregate_id", "aggregate_type", "stream_id", "sequence_number", "global_sequence_id",
        "transaction_id", "timestamp_utc", "event_id", "event_type", "payload_type", "payload_revision",
        "payload", "metadata",
    )
}  # fmt: skip

# 10 events per transaction; tenant "small" has 1 event in 100, "other" 10, "big" the rest; an aggregate of
# big's has 1 in 27, so about a thousand, scattered over the whole log, the others a handful
_FILL = f"""
    insert into {SCHEMA}.domain_events
    select place, (100 + place / 10)::text::xid8,
        row_number() over (partition by tenant_id, aggregate_id order by place),
        row_number() over (partition by tenant_id, aggregate_id order by place) - 1,
        timestamptz '2025-01-01' + place * interval '1 minute', gen_random_uuid(), tenant_id,
        'Order:' || aggregate_id, 'Order', aggregate_id, 'OrderChanged', 'OrderChanged', '1.0',
        jsonb_build_object('text', repeat(md5(place::text), 8)), '{{}}'
    from (
        select place, case when place % 100 = 7 then 'small' when place % 10 = 3 then 'other' else 'big' end
            as tenant_id,
            case when place % 100 <> 7 and place % 27 = 0 then 'long' else 'a-' || place % 3000 end
            as aggregate_id
        from generate_series(1, {EVENTS}) as place
    ) as events order by place;
    select setval(pg_get_serial_sequence('{SCHEMA}.domain_events', 'global_sequence_id'), {EVENTS});
    insert into {SCHEMA}.aggregate_snapshots
    select max(sequence_number), now(), tenant_id, aggregate_id, 'Order', 'Order', '1.0', '{{}}'
    from {SCHEMA}.domain_events group by tenant_id, aggregate_id;
"""
_BURN = """
    do $$ begin
        for number in 1..3200 loop perform pg_current_xact_id(); commit; end loop;
    end $$
"""
_numbers = count(1)


@pytest.fixture(scope="session")
def filled_database(server: Server) -> Iterator[str]:
    """The name of a database with the filled store."""
    yield from database_with_store(server, "plans_template")


@pytest.fixture
def store_dsn(server: Server, filled_database: str) -> Iterator[str]:
    """A filled store of the test's own."""
    name = f"plans_{next(_numbers)}"
    asyncio.run(_execute(server.dsn, f"create database {name} template {filled_database} strategy file_copy"))
    yield dsn_of(server, name)
    drop_database(server.dsn, name)


@pytest.fixture
async def connection(store_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(store_dsn)
    yield opened
    await opened.close()


@pytest.fixture
def statements() -> dict[str, Statement]:
    return dict(find_store("eaf").statements)


def database_with_store(server: Server, name: str, *, ordering: str = "horizon") -> Iterator[str]:
    """Create a database with a filled store of an ordering; its name; drop it."""

    async def fill() -> None:
        await _execute(server.dsn, f"create database {name}")
        connection = await asyncpg.connect(dsn_of(server, name))
        await install_schema(connection, SCHEMA, ordering=ordering)
        await connection.execute(_BURN)
        await connection.execute(_FILL)
        await connection.execute("analyze")
        await connection.close()

    asyncio.run(fill())
    yield name
    drop_database(server.dsn, name)


def dsn_of(server: Server, database: str) -> str:
    return server.dsn.rsplit("/", 1)[0] + f"/{database}"


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
