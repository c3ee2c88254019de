"""The listener: closed when the store is, and listening when it says so."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore
from eventmark.engine.notifications import Listener, Notifier
from eventmark.errors import StoreUnavailableError
from tests.engine.builders import DEADLINE_S, until
from tests.engine.proxy import Proxy
from tests.virtual_time import VirtualTime

OTHERS = (
    "select count(*) from pg_stat_activity where datname = current_database()"
    " and pid <> pg_backend_pid() and backend_type = 'client backend'"
)


async def _none_is_left(connection: asyncpg.Connection) -> None:
    async def none_left() -> bool:
        return await connection.fetchval(OTHERS) == 0

    await until(none_left)


async def test_waiting_on_a_closed_store_is_refused_and_opens_no_connection(
    dsn: str, connection: asyncpg.Connection
) -> None:
    store = await PostgresEventStore.connect(dsn)
    token = await store.create_tail_token()
    await store.close()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="closed"):
            await store.stream_events(token, wait_s=1)
    await _none_is_left(connection)


async def test_closing_the_store_ends_the_waits_of_its_consumers(
    dsn: str, connection: asyncpg.Connection
) -> None:
    store = await PostgresEventStore.connect(dsn)
    token = await store.create_tail_token()
    waiting = [asyncio.create_task(store.stream_events(token, wait_s=60)) for _ in range(3)]
    await asyncio.sleep(0.1)
    await store.close()
    async with asyncio.timeout(DEADLINE_S):
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
    await _none_is_left(connection)


async def test_a_store_closed_while_its_listener_connects_leaves_no_connection(
    dsn: str, connection: asyncpg.Connection
) -> None:
    store = await PostgresEventStore.connect(dsn)
    token = await store.create_tail_token()
    waiting = asyncio.create_task(store.stream_events(token, wait_s=60))
    await asyncio.sleep(0)  # it has begun to connect
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await waiting
    await _none_is_left(connection)


async def test_a_listener_cancelled_before_it_listens_listens_the_next_time(
    dsn: str, connection: asyncpg.Connection
) -> None:
    async with Proxy(dsn) as proxy:

        async def connect() -> asyncpg.Connection[Any]:
            opened = await asyncpg.connect(proxy.dsn)
            if not first.done():
                first.set_result(None)
                proxy.answers.clear()
            return opened

        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        listener = Listener(connect, "something")
        opening = asyncio.create_task(listener.open())
        await proxy.held.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        proxy.answers.set()
        heard = await listener.open()
        await connection.execute("notify something")
        async with asyncio.timeout(DEADLINE_S):
            await heard.wait()
        await listener.close()


@pytest.mark.parametrize(
    "error",
    [StoreUnavailableError("x"), asyncpg.InterfaceError("x"), asyncpg.PostgresError("x"), OSError("x")],
    ids=lambda error: type(error).__name__,
)
async def test_a_notification_that_cannot_be_sent_is_nobodys_error_and_the_next_is_sent(
    error: Exception,
) -> None:
    sent: list[int] = []

    async def send() -> None:
        sent.append(len(sent))
        if len(sent) == 1:
            notifier.appended()
            raise error

    notifier = Notifier(send, interval_s=0.001)
    notifier.appended()
    assert notifier._task is not None
    await notifier._task
    assert sent == [0, 1]


async def test_many_appends_share_one_notification() -> None:
    sent: list[int] = []

    async def send() -> None:
        sent.append(len(sent))

    notifier = Notifier(send, interval_s=0.02)
    for _ in range(100):
        notifier.appended()
    assert notifier._task is not None
    await notifier._task
    assert sent == [0]
    notifier.appended()
    await notifier.close()
    assert sent == [0]


def test_after_a_quiet_time_a_notification_is_sent_at_once_and_the_next_after_the_interval(
    virtual_time: VirtualTime,
) -> None:
    sent_s: list[float] = []

    async def send() -> None:
        sent_s.append(virtual_time.now_s())

    async def append_twice() -> float:
        notifier = Notifier(send, interval_s=0.3)
        appended_s = virtual_time.now_s()
        notifier.appended()
        await asyncio.sleep(0.1)
        notifier.appended()
        await asyncio.sleep(1)
        await notifier.close()
        return appended_s

    appended_s = virtual_time.run(append_twice())
    assert [at_s - appended_s for at_s in sent_s] == pytest.approx([0, 0.3])
