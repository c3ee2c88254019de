"""The pool: its size holds, waits are counted and end, what is handed out comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore
from eventmark.engine.pool import Pool
from eventmark.errors import CannotRunError, EventmarkError, StoreUnavailableError, UsageError
from tests.engine.builders import DEADLINE_S, new_event, stream_of, until


def pool_of(
    dsn: str, *, size_max: int = 2, acquire_timeout_s: float = DEADLINE_S, tenant_max: int | None = None
) -> Pool:
    return Pool(
        dsn,
        {"one": "select 1 as one"},
        record_class=asyncpg.Record,
        size_max=size_max,
        acquire_timeout_s=acquire_timeout_s,
        application_name="pool-test",
        tenant_max=tenant_max,
    )


@pytest.fixture
async def pool(common_dsn: str) -> AsyncIterator[Pool]:
    """A pool of two."""
    opened = pool_of(common_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def watcher(common_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(common_dsn)
    yield opened
    await opened.close()


async def connections(watcher: asyncpg.Connection) -> int:
    return int(
        await watcher.fetchval(
            "select count(*) from pg_stat_activity"
            " where application_name = 'pool-test' and datname = current_database()"
        )
    )


async def _settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_session_that_came_back_is_handed_out_again(pool: Pool) -> None:
    session = await pool.acquire()
    pool.release(session)
    assert await pool.acquire() is session
    assert pool.in_use == 1
    pool.release(session)
    assert (pool.in_use, pool.acquired_total, pool.waited_total) == (0, 2, 0)


async def test_waits_are_counted_and_timed(pool: Pool) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    pool.release(held[0])
    session = await waiting
    assert session is held[0]
    assert (pool.acquired_total, pool.waited_total, len(pool.waited_s)) == (3, 1, 1)
    assert 0.09 < pool.waited_s[0] < 3
    for each in held:
        pool.release(each)
    assert pool.in_use == 0


async def test_the_longest_waiting_is_served_first(pool: Pool) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    served: list[int] = []

    async def wait(number: int) -> None:
        session = await pool.acquire()
        served.append(number)
        pool.release(session)

    waiting = []
    for number in range(5):
        waiting.append(asyncio.create_task(wait(number)))
        await _settle()
    pool.release(held[0])
    await asyncio.gather(*waiting)
    pool.release(held[1])
    assert served == [0, 1, 2, 3, 4]


async def test_a_wait_that_takes_too_long_is_a_typed_error_that_names_the_size(common_dsn: str) -> None:
    pool = pool_of(common_dsn, size_max=1)
    session = await pool.acquire()
    pool.acquire_timeout_s = 0.1  # to connect takes its time
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"within 0\.1 s, all 1 are in use"):
        async with asyncio.timeout(DEADLINE_S):
            await pool.acquire()
    assert time.monotonic() - started >= 0.1
    pool.release(session)
    assert await pool.acquire() is session
    pool.release(session)
    await pool.close()


async def test_a_cancelled_waiter_leaves_its_place_to_the_next(pool: Pool) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    first, second = (asyncio.create_task(pool.acquire()) for _ in range(2))
    await _settle()
    first.cancel()
    await _settle()
    pool.release(held[0])
    assert await second is held[0]
    for session in held:
        pool.release(session)
    assert pool.in_use == 0


async def test_a_waiter_cancelled_at_the_moment_it_is_served_gives_its_session_back(pool: Pool) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    waiting = asyncio.create_task(pool.acquire())
    await _settle()
    pool.release(held[0])
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await pool.acquire() is held[0]
    for session in held:
        pool.release(session)
    assert pool.in_use == 0


async def test_a_waiter_out_of_time_at_the_moment_it_is_served_gives_its_session_back(
    common_dsn: str,
) -> None:
    pool = pool_of(common_dsn, size_max=1)
    held = await pool.acquire()
    pool.acquire_timeout_s = 0.1  # to connect takes its time
    waiting = asyncio.create_task(pool.acquire())
    await _settle()
    time.sleep(0.15)  # noqa: ASYNC251 - the loop is late: the time is over before it looks
    pool.release(held)
    answer = (await asyncio.gather(waiting, return_exceptions=True))[0]
    assert isinstance(answer, StoreUnavailableError) or answer is held
    if answer is held:
        pool.release(held)
    assert pool.in_use == 0
    assert await pool.acquire() is held
    pool.release(held)
    await pool.close()


async def test_a_discarded_session_makes_room_for_a_waiter(pool: Pool) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    waiting = asyncio.create_task(pool.acquire())
    await _settle()
    pool.discard(held[0])
    session = await waiting
    assert session is not held[0]
    assert await session.connection.fetchval("select 1") == 1
    pool.release(session)
    pool.release(held[1])
    assert pool.in_use == 0


async def test_a_place_handed_to_a_waiter_is_not_taken_by_a_newcomer_as_well(
    common_dsn: str, watcher: asyncpg.Connection
) -> None:
    pool = pool_of(common_dsn, size_max=1)
    held = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await _settle()
    pool.discard(held)
    newcomer = asyncio.create_task(pool.acquire())
    session = await waiting
    await asyncio.sleep(0.1)
    assert not newcomer.done()
    assert pool.in_use == 1
    pool.release(session)
    assert await newcomer is session
    pool.release(session)
    await pool.close()


async def test_a_waiter_that_is_cancelled_with_a_place_in_hand_passes_it_on(common_dsn: str) -> None:
    pool = pool_of(common_dsn, size_max=1)
    held = await pool.acquire()
    first, second = (asyncio.create_task(pool.acquire()) for _ in range(2))
    await _settle()
    pool.discard(held)
    first.cancel()
    pool.release(await second)
    assert first.cancelled()
    assert pool.in_use == 0
    await pool.close()


async def test_a_session_that_died_while_idle_is_replaced(pool: Pool, watcher: asyncpg.Connection) -> None:
    session = await pool.acquire()
    pool.release(session)
    session.connection.terminate()
    other = await pool.acquire()
    assert other is not session
    assert await other.connection.fetchval("select 1") == 1
    pool.release(other)
    assert pool.in_use == 0


async def test_a_pool_opens_its_least_ahead_and_never_more_than_its_most(
    pool: Pool, watcher: asyncpg.Connection
) -> None:
    await pool.fill(50)
    assert await connections(watcher) == 2
    assert pool.in_use == 0

    async def work() -> None:
        session = await pool.acquire()
        await session.fetch("one")
        pool.release(session)

    await asyncio.gather(*(work() for _ in range(50)))
    assert await connections(watcher) == 2


async def test_a_closed_pool_refuses_ends_waits_and_takes_back_what_is_out(
    common_dsn: str, watcher: asyncpg.Connection
) -> None:
    pool = pool_of(common_dsn, size_max=1)
    session = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await _settle()
    await pool.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await waiting
    with pytest.raises(StoreUnavailableError, match="closed"):
        await pool.acquire()
    pool.release(session)
    assert pool.in_use == 0

    async def none_left() -> bool:
        return await connections(watcher) == 0

    await until(none_left)


async def test_a_closed_store_refuses_everything_with_a_typed_error(common_dsn: str, tenant: str) -> None:
    store = await PostgresEventStore.connect(common_dsn)
    token = await store.create_tail_token()
    await store.close()
    await store.close()
    for operation in (
        lambda: store.append_events(stream_of(tenant_id=tenant), [new_event()], expected_version=0),
        lambda: store.load_aggregate(tenant, "a-1"),
        lambda: store.stream_events(token),
        lambda: store.read_snapshot(tenant, "a-1"),
        lambda: store.create_head_token(),
    ):
        with pytest.raises(StoreUnavailableError, match="closed"):
            await operation()  # type: ignore[no-untyped-call]


async def test_operations_under_way_when_the_store_is_closed_are_finished(
    store: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    async with connection.transaction():
        await connection.execute("lock table eventmark.domain_events in access exclusive mode")
        append = asyncio.create_task(store.append_events(stream_of(), [new_event()], expected_version=0))
        await until(lambda: connection.fetchval("select count(*) from pg_locks where not granted"))
        await store.close()
    assert (await append).last_sequence_number == 1
    assert store.pool.in_use == 0


async def test_too_many_connections_is_a_typed_error_in_the_servers_words(
    own_dsn: str, own_connection: asyncpg.Connection
) -> None:
    """Of the two connections this database takes, the test's own has one. Superusers are not bound by that."""
    name = own_dsn.rsplit("/", 1)[1]
    await own_connection.execute(f"alter database {name} connection limit 2")
    await own_connection.execute("create role guest login password 'guest'")
    await own_connection.execute("grant usage on schema eventmark to guest")
    await own_connection.execute("grant all on all tables in schema eventmark to guest")
    guest = "postgresql://guest:guest@" + own_dsn.rpartition("@")[2]
    try:
        async with await PostgresEventStore.connect(guest, pool_max=5, notify=False) as store:
            await store.append_events(stream_of(), [new_event()], expected_version=0)
            for _ in range(2):
                answers = await asyncio.gather(
                    *(store.load_aggregate("acme", "a-1") for _ in range(4)), return_exceptions=True
                )
                refused = [answer for answer in answers if isinstance(answer, BaseException)]
                assert len(refused) == 3
                assert all(isinstance(answer, StoreUnavailableError) for answer in refused)
                assert "too many connections" in str(refused[0])
            assert store.pool.in_use == 0
            with pytest.raises(StoreUnavailableError, match="too many connections"):
                await PostgresEventStore.connect(guest)
    finally:
        await own_connection.execute("drop owned by guest; drop role guest")


