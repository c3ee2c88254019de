"""The stall report: who keeps consumers waiting."""

from __future__ import annotations

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore, find_stall
from tests.engine.builders import new_events, stream_of


async def test_nobody_is_blamed_when_nobody_writes(connection: asyncpg.Connection) -> None:
    stall = await find_stall(connection)
    assert stall is None or stall.database != await connection.fetchval("select current_database()")


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_an_idle_transaction_with_an_id_is_named_in_whatever_database(
    store: PostgresEventStore, connection: asyncpg.Connection, dsn: str, elsewhere: bool
) -> None:
    database = "template1" if elsewhere else dsn.rpartition("/")[2]
    idle = await asyncpg.connect(
        dsn.rpartition("/")[0] + f"/{database}", server_settings={"application_name": "forgetful"}
    )
    transaction = idle.transaction()
    await transaction.start()
    await idle.execute("select pg_current_xact_id()")
    await store.append_events(stream_of(), new_events(1), expected_version=0)
    try:
        stall = await find_stall(connection)
        assert stall is not None
        assert (stall.pid, stall.database, stall.application_name) == (
            idle.get_server_pid(),
            database,
            "forgetful",
        )
        assert stall.state == "idle in transaction"
        assert stall.age_s is not None and stall.age_s > 0
        assert stall.query_age_s is not None
        assert stall.transactions >= 2
        assert "forgetful" in str(stall) and "open for" in str(stall)
        assert not (await store.stream_events(await store.create_tail_token())).events
    finally:
        await transaction.rollback()
        await idle.close()


async def test_the_youngest_transaction_is_named_as_well(
    store: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    async with store.transaction() as transaction:
        await transaction.connection.execute("select pg_current_xact_id()")
        stall = await find_stall(connection)
        assert stall is not None
        assert stall.pid == transaction.connection.get_server_pid()
