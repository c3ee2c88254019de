"""Reading by number with gaps: how long they are kept, how many there may be, and what comes late."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore
from eventmark.engine.orderings import gap_aware
from eventmark.errors import StoreUnavailableError
from tests.engine.builders import SCHEMA, new_event, new_events, stream_of, until
from tests.engine.interleavings import Consumer

Connection = asyncpg.Connection
pytestmark = pytest.mark.usefixtures("no_gap_timeout")


@pytest.mark.parametrize("ordering", ["gap_aware"])
async def test_a_gap_is_kept_as_long_as_its_transaction_runs_and_given_up_when_it_rolled_back(
    ordered: PostgresEventStore, observer: Connection
) -> None:
    consumer = Consumer(ordered, await ordered.create_tail_token(), None)
    with pytest.raises(ZeroDivisionError):
        async with ordered.transaction() as transaction:
            await transaction.append_events(stream_of("lost"), new_events(3), expected_version=0)
            for version in range(20):
                await ordered.append_events(stream_of("quick"), new_events(1), expected_version=version)
                await consumer.poll()
            assert consumer.token.gaps == ((1, 3),)
            raise ZeroDivisionError
    await until(lambda: gone(consumer))
    assert len(consumer.delivered) == 20


@pytest.mark.parametrize("ordering", ["gap_aware"])
async def test_a_reader_that_knows_nothing_of_a_tokens_gaps_comes_back_for_them(
    ordered: PostgresEventStore, cleared_dsn: str, observer: Connection
) -> None:
    consumer = Consumer(ordered, await ordered.create_tail_token(), None)
    slow = new_event()
    async with ordered.transaction() as transaction:
        await transaction.append_events(stream_of("slow"), [slow], expected_version=0)
        await ordered.append_events(stream_of("quick"), new_events(2), expected_version=0)
        await consumer.poll()
        async with await PostgresEventStore.connect(cleared_dsn, schema=SCHEMA, notify=False) as other:
            elsewhere = Consumer(other, consumer.token, None)
            for _ in range(5):
                await elsewhere.poll()
            assert elsewhere.token.gaps == ((1, 1),)
            last = Consumer(other, elsewhere.token, None)
    async with await PostgresEventStore.connect(cleared_dsn, schema=SCHEMA, notify=False) as other:
        last.store = other
        await last.drain(observer)
        assert last.delivered == [slow.event_id]


@pytest.mark.parametrize("ordering", ["gap_aware"])
async def test_a_consumer_waits_where_there_are_more_gaps_than_a_token_holds(
    ordered: PostgresEventStore, observer: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap_aware, "GAPS_MAX", 3)
    consumer = Consumer(ordered, await ordered.create_tail_token(), None)
    sent = []
    async with AsyncExitStack() as running:
        for number in range(6):
            transaction = await running.enter_async_context(ordered.transaction())
            held, free = new_event(), new_event()
            await transaction.append_events(stream_of(f"held-{number}"), [held], expected_version=0)
            await ordered.append_events(stream_of(f"free-{number}"), [free], expected_version=0)
            sent += [held.event_id, free.event_id]
        for _ in range(5):
            await consumer.poll()
        assert len(consumer.token.gaps) == 3
        assert consumer.delivered == sent[1:6:2]
    await consumer.drain(observer)
    assert sorted(consumer.delivered) == sorted(sent)


@pytest.mark.parametrize("ordering", ["gap_aware"])
async def test_a_head_token_of_a_log_with_many_rollbacks_waits_until_they_are_distinguished_from_gaps(
    ordered: PostgresEventStore, observer: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap_aware, "GAPS_MAX", 3)
    for number in range(6):
        with pytest.raises(ZeroDivisionError):
            async with ordered.transaction() as transaction:
                await transaction.append_events(
                    stream_of(f"lost-{number}"), new_events(1), expected_version=0
                )
                raise ZeroDivisionError
        await ordered.append_events(stream_of(f"kept-{number}"), new_events(1), expected_version=0)
    slow = new_event()
    async with ordered.transaction() as transaction:
        await transaction.append_events(stream_of("slow"), [slow], expected_version=0)
        heading = asyncio.create_task(ordered.create_head_token())
        reader = ordered._reader
        await until(lambda: true(reader._bounds))
        assert not heading.done()
    head = await heading
    assert not head.gaps
    consumer = Consumer(ordered, head, None)
    await consumer.drain(observer)
    assert consumer.delivered in ([], [slow.event_id])
    monkeypatch.setattr(gap_aware, "HEAD_WAIT_S", 0.0)
    async with (
        await PostgresEventStore.connect(ordered.pool._dsn, schema=SCHEMA, notify=False) as other,
        ordered.transaction() as transaction,
    ):
        await transaction.connection.execute("select pg_current_xact_id()")
        with pytest.raises(StoreUnavailableError, match="a transaction has been open"):
            await other.create_head_token()


async def true(value: object) -> bool:
    return bool(value)


@pytest.mark.parametrize("ordering", ["gap_aware"])
@pytest.mark.parametrize("limit", [1, 100])
async def test_an_event_that_comes_late_comes_before_those_that_follow_it_in_its_stream(
    ordered: PostgresEventStore, observer: Connection, limit: int
) -> None:
    consumer = Consumer(ordered, await ordered.create_tail_token(), None, limit)
    first, second = new_event(), new_event()
    async with ordered.transaction() as transaction:
        await transaction.append_events(stream_of("slow"), [first], expected_version=0)
        await ordered.append_events(stream_of("quick"), new_events(3), expected_version=0)
        while len(consumer.delivered) < 3:
            await consumer.poll()
    await ordered.append_events(stream_of("slow"), [second], expected_version=1)
    await consumer.drain(observer)
    assert consumer.delivered[3:] == [first.event_id, second.event_id]


async def gone(consumer: Consumer) -> bool:
    await consumer.poll()
    return not consumer.token.gaps
