"""Appends: contiguous, atomic, one winner per version, no event id twice, one statement each."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from eventmark.domain import AppendResult
from eventmark.engine import ORDERINGS, PostgresEventStore
from eventmark.engine.orderings import HORIZON
from eventmark.errors import (
    AlreadyStoredError,
    DuplicateEventError,
    EventStoreError,
    StoreUnavailableError,
    TransactionOrderError,
    VersionConflictError,
)
from eventmark.server import Server
from tests.engine.builders import (
    DEADLINE_S,
    SCHEMA,
    every_ordering,
    new_event,
    new_events,
    read_on,
    row_count,
    stream_of,
    waiting_backend,
)
from tests.engine.proxy import Proxy

Connection = asyncpg.Connection


@every_ordering
async def test_a_streams_sequence_numbers_are_contiguous_whatever_the_batch(
    store: PostgresEventStore,
) -> None:
    version = 0
    for size in (1, 10, 100, 1):
        result = await store.append_events(stream_of(), new_events(size), expected_version=version)
        version += size
        assert result.last_sequence_number == version
    events = await store.load_aggregate("acme", "a-1")
    assert [event.sequence_number for event in events] == list(range(1, 113))


@pytest.mark.parametrize("size", [1, 10, 100])
async def test_a_batch_is_one_transaction_in_the_order_given(store: PostgresEventStore, size: int) -> None:
    batch = new_events(size)
    result = await store.append_events(stream_of(), batch, expected_version=0)
    events = await store.load_aggregate("acme", "a-1")
    assert [event.event_id for event in events] == [event.event_id for event in batch]
    assert {event.transaction_id for event in events} == {result.transaction_id}
    assert events[-1].global_sequence == result.last_global_sequence
    places = [event.global_sequence for event in events]
    assert places == sorted(set(places))


async def test_an_event_comes_back_as_it_went(store: PostgresEventStore) -> None:
    sent = new_event(
        payload={"a": [1, {"b": None}]}, metadata='{"m": true}', payload_revision="7", event_type="Paid"
    )
    await store.append_events(stream_of("x", tenant_id="t", kind="Bill"), [sent], expected_version=0)
    (event,) = await store.load_aggregate("t", "x")
    assert (event.tenant_id, event.aggregate_type, event.aggregate_id) == ("t", "Bill", "x")
    assert (event.event_id, event.event_type, event.timestamp) == (sent.event_id, "Paid", sent.timestamp)
    assert (event.payload(), event.metadata()) == (sent.payload, {"m": True})
    assert (event.payload_type, event.payload_revision) == (sent.payload_type, "7")


@every_ordering
@pytest.mark.parametrize(("stored", "expected"), [(0, 1), (0, 2**40), (3, 0), (3, 2), (3, 4)])
async def test_a_wrong_version_is_refused_telling_both_and_writes_nothing(
    store: PostgresEventStore, connection: Connection, stored: int, expected: int
) -> None:
    if stored:
        await store.append_events(stream_of(), new_events(stored), expected_version=0)
    with pytest.raises(VersionConflictError) as refused:
        await store.append_events(stream_of(), new_events(2), expected_version=expected)
    error = refused.value
    assert (error.expected_version, error.actual_version) == (expected, stored)
    assert (error.tenant_id, error.aggregate_id) == ("acme", "a-1")
    assert await row_count(connection) == stored


async def test_the_same_aggregate_id_of_two_tenants_is_two_streams(store: PostgresEventStore) -> None:
    for tenant in ("acme", "other"):
        await store.append_events(stream_of(tenant_id=tenant), new_events(2), expected_version=0)
    assert len(await store.load_aggregate("other", "a-1")) == 2


@every_ordering
async def test_a_stored_event_id_is_refused_and_the_whole_batch_with_it(
    store: PostgresEventStore, connection: Connection
) -> None:
    first = new_event()
    await store.append_events(stream_of(), [first], expected_version=0)
    for copy in (first, replace(first, payload={"amount": 13})):
        batch = [new_event(), copy, new_event()]
        with pytest.raises(DuplicateEventError) as refused:
            await store.append_events(stream_of("a-2"), batch, expected_version=0)
        assert refused.value.event_ids == tuple(event.event_id for event in batch)
        assert refused.value.tenant_id == "acme"
    assert await row_count(connection) == 1


@every_ordering
async def test_another_tenant_may_have_the_same_event_id(store: PostgresEventStore) -> None:
    event = new_event()
    for tenant in ("acme", "other"):
        await store.append_events(stream_of(tenant_id=tenant), [event], expected_version=0)
    (stored,) = await store.load_aggregate("other", "a-1")
    assert stored.event_id == event.event_id


@every_ordering
async def test_of_two_concurrent_appends_with_one_event_id_one_wins(store: PostgresEventStore) -> None:
    for number in range(5):
        event = new_event()
        answers = await asyncio.gather(
            *(
                store.append_events(stream_of(f"{number}-{side}"), [event], expected_version=0)
                for side in range(4)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, AppendResult) for answer in answers) == 1
        assert sum(isinstance(answer, DuplicateEventError) for answer in answers) == 3


@every_ordering
async def test_one_of_twenty_concurrent_appends_wins_each_version(store: PostgresEventStore) -> None:
    for version in range(5):
        answers = await asyncio.gather(
            *(store.append_events(stream_of(), [new_event()], expected_version=version) for _ in range(20)),
            return_exceptions=True,
        )
        winners = [answer for answer in answers if isinstance(answer, AppendResult)]
        losers = [answer for answer in answers if isinstance(answer, VersionConflictError)]
        assert (len(winners), len(losers)) == (1, 19)
        assert {loser.actual_version for loser in losers} == {version + 1}
    events = await store.load_aggregate("acme", "a-1")
    assert [event.sequence_number for event in events] == [1, 2, 3, 4, 5]


@every_ordering
async def test_concurrent_appends_to_different_aggregates_never_conflict(store: PostgresEventStore) -> None:
    async def fill(name: str) -> None:
        for version in range(0, 40, 2):
            await store.append_events(stream_of(name), new_events(2), expected_version=version)

    names = [f"a-{number}" for number in range(8)]
    await asyncio.gather(*map(fill, names))
    for name in names:
        events = await store.load_aggregate("acme", name)
        assert [event.sequence_number for event in events] == list(range(1, 41))


async def _insert(connection: Connection, sequence_number: int = 1) -> None:
    await connection.execute(
        f"insert into {SCHEMA}.domain_events (sequence_number, expected_version, timestamp_utc, event_id,"
        " tenant_id, stream_id, aggregate_type, aggregate_id, event_type, payload_type, payload_revision,"
        " payload, metadata) values ($1::bigint, $1 - 1, now(), gen_random_uuid(), 'acme', 'Order:a-1', 'Order',"
        " 'a-1', 'E', 'E', '1', '{}', '{}')",
        sequence_number,
    )


@every_ordering
@pytest.mark.parametrize("committed", [True, False])
async def test_an_append_waits_for_the_same_version_under_way_elsewhere(
    store: PostgresEventStore, connection: Connection, dsn: str, committed: bool
) -> None:
    other = await asyncpg.connect(dsn)
    transaction = other.transaction()
    await transaction.start()
    await _insert(other)
    append = asyncio.create_task(store.append_events(stream_of(), new_events(2), expected_version=0))
    await waiting_backend(connection)
    await (transaction.commit() if committed else transaction.rollback())
    if committed:
        with pytest.raises(VersionConflictError) as refused:
            await append
        assert refused.value.actual_version == 1
    else:
        assert (await append).last_sequence_number == 2
    assert await row_count(connection) == (1 if committed else 2)
    await other.close()


@every_ordering
async def test_under_serializable_isolation_there_is_one_winner_and_every_error_is_typed(dsn: str) -> None:
    settings = "?default_transaction_isolation=serializable"
    async with await PostgresEventStore.connect(dsn + settings, schema=SCHEMA) as store:
        answers = await asyncio.gather(
            *(store.append_events(stream_of(), [new_event()], expected_version=0) for _ in range(12)),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, AppendResult) for answer in answers) == 1
        assert sum(isinstance(answer, EventStoreError) for answer in answers) == 11
        assert len(await store.load_aggregate("acme", "a-1")) == 1


async def test_a_read_only_database_refuses_and_reports_it(dsn: str) -> None:
    async with await PostgresEventStore.connect(
        dsn + "?default_transaction_read_only=on", schema=SCHEMA
    ) as store:
        with pytest.raises(StoreUnavailableError, match="read-only"):
            await store.append_events(stream_of(), [new_event()], expected_version=0)


async def test_an_append_in_an_older_transaction_than_the_streams_last_event_is_not_done(
    store: PostgresEventStore, connection: Connection
) -> None:
    """Else consumers, who read in the order of transactions, would see the stream's events reversed."""
    append = HORIZON.statements()["append_events"].sql(SCHEMA)
    async with connection.transaction():
        await connection.fetchval("select pg_current_xact_id()")
        await store.append_events(stream_of(), new_events(2), expected_version=0)
        row = await connection.fetchrow(
            append, "acme", "a-1", "Order", 2, [UUID(int=1)], ["E"], ["{}"], ["{}"], [datetime.now(UTC)],
            ["E"], ["1"],
        )  # fmt: skip
        assert row is not None
        assert (row["last_global_sequence"], row["actual_version"]) == (None, 2)
    assert await row_count(connection) == 2


