"""Group append: one statement for many callers, each with its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from eventmark.domain import AppendResult, NewEvent
from eventmark.engine import ORDERINGS, GroupAppender, PostgresEventStore, install_schema
from eventmark.errors import (
    AlreadyStoredError,
    InvalidEventError,
    OutcomeUnknownError,
    StoreUnavailableError,
    VersionConflictError,
)
from tests.engine.builders import (
    DEADLINE_S,
    SCHEMA,
    new_event,
    new_events,
    row_count,
    stream_of,
    waiting_backend,
)
from tests.engine.proxy import Proxy

Connection = asyncpg.Connection


@pytest.fixture(params=ORDERINGS)
async def grouped(
    cleared_dsn: str, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[PostgresEventStore, GroupAppender]]:
    """A store of each ordering, one group of whose appends is sent at a time."""
    connection = await asyncpg.connect(cleared_dsn)
    await install_schema(connection, SCHEMA, ordering=request.param)
    await connection.close()
    async with (
        await PostgresEventStore.connect(cleared_dsn, schema=SCHEMA, notify=False) as store,
        GroupAppender(store, groups_at_a_time=1) as appender,
    ):
        yield store, appender


async def outcomes(*appends) -> list:  # type: ignore[no-untyped-def, type-arg]
    """Of appends made at once: the first goes alone, the others as one group."""
    return await asyncio.gather(*appends, return_exceptions=True)


async def stored(store: PostgresEventStore, aggregate_id: str, tenant_id: str = "acme") -> list[UUID]:
    return [event.event_id for event in await store.load_aggregate(tenant_id, aggregate_id)]


async def test_concurrent_appends_are_one_transaction_and_each_has_its_own_place(grouped) -> None:  # type: ignore[no-untyped-def]
    store, appender = grouped
    batches = {f"a-{number}": new_events(number % 3 + 1) for number in range(20)}
    results = await outcomes(
        *(
            appender.append_events(stream_of(name, tenant_id=f"t-{len(events)}"), events, expected_version=0)
            for name, events in batches.items()
        )
    )
    assert len({result.transaction_id for result in results[1:]}) == 1
    assert results[0].transaction_id != results[1].transaction_id
    numbers = {result.last_global_sequence for result in results}
    assert len(numbers) == 20
    for (name, events), result in zip(batches.items(), results, strict=True):
        assert result.last_sequence_number == len(events)
        loaded = await store.load_aggregate(f"t-{len(events)}", name)
        assert [event.event_id for event in loaded] == [event.event_id for event in events]
        assert [event.sequence_number for event in loaded] == list(range(1, len(events) + 1))
        assert loaded[-1].global_sequence == result.last_global_sequence
        assert loaded[-1].transaction_id == result.transaction_id


async def test_one_that_fails_does_not_fail_its_neighbours(grouped) -> None:  # type: ignore[no-untyped-def]
    store, appender = grouped
    taken = new_event()
    await store.append_events(stream_of("old"), [taken], expected_version=0)
    good = [new_event() for _ in range(4)]
    poison = new_event(payload='{"a": "\\u0000"}')
    results = await outcomes(
        appender.append_events(stream_of("first"), [new_event()], expected_version=0),
        appender.append_events(stream_of("g-1"), [good[0]], expected_version=0),
        appender.append_events(stream_of("poison"), [new_event(), poison], expected_version=0),
        appender.append_events(stream_of("g-2"), [good[1]], expected_version=0),
        appender.append_events(stream_of("twice"), [new_event(event_id=taken.event_id)], expected_version=0),
        appender.append_events(stream_of("old"), [new_event()], expected_version=7),
        appender.append_events(stream_of("g-3"), [good[2]], expected_version=0),
        appender.append_events(stream_of("bad"), [new_event(payload="[]")], expected_version=0),
    )
    kinds = [type(result).__name__ for result in results]
    assert kinds == [
        "AppendResult", "AppendResult", "InvalidEventError", "AppendResult", "DuplicateEventError",
        "VersionConflictError", "AppendResult", "InvalidEventError",
    ]  # fmt: skip
    assert results[5].actual_version == 1
    for name, event in zip(("g-1", "g-2", "g-3"), good, strict=False):
        assert await stored(store, name) == [event.event_id]
    assert await stored(store, "poison") == await stored(store, "bad") == []
    assert await stored(store, "old") == [taken.event_id]


async def test_a_document_with_the_separator_in_it_takes_no_neighbours_place(grouped) -> None:  # type: ignore[no-untyped-def]
    """Taken apart, it would be two documents, and each behind it another event's."""
    store, appender = grouped
    names = ["g-1", "g-2", "g-3"]
    first, torn, *others = await outcomes(
        appender.append_events(stream_of("first"), [new_event()], expected_version=0),
        appender.append_events(stream_of("a-torn"), [new_event(payload="{}\x1e{}")], expected_version=0),
        *(
            appender.append_events(stream_of(name), [new_event(payload={"of": name})], expected_version=0)
            for name in names
        ),
    )
    assert isinstance(torn, InvalidEventError)
    assert all(isinstance(one, AppendResult) for one in (first, *others))
    assert await stored(store, "a-torn") == []
    for name in names:
        (event,) = await store.load_aggregate("acme", name)
        assert event.payload() == {"of": name}