async def test_a_server_that_is_not_there_is_a_typed_error(common_dsn: str) -> None:
    nowhere = common_dsn.rpartition("@")[0] + "@127.0.0.1:1/postgres"
    with pytest.raises(StoreUnavailableError):
        await PostgresEventStore.connect(nowhere)


@pytest.mark.parametrize("part", ["password", "database"])
async def test_a_wrong_password_or_database_is_a_typed_error_that_hides_the_password(
    common_dsn: str, part: str
) -> None:
    account, _, place = common_dsn.rpartition("@")
    password = account.rpartition(":")[2]
    wrong = f"{account}x@{place}" if part == "password" else f"{common_dsn}x"
    with pytest.raises(StoreUnavailableError) as refused:
        await PostgresEventStore.connect(wrong)
    assert password not in str(refused.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:secret@host:port/database",
        "postgresql://user:secret/word@127.0.0.1:1/database",
        "postgresql://user:secret@[::1/database",
        "mysql://user:secret@host/database",
        "postgresql://user:secret@127.0.0.1:1/database?sslmode=wrong",
        "nonsense",
    ],
)
async def test_a_dsn_that_is_none_is_a_typed_error_that_hides_the_password(dsn: str) -> None:
    with pytest.raises(EventmarkError) as refused:
        await PostgresEventStore.connect(dsn)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None or "secret" not in str(refused.value.__cause__)


