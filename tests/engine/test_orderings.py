"""The orderings: what each promises by itself. Their interleavings and the gaps are in modules of their own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from eventmark.domain import NewEvent, TrackingToken
from eventmark.engine import ORDERINGS, PostgresEventStore, install_schema, read_marker
from eventmark.engine.rebase import rebase_store
from eventmark.errors import TokenRefusedError, UsageError, VersionConflictError
from tests.engine.builders import (
    DEADLINE_S,
    IMMEDIATE,
    LOCKING,
    LOSSLESS,
    SCHEMA,
    new_event,
    new_events,
    read_on,
    stream_of,
    waiting_backend,
)
from tests.engine.interleavings import Consumer

Connection = asyncpg.Connection
pytestmark = pytest.mark.usefixtures("no_gap_timeout")


def one_tenant(store: PostgresEventStore) -> str | None:
    """The tenant to read for where a store has no log of all."""
    return None if store.ordering.all_tenants else "acme"


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_a_store_keeps_its_ordering_and_connecting_finds_it(
    ordered: PostgresEventStore, observer: Connection, ordering: str
) -> None:
    marker = await read_marker(observer, SCHEMA)
    assert marker is not None
    assert ordered.ordering.name == marker.ordering == ordering
    assert ordered.capabilities.all_tenants_stream is ORDERINGS[ordering].all_tenants


async def test_an_unknown_ordering_is_refused_and_nothing_is_made(observer: Connection) -> None:
    with pytest.raises(UsageError, match=r"unknown ordering 'by_time'.*horizon"):
        await install_schema(observer, SCHEMA, ordering="by_time")
    assert await read_marker(observer, SCHEMA) is None


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_what_is_appended_is_loaded_and_streamed_in_order(ordered: PostgresEventStore) -> None:
    tenant = one_tenant(ordered)
    instant = (first := new_event()).timestamp
    sent = [first, *new_events(4)]
    await ordered.append_events(stream_of(), sent[:3], expected_version=0)
    await ordered.append_events(stream_of(), sent[3:], expected_version=3)
    with pytest.raises(VersionConflictError, match="is at version 5, expected 3"):
        await ordered.append_events(stream_of(), new_events(1), expected_version=3)
    ids = [event.event_id for event in sent]
    assert [event.event_id for event in await ordered.load_aggregate("acme", "a-1")] == ids
    tail = await ordered.create_tail_token()
    for who in {tenant, "acme"}:
        batch = await read_on(ordered, tail, 5, tenant_id=who)
        assert [event.event_id for event in batch.events] == ids
        head = await ordered.create_head_token(tenant_id=tenant)
        assert head.compare(batch.token) == 0
        assert not (await ordered.stream_events(head, tenant_id=who)).events
        at = await ordered.create_token_at(instant, tenant_id=tenant)
        assert [event.event_id for event in (await read_on(ordered, at, 5, tenant_id=who)).events] == ids
    assert head == await ordered.create_token_at(sent[-1].timestamp.replace(year=2100), tenant_id=tenant)


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_a_consumer_from_an_instant_misses_nothing_of_a_clock_that_was_ahead(
    ordered: PostgresEventStore, ordering: str
) -> None:
    """An hour ahead for 250 events, 20 right ones after each 25 of them, and 300 right ones in the end."""
    tenant = one_tenant(ordered)
    instant = datetime(2026, 3, 1, 12, tzinfo=UTC)
    early = [new_event(timestamp=instant - timedelta(hours=1, seconds=second)) for second in range(20)]
    await ordered.append_events(stream_of("early"), early, expected_version=0)
    due: list[NewEvent] = []
    for turn in range(10):
        ahead = [new_event(timestamp=instant + timedelta(minutes=30, seconds=turn)) for _ in range(25)]
        right = [new_event(timestamp=instant - timedelta(minutes=30 - turn)) for _ in range(20)]
        await ordered.append_events(stream_of("ahead"), ahead, expected_version=25 * turn)
        await ordered.append_events(stream_of("right"), right, expected_version=20 * turn)
        due += ahead
    late = [new_event(timestamp=instant + timedelta(seconds=second)) for second in range(300)]
    await ordered.append_events(stream_of("late"), late, expected_version=0)
    token = await ordered.create_token_at(instant, tenant_id=tenant)
    batch = await read_on(ordered, token, 250 + 200 + 300, tenant_id=tenant)
    assert {event.event_id for event in [*due, *late]} <= {event.event_id for event in batch.events}
    assert not (
        await ordered.stream_events(batch.token, tenant_id=tenant)
    ).events  # nor the 20 before all of them


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_a_batch_no_longer_than_asked_for_goes_on_at_its_token(ordered: PostgresEventStore) -> None:
    sent = new_events(25)
    await ordered.append_events(stream_of(), sent, expected_version=0)
    token, seen = await ordered.create_tail_token(), []
    while batch := (await read_on(ordered, token, 1, limit=10, tenant_id="acme")):
        assert len(batch.events) <= 10
        seen += [event.event_id for event in batch.events]
        token = batch.token
        if len(seen) >= 25:
            break
    assert seen == [event.event_id for event in sent]


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_a_token_beyond_the_log_is_refused(ordered: PostgresEventStore) -> None:
    await ordered.append_events(stream_of(), new_events(1), expected_version=0)
    head = await ordered.create_head_token(tenant_id=one_tenant(ordered))
    ahead = TrackingToken(
        head.store_id, head.epoch, head.transaction_id + 10**9, head.global_sequence + 10**9
    )
    for tenant in {one_tenant(ordered), "acme"}:
        with pytest.raises(TokenRefusedError, match="ahead of the server"):
            await ordered.stream_events(ahead, tenant_id=tenant)


@pytest.mark.parametrize("ordering", [*IMMEDIATE, "naive"])
async def test_an_event_of_a_slow_transaction_is_delivered_when_it_commits_but_naive_loses_it(
    ordered: PostgresEventStore, ordering: str
) -> None:
    consumer = Consumer(ordered, await ordered.create_tail_token(), None)
    slow, quick = new_event(), new_event()
    async with ordered.transaction() as transaction:
        await transaction.append_events(stream_of("slow"), [slow], expected_version=0)
        await ordered.append_events(stream_of("quick"), [quick], expected_version=0)
        for _ in range(5):
            await consumer.poll()
        assert consumer.delivered == ([] if ordering == "horizon" else [quick.event_id])
    for _ in range(5):
        await consumer.poll()
    committed = [quick.event_id] if ordering == "naive" else sorted([slow.event_id, quick.event_id])
    assert sorted(consumer.delivered) == committed


@pytest.mark.parametrize("ordering", LOSSLESS)
async def test_a_token_of_the_head_made_while_a_transaction_is_open_lies_before_its_events(
    ordered: PostgresEventStore, observer: Connection
) -> None:
    tenant = one_tenant(ordered)
    await ordered.append_events(stream_of("before"), new_events(3), expected_version=0)
    slow = new_event()
    async with ordered.transaction() as transaction:
        await transaction.append_events(stream_of("slow"), [slow], expected_version=0)
        if ordered.ordering.name in IMMEDIATE:
            await ordered.append_events(stream_of("quick"), new_events(1), expected_version=0)
        heads = [await ordered.create_head_token(tenant_id=tenant) for _ in range(3)]
        heads.append(await ordered.create_token_at(slow.timestamp, tenant_id=tenant))
    for head in heads:
        consumer = Consumer(ordered, head, "acme")
        await consumer.drain(observer)
        assert slow.event_id in consumer.delivered


@pytest.mark.parametrize("ordering", LOCKING)
async def test_numbers_are_drawn_in_the_order_of_commits(
    ordered: PostgresEventStore, observer: Connection
) -> None:
    async with ordered.transaction() as transaction:
        first = await transaction.append_events(stream_of("one"), new_events(1), expected_version=0)
        waiting = asyncio.create_task(
            ordered.append_events(stream_of("two"), new_events(1), expected_version=0)
        )
        await waiting_backend(observer)
        later = await transaction.append_events(stream_of("three"), new_events(1), expected_version=0)
    second = await waiting
    assert first.last_global_sequence < later.last_global_sequence < second.last_global_sequence


@pytest.mark.parametrize("ordering", ["tenant_lock"])
async def test_tenants_do_not_wait_for_each_other_and_have_no_common_log(ordered: PostgresEventStore) -> None:
    async with ordered.transaction() as transaction:
        await transaction.append_events(stream_of(), new_events(1), expected_version=0)
        await ordered.append_events(stream_of(tenant_id="globex"), new_events(1), expected_version=0)
    tail = await ordered.create_tail_token()
    for refused in (
        lambda: ordered.stream_events(tail),
        ordered.create_head_token,
        lambda: ordered.create_token_at(new_event().timestamp),
    ):
        with pytest.raises(TokenRefusedError, match="name a tenant_id"):
            await refused()


@pytest.mark.parametrize("ordering", LOCKING)
async def test_a_lock_of_the_applications_own_does_not_stop_appends(
    ordered: PostgresEventStore, observer: Connection
) -> None:
    """Applications choose small numbers for their advisory locks, and so does the server for tables."""
    table = f"'{SCHEMA}.domain_events'::regclass::oid"
    await observer.execute(f"select pg_advisory_lock({table}::bigint), pg_advisory_lock(0, {table}::int)")
    async with asyncio.timeout(DEADLINE_S):
        await ordered.append_events(stream_of(), new_events(1), expected_version=0)


@pytest.mark.parametrize("ordering", [name for name in ORDERINGS if name != "horizon"])
async def test_a_log_that_is_read_by_number_keeps_its_order_on_a_server_that_is_behind(
    ordered: PostgresEventStore, cleared_dsn: str, observer: Connection
) -> None:
    """Its events' transaction ids, of the server it was dumped from, say nothing of their order here."""
    sent = []
    async with ordered.transaction() as early:
        await early.connection.execute("select pg_current_xact_id()")
        for version in range(3):
            sent += (batch := new_events(1))
            await ordered.append_events(stream_of(), batch, expected_version=version)
        sent += (batch := new_events(1))
        await early.append_events(stream_of(), batch, expected_version=3)
    await ordered.close()
    await observer.execute(
        f"alter table {SCHEMA}.domain_events disable trigger user; update {SCHEMA}.domain_events"
        " set transaction_id = (transaction_id::text::bigint + 1000000000)::text::xid8"
    )
    for epoch, rebase in ((1, False), (2, True)):
        if rebase:
            assert (await rebase_store(observer, SCHEMA)).events_moved == 0
        async with await PostgresEventStore.connect(cleared_dsn, schema=SCHEMA, notify=False) as store:
            sent += (batch := new_events(1))
            await store.append_events(stream_of(), batch, expected_version=len(sent) - 1)
            tail = await store.create_tail_token()
            assert tail.epoch == epoch
            found = await read_on(store, tail, len(sent), tenant_id="acme")
            assert [event.event_id for event in found.events] == [event.event_id for event in sent]


