"""A commit that no standby confirmed is not acknowledged, though the server answers it as any other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Iterator
from typing import Any

import asyncpg
import pytest

from eventmark.engine import GroupAppender, PostgresEventStore, install_schema
from eventmark.errors import OutcomeUnknownError
from eventmark.server import provision
from tests.engine.builders import SCHEMA, new_events, stream_of, until

_WAITING = "select pid from pg_stat_activity where wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def lonely_dsn() -> Iterator[str]:
    """The DSN of a store on a server that waits for a standby which does not exist."""

    async def install(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        await install_schema(connection, SCHEMA)
        await connection.execute("alter system set synchronous_standby_names = 'nobody'")
        await connection.execute("select pg_reload_conf()")
        await connection.close()

    with provision(os.environ.get("EVENTMARK_TEST_SERVER", "embedded"), durable=True) as server:
        asyncio.run(install(server.admin_dsn))
        yield server.admin_dsn


async def cancelled(dsn: str, append: Awaitable[Any]) -> OutcomeUnknownError:
    """What the append ends with when its wait for a standby is cancelled."""
    connection = await asyncpg.connect(dsn)
    under_way = asyncio.ensure_future(append)
    try:
        pid = await until(lambda: connection.fetchval(_WAITING))
        await connection.execute(f"select pg_cancel_backend({pid})")
        with pytest.raises(OutcomeUnknownError) as unknown:
            await under_way
    finally:
        under_way.cancel()
        await connection.close()
    return unknown.value


async def _append_in_a_transaction(store: PostgresEventStore, batch: list[Any]) -> None:
    async with store.transaction() as transaction:
        await transaction.append_events(stream_of(str(batch[0].event_id)), batch, expected_version=0)


async def _append_in_a_group(store: PostgresEventStore, batch: list[Any]) -> None:
    async with GroupAppender(store) as appender:
        await appender.append_events(stream_of(str(batch[0].event_id)), batch, expected_version=0)


async def _append(store: PostgresEventStore, batch: list[Any]) -> None:
    await store.append_events(stream_of(str(batch[0].event_id)), batch, expected_version=0)


@pytest.mark.parametrize("append", [_append, _append_in_a_transaction, _append_in_a_group])
@pytest.mark.parametrize("transaction_pooling", [False, True])
async def test_a_cancelled_wait_for_a_synchronous_standby_leaves_the_outcome_unknown(
    lonely_dsn: str, append: Any, transaction_pooling: bool
) -> None:
    batch = new_events(2)
    async with await PostgresEventStore.connect(
        lonely_dsn, schema=SCHEMA, notify=False, pool_max=1, transaction_pooling=transaction_pooling
    ) as store:
        error = await cancelled(lonely_dsn, append(store, batch))
        assert error.event_ids == tuple(event.event_id for event in batch)
        assert "standby" in str(error)
        assert (
            len(await store.find_events("acme", error.event_ids)) == 2
        )  # the session goes on, with a clean slate
