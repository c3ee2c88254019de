"""Causes planted on a real server are named, with the evidence; what cannot be seen is not guessed."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from eventmark.domain import NewEvent, StreamId
from eventmark.engine import PostgresEventStore, install_schema
from eventmark.jobs.bottleneck import bottleneck_section
from eventmark.judgement.bottleneck import Bottleneck, find_bottleneck
from eventmark.judgement.evidence import CallTimes, Evidence
from eventmark.judgement.symptoms import Limit
from eventmark.results.results import Verdict
from eventmark.server import Server, Watch
from eventmark.workers import call, worker_processes

SECONDS = 1.5
Call = Callable[[int], Awaitable[object]]


def event() -> NewEvent:
    return NewEvent(
        event_id=uuid4(), event_type="OrderPlaced", payload={"lines": [1, 2, 3]}, metadata={},
        timestamp=datetime.now(UTC), payload_type="OrderPlaced",
    )  # fmt: skip


def stream(name: object) -> StreamId:
    return StreamId(tenant_id="tenant-1", aggregate_type="Order", aggregate_id=str(name))


@pytest.fixture
async def admin(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    await connection.execute("create extension if not exists pg_stat_statements")
    await install_schema(connection, "eventmark")
    yield connection
    await connection.close()


async def watched(
    server: Server, dsn: str, callers: int, call: Call, pool: object = None, seconds: float = SECONDS
) -> Evidence:
    """The evidence of callers that call one after the other for a while; ``pool`` is asked for its waits."""
    took: list[float] = []
    waits = getattr(pool, "waited_s", [])
    async with Watch(replace(server, dsn=dsn)) as watch:
        ends_s = time.monotonic() + seconds

        async def one(number: int) -> None:
            while time.monotonic() < ends_s:
                began_s = time.monotonic()
                await call(number)
                took.append(time.monotonic() - began_s)

        await asyncio.gather(*(one(number) for number in range(callers)))
    assert watch.missing == {}
    calls = CallTimes(calls=len(took), total_s=sum(took), pool_wait_s=sum(waits))
    return watch.evidence(calls)


def crowded(evidence: Evidence) -> bool:
    """Whether other processes have half of the machine or more: tests may run beside others."""
    own = sum(load.cores for load in (evidence.client, evidence.server) if load is not None)
    return (evidence.machine_cores or 0.0) - own > evidence.cores / 2


def named(evidence: Evidence, limit: Limit) -> Bottleneck:
    found = find_bottleneck(evidence)
    if found.limit is Limit.OTHERS and crowded(evidence):
        pytest.skip(f"not to be seen here: {found.because}")
    assert found.limit is limit, (found.because, found.budget, evidence.client, evidence.server)
    return found


async def test_a_trigger_that_sleeps_is_named_with_its_statement(
    server: Server, database: str, admin: asyncpg.Connection
) -> None:
    await admin.execute(
        "create function eventmark.slow() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(0.02); return null; end $$;"
        "create trigger slow after insert on eventmark.domain_events execute function eventmark.slow()"
    )
    async with await PostgresEventStore.connect(database, pool_max=4, notify=False) as store:

        async def append(_: int) -> None:
            await store.append_events(stream(uuid4()), [event()], expected_version=0)

        found = named(await watched(server, database, 4, append, store.pool), Limit.STATEMENT)
    assert "Timeout:PgSleep" in found.because
    assert "actual_version" in found.because  # the append
    assert max(found.budget, key=lambda part: found.budget[part]) == "sleeping"


async def test_a_missing_index_is_named_with_its_statement(
    server: Server, database: str, admin: asyncpg.Connection
) -> None:
    await admin.execute(
        "insert into eventmark.domain_events (sequence_number, expected_version, timestamp_utc, event_id, tenant_id,"
        " stream_id, aggregate_type, aggregate_id, event_type, payload_type, payload_revision, payload, metadata)"
        " select 1, 0, now(), gen_random_uuid(), 'tenant-1', 'x', 'Order', g::text, 'e', 'e', '1',"
        " jsonb_build_object('text', repeat(md5(g::text), 20)), '{}' from generate_series(1, 40000) g"
    )
    # Without those that begin with the tenant as well: the planner would make do with one of them.
    for index in ("stream", "event_id", "tenant_position"):
        await admin.execute(f"drop index eventmark.domain_events_{index}")
    await admin.execute("vacuum analyze eventmark.domain_events")
    async with await PostgresEventStore.connect(database, pool_max=4, notify=False) as store:

        async def load(number: int) -> None:
            await store.load_aggregate("tenant-1", str(1 + number))

        found = named(await watched(server, database, 4, load, store.pool), Limit.STATEMENT)
    assert "pages per row" in found.because
    assert "aggregate_id" in found.because
    assert any("index" in advice for advice in found.advice)


async def test_a_pool_of_one_is_named(server: Server, database: str, admin: asyncpg.Connection) -> None:
    async with await PostgresEventStore.connect(database, pool_max=1, notify=False) as store:

        async def append(_: int) -> None:
            await store.append_events(stream(uuid4()), [event() for _ in range(100)], expected_version=0)

        found = find_bottleneck(await watched(server, database, 16, append, store.pool))
    # On a crowded machine the callers' process is at its own limit too, and a cause comes before what it causes.
    beyond = {one.symptom.limit for one in found.symptoms if one.state == "beyond"}
    assert Limit.POOL in beyond and found.limit in (Limit.POOL, Limit.CLIENT)
    assert max(found.budget, key=lambda part: found.budget[part]) == "waiting for a connection"


async def burn(asked: tuple[str, float]) -> CallTimes:
    """In a worker process: a few callers, each of which works for 20 ms of a core after every call."""
    dsn, seconds = asked
    took: list[float] = []
    ends_s = time.monotonic() + seconds
    async with await PostgresEventStore.connect(dsn, pool_max=8, notify=False) as store:

        async def call() -> None:
            while time.monotonic() < ends_s:
                began_s = time.monotonic()
                await store.append_events(stream(uuid4()), [event()], expected_version=0)
                took.append(time.monotonic() - began_s)
                busy_until_s = time.thread_time() + 0.02
                while time.thread_time() < busy_until_s:
                    pass

        await asyncio.gather(*(call() for _ in range(8)))
    return CallTimes(calls=len(took), total_s=sum(took))


@pytest.mark.alone  # where others keep the server waiting for a core, the client waits for it, and burns nothing
def test_a_client_that_burns_its_core_is_named(server: Server, database: str) -> None:
    async def install() -> None:
        connection = await asyncpg.connect(database)
        await connection.execute("create extension if not exists pg_stat_statements")
        await install_schema(connection, "eventmark")
        await connection.close()

    asyncio.run(install())
    with worker_processes(1) as executor:
        call(executor, burn, (database, 0.1))  # the process is there
        with Watch(replace(server, dsn=database)) as watch:
            calls = call(executor, burn, (database, 2 * SECONDS))
    evidence = watch.evidence(calls)
    if crowded(evidence):
        pytest.skip("not to be seen here: other processes have half of the machine or more")
    named(evidence, Limit.CLIENT)


async def test_a_row_that_everybody_waits_for_is_named_as_a_lock(
    server: Server, database: str, admin: asyncpg.Connection
) -> None:
    await admin.execute("create table hot (id int primary key, n int); insert into hot values (1, 0)")
    connections = [await asyncpg.connect(database) for _ in range(6)]

    async def update(number: int) -> None:
        async with connections[number].transaction():
            await connections[number].execute("update hot set n = n + 1 where id = 1")
            await asyncio.sleep(0.01)

    found = named(await watched(server, database, len(connections), update), Limit.LOCKS)
    for connection in connections:
        await connection.close()
    assert "Lock:transactionid" in found.because or "Lock:tuple" in found.because
    assert "update hot" in found.because


async def test_for_a_light_load_no_cause_is_made_up(
    server: Server, database: str, admin: asyncpg.Connection
) -> None:
    async with await PostgresEventStore.connect(database, pool_max=2, notify=False) as store:
        counter = itertools.count()

        async def append(_: int) -> None:
            await store.append_events(stream(f"{next(counter)}"), [event()], expected_version=0)
            await asyncio.sleep(0.05)

        found = find_bottleneck(await watched(server, database, 1, append, store.pool))
    assert found.limit in (Limit.NONE, Limit.UNKNOWN, Limit.OTHERS), found.because


async def test_a_server_that_does_not_answer_leaves_the_bottleneck_unknown(server: Server) -> None:
    gone = replace(server, dsn="postgresql://me:s3cr3t@127.0.0.1:1/db", pid=None)
    async with Watch(gone) as watch:
        pass
    evidence = watch.evidence()
    section = bottleneck_section(evidence)
    assert [finding.verdict for finding in section.findings] == [Verdict.INCONCLUSIVE]
    assert "s3cr3t" not in repr(section)
    assert find_bottleneck(evidence).limit is Limit.UNKNOWN
