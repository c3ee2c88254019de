"""What a read brings is bounded in bytes: batches are cut, what cannot be read is named and can be taken out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from eventmark.domain import NewEvent, SequenceNumber, Snapshot, TrackingToken
from eventmark.engine import PostgresEventStore
from eventmark.engine.records import EventRecord
from eventmark.engine.redaction import METADATA_BYTES_KEPT, redact_event
from eventmark.errors import (
    BatchTooLargeError,
    CannotRunError,
    UnreadableEventError,
    UsageError,
)
from tests.engine.builders import ORDERING_PARAMS, SCHEMA, new_event, new_events, opened, stream_of

KIB = 1024
LARGE = {"a": "x" * 100 * KIB}
# Of 81 KB, and 1.2 GB written out: what could be stored before documents were measured.
UNREADABLE = '{"a": [' + ",".join(["1e131071"] * 9_000) + "]}"

Connection = asyncpg.Connection


@pytest.fixture
def store_payload() -> str:
    """What a document is written out as can be larger than what is stored."""
    return "jsonb"


@pytest.fixture(params=ORDERING_PARAMS)
async def bounded(cleared_dsn: str, request: pytest.FixtureRequest) -> AsyncIterator[PostgresEventStore]:
    """A store of each ordering that brings no more than 1 MiB at a time."""
    async with opened(cleared_dsn, request.param):
        pass
    async with await PostgresEventStore.connect(
        cleared_dsn, schema=SCHEMA, notify=False, batch_bytes_max=1024 * KIB
    ) as store:
        yield store


async def batches(store: PostgresEventStore, count: int) -> list[list[EventRecord]]:
    """The log in the batches that it comes in, up to the first empty one behind ``count`` events."""
    found: list[list[EventRecord]] = []
    token = await store.create_tail_token()
    while sum(map(len, found)) < count:
        batch = await store.stream_events(token, limit=1000, tenant_id="acme", wait_s=5.0)
        assert batch.events
        token = batch.token
        found.append(list(batch.events))  # type: ignore[arg-type]
    return found


async def test_a_batch_is_cut_where_it_would_be_of_too_many_bytes(bounded: PostgresEventStore) -> None:
    small, large = new_events(20), new_events(40, payload=LARGE)
    ids = [event.event_id for event in (*small, *large)]
    await bounded.append_events(stream_of(), [*small, *large], expected_version=0)
    found = await batches(bounded, len(ids))
    assert [event.event_id for batch in found for event in batch] == ids
    assert 5 <= len(found) <= 20
    for batch in found:
        assert sum(len(event.payload_json) for event in batch) < 1024 * KIB
    assert bounded.pool.in_use == 0


async def test_after_large_events_batches_are_of_full_size_again(bounded: PostgresEventStore) -> None:
    await bounded.append_events(stream_of(), new_events(20, payload=LARGE), expected_version=0)
    await bounded.append_events(stream_of("b"), new_events(1000), expected_version=0)
    await batches(bounded, 1020)
    last = (await batches(bounded, 1020))[-1]
    assert len(last) > 100


async def test_a_single_event_beyond_the_bound_is_read(bounded: PostgresEventStore) -> None:
    events = [new_event(), new_event(payload={"a": "x" * 3000 * KIB}), new_event()]
    await bounded.append_events(stream_of(), events, expected_version=0)
    found = [event.event_id for batch in await batches(bounded, 3) for event in batch]
    assert found == [event.event_id for event in events]
    (large,) = await bounded.load_aggregate("acme", "a-1", from_sequence=2, limit=1)
    assert large.event_id == events[1].event_id


async def test_an_aggregate_beyond_the_bound_is_refused_and_loaded_in_parts(
    bounded: PostgresEventStore,
) -> None:
    events = new_events(30, payload=LARGE)
    await bounded.append_events(stream_of(), events, expected_version=0)
    with pytest.raises(BatchTooLargeError, match=r"a-1.*in parts"):
        await bounded.load_aggregate("acme", "a-1")
    found: list[EventRecord] = []
    while part := await bounded.load_aggregate("acme", "a-1", from_sequence=len(found) + 1, limit=1000):
        assert len(part) < 30
        found.extend(part)
    assert [event.event_id for event in found] == [event.event_id for event in events]
    assert len(await bounded.load_aggregate("acme", "a-1", from_sequence=25)) == 6


async def test_the_callers_own_statements_are_not_bounded(bounded: PostgresEventStore) -> None:
    async with bounded.transaction() as transaction:
        assert len(await transaction.connection.fetchval("select repeat('x', 3 * 1024 * 1024)")) == 3 * 2**20


async def _plant(connection: Connection, event: NewEvent, document: str, column: str = "payload") -> None:
    """A document in place of a stored event's, as a release that did not measure it would have stored it."""
    table = f"{SCHEMA}.domain_events"
    await connection.execute(f"alter table {table} disable trigger domain_events_append_only")
    await connection.execute(
        f"update {table} set {column} = $1::text::jsonb where event_id = $2", document, event.event_id
    )
    await connection.execute(f"alter table {table} enable always trigger domain_events_append_only")


async def _unreadable(
    store: PostgresEventStore, token: TrackingToken
) -> tuple[list[EventRecord], UnreadableEventError]:
    """What can be read, and the error that ends it."""
    found: list[EventRecord] = []
    with pytest.raises(UnreadableEventError) as unreadable:
        while True:
            batch = await store.stream_events(token, limit=2, tenant_id="acme", wait_s=5.0)
            token = batch.token
            found.extend(batch.events)  # type: ignore[arg-type]
    return found, unreadable.value


