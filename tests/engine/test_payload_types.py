"""A store's documents are json or jsonb: told by the catalogue, kept as they came, converted where that is asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from eventmark.domain import SequenceNumber, Snapshot
from eventmark.engine import GroupAppender, PostgresEventStore, install_schema, read_marker
from eventmark.engine.payload_change import change_payload_type, payload_cost
from eventmark.engine.payloads import STORAGE
from eventmark.engine.redaction import redact_event
from eventmark.errors import CannotRunError, UsageError
from eventmark.stores import find_store
from tests.engine.builders import SCHEMA, new_event, new_events, read_on, stream_of

Connection = asyncpg.Connection
TEXT = '{"b": 1.50,  "a":[1e2, "\\u00e9"]}'
BOTH_WAYS = pytest.mark.parametrize(("before", "after"), [("jsonb", "json"), ("json", "jsonb")])


async def columns(connection: Connection) -> dict[str, Any]:
    rows = await connection.fetch(
        "select format('%s.%s', c.relname, a.attname) as name, format_type(atttypid, atttypmod) as type"
        " from pg_attribute a join pg_class c on c.oid = attrelid where relnamespace = $1::text::regnamespace"
        " and relkind = 'r' and attname in ('payload', 'metadata')",
        SCHEMA,
    )
    options = await connection.fetchval(
        f"select reloptions from pg_class where oid = '{SCHEMA}.domain_events'::regclass"
    )
    return {**{row["name"]: row["type"] for row in rows}, "options": options}


def columns_of(payload: str) -> dict[str, Any]:
    names = ("domain_events.payload", "domain_events.metadata", "aggregate_snapshots.payload")
    options = ["toast_tuple_target=8160"] if payload == "json" else None
    return {**dict.fromkeys(names, payload), "options": options}


async def work(store: PostgresEventStore, aggregate: str) -> list[str]:
    """Appends by every statement, a snapshot, and what is read of them."""
    stream = stream_of(aggregate)
    await store.append_events(stream, new_events(2, payload=TEXT, metadata=TEXT), expected_version=0)
    async with GroupAppender(store) as group:
        await group.append_events(stream, new_events(1, payload=TEXT), expected_version=2)
    async with store.transaction() as transaction:
        await transaction.append_events(stream, new_events(1, payload=TEXT), expected_version=3)
    await store.store_snapshot(
        Snapshot(
            stream=stream,
            sequence_number=SequenceNumber(4),
            payload=TEXT,
            payload_type="S",
            timestamp=datetime.now(UTC),
        )
    )
    snapshot = await store.read_snapshot("acme", aggregate)
    assert snapshot is not None
    loaded = await store.load_aggregate("acme", aggregate)
    return [*(event.payload_json for event in loaded), str(snapshot.payload)]


async def test_an_unknown_type_is_refused(observer: Connection) -> None:
    with pytest.raises(UsageError, match="use json or jsonb"):
        await install_schema(observer, SCHEMA, payload="xml")


@pytest.mark.parametrize(("payload", "store"), [("json", "eaf"), ("jsonb", "eaf-jsonb")])
async def test_a_stores_type_is_read_from_the_catalogue_and_used_by_every_statement(
    observer: Connection, cleared_dsn: str, payload: str, store: str
) -> None:
    marker = await install_schema(observer, SCHEMA, payload=payload)
    assert await columns(observer) == columns_of(payload)
    assert marker.digest == find_store(store).schema_sha256
    expected = await observer.fetchval(f"select $1::text::{payload}::text", TEXT)
    async with await PostgresEventStore.connect(cleared_dsn, notify=False) as opened:
        assert await work(opened, "a-1") == [expected] * 5


async def test_a_column_of_another_type_is_refused(observer: Connection, cleared_dsn: str) -> None:
    await install_schema(observer, SCHEMA)
    await observer.execute(f"alter table {SCHEMA}.domain_events alter column payload type text")
    with pytest.raises(CannotRunError, match=r"payload of eventmark.domain_events is text.*json and jsonb"):
        await PostgresEventStore.connect(cleared_dsn)


async def test_a_store_that_other_files_made_is_no_store_of_todays_after_its_type_was_changed(
    observer: Connection,
) -> None:
    await install_schema(observer, SCHEMA, payload="jsonb")
    await observer.execute(f"update {SCHEMA}.eventmark_store set digest = 'of other indexes'")
    assert await change_payload_type(observer, SCHEMA, "json")
    marker = await read_marker(observer, SCHEMA)
    assert marker is not None and marker.digest == "of other indexes"


@BOTH_WAYS
async def test_a_store_changes_its_type_and_keeps_everything_else(
    observer: Connection, cleared_dsn: str, before: str, after: str
) -> None:
    await install_schema(observer, SCHEMA, payload=before)
    cost = await payload_cost(observer, SCHEMA)
    assert cost is not None and (cost.payload, cost.bytes_rewritten > 0) == (before, True)
    async with await PostgresEventStore.connect(cleared_dsn, notify=False) as store:
        stored = await work(store, "a-1")
        token = (await read_on(store, await store.create_tail_token(), 4)).token
        with pytest.raises(CannotRunError, match="connections of the event store are open"):
            await change_payload_type(observer, SCHEMA, after)
    assert await columns(observer) == columns_of(before)
    assert await change_payload_type(observer, SCHEMA, after)
    assert not await change_payload_type(observer, SCHEMA, after)
    assert await columns(observer) == columns_of(after)
    marker = await read_marker(observer, SCHEMA)
    assert marker is not None
    assert marker.digest == find_store({"json": "eaf", "jsonb": "eaf-jsonb"}[after]).schema_sha256
    async with await PostgresEventStore.connect(cleared_dsn, notify=False) as store:
        converted = [await observer.fetchval(f"select $1::text::{after}::text", text) for text in stored]
        assert [event.payload_json for event in await store.load_aggregate("acme", "a-1")] == converted[:4]
        assert len(await work(store, "a-2")) == 5
        assert len((await read_on(store, token, 4)).events) == 4
    with pytest.raises(asyncpg.RestrictViolationError):
        await observer.execute(f"update {SCHEMA}.domain_events set payload = '{{}}'")


@BOTH_WAYS
async def test_a_store_with_row_level_security_changes_its_type(
    observer: Connection, cleared_dsn: str, before: str, after: str
) -> None:
    await install_schema(observer, SCHEMA, payload=before, row_level_security=True)
    assert await change_payload_type(observer, SCHEMA, after)
    await observer.execute(
        f"drop role if exists visitor; create role visitor login password 'secret' in role {SCHEMA}_appender"
    )
    place = urlsplit(cleared_dsn)
    login = urlunsplit(place._replace(netloc=f"visitor:secret@{place.hostname}:{place.port}"))
    expected = await observer.fetchval(f"select $1::text::{after}::text", TEXT)
    try:
        async with await PostgresEventStore.connect(login, notify=False) as store:
            await store.append_events(stream_of(), new_events(1, payload=TEXT), expected_version=0)
            (event,) = await store.load_aggregate("acme", "a-1")
    finally:
        await observer.execute("drop role visitor")
    assert event.payload_json == expected


async def test_what_depends_on_the_old_type_is_named_and_nothing_is_changed(observer: Connection) -> None:
    await install_schema(observer, SCHEMA, payload="jsonb")
    await observer.execute(f"create index searched on {SCHEMA}.domain_events using gin (payload)")
    with pytest.raises(CannotRunError, match=r'depends on the type.*"gin".*drop the index'):
        await change_payload_type(observer, SCHEMA, "json")
    await observer.execute(f"drop index {SCHEMA}.searched")
    await observer.execute(f"create view {SCHEMA}.seen as select payload from {SCHEMA}.domain_events")
    with pytest.raises(CannotRunError, match=r"depends on the type.*view"):
        await change_payload_type(observer, SCHEMA, "json")
    assert await columns(observer) == columns_of("jsonb")


async def test_a_document_that_jsonb_does_not_take_stops_the_change(
    observer: Connection, cleared_dsn: str
) -> None:
    await install_schema(observer, SCHEMA)
    async with await PostgresEventStore.connect(cleared_dsn, notify=False) as store:
        await store.append_events(stream_of(), [event := new_event()], expected_version=0)
    await _stored_by_another_program(observer, r'{"a": "\u0000"}')
    with pytest.raises(CannotRunError, match=r"cannot be converted to jsonb.*redact"):
        await change_payload_type(observer, SCHEMA, "jsonb")
    assert await columns(observer) == columns_of("json")
    await redact_event(observer, SCHEMA, tenant_id="acme", event_id=event.event_id, reason="holds a NUL")
    assert await change_payload_type(observer, SCHEMA, "jsonb")


@pytest.mark.parametrize("payload", STORAGE)
async def test_an_event_is_redacted_whatever_the_type(
    observer: Connection, cleared_dsn: str, payload: str
) -> None:
    await install_schema(observer, SCHEMA, payload=payload)
    async with await PostgresEventStore.connect(cleared_dsn, notify=False) as store:
        await store.append_events(stream_of(), [event := new_event(payload=TEXT)], expected_version=0)
        await redact_event(observer, SCHEMA, tenant_id="acme", event_id=event.event_id, reason="asked for")
        (redacted,) = await store.load_aggregate("acme", "a-1")
    assert (redacted.payload(), redacted.metadata()["correlation_id"]) == ({}, "c-1")
    assert redacted.metadata()["eventmark_redacted"]["metadata_kept"] is True


async def _stored_by_another_program(connection: Connection, text: str) -> None:
    table = f"{SCHEMA}.domain_events"
    await connection.execute(f"alter table {table} disable trigger domain_events_append_only")
    await connection.execute(f"update {table} set payload = $1::text::json, metadata = $1::text::json", text)
    await connection.execute(f"alter table {table} enable always trigger domain_events_append_only")