async def test_a_conflict_alone_costs_its_neighbours_no_second_statement(grouped) -> None:  # type: ignore[no-untyped-def]
    _, appender = grouped
    first, conflict, *others = await outcomes(
        appender.append_events(stream_of("first"), new_events(1), expected_version=0),
        appender.append_events(stream_of("stale"), new_events(2), expected_version=5),
        *(appender.append_events(stream_of(f"g-{n}"), new_events(1), expected_version=0) for n in range(5)),
    )
    assert isinstance(conflict, VersionConflictError)
    assert (conflict.actual_version, conflict.expected_version) == (0, 5)
    assert len({other.transaction_id for other in others}) == 1
    assert others[0].transaction_id != first.transaction_id


async def test_appends_to_one_stream_go_in_the_order_they_came_in(grouped) -> None:  # type: ignore[no-untyped-def]
    store, appender = grouped
    events = new_events(6)
    results = await outcomes(
        *(
            appender.append_events(stream_of("one"), [event], expected_version=version)
            for version, event in enumerate(events)
        ),
        appender.append_events(stream_of("one"), new_events(1), expected_version=2),
    )
    assert [result.last_sequence_number for result in results[:6]] == [1, 2, 3, 4, 5, 6]
    assert isinstance(results[6], VersionConflictError)
    assert results[6].actual_version == 6
    assert await stored(store, "one") == [event.event_id for event in events]


async def test_several_groups_at_a_time_keep_each_streams_order(dsn: str) -> None:
    async with (
        await PostgresEventStore.connect(dsn, schema=SCHEMA, notify=False) as store,
        GroupAppender(store, groups_at_a_time=3, group_events_max=7) as appender,
    ):

        async def fill(name: str) -> None:
            for version in range(15):
                await appender.append_events(stream_of(name), new_events(1), expected_version=version)

        await asyncio.gather(*(fill(f"s-{number}") for number in range(20)))
        assert await row_count_of(dsn) == 300


async def test_many_that_wait_are_shared_among_the_groups_there_may_be(dsn: str) -> None:
    """While one group is at the server, the callers of the other make their next appends."""
    async with (
        await PostgresEventStore.connect(dsn, schema=SCHEMA, notify=False) as store,
        GroupAppender(store, groups_at_a_time=2) as appender,
    ):
        sizes: list[int] = []
        append_group = store.append_group

        async def counted(batches):  # type: ignore[no-untyped-def]
            sizes.append(len(batches))
            return await append_group(batches)

        store.append_group = counted  # type: ignore[method-assign]

        async def fill(name: str) -> None:
            for version in range(20):
                await appender.append_events(stream_of(name), new_events(1), expected_version=version)

        await asyncio.gather(*(fill(f"s-{number}") for number in range(64)))
        assert await row_count_of(dsn) == 64 * 20
        middle = sizes[2:-2]
        assert max(middle) < 60 and sum(middle) / len(middle) > 16