async def test_an_event_that_cannot_be_read_is_named_by_a_read_of_it_alone(
    store: PostgresEventStore, connection: Connection
) -> None:
    bad = new_event()
    await store.append_events(stream_of(), [bad], expected_version=0)
    await _plant(connection, bad, UNREADABLE)
    with pytest.raises(UnreadableEventError) as unreadable:
        await store.stream_events(await store.create_tail_token(), limit=1, tenant_id="acme", wait_s=5.0)
    assert (unreadable.value.event_id, unreadable.value.sequence_number) == (bad.event_id, 1)


@pytest.mark.parametrize("column", ["payload", "metadata"])
async def test_a_redacted_event_notes_who_did_it_and_why(
    store: PostgresEventStore, connection: Connection, column: str
) -> None:
    events = [new_event(), new_event(metadata={"correlation_id": "c-7"})]
    await store.append_events(stream_of(), events, expected_version=0)
    await _plant(connection, events[1], json.dumps({"a": "x" * METADATA_BYTES_KEPT}), column)
    await _redact(store, connection, events, events[1], column)


@pytest.mark.long
@pytest.mark.parametrize(
    ("ordering", "column"), [("horizon", "payload"), ("horizon", "metadata"), ("gap_aware", "payload")]
)
async def test_an_event_that_cannot_be_read_is_named_and_can_be_redacted(
    ordered: PostgresEventStore, observer: Connection, column: str
) -> None:
    events = [
        new_event(),
        new_event(),
        new_event(metadata={"correlation_id": "c-7"}),
        new_event(),
        new_event(),
    ]
    bad = events[2]
    await ordered.append_events(stream_of(), events, expected_version=0)
    await _plant(observer, bad, UNREADABLE, column)

    found, error = await _unreadable(ordered, await ordered.create_tail_token())
    assert [event.event_id for event in found] == [event.event_id for event in events[:2]]
    assert (error.event_id, error.tenant_id, error.aggregate_id) == (bad.event_id, "acme", "a-1")
    assert (error.sequence_number, error.global_sequence) == (3, found[-1].global_sequence + 1)
    assert "eventmark admin redact" in str(error)
    assert "nothing was written" not in str(error).lower()
    with pytest.raises(UnreadableEventError) as loading:
        await ordered.load_aggregate("acme", "a-1")
    assert loading.value.event_id == bad.event_id
    assert len(await ordered.load_aggregate("acme", "a-1", from_sequence=4)) == 2
    assert ordered.pool.in_use == 0

    await _redact(ordered, observer, events, bad, column)


async def _redact(
    store: PostgresEventStore, observer: Connection, events: list[NewEvent], bad: NewEvent, column: str
) -> None:
    """Redacts ``bad``, whose ``column`` was planted, of all events of the aggregate: what is left of it is checked."""
    place = events.index(bad)
    number = await redact_event(
        observer, SCHEMA, tenant_id="acme", event_id=bad.event_id, reason="1.2 GB written out"
    )
    assert number == place + 1
    loaded = await store.load_aggregate("acme", "a-1")
    assert [event.event_id for event in loaded] == [event.event_id for event in events]
    assert loaded[place].payload() == {}
    metadata = loaded[place].metadata()
    note = metadata.pop("eventmark_redacted")
    assert note["reason"] == "1.2 GB written out"
    assert note["by"] == await observer.fetchval("select session_user")
    assert note["metadata_kept"] == (column == "payload")
    assert metadata == ({"correlation_id": "c-7"} if column == "payload" else {})
    with pytest.raises(asyncpg.RestrictViolationError):
        await observer.execute(f"update {SCHEMA}.domain_events set payload = '{{}}'")


async def test_redacting_is_the_owners_and_refuses_what_it_cannot_do(
    store: PostgresEventStore, connection: Connection
) -> None:
    event = new_event()
    await store.append_events(stream_of(), [event], expected_version=0)

    async def refused(expected: type[Exception], **changes: Any) -> None:
        options = {"tenant_id": "acme", "event_id": event.event_id, "reason": "because", **changes}
        with pytest.raises(expected):
            await redact_event(connection, SCHEMA, **options)

    await refused(UsageError, reason=" ")
    await refused(UsageError, reason="x" * 501)
    await refused(CannotRunError, event_id=uuid4())
    await refused(CannotRunError, tenant_id="another")
    await connection.execute(f"create role visitor_{SCHEMA}")
    try:
        await connection.execute(f"grant usage on schema {SCHEMA} to visitor_{SCHEMA}")
        await connection.execute(f"grant all on all tables in schema {SCHEMA} to visitor_{SCHEMA}")
        await connection.execute(f"set role visitor_{SCHEMA}")
        await refused(CannotRunError)
        await connection.execute("reset role")
    finally:
        await connection.execute(f"drop owned by visitor_{SCHEMA}")
        await connection.execute(f"drop role visitor_{SCHEMA}")
    (loaded,) = await store.load_aggregate("acme", "a-1")
    assert loaded.payload() == event.payload
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute(f"update {SCHEMA}.domain_events set payload = '{{}}'")


async def test_a_snapshot_that_cannot_be_read_is_named(
    store: PostgresEventStore, connection: Connection
) -> None:
    events = new_events(2)
    await store.append_events(stream_of(), events, expected_version=0)
    snapshot = Snapshot(
        stream=stream_of(), sequence_number=SequenceNumber(1), payload={"a": 1}, payload_type="S",
        timestamp=events[0].timestamp,
    )  # fmt: skip
    await store.store_snapshot(snapshot)
    await connection.execute(f"update {SCHEMA}.aggregate_snapshots set payload = $1::text::jsonb", UNREADABLE)
    with pytest.raises(UnreadableEventError, match="snapshot of aggregate 'a-1'"):
        await store.read_snapshot("acme", "a-1")
