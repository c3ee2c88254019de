"""Appends that wait for each other: for the notifications' lock, and for a lock on all the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg

from eventmark.domain import NewEvent, StreamId
from eventmark.engine.notifications import Notifier
from eventmark.engine.store import NOTIFY_INTERVAL_S
from eventmark.experiments.museum.exhibit import Exhibit, Limit, Room, Trial, judge_counters
from eventmark.experiments.museum.log import empty_log
from eventmark.results.results import Verdict
from eventmark.server import Monitor
from eventmark.stores import PooledStore, engine_store, open_store

WRITERS = 10
SAMPLE_EVERY_S = 0.01
SAMPLES_LEAST = 8  # fewer of them say nothing
ROUNDS_MAX = 8

LOCK_WAITS = Limit(
    counter="sessions waiting for a lock, on average", most=0.05,
    why="writers of different streams have nothing to wait for but the disk",
)  # fmt: skip
_LOCKS = ("advisory", "object", "relation", "transactionid", "tuple", "virtualxid")

# Appends one after the other, each a transaction of its own, in the server: no client's pace keeps writers apart
_WRITER = """
do $$ begin
    while clock_timestamp() < timestamptz '{until}' loop
        insert into {schema}.domain_events (
            sequence_number, expected_version, timestamp_utc, event_id, tenant_id, stream_id, aggregate_type,
            aggregate_id, event_type, payload_type, payload_revision, payload, metadata
        )
        select 1, 0, now(), id, 't', 'Wait:' || id, 'Wait', id::text, 'Waited', 'Waited', '1.0', '{{}}', '{{}}'
        from gen_random_uuid() as id;
        {then}
        commit;
    end loop;
end $$
"""
_COUNT = "select count(*), clock_timestamp() from {schema}.domain_events"
_NOTIFY = "select pg_notify('museum', '')"
_NOTIFY_WITHIN = "perform pg_notify('museum', '');"

Writers = Callable[[], Awaitable[int]]
"""What runs for the room's seconds; how many appends it came to."""


async def _notify(room: Room) -> Sequence[Trial]:
    return [
        await _notifying(room, "NOTIFY in the transaction of the append", within=True),
        await _notifying(room, "the engine's: one NOTIFY for many appends, after them", within=False),
    ]


async def _notifying(room: Room, variant: str, *, within: bool) -> Trial:
    async with (
        empty_log(room) as (connection, schema),
        _connections(room, WRITERS + 1) as (beside, *writers),
    ):
        notifier = Notifier(lambda: beside.execute(_NOTIFY), interval_s=NOTIFY_INTERVAL_S)

        async def write() -> int:
            before, now = await connection.fetchrow(_COUNT.format(schema=f'"{schema}"'))
            script = _WRITER.format(
                schema=f'"{schema}"',
                until=now + timedelta(seconds=room.seconds),
                then=_NOTIFY_WITHIN if within else "",
            )
            writing = [asyncio.create_task(writer.execute(script)) for writer in writers]
            while not all(task.done() for task in writing):
                if not within:
                    notifier.appended()
                await asyncio.sleep(NOTIFY_INTERVAL_S)
            await asyncio.gather(*writing)
            (after,) = await connection.fetch(_COUNT.format(schema=f'"{schema}"'))
            return int(after[0]) - int(before)

        try:
            return await _watched(room, write, variant, good=not within)
        finally:
            await notifier.close()


async def _total_order(room: Room) -> Sequence[Trial]:
    return [
        await _ordered(room, "table_lock", "a lock on the whole log until the append commits", good=False),
        await _ordered(room, "horizon", "no lock: read below the oldest transaction running", good=True),
    ]


async def _ordered(room: Room, ordering: str, variant: str, *, good: bool) -> Trial:
    async with (
        empty_log(room, ordering=ordering) as (_, schema),
        await open_store(
            engine_store(), room.server.dsn, schema=schema, pool_min=WRITERS, pool_max=WRITERS, notify=False
        ) as store,
    ):

        async def write() -> int:
            until_s = time.monotonic() + room.seconds
            return sum(await asyncio.gather(*(_append_until(store, until_s) for _ in range(WRITERS))))

        return await _watched(room, write, variant, good=good)


async def _append_until(store: PooledStore, until_s: float) -> int:
    """Single appends, each to a stream of its own and in a transaction of the client's; how many."""
    appended = 0
    while time.monotonic() < until_s:
        event_id = uuid4()
        stream = StreamId(tenant_id="t", aggregate_type="Wait", aggregate_id=event_id.hex)
        event = NewEvent(
            event_id=event_id, event_type="Waited", payload="{}", metadata="{}", timestamp=datetime.now(UTC),
            payload_type="Waited",
        )  # fmt: skip
        async with store.transaction() as transaction:
            await transaction.append_events(stream, [event], expected_version=0)
        appended += 1
    return appended


async def _watched(room: Room, write: Writers, variant: str, *, good: bool) -> Trial:
    """The writers for the room's seconds, each to streams of its own; what they waited for is sampled.

    Once more where a crowded machine left too few samples.
    """
    appended = rounds = samples = 0
    async with Monitor(room.server, interval_s=SAMPLE_EVERY_S) as monitor:
        while samples < SAMPLES_LEAST and rounds < ROUNDS_MAX:
            appended += await write()
            rounds += 1
            samples = next((len(line.values) for line in monitor.series() if line.name == "commit_rate"), 0)
    series = {line.name: line for line in monitor.series()}
    waits = {
        name: sum(wait.values) / len(wait.values) for name in _LOCKS if (wait := series.get(f"waits:{name}"))
    }
    counters = {
        LOCK_WAITS.counter: round(sum(waits.values()), 3), "samples": float(samples),
        "appends/s": round(appended / (rounds * room.seconds)),
    }  # fmt: skip
    verdict, reason = judge_counters(counters, [LOCK_WAITS])
    if samples < SAMPLES_LEAST:
        verdict, reason = (
            Verdict.INCONCLUSIVE,
            f"{samples} samples were taken, at least {SAMPLES_LEAST} are needed",
        )
    told = ", ".join(f"{name} {count:.2f}" for name, count in waits.items() if count)
    return Trial(
        variant=variant,
        good=good,
        verdict=verdict,
        reason=f"{reason} ({told})" if told else reason,
        counters=counters,
    )


@asynccontextmanager
async def _connections(room: Room, count: int) -> AsyncIterator[list[asyncpg.Connection[Any]]]:
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = await asyncpg.connect(room.server.dsn)
            stack.push_async_callback(connection.close)
            opened.append(connection)
        yield opened


NOTIFY_IN_APPEND = Exhibit(
    name="notify-in-the-append",
    title="NOTIFY makes commits wait for each other",
    sources=("factcast#3911", "dbos-transact-py#774"),
    story="A transaction that has notified takes a lock of the whole server before it commits and holds it until its "
    "flush is done: commits go one at a time, whatever they wrote.",
    lesson="Notify after the commit, once for many appends; it is a hint, and consumers poll as well.",
    judged_by="monitor: sessions waiting for the lock",
    run=_notify,
)
TOTAL_ORDER_LOCK = Exhibit(
    name="total-order-lock",
    title="A lock for the total order, and one writer at a time",
    sources=("commanded/eventstore#139",),
    story="To number events in the order of their commits, each append locks the log. With ten writers nine wait, and "
    "appends fell by 80%.",
    lesson="Let transactions overlap, and let consumers read below the oldest one that is running.",
    judged_by="monitor: sessions waiting for the lock",
    run=_total_order,
)