async def test_a_caller_that_is_alone_again_after_a_crowd_goes_the_direct_way(
    store: PostgresEventStore,
) -> None:
    async with GroupAppender(store) as appender:
        await asyncio.gather(
            *(
                appender.append_events(stream_of(f"c-{n}"), new_events(1), expected_version=0)
                for n in range(5)
            )
        )
        for version in range(3):
            assert appender._crowded is (version == 0)
            await appender.append_events(stream_of("alone"), new_events(1), expected_version=version)


async def row_count_of(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return await row_count(connection)
    finally:
        await connection.close()


async def test_a_race_lost_to_another_process_is_one_callers_conflict(
    store: PostgresEventStore, dsn: str
) -> None:
    async with GroupAppender(store, groups_at_a_time=1) as appender:
        async with store.transaction() as other:
            await other.append_events(stream_of("raced"), new_events(2), expected_version=0)
            appends = asyncio.gather(
                appender.append_events(stream_of("first"), new_events(1), expected_version=0),
                appender.append_events(stream_of("raced"), new_events(1), expected_version=0),
                appender.append_events(stream_of("beside"), new_events(1), expected_version=0),
                return_exceptions=True,
            )
            observer = await asyncpg.connect(dsn)
            await waiting_backend(observer)
            await observer.close()
        first, raced, beside = await appends
    assert isinstance(raced, VersionConflictError)
    assert raced.actual_version == 2
    assert first.last_sequence_number == beside.last_sequence_number == 1


async def test_a_connection_lost_on_the_way_leaves_every_outcome_of_the_group_unknown(dsn: str) -> None:
    async with (
        Proxy(dsn) as proxy,
        await PostgresEventStore.connect(proxy.dsn, schema=SCHEMA, notify=False) as store,
        GroupAppender(store, groups_at_a_time=1) as appender,
    ):

        def appends(name: str, events: list[NewEvent]) -> list[asyncio.Task[AppendResult]]:
            return [
                asyncio.create_task(
                    appender.append_events(stream_of(f"{name}-{n}"), [event], expected_version=0)
                )
                for n, event in enumerate(events)
            ]

        await asyncio.gather(*appends("prepared", new_events(3)))
        events = new_events(4)
        proxy.answers.clear()
        group = appends("lost", events)
        await proxy.held.wait()
        proxy.cut()
        results = await asyncio.gather(*group, return_exceptions=True)
        assert [type(result) for result in results] == [OutcomeUnknownError] * 4
        assert [result.event_ids for result in results] == [(event.event_id,) for event in events]
        assert await row_count_of(dsn) in (3, 7)


async def test_an_append_that_comes_when_a_group_has_just_ended_is_not_left_waiting(
    store: PostgresEventStore,
) -> None:
    async with GroupAppender(store, groups_at_a_time=1) as appender:

        async def chain(name: str) -> None:
            for version in range(40):
                await appender.append_events(stream_of(name), new_events(1), expected_version=version)

        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(chain(f"chain-{number}") for number in range(3)))


async def test_a_group_whose_task_is_cancelled_under_way_has_an_unknown_outcome(
    store: PostgresEventStore, dsn: str
) -> None:
    holder = await asyncpg.connect(dsn)
    appender = GroupAppender(store, groups_at_a_time=1)
    try:
        async with holder.transaction():
            await holder.execute(f"lock table {SCHEMA}.domain_events in access exclusive mode")
            events = new_events(3)
            appends = [
                asyncio.create_task(appender.append_events(stream_of(f"k-{n}"), [event], expected_version=0))
                for n, event in enumerate(events)
            ]
            observer = await asyncpg.connect(dsn)
            await waiting_backend(observer)
            await observer.close()
            appends[0].cancel()  # the one that went alone; the others are sent as a group
            await asyncio.wait({appends[0]})
            (sending,) = appender._under_way
            await asyncio.sleep(0)
            sending.cancel()
            results = await asyncio.gather(*appends[1:], return_exceptions=True)
    finally:
        await holder.close()
    assert [type(result) for result in results] == [OutcomeUnknownError] * 2
    assert [result.event_ids for result in results] == [(event.event_id,) for event in events[1:]]


