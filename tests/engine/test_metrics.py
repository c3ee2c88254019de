"""Metrics in production: every call counted with its outcome, consumers' lag, what holds them up."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from eventmark.domain import TrackingToken
from eventmark.engine import EventProcessor, GroupAppender, PostgresEventStore
from eventmark.engine.metrics import expose_metrics, operation_of
from eventmark.errors import CannotRunError, EventStoreError, VersionConflictError
from tests.engine.builders import DEADLINE_S, new_event, new_events, stream_of


async def scraped(port: int) -> dict[str, float]:
    """Every sample by its name with labels, as Prometheus would read it."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE_S) as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(read)
    return {
        match[1]: float(match[2])
        for match in re.finditer(r"^(eventmark_[^#]*?) ([0-9.e+-]+|\+Inf)$", text, re.MULTILINE)
    }


async def until(port: int, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    async with asyncio.timeout(DEADLINE_S):
        while not holds(seen := await scraped(port)):  # noqa: ASYNC110 - another program's state
            await asyncio.sleep(0.05)
    return seen


@pytest.fixture
async def port(store: PostgresEventStore) -> AsyncIterator[int]:
    async with await expose_metrics(store, port=0, interval_s=0.1) as metrics:
        yield metrics.port


def calls(seen: dict[str, float], operation: str, outcome: str) -> float:
    return seen.get(f'eventmark_operation_seconds_count{{operation="{operation}",outcome="{outcome}"}}', 0.0)


async def test_calls_are_counted_by_operation_and_outcome(store: PostgresEventStore, port: int) -> None:
    stream = stream_of()
    await store.append_events(stream, [new_event()], expected_version=0)
    await store.append_events(stream, new_events(7), expected_version=1)
    with pytest.raises(VersionConflictError):
        await store.append_events(stream, [new_event()], expected_version=3)
    await store.load_aggregate(stream.tenant_id, stream.aggregate_id)
    await store.stream_events(await store.create_tail_token())
    seen = await scraped(port)
    assert calls(seen, "append_events[1]", "ok") == 1
    assert calls(seen, "append_events[10]", "ok") == 1
    assert calls(seen, "append_events[1]", "conflict") == 1
    assert calls(seen, "load_aggregate[1000]", "ok") == 1
    assert calls(seen, "stream_events[1000]", "ok") == 1
    assert [
        seen[f'eventmark_events_total{{direction="{one}"}}'] for one in ("appended", "loaded", "streamed")
    ] == [8, 8, 8]


async def test_every_append_of_a_group_counts_with_its_own_outcome(
    store: PostgresEventStore, port: int
) -> None:
    await store.append_events(stream_of("a-7"), [new_event()], expected_version=0)
    before = await scraped(port)
    async with GroupAppender(store, groups_at_a_time=1) as appender:
        await asyncio.gather(
            *(
                appender.append_events(stream_of(f"a-{number}"), new_events(3), expected_version=0)
                for number in range(101)
            ),
            return_exceptions=True,
        )
    seen = await scraped(port)
    assert calls(seen, "append_events[10]", "ok") == 1  # the first goes alone
    assert calls(seen, "append_group", "ok") == 99
    assert calls(seen, "append_group", "conflict") == 1
    appended = 'eventmark_events_total{direction="appended"}'
    assert seen[appended] - before[appended] == 300


async def test_an_error_that_is_no_conflict_is_distinguished(
    store: PostgresEventStore, port: int, connection: asyncpg.Connection
) -> None:
    await connection.execute("alter table eventmark.domain_events rename to gone")
    with pytest.raises(EventStoreError):
        await store.load_aggregate("acme", "a-1")
    assert calls(await scraped(port), "load_aggregate[1000]", "error") == 1


async def test_lag_of_a_processor_and_its_claim_are_shown(store: PostgresEventStore, port: int) -> None:
    await store.append_events(stream_of(), new_events(5), expected_version=0)
    handled = asyncio.Event()

    async def handle(events: object, connection: object) -> None:
        handled.set()

    processor = EventProcessor(store, "invoices", handle)
    running = asyncio.create_task(processor.run())
    labels = '{processor="invoices",segment="0"}'
    async with asyncio.timeout(DEADLINE_S):
        await handled.wait()
    seen = await until(port, lambda seen: seen.get(f"eventmark_processor_lag_events{labels}") == 0)
    assert seen[f"eventmark_processor_claimed{labels}"] == 1
    processor.stop()
    await running
    await store.append_events(stream_of("a-2"), new_events(3), expected_version=0)
    seen = await until(port, lambda seen: seen[f"eventmark_processor_lag_events{labels}"] == 3)
    assert seen[f"eventmark_processor_claimed{labels}"] == 0


async def test_age_of_the_transaction_that_holds_consumers_up_grows(
    store: PostgresEventStore, port: int, dsn: str
) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetchval("select pg_current_xact_id()")
        await until(port, lambda seen: seen.get("eventmark_horizon_age_seconds", 0) > 0.2)
        await transaction.rollback()
        await until(port, lambda seen: seen["eventmark_horizon_age_seconds"] == 0)
    finally:
        await connection.close()


async def test_a_port_that_is_taken_is_an_error_that_names_it(store: PostgresEventStore, port: int) -> None:
    with pytest.raises(CannotRunError, match=str(port)):
        await expose_metrics(store, port=port)


async def test_a_store_whose_metrics_are_closed_is_measured_no_more(store: PostgresEventStore) -> None:
    metrics = await expose_metrics(store, port=0)
    await metrics.close()
    assert store.pool.observer is None
    with pytest.raises(OSError):
        await scraped(metrics.port)
    assert isinstance(await store.create_tail_token(), TrackingToken)


@pytest.mark.parametrize(
    ("statement", "events", "operation"),
    [
        ("append_events", 1, "append_events[1]"), ("append_events", 2, "append_events[10]"),
        ("append_events", 100, "append_events[100]"), ("append_events", 101, "append_events[more]"),
        ("load_aggregate", 1000, "load_aggregate[1000]"), ("load_aggregate", 1001, "load_aggregate[more]"),
        ("stream_tenant_events", 0, "stream_events[0]"), ("stream_events", 999, "stream_events[1000]"),
        ("create_head_token", 1, "create_head_token"),
    ],
)  # fmt: skip
def test_operations_are_named_by_the_smallest_size_that_holds_their_events(
    statement: str, events: int, operation: str
) -> None:
    assert operation_of(statement, events) == operation