async def test_events_restored_from_a_cluster_that_was_ahead_are_reported_as_an_error_of_order(
    store: PostgresEventStore, connection: Connection
) -> None:
    await store.append_events(stream_of(), [new_event()], expected_version=0)
    await connection.execute(f"alter table {SCHEMA}.domain_events disable trigger user")
    await connection.execute(f"update {SCHEMA}.domain_events set transaction_id = '1000000000000'")
    with pytest.raises(TransactionOrderError):
        await store.append_events(stream_of(), [new_event()], expected_version=1)
    assert await row_count(connection) == 1


async def test_a_sequence_set_back_loses_nothing(store: PostgresEventStore, connection: Connection) -> None:
    sent = []
    for version in (0, 3, 6):
        batch = new_events(3)
        sent += [event.event_id for event in batch]
        await store.append_events(stream_of(), batch, expected_version=version)
        await connection.execute(f"select setval('{SCHEMA}.domain_events_global_sequence_id_seq', 1)")
    delivered = await read_on(store, await store.create_tail_token(), 9, limit=2)
    assert [event.event_id for event in delivered.events] == sent


@pytest.mark.parametrize("ordering", [name for name in ORDERINGS if name != "horizon"])
async def test_by_number_a_sequence_set_back_is_an_error_that_names_it_and_writes_nothing(
    ordered: PostgresEventStore, observer: Connection
) -> None:
    await ordered.append_events(stream_of(), new_events(3), expected_version=0)
    await observer.execute(f"select setval('{SCHEMA}.domain_events_global_sequence_id_seq', 1)")
    with pytest.raises(StoreUnavailableError, match=r"set back .*domain_events_global_sequence_id_seq"):
        await ordered.append_events(stream_of(), new_events(1), expected_version=3)
    assert await row_count(observer) == 3
    await observer.execute(f"select setval('{SCHEMA}.domain_events_global_sequence_id_seq', 3)")
    await ordered.append_events(stream_of(), new_events(1), expected_version=3)