async def test_closed_it_takes_no_more_and_finishes_what_it_has(store: PostgresEventStore) -> None:
    appender = GroupAppender(store)
    appends = [
        asyncio.create_task(appender.append_events(stream_of(f"c-{n}"), new_events(1), expected_version=0))
        for n in range(10)
    ]
    await asyncio.sleep(0)
    await appender.close()
    assert all(append.done() and append.result() for append in appends)
    with pytest.raises(StoreUnavailableError, match="closed"):
        await appender.append_events(stream_of("late"), new_events(1), expected_version=0)


async def test_a_cancelled_caller_does_not_disturb_the_others(store: PostgresEventStore) -> None:
    async with GroupAppender(store, groups_at_a_time=1) as appender:
        appends = [
            asyncio.create_task(
                appender.append_events(stream_of(f"x-{n}"), new_events(1), expected_version=0)
            )
            for n in range(5)
        ]
        await asyncio.sleep(0)
        appends[2].cancel()
        results = await asyncio.gather(*appends, return_exceptions=True)
    assert isinstance(results[2], asyncio.CancelledError)
    assert all(result.last_sequence_number == 1 for place, result in enumerate(results) if place != 2)


@pytest.mark.parametrize("streams", [13, 1])
async def test_where_no_connection_is_to_be_had_all_that_wait_fail_together(dsn: str, streams: int) -> None:
    async with (
        await PostgresEventStore.connect(
            dsn, schema=SCHEMA, pool_max=1, acquire_timeout_s=0.3, notify=False
        ) as store,
        GroupAppender(store) as appender,
    ):
        held = await store.pool.acquire()
        results = await outcomes(
            *(
                appender.append_events(stream_of(f"a-{number % streams}"), [new_event()], expected_version=0)
                for number in range(13)
            )
        )
        assert {type(result) for result in results} == {StoreUnavailableError}
        assert len({id(result) for result in results}) == 13
        assert store.pool.waited_total <= 3  # each wait takes the whole timeout
        store.pool.release(held)
        await appender.append_events(stream_of(), [new_event()], expected_version=0)


async def test_a_refusal_that_no_append_caused_fails_the_group_at_once(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        await PostgresEventStore.connect(dsn, schema=SCHEMA, notify=False) as store,
        GroupAppender(store, groups_at_a_time=1) as appender,
    ):
        tried: list[str] = []

        async def refuse(*_: object) -> None:
            tried.append("group")
            raise StoreUnavailableError("the disk is full")

        monkeypatch.setattr(store, "append_group", refuse)
        first, *others = await outcomes(
            *(
                appender.append_events(stream_of(f"a-{number}"), [new_event()], expected_version=0)
                for number in range(9)
            )
        )
        assert isinstance(first, AppendResult)
        assert {str(error) for error in others} == {"the disk is full"}
        assert tried == ["group"]


async def test_an_append_of_a_group_that_is_stored_already_is_reported(grouped) -> None:  # type: ignore[no-untyped-def]
    _, appender = grouped
    batches = {f"a-{number}": new_events(2) for number in range(6)}

    def appends() -> list:  # type: ignore[type-arg]
        return [
            appender.append_events(stream_of(name), batch, expected_version=0)
            for name, batch in batches.items()
        ]

    first = await outcomes(*appends())
    batches["a-3"] = new_events(2)
    again = await outcomes(*appends())
    assert {type(error) for error in again} == {AlreadyStoredError, VersionConflictError}
    assert type(again[3]) is VersionConflictError
    for result, error in zip(first, again, strict=True):
        if isinstance(error, AlreadyStoredError):
            assert result.last_sequence_number == error.last_sequence_number == 2
            assert result.last_global_sequence == error.last_global_sequence
            assert result.transaction_id == error.transaction_id
