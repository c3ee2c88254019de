"""The listener: closed when the store is, and listening when it says so."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore
from eventmark.engine.notifications import Listener, Notifier
from eventmark.errors import StoreUnavailableError
from tests.engine.builders import DEADLINE_S, new_event, stream_of, until
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


async def test_who_cannot_listen_reads_at_once_and_listens_when_it_can(
    dsn: str, connection: asyncpg.Connection
) -> None:
    """A role with one connection, which the pool has."""
    await connection.execute(
        "drop role if exists visitor; create role visitor login password 'secret' connection limit 1;"
        "grant usage on schema eventmark to visitor; grant all on all tables in schema eventmark to visitor;"
        "grant all on all sequences in schema eventmark to visitor"
    )
    visitor = dsn.partition("://")[0] + "://visitor:secret@" + dsn.rpartition("@")[2]
    async with await PostgresEventStore.connect(visitor, pool_max=1, poll_interval_s=0.01) as store:
        assert store._listener is not None
        store._listener._pause_s = store._listener._retry_s = 0.01
        token = await store.create_tail_token()
        waiting = [asyncio.create_task(store.stream_events(token, wait_s=20)) for _ in range(3)]
        await until(lambda: _is(store._listener is not None and store._listener._retry_at_s > 0))
        await store.append_events(stream_of(), [new_event()], expected_version=0)
        assert [len(batch.events) for batch in await asyncio.gather(*waiting)] == [1, 1, 1]
        assert not store._listener.is_listening
        await connection.execute("alter role visitor connection limit 2")
        head = await store.create_head_token()

        async def listens() -> bool:
            assert store._listener is not None
            await store.stream_events(head, wait_s=0.02)
            return store._listener.is_listening

        await until(listens)
    await until(
        lambda: connection.fetchval("select count(*) = 0 from pg_stat_activity where usename = 'visitor'")
    )
    await connection.execute("drop owned by visitor; drop role visitor")


async def _is(condition: bool) -> bool:
    return condition


async def test_nobody_waits_for_a_listener_that_cannot_connect(store: PostgresEventStore) -> None:
    attempts = 0

    async def never() -> asyncpg.Connection[Any]:
        nonlocal attempts
        attempts += 1
        await asyncio.Event().wait()
        raise AssertionError

    store._listener = Listener(never, "something")
    token = await store.create_tail_token()
    waiting = [asyncio.create_task(store.stream_events(token, wait_s=20)) for _ in range(5)]
    await store.append_events(stream_of(), [new_event()], expected_version=0)
    async with asyncio.timeout(10):
        assert all([(await one).events for one in waiting])
    assert attempts == 1


async def test_a_listener_that_fails_is_tried_again_after_twice_as_long_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refuse() -> asyncpg.Connection[Any]:
        raise asyncpg.ReadOnlySQLTransactionError("cannot execute LISTEN during recovery")

    listener = Listener(refuse, "something", retry_s=0.001)
    pauses = []
    for _ in range(3):
        listener._retry_at_s = 0
        heard = listener.open()
        assert listener.open() is heard
        assert listener._attempt is not None
        await listener._attempt
        pauses.append(listener._pause_s)
    assert pauses == [0.002, 0.004, 0.008]
    listener._retry_at_s = time.monotonic() + 60
    attempt = listener._attempt
    listener.open()
    assert listener._attempt is attempt
    assert [record.getMessage() for record in caplog.records] == [
        "no notifications are heard, consumers poll: cannot execute LISTEN during recovery"
    ]
    await listener.close()


async def test_consumers_that_waited_before_it_listened_look_again(
    dsn: str, connection: asyncpg.Connection
) -> None:
    go_on = asyncio.Event()

    async def connect() -> asyncpg.Connection[Any]:
        await go_on.wait()
        return await asyncpg.connect(dsn)

    listener = Listener(connect, "something")
    heard = listener.open()
    await connection.execute("notify something")
    go_on.set()
    async with asyncio.timeout(10):
        await heard.wait()
        heard = listener.open()
        await connection.execute("notify something")
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
