"""Tracking event processors: one owner, nothing lost, effects once where they can be."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from eventmark.domain import StoredEvent, TrackingToken, TransactionId
from eventmark.engine import EventProcessor, PostgresEventStore
from eventmark.engine.processor import segment_of
from eventmark.errors import ClaimLostError, InvalidEventError, TokenRefusedError, UsageError
from tests.engine.builders import SCHEMA, new_event, new_events, read_on, stream_of, until, waiting_backend

Connection = asyncpg.Connection


@pytest.fixture
async def effects(connection: Connection) -> Connection:
    await connection.execute("create table effects (event_id uuid, segment int, worker text)")
    return connection


async def keep(events: Sequence[StoredEvent], connection: Connection | None) -> None:
    """A handler whose effects are rows of the transaction's own database."""
    assert connection is not None
    await connection.executemany(
        "insert into effects (event_id) values ($1)", [(event.event_id,) for event in events]
    )


async def handled(connection: Connection) -> list[object]:
    return [row[0] for row in await connection.fetch("select event_id from effects")]


async def token_of(connection: Connection, name: str = "p", segment: int = 0) -> TrackingToken:
    text = await connection.fetchval(
        f"select token from {SCHEMA}.tracking_tokens where processor = $1 and segment = $2", name, segment
    )
    return TrackingToken.parse(text)


class Running:
    """A processor at work; stopped and looked at when the block ends."""

    def __init__(self, processor: EventProcessor) -> None:
        self.processor = processor

    async def __aenter__(self) -> EventProcessor:
        self._task = asyncio.create_task(self.processor.run())
        return self.processor

    async def __aexit__(self, kind: object, *_: object) -> None:
        self.processor.stop()
        await asyncio.wait({self._task}, timeout=20)
        if kind is None:
            self._task.result()


async def filled(store: PostgresEventStore, streams: int = 10, events: int = 5) -> list[object]:
    sent = []
    for number in range(streams):
        new = new_events(events)
        await store.append_events(stream_of(f"s-{number}"), new, expected_version=0)
        sent += [event.event_id for event in new]
    return sent


async def test_every_event_is_handled_once_with_its_token(
    store: PostgresEventStore, effects: Connection
) -> None:
    sent = await filled(store)
    async with Running(EventProcessor(store, "p", keep, batch_events=7)) as processor:
        await until(lambda: are(effects, sent))
        late = new_event()
        await store.append_events(stream_of("late"), [late], expected_version=0)
        await until(lambda: are(effects, [*sent, late.event_id]))
        assert processor.events_handled == 51
        lag = await processor.lag()
        assert (lag.numbers, lag.seconds) == (0, 0.0)
    assert await token_of(effects) == await store.create_head_token()
    assert await owner(effects) is None


async def test_a_batch_is_announced_once_its_token_is_stored(
    store: PostgresEventStore, effects: Connection
) -> None:
    sent = await filled(store, 2)
    told: list[object] = []

    def saved(events: Sequence[StoredEvent]) -> None:
        told.extend(event.event_id for event in events)

    async with Running(EventProcessor(store, "p", keep, batch_events=4, saved=saved)):
        await until(lambda: later(len(told) == len(sent)))
        assert told == sent
        assert await token_of(effects) == await store.create_head_token()

    async def fail(events: Sequence[StoredEvent], connection: Connection | None) -> None:
        raise ZeroDivisionError

    await store.append_events(stream_of("late"), new_events(1), expected_version=0)
    with pytest.raises(ZeroDivisionError):
        await EventProcessor(store, "p", fail, saved=saved).run()
    assert told == sent


async def are(connection: Connection, sent: Sequence[object]) -> bool:
    return sorted(await handled(connection)) == sorted(sent)  # type: ignore[type-var]


async def owner(connection: Connection, name: str = "p") -> str | None:
    found: str | None = await connection.fetchval(
        f"select owner from {SCHEMA}.tracking_tokens where processor = $1", name
    )
    return found