@pytest.mark.parametrize("ordering", ["horizon", "gap_aware", "table_lock"])
async def test_a_transaction_that_got_its_id_early_and_appends_late_is_not_passed(
    ordered: PostgresEventStore, observer: Connection
) -> None:
    consumer = Consumer(ordered, await ordered.create_tail_token(), None)
    late = new_event()
    async with ordered.transaction() as transaction:
        await transaction.connection.execute("select pg_current_xact_id()")
        for version in range(3):
            await ordered.append_events(stream_of("quick"), new_events(1), expected_version=version)
            await consumer.poll()
        await transaction.append_events(stream_of("late"), [late], expected_version=0)
        await consumer.poll()
    await consumer.drain(observer)
    assert len(consumer.delivered) == len(set(consumer.delivered)) == 4
    assert late.event_id in consumer.delivered


STOPPABLE = f"""
    alter table {SCHEMA}.domain_events alter global_sequence_id drop identity;
    create sequence {SCHEMA}.domain_events_global_sequence_id_seq;
    create function {SCHEMA}.next_number() returns bigint volatile language plpgsql as $$
        declare number bigint := nextval('{SCHEMA}.domain_events_global_sequence_id_seq');
        begin
            if current_setting('test.stopped', true) = 'on' then
                perform pg_advisory_xact_lock_shared(1);
            end if;
            return number;
        end
    $$;
    alter table {SCHEMA}.domain_events alter global_sequence_id set default {SCHEMA}.next_number();
"""