async def test_clocks_that_go_back_change_no_order(store: PostgresEventStore) -> None:
    now = datetime.now(UTC)
    sent = [new_event(timestamp=now + timedelta(hours=hours)) for hours in (0, 9, -9, 87600, -87600, 0)]
    for version, event in enumerate(sent):
        await store.append_events(stream_of(), [event], expected_version=version)
    loaded = await store.load_aggregate("acme", "a-1")
    delivered = await read_on(store, await store.create_tail_token(), len(sent))
    assert [event.timestamp for event in loaded] == [event.timestamp for event in sent]
    assert [event.event_id for event in delivered.events] == [event.event_id for event in sent]


@every_ordering
@pytest.mark.parametrize("size", [1, 100])
async def test_an_append_is_one_statement(dsn: str, server: Server, size: int) -> None:
    async with await PostgresEventStore.connect(dsn, schema=SCHEMA, pool_max=1, notify=False) as store:
        await store.append_events(stream_of(), new_events(size), expected_version=0)
        before = await _statement_count(server, dsn)
        for number in (1, 2, 3):
            await store.append_events(stream_of(), new_events(size), expected_version=number * size)
        assert await _statement_count(server, dsn) - before == 3


async def _statement_count(server: Server, dsn: str) -> int:
    watcher = await asyncpg.connect(server.dsn)
    try:
        return int(
            await watcher.fetchval(
                "select coalesce(sum(calls), 0) from pg_stat_statements"
                " where dbid = (select oid from pg_database where datname = $1)",
                dsn.rsplit("/", 1)[1],
            )
        )
    finally:
        await watcher.close()