@pytest.mark.parametrize("size_max", [0, -1])
async def test_a_pool_for_no_connection_is_refused_at_once(common_dsn: str, size_max: int) -> None:
    with pytest.raises(UsageError):
        await PostgresEventStore.connect(common_dsn, pool_max=size_max, acquire_timeout_s=0.1)


async def test_a_store_that_is_not_opened_leaves_no_connection_open(
    own_dsn: str, own_connection: asyncpg.Connection
) -> None:
    """Not for a foreign schema, a missing one, one connection too few, nor a caller that gives up."""
    name = own_dsn.rsplit("/", 1)[1]
    await own_connection.execute("create schema foreign_one")
    await own_connection.execute("create role crowd login password 'crowd'")
    await own_connection.execute("grant usage on schema eventmark to crowd")
    await own_connection.execute("grant all on all tables in schema eventmark to crowd")
    await own_connection.execute(f"alter database {name} connection limit 3")
    crowd = "postgresql://crowd:crowd@" + own_dsn.rpartition("@")[2]
    try:
        for schema in ("foreign_one", "nowhere"):
            with pytest.raises(CannotRunError):
                await PostgresEventStore.connect(own_dsn, schema=schema)
        with pytest.raises(StoreUnavailableError):
            await PostgresEventStore.connect(crowd, pool_min=3)
        async with own_connection.transaction():
            await own_connection.execute("lock table eventmark.eventmark_store in access exclusive mode")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await PostgresEventStore.connect(own_dsn)
        others = (
            "select count(*) = 0 from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        async with asyncio.timeout(DEADLINE_S):
            await until(lambda: own_connection.fetchval(others))
    finally:
        await own_connection.execute("drop owned by crowd; drop role crowd")


async def test_tenants_that_wait_are_served_in_turn(pool: Pool) -> None:
    held = [await pool.acquire("flood"), await pool.acquire("flood")]
    served: list[str] = []

    async def work(tenant: str) -> None:
        session = await pool.acquire(tenant)
        served.append(tenant)
        pool.release(session)

    tasks = []
    for tenant in ["flood"] * 5 + ["quiet"]:
        tasks.append(asyncio.create_task(work(tenant)))
        await _settle()
    for session in held:
        pool.release(session)
    await asyncio.gather(*tasks)
    assert served[0] == "quiet"
    assert pool.in_use == 0


async def test_a_tenant_at_its_bound_waits_until_the_others_have_gone(
    common_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventmark.engine.turns.PRESENCE_S", 0.2)
    monkeypatch.setattr("eventmark.engine.pool.PRESENCE_S", 0.2)
    pool = pool_of(common_dsn, size_max=4, tenant_max=1)
    pool.release(await pool.acquire("quiet"))
    first = await pool.acquire("flood")
    waiting = asyncio.create_task(pool.acquire("flood"))
    await _settle()
    assert not waiting.done()
    other = await pool.acquire("quiet")
    pool.release(other)
    async with asyncio.timeout(DEADLINE_S):
        second = await waiting
    for session in (first, second):
        pool.release(session)
    assert (pool.in_use, pool.waited_total) == (0, 1)
    await pool.close()


async def test_a_bound_that_is_reached_is_named(common_dsn: str) -> None:
    pool = pool_of(common_dsn, size_max=4, tenant_max=1)
    other, first = await pool.acquire("quiet"), await pool.acquire("flood")
    pool.acquire_timeout_s = 0.05
    with pytest.raises(StoreUnavailableError, match="tenant 'flood' holds all 1 that one tenant may hold"):
        await pool.acquire("flood")
    for session in (other, first):
        pool.release(session)
    await pool.close()