async def stopped_after_its_number(
    store: PostgresEventStore, observer: Connection, consumer: Consumer, stopped: NewEvent
) -> None:
    """Another event commits, and the consumer polls, while an append has drawn its number and no more."""
    await observer.execute(STOPPABLE)
    # The first of 32 numbers is written to the WAL, for which its transaction gets an id: not the one to come.
    await observer.execute(f"select nextval('{SCHEMA}.domain_events_global_sequence_id_seq')")
    await observer.execute("select pg_advisory_lock(1)")
    async with store.transaction() as transaction:
        await transaction.connection.execute("set local test.stopped = 'on'")
        append = asyncio.create_task(
            transaction.append_events(stream_of("stopped"), [stopped], expected_version=0)
        )
        await waiting_backend(observer)
        await store.append_events(stream_of("quick"), new_events(1), expected_version=0)
        for _ in range(5):
            await consumer.poll()
        await observer.execute("select pg_advisory_unlock(1)")
        await append
        await consumer.poll()
    await consumer.drain(observer)


@pytest.mark.parametrize("ordering", IMMEDIATE)
async def test_a_writer_stopped_between_drawing_its_number_and_its_transaction_id_is_not_passed(
    ordered: PostgresEventStore, observer: Connection
) -> None:
    consumer = Consumer(ordered, await ordered.create_tail_token(), None)
    stopped = new_event()
    await stopped_after_its_number(ordered, observer, consumer, stopped)
    assert len(consumer.delivered) == 2
    assert stopped.event_id in consumer.delivered


@pytest.mark.parametrize("ordering", ["gap_aware"])
async def test_numbers_drawn_before_transaction_ids_would_be_passed(
    ordered: PostgresEventStore, observer: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the test above would miss if it could not fail: the same append without its turn.
    naive = ORDERINGS["naive"].statements()["append_events"].sql(SCHEMA)
    monkeypatch.setitem(ordered.pool._sql, "append_events", naive)  # type: ignore[arg-type]
    consumer = Consumer(ordered, await ordered.create_tail_token(), None)
    stopped = new_event()
    await stopped_after_its_number(ordered, observer, consumer, stopped)
    assert stopped.event_id not in consumer.delivered