async def test_a_handler_that_fails_leaves_token_and_effects_as_they_were(
    store: PostgresEventStore, effects: Connection
) -> None:
    sent = await filled(store, 2)

    async def fail(events: Sequence[StoredEvent], connection: Connection | None) -> None:
        await keep(events, connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await EventProcessor(store, "p", fail).run()
    assert await handled(effects) == []
    assert await token_of(effects) == await store.create_tail_token()
    assert await owner(effects) is None
    async with Running(EventProcessor(store, "p", keep)):
        await until(lambda: are(effects, sent))


async def test_without_a_transaction_what_was_handled_and_not_saved_comes_again(
    store: PostgresEventStore,
) -> None:
    sent = await filled(store, 3, 2)
    seen: list[object] = []

    async def fail_at_third(events: Sequence[StoredEvent], connection: Connection | None) -> None:
        assert connection is None
        seen.extend(event.event_id for event in events)
        if len(seen) == 6:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await EventProcessor(store, "p", fail_at_third, transactional=False, batch_events=2).run()
    async with Running(EventProcessor(store, "p", fail_at_third, transactional=False, batch_events=2)):
        await until(lambda: later(len(seen) == 8))
    assert seen == [*sent, *sent[4:]]


async def later(condition: bool) -> bool:
    return condition


KILLED = """
import asyncio, sys
from eventmark.engine import EventProcessor, PostgresEventStore
async def main():
    store = await PostgresEventStore.connect(sys.argv[1], schema="eventmark", notify=False)
    async def handle(events, connection):
        await connection.executemany("insert into effects (event_id) values ($1)", [(e.event_id,) for e in events])
        print("handled", flush=True)
        await asyncio.sleep(60)
    await EventProcessor(store, "p", handle, lease_s=600.0).run()
asyncio.run(main())
"""


async def test_killed_between_handling_and_saving_nothing_is_lost_and_nothing_done_twice(
    store: PostgresEventStore, effects: Connection, dsn: str
) -> None:
    sent = await filled(store, 2)
    source = str(Path(__file__).parents[2] / "src")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, dsn, stdout=subprocess.PIPE, env={"PYTHONPATH": source}
    )
    assert child.stdout is not None
    assert (await child.stdout.readline()).strip() == b"handled"
    child.send_signal(signal.SIGKILL)
    await child.wait()
    assert await owner(effects) is not None  # its lease is still running
    await effects.execute(f"update {SCHEMA}.tracking_tokens set lease_until = now()")
    async with Running(EventProcessor(store, "p", keep, lease_s=1.0)):
        await until(lambda: are(effects, sent))


async def test_two_processors_of_one_name_have_one_owner_and_the_other_takes_over(
    store: PostgresEventStore, effects: Connection
) -> None:
    await filled(store, 1)
    leased = f"select lease_until from {SCHEMA}.tracking_tokens"
    first, second = (EventProcessor(store, "p", keep, lease_s=1.5) for _ in range(2))
    async with Running(second), Running(first):
        await until(lambda: later(bool(first.claim or second.claim)))
        for _ in range(3):  # the owner prolongs its lease, and again
            before = await effects.fetchval(leased)
            await until(lambda before=before: effects.fetchval(f"{leased} where lease_until > $1", before))
        assert (first.claim is None) != (second.claim is None)
        leader, follower = (first, second) if first.claim else (second, first)
        assert leader.claim is not None
        fence = leader.claim.fence
        leader.stop()
        await until(lambda: later(follower.claim is not None))
        assert follower.claim is not None
        assert follower.claim.fence == fence + 1


@pytest.mark.parametrize("transactional", [True, False])
async def test_what_an_owner_saves_after_its_lease_was_taken_is_refused(
    store: PostgresEventStore, effects: Connection, transactional: bool
) -> None:
    await filled(store, 1)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held_up(events: Sequence[StoredEvent], connection: Connection | None) -> None:
        if connection is not None:
            await keep(events, connection)
        reached.set()
        await go_on.wait()

    stale = asyncio.create_task(
        EventProcessor(store, "p", held_up, lease_s=30.0, transactional=transactional).run()
    )
    await reached.wait()
    await effects.execute(f"update {SCHEMA}.tracking_tokens set lease_until = now() - interval '1 second'")
    async with Running(EventProcessor(store, "p", keep, lease_s=30.0)):
        await until(lambda: later_count(effects, 5))
        token = await token_of(effects)
        go_on.set()
        with pytest.raises(ClaimLostError, match="claimed by another"):
            await stale
        assert await token_of(effects) == token
        assert len(await handled(effects)) == 5