async def test_every_operation_is_one_round_trip_once_its_statement_is_prepared(dsn: str) -> None:
    async with (
        Proxy(dsn) as proxy,
        await PostgresEventStore.connect(proxy.dsn, schema=SCHEMA, pool_max=1, notify=False) as store,
    ):
        token = await store.create_tail_token()
        for first in (True, False):
            for operation in (
                lambda version: store.append_events(stream_of(), new_events(10), expected_version=version),
                lambda _: store.load_aggregate("acme", "a-1"),
                lambda _: store.stream_events(token),
                lambda _: store.stream_events(token, tenant_id="acme"),
                lambda _: store.create_head_token(),
                lambda _: store.create_token_at(datetime(2000, 1, 1, tzinfo=UTC)),
                lambda _: store.read_snapshot("acme", "a-1"),
            ):
                before = proxy.round_trips
                await operation(0 if first else 10)
                if not first:
                    assert proxy.round_trips - before == 1


@every_ordering
async def test_an_append_repeated_with_the_same_ids_is_answered_that_it_is_stored(
    store: PostgresEventStore, connection: Connection
) -> None:
    batch = new_events(3)
    await store.append_events(stream_of(), new_events(1), expected_version=0)
    first = await store.append_events(stream_of(), batch, expected_version=1)
    await store.append_events(stream_of(), new_events(2), expected_version=4)
    with pytest.raises(AlreadyStoredError) as stored:
        await store.append_events(stream_of(), batch, expected_version=1)
    async with store.transaction() as transaction:
        with pytest.raises(AlreadyStoredError):
            await transaction.append_events(stream_of(), batch, expected_version=1)
    error = stored.value
    assert error.event_ids == tuple(event.event_id for event in batch)
    assert error.last_sequence_number == first.last_sequence_number == 4
    assert error.last_global_sequence == first.last_global_sequence
    assert error.transaction_id == first.transaction_id
    assert await row_count(connection) == 6


async def test_what_is_stored_in_part_or_elsewhere_is_no_repeated_append(store: PostgresEventStore) -> None:
    batch = new_events(3)
    await store.append_events(stream_of(), batch, expected_version=0)
    await store.append_events(stream_of("b"), new_events(3), expected_version=0)
    for events, stream, version, expected in (
        ([*batch[:2], new_event()], stream_of(), 0, VersionConflictError),
        ([*batch, new_event()], stream_of(), 0, VersionConflictError),
        (batch[::-1], stream_of(), 0, VersionConflictError),
        (batch[1:], stream_of(), 0, VersionConflictError),
        (batch, stream_of("b"), 0, VersionConflictError),
        (batch, stream_of(), 3, DuplicateEventError),
    ):
        with pytest.raises(expected) as error:
            await store.append_events(stream, events, expected_version=version)
        assert type(error.value) is expected


async def test_a_first_try_that_commits_during_the_second_is_recognised(
    store: PostgresEventStore, connection: Connection
) -> None:
    batch = new_events(2)
    async with asyncio.timeout(DEADLINE_S):
        async with store.transaction() as first:
            await first.append_events(stream_of(), batch, expected_version=0)
            second = asyncio.create_task(store.append_events(stream_of(), batch, expected_version=0))
            await waiting_backend(connection)
        with pytest.raises(AlreadyStoredError):
            await second