async def later_count(connection: Connection, count: int) -> bool:
    return len(await handled(connection)) == count


async def test_segments_share_the_streams_and_keep_each_streams_order(
    store: PostgresEventStore, effects: Connection
) -> None:
    sent = await filled(store, 30, 3)
    seen: dict[str, list[int]] = {}
    by_worker: dict[int, set[str]] = {}

    def worker(number: int):  # type: ignore[no-untyped-def]
        async def handle(events: Sequence[StoredEvent], connection: Connection | None) -> None:
            for event in events:
                seen.setdefault(event.aggregate_id, []).append(event.sequence_number)
                by_worker.setdefault(number, set()).add(event.aggregate_id)
            await keep(events, connection)

        return EventProcessor(store, "p", handle, segments=3, batch_events=10)

    async with Running(worker(0)) as a, Running(worker(1)) as b, Running(worker(2)) as c:
        await until(lambda: are(effects, sent))
        assert sorted(one.claim.segment for one in (a, b, c) if one.claim) == [0, 1, 2]
    assert all(numbers == [1, 2, 3] for numbers in seen.values())
    assert sum(len(streams) for streams in by_worker.values()) == 30
    assert len(by_worker) == 3


async def test_a_processor_that_is_split_goes_on_where_its_segments_were(
    store: PostgresEventStore, effects: Connection
) -> None:
    sent = await filled(store, 8, 2)
    running = EventProcessor(store, "p", keep)
    async with Running(running):
        await until(lambda: are(effects, sent))
        with pytest.raises(ClaimLostError, match="cannot be split"):
            await EventProcessor.split(store, "p")
    assert await EventProcessor.split(store, "p") == 2
    for number in range(8):
        new = new_events(2)
        await store.append_events(stream_of(f"s-{number}"), new, expected_version=2)
        sent += [event.event_id for event in new]
    async with Running(EventProcessor(store, "p", keep)), Running(EventProcessor(store, "p", keep)):
        await until(lambda: are(effects, sent))
    with pytest.raises(ClaimLostError, match="does not exist"):
        await EventProcessor.split(store, "unknown")


async def run_until_read(store: PostgresEventStore, effects: Connection, sent: Sequence[object]) -> None:
    """Handle what there is, and nothing besides."""
    await effects.execute("truncate effects")
    async with Running(EventProcessor(store, "p", keep)):
        await until(lambda: is_at_head(store, effects))
    assert sorted(await handled(effects)) == sorted(sent)  # type: ignore[type-var]


async def is_at_head(store: PostgresEventStore, connection: Connection) -> bool:
    head = str(await store.create_head_token())
    token = await connection.fetchval(f"select token from {SCHEMA}.tracking_tokens where processor = 'p'")
    return bool(token == head)


async def test_a_processor_is_reset_to_the_tail_the_head_a_token_or_an_instant(
    store: PostgresEventStore, effects: Connection
) -> None:
    sent = await filled(store, 4, 2)
    await run_until_read(store, effects, sent)
    middle = (await read_on(store, await store.create_tail_token(), 5, limit=5)).token
    third = (await store.load_aggregate("acme", "s-2"))[0]
    at = third.timestamp
    after = [e.event_id for e in (await read_on(store, await store.create_token_at(at), 1)).events]
    for to, expected in (("tail", sent), (middle, sent[5:]), (at, after)):
        assert await EventProcessor.reset(store, "p", to) == 1  # type: ignore[arg-type]
        await run_until_read(store, effects, expected)
    assert await EventProcessor.reset(store, "p", "tail") == 1
    assert await EventProcessor.reset(store, "p", "head") == 1
    assert await token_of(effects) == await store.create_head_token()


async def test_every_segment_is_reset(store: PostgresEventStore, effects: Connection) -> None:
    await run_until_read(store, effects, await filled(store, 2))
    await EventProcessor.split(store, "p")
    assert await EventProcessor.reset(store, "p", "tail") == 2
    tail = await store.create_tail_token()
    assert [await token_of(effects, segment=number) for number in (0, 1)] == [tail, tail]


async def test_a_processor_that_somebody_runs_is_not_reset(
    store: PostgresEventStore, effects: Connection
) -> None:
    sent = await filled(store, 2)
    async with Running(EventProcessor(store, "p", keep)):
        await until(lambda: are(effects, sent))
        token = await token_of(effects)
        with pytest.raises(ClaimLostError, match="cannot be reset"):
            await EventProcessor.reset(store, "p", "tail")
        assert await token_of(effects) == token
    with pytest.raises(ClaimLostError, match="does not exist"):
        await EventProcessor.reset(store, "unknown", "tail")


async def test_what_an_owner_saves_after_a_reset_that_its_lease_allowed_is_refused(
    store: PostgresEventStore, effects: Connection
) -> None:
    await filled(store, 1)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held_up(events: Sequence[StoredEvent], connection: Connection | None) -> None:
        reached.set()
        await go_on.wait()

    stale = asyncio.create_task(EventProcessor(store, "p", held_up, lease_s=30.0, transactional=False).run())
    await reached.wait()
    await effects.execute(f"update {SCHEMA}.tracking_tokens set lease_until = now() - interval '1 second'")
    await EventProcessor.reset(store, "p", "tail")
    go_on.set()
    with pytest.raises(ClaimLostError, match="claimed by another"):
        await stale
    assert await token_of(effects) == await store.create_tail_token()


async def test_a_processor_is_not_reset_to_what_the_store_cannot_read_from(
    store: PostgresEventStore, effects: Connection
) -> None:
    await run_until_read(store, effects, await filled(store, 1))
    token = await token_of(effects)
    for wrong, error in (
        (replace(token, epoch=2), TokenRefusedError),
        (replace(token, transaction_id=TransactionId(2**40)), TokenRefusedError),
        ("middle", UsageError),
        (None, UsageError),
        (datetime(2020, 1, 1), InvalidEventError),
    ):
        with pytest.raises(error):
            await EventProcessor.reset(store, "p", wrong)  # type: ignore[arg-type]
    assert await token_of(effects) == token


async def test_splitting_leaves_half_of_a_segments_streams_where_they_were(store: PostgresEventStore) -> None:
    await filled(store, 40, 1)
    events = (await store.stream_events(await store.create_tail_token())).events
    for event in events:
        assert segment_of(event, 6) % 3 == segment_of(event, 3)
    assert {segment_of(event, 4) for event in events} == {0, 1, 2, 3}


async def test_one_tenant_alone_from_the_head_on(store: PostgresEventStore, effects: Connection) -> None:
    await filled(store, 3)
    head = await store.create_head_token()
    wanted, other = new_event(), new_event()
    async with Running(EventProcessor(store, "p", keep, start=head, tenant_id="globex")):
        await store.append_events(stream_of("x"), [other], expected_version=0)
        await store.append_events(stream_of("x", tenant_id="globex"), [wanted], expected_version=0)
        await until(lambda: are(effects, [wanted.event_id]))


async def test_the_lag_shows_what_is_unread_and_who_holds_the_horizon(store: PostgresEventStore) -> None:
    await filled(store, 2)
    processor = EventProcessor(store, "p", keep)
    assert (await processor.lag()).numbers == 10
    async with store.transaction() as transaction:
        await transaction.append_events(stream_of("held"), new_events(1), expected_version=0)
        stall = (await processor.lag()).stall
        assert stall is not None
        assert stall.pid == transaction.connection.get_server_pid()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"segments": 0},
        {"lease_s": 0},
        {"batch_events": 0},
        {"batch_events": -1},
        {"batch_events": 10**12},
    ],
)
async def test_a_processor_that_cannot_work_is_refused(
    store: PostgresEventStore, wrong: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        EventProcessor(store, **{"name": "p", "handler": keep, **wrong})  # type: ignore[arg-type]


async def test_of_two_that_create_a_processor_at_a_time_one_decides_its_segments(
    store: PostgresEventStore, effects: Connection
) -> None:
    create = f"""
        insert into {SCHEMA}.tracking_tokens (processor, segment, segments, token)
        values ('p', 0, 1, '{await store.create_tail_token()}')
    """
    sent = await filled(store, 20, 2)
    async with effects.transaction():
        await effects.execute(create)  # as the other's statement does, which has not committed yet
        second = EventProcessor(store, "p", keep, segments=2)
        running = asyncio.create_task(second.run())
        await waiting_backend(effects)
    await until(lambda: are(effects, sent))
    second.stop()
    await running
    rows = await effects.fetch(f"select segment, segments from {SCHEMA}.tracking_tokens")
    assert [tuple(row) for row in rows] == [(0, 1)]


async def test_starts_at_a_time_with_different_segments_handle_each_event_once(
    store: PostgresEventStore, effects: Connection
) -> None:
    sent = await filled(store, 10, 2)
    processors = [EventProcessor(store, "p", keep, segments=segments) for segments in (1, 2, 3, 4)]
    async with AsyncExitStack() as running:
        for processor in processors:
            await running.enter_async_context(Running(processor))
        await until(lambda: are(effects, sent))
    rows = await effects.fetch(f"select segments from {SCHEMA}.tracking_tokens")
    assert {row[0] for row in rows} == {len(rows)}
    assert sorted(await handled(effects)) == sorted(sent)  # type: ignore[type-var]


async def test_a_lease_that_ends_after_the_servers_clock_went_back_is_over(
    store: PostgresEventStore, effects: Connection
) -> None:
    sent = await filled(store, 2)
    await EventProcessor(store, "p", keep)._create()
    claim = f"""
        update {SCHEMA}.tracking_tokens set owner = 'dead', fence = 1, lease = interval '10 s',
        lease_until = clock_timestamp() + $1::interval
    """
    for ahead_s, free in ((15, False), (3600, True)):  # the clock went back by 5 s, by an hour
        await effects.execute(claim, timedelta(seconds=ahead_s))
        assert await store.run_statement("list_segments")
        claimed = (await store.run_statement("list_segments"))[0]["claimed"]
        assert claimed is not free
        rows = await store.run_statement("claim_segment", "p", "other", timedelta(seconds=10))
        assert bool(rows) is free
    await effects.execute(claim, timedelta(seconds=3600))
    async with Running(EventProcessor(store, "p", keep)):
        await until(lambda: are(effects, sent))


async def test_a_pool_without_a_connection_to_prolong_leases_on_is_refused(
    store: PostgresEventStore, dsn: str
) -> None:
    for pool_max, processors in ((1, 1), (2, 2)):
        async with await PostgresEventStore.connect(dsn, schema=SCHEMA, pool_max=pool_max) as small:
            runs = [EventProcessor(small, f"p-{number}", keep) for number in range(processors)]
            tasks = [asyncio.create_task(one.run()) for one in runs]
            with pytest.raises(UsageError, match=f"set pool_max to {pool_max + 1}"):
                await tasks[-1]
            for one in runs:
                one.stop()
            await asyncio.wait(tasks)


async def test_a_pool_of_one_serves_a_processor_whose_handler_needs_no_connection(
    store: PostgresEventStore, dsn: str
) -> None:
    sent = await filled(store, 2)
    seen: list[object] = []

    async def note(events: Sequence[StoredEvent], connection: Connection | None) -> None:
        seen.extend(event.event_id for event in events)

    async with (
        await PostgresEventStore.connect(dsn, schema=SCHEMA, pool_max=1) as small,
        Running(EventProcessor(small, "p", note, transactional=False)),
    ):
        await until(lambda: later(len(seen) == len(sent)))


@pytest.fixture(autouse=True)
async def only_ours() -> AsyncIterator[None]:
    yield
    assert not [task for task in asyncio.all_tasks() if "EventProcessor" in repr(task)]
