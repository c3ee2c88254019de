"""What a store may look like: each row of the table in docs/your-own-store.md runs, and what does not run is told."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import uuid4

import asyncpg
import pytest

from eventmark.domain import NewEvent, SequenceNumber, Snapshot, StreamId
from eventmark.errors import StoreDefinitionError
from eventmark.results.results import Verdict
from eventmark.seeding import AuditReport, audit, sample_corpus, seed, try_store
from eventmark.server.search_path import confined_dsn
from eventmark.stores import SqlEventStore, make_scratch_store, open_store, read_definition
from eventmark.verify.forced import force
from eventmark.verify.subject import store_subject
from eventmark.workload import CorpusPlan
from tests.database import execute, fetch
from tests.stores.shaped import Shaped, drawn, drawn_oddly, write_shaped

EVENTS = 2000
PUBLISHED_FOLDERS = Path(__file__).parent / "published"

# By the first cell of their rows in the document.
ROWS = {
    "tenants": [Shaped(tenant="none"), Shaped(tenant="uuid"), Shaped(tenant="integer"), Shaped(tenant="own_tenant")],
    "streams": [Shaped(stream="uuid"), Shaped(stream="bigint"), Shaped(stream="char(36)", tenant="smallint")],
    "first version": [Shaped(first=0), Shaped(first=-1, stream="integer", appends="many")],
    "event ids": [Shaped(event_id="server"), Shaped(event_id="absent"), Shaped(event_id="bytea")],
    "time": [Shaped(time="timestamp"), Shaped(time="bigint"), Shaped(time="text"), Shaped(time="absent")],
    "payload, metadata": [Shaped(payload="bytea", metadata="text"), Shaped(payload="json", metadata="absent")],
    "version": [Shaped(version="integer"), Shaped(version="in metadata")],
    "position": [Shaped(position="always"), Shaped(position="sequence"), Shaped(position="serial")],
    "other tables": [
        Shaped(beside="streams", stream="uuid"), Shaped(beside="tenants", tenant="uuid"), Shaped(beside="two tables"),
    ],
    "event types": [Shaped(event_type="enum"), Shaped(event_type="check"), Shaped(event_type="domain")],
    "more columns": [Shaped(needs_more=True)],
    "partitions": [Shaped(partitions="hash"), Shaped(partitions="range", transactions="bigint")],
    "log's order": [Shaped(transactions="xid8", tenant="none")],
}  # fmt: skip


def tried(database: str, folder: Path) -> list[str]:
    return asyncio.run(try_store(database, read_definition(folder), "eventmark"))


def left(database: str) -> int:
    return int(fetch(database, "select count(*) from pg_namespace where nspname like 'eventmark%'"))


@pytest.mark.parametrize("row", ROWS)
def test_a_store_may_look_like_this(row: str, database: str, tmp_path: Path) -> None:
    for number, shaped in enumerate(ROWS[row]):
        assert tried(database, write_shaped(tmp_path / str(number), shaped)) == [], shaped
    assert left(database) == 0


def test_every_row_of_the_document_is_tried_here() -> None:
    document = (Path(__file__).parents[2] / "docs/your-own-store.md").read_text()
    table = document.partition("## What a store may look like")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| \*\*(.+?)\*\* \|", table, re.MULTILINE))
    assert rows == set(ROWS)


def audited(database: str, folder: Path, *, events: int = EVENTS) -> AuditReport:
    """Seeded, appended to, read and audited, by way of what every verb uses."""
    definition = read_definition(folder)
    asyncio.run(seed(database, definition, CorpusPlan(events, tenant_count=5), schema="eventmark", workers=1))

    async def used() -> None:
        connection = await asyncpg.connect(database)
        try:
            sample = await sample_corpus(connection, definition, schema="eventmark", events=events)
        finally:
            await connection.close()
        opened = await open_store(definition, database, schema="eventmark", pool_max=2)
        assert isinstance(opened, SqlEventStore)
        async with opened as store:
            known = sample.streams[0]
            await store.append_events(known.stream, [_event(), _event()], expected_version=known.version)
            loaded = await store.load_aggregate(known.stream.tenant_id, known.stream.aggregate_id)
            assert [int(event.sequence_number) for event in loaded] == list(range(1, known.version + 3))
            new = replace(
                known.stream, aggregate_id=next(sample.naming.new_stream_ids(CorpusPlan(1).random("test")))
            )
            await store.append_events(new, [_event()], expected_version=0)
            seen, token = 0, await store.create_tail_token()
            while (batch := await store.stream_events(token, limit=1000)).events:
                seen, token = seen + len(batch.events), batch.token
            assert seen == events + 3

    asyncio.run(used())
    return asyncio.run(audit(database, definition, schema="eventmark"))


def _event() -> NewEvent:
    return NewEvent(
        event_id=uuid4(), event_type="OrderLineAdded", payload={"a": 1}, metadata={"user": "u"},
        timestamp=datetime.now(UTC), payload_type="OrderLineAdded",
    )  # fmt: skip


def broken(report: AuditReport) -> set[str]:
    return {finding.name for finding in report.findings if finding.verdict is Verdict.BROKEN}


# What stores of these names are published as, in one table or more.
PUBLISHED = {
    "message-db": Shaped(tenant="none", stream="varchar(60)", first=0, time="timestamp"),
    "axon": Shaped(
        first=0, event_id="text", time="text", payload="bytea", metadata="bytea", position="sequence"
    ),
    "marten": Shaped(stream="uuid", beside="streams", position="sequence"),
    "emmett": Shaped(beside="streams", partitions="hash", transactions="xid8", position="sequence"),
    "akka": Shaped(tenant="varchar(60)", time="bigint", payload="bytea", metadata="bytea", event_id="absent"),
    "prooph": Shaped(version="in metadata", time="timestamp", payload="json"),
    "events and places": Shaped(beside="two tables", event_id="server"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[] if name in ("message-db", "marten", "events and places") else [pytest.mark.long]
        )
        for name in PUBLISHED
    ],
)
def test_a_published_shape_is_seeded_appended_to_read_and_audited(
    name: str, database: str, tmp_path: Path
) -> None:
    assert broken(audited(database, write_shaped(tmp_path / "own", PUBLISHED[name]))) == set()


def test_the_corpus_has_ids_of_the_column_s_type_the_same_for_the_same_seed(
    database: str, tmp_path: Path
) -> None:
    folder = write_shaped(tmp_path / "own", Shaped(tenant="uuid", stream="bigint"))
    seen = set()
    for schema in ("one", "other"):
        asyncio.run(
            seed(database, read_definition(folder), CorpusPlan(300, seed=7), schema=schema, workers=1)
        )
        query = f"select md5(string_agg(tenant || ' ' || stream || ' ' || version, ',' order by position)) from {schema}.events"
        seen.add(fetch(database, query))
    assert len(seen) == 1
    assert fetch(database, "select max(stream) <= 300 and count(distinct tenant) > 2 from one.events")


@pytest.mark.parametrize(
    "shaped",
    [
        Shaped(beside="streams", transactions="xid8", tenant="uuid", stream="bigint", first=0),
        Shaped(
            beside="streams", transactions="xid8", tenant="none", stream="uuid", first=-1, payload="bytea"
        ),
        Shaped(beside="streams", transactions="xid8", tenant="integer", event_id="bytea", time="bigint"),
        Shaped(beside="streams", transactions="xid8", event_id="server", metadata="absent"),
    ],
)
def test_a_sound_store_of_another_shape_is_found_sound(shaped: Shaped, database: str, tmp_path: Path) -> None:
    subject = store_subject(str(write_shaped(tmp_path / "own", shaped)))
    assert ("I10" in subject.not_asked) is (shaped.tenant == "none")
    dsn = confined_dsn(database, "hunted")
    asyncio.run(subject.make(dsn, "hunted"))
    forced = asyncio.run(force(dsn, "hunted", subject))
    assert (forced.faults, forced.raced) == ([], 1)


def test_a_sound_store_whose_events_are_read_from_a_view_is_found_sound(database: str) -> None:
    subject = store_subject(str(PUBLISHED_FOLDERS / "commanded"))
    dsn = confined_dsn(database, "hunted")
    asyncio.run(subject.make(dsn, "hunted"))
    assert asyncio.run(force(dsn, "hunted", subject)).faults == []


async def test_a_snapshot_of_bytes_is_read_as_the_document_it_was(database: str) -> None:
    definition = read_definition(PUBLISHED_FOLDERS / "eventsourcing")
    await make_scratch_store(database, definition, "tried")
    stream = StreamId(tenant_id="", aggregate_type="", aggregate_id=str(uuid4()))
    async with await open_store(definition, database, schema="tried", pool_max=1) as store:
        await store.store_snapshot(
            Snapshot(
                stream=stream, sequence_number=SequenceNumber(1), payload={"seen": "é"}, payload_type="Seen",
                timestamp=datetime.now(UTC),
            )
        )  # fmt: skip
        snapshot = await store.read_snapshot("", stream.aggregate_id)
    assert snapshot is not None and json.loads(str(snapshot.payload)) == {"seen": "é"}


def edited(folder: Path, name: str, old: str, new: str) -> Path:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    return folder


@pytest.mark.parametrize(
    ("shaped", "file", "old", "new", "said"),
    [
        (Shaped(first=0), "store.toml", "first_sequence = 0\n", "", r"store.toml:7: .*has 0 in column 'version'.*first_sequence = 0"),
        (Shaped(), "schema.sql", "at timestamptz", "at date", r"store.toml:13: column 'at' \(for timestamp_utc\) is date"),
        (Shaped(), "schema.sql", "kind varchar(80)", "kind event_kind", r"takes only \"placed\".*event_types = \["),
        (Shaped(event_type="check"), "store.toml", "event_types", "aggregate_types", r"violates check constraint.*event_types"),
        (Shaped(needs_more=True), "store.toml", 'checked_by = "md5(aggregate_id::text)"', "",
            r"column 'checked_by' of 'events' is NOT NULL without a default"),
        (Shaped(needs_more=True), "store.toml", "md5(aggregate_id::text)", "md5(stream)", r"store.toml:16: .*\"stream\" does not exist"),
        (Shaped(), "schema.sql", "body jsonb", "body xml", r"column 'body' \(for payload\) is xml"),
        (Shaped(tenant="none"), "store.toml", 'tenants = "none"\n', "", r"does not map tenant_id .*tenants = \"none\""),
        (Shaped(), "store.toml", 'tenant_id = "tenant"', 'tenant_id = "stream"', r"maps .* to one column, 'stream'"),
        (Shaped(beside="tenants"), "seed.sql", "insert into tenants", "insert into public.tenants", r"seed.sql:1: writes public.tenants"),
        (Shaped(beside="tenants"), "seed.sql", "insert into tenants", "truncate tenants; insert into tenants", r"seed.sql:1: .*TRUNCATE"),
        (Shaped(beside="tenants"), "seed.sql", "tenant_id from", "tenant from", r"seed.sql:1: column \"tenant\" does not exist"),
        (Shaped(needs_more=True, payload="text"), "store.toml", 'checked_by = "md5(aggregate_id::text)"',
            'checked_by = "md5(aggregate_id::text)"\nbody = "md5(payload)"', r"store.toml:1: seeded events are not .*contents"),
        (Shaped(time="text"), "store.toml", "[columns]", '[seeded_columns]\nat = "md5(timestamp_utc)"\n[columns]',
            r"store.toml:1: the seeded events cannot be read back by \[columns\]: invalid input syntax"),
        (Shaped(beside="two tables"), "seed.sql", "from seeded_events;", "from seeded_events where false;", r"seed.sql:\d: seeding fails"),
        (Shaped(event_id="text"), "schema.sql", "id text", "id bigint", r"column 'id' \(for event_id\) is bigint.*leave the line out"),
        (Shaped(), "schema.sql", "create index events_position on events (position);",
            "alter table events rename to facts; create view events as select * from facts;", r"store.toml:4: 'events' is a view.*seed.sql"),
        (Shaped(beside="streams"), "seed.sql", "max(sequence_number)", "0 * max(sequence_number)",
            r"append_events.sql:\d+: an append to a seeded stream.*seed.sql"),
    ],
)  # fmt: skip
def test_what_would_not_run_is_refused_by_file_and_line(
    shaped: Shaped, file: str, old: str, new: str, said: str, database: str, tmp_path: Path
) -> None:
    folder = edited(write_shaped(tmp_path / "own", shaped), file, old, new)
    with pytest.raises(StoreDefinitionError, match=said):
        tried(database, folder)
    assert left(database) == 0


@pytest.mark.parametrize("beside", ["streams", "tenants"])
def test_without_seed_sql_a_foreign_key_is_reported_with_what_to_write(
    beside: str, database: str, tmp_path: Path
) -> None:
    folder = write_shaped(tmp_path / "own", Shaped(beside=beside))  # type: ignore[arg-type]
    (folder / "seed.sql").unlink()
    with pytest.raises(StoreDefinitionError, match=r"violates foreign key constraint.*write seed.sql"):
        tried(database, folder)


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=[pytest.mark.long] if number % 30 else []) for number in range(60)]
)
def test_whatever_is_chosen_runs(number: int, database: str, tmp_path: Path) -> None:
    shaped = drawn(Random(number))
    folder = write_shaped(tmp_path / "own", shaped)
    assert tried(database, folder) == [], shaped
    assert broken(audited(database, folder, events=500)) == set(), shaped


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=[pytest.mark.long] if number % 10 else []) for number in range(60)]
)
def test_a_column_of_any_type_runs_or_is_refused_by_file_and_line(
    number: int, database: str, tmp_path: Path
) -> None:
    shaped = drawn_oddly(Random(number))
    folder = write_shaped(tmp_path / "own", shaped)
    try:
        tried(database, folder)
    except StoreDefinitionError as refused:
        assert Path(refused.path).parent == folder and refused.line > 0, shaped
    else:
        assert broken(audited(database, folder, events=500)) == set(), shaped
    execute(database, "drop schema if exists eventmark cascade")
    assert left(database) == 0


def test_places_of_a_log_that_is_read_by_number_have_no_transaction_id(database: str, tmp_path: Path) -> None:
    definition = read_definition(write_shaped(tmp_path / "own", Shaped(transactions="bigint")))
    asyncio.run(seed(database, definition, CorpusPlan(EVENTS), schema="eventmark", workers=1))

    async def places() -> list[tuple[int, int]]:
        connection = await asyncpg.connect(database)
        try:
            return (await sample_corpus(connection, definition, schema="eventmark", events=EVENTS)).positions
        finally:
            await connection.close()

    found = asyncio.run(places())
    assert {transaction for transaction, _ in found} == {0}
    assert len({number for _, number in found}) > EVENTS / 4


@pytest.mark.parametrize("shaped", [Shaped(stream="date"), Shaped(version="oid", beside="streams")])
def test_a_hunt_refuses_what_seeding_would_by_file_and_line(
    shaped: Shaped, database: str, tmp_path: Path
) -> None:
    subject = store_subject(str(write_shaped(tmp_path / "own", shaped)))
    with pytest.raises(StoreDefinitionError, match=r"(store\.toml|seed\.sql):\d+: "):
        asyncio.run(subject.make(confined_dsn(database, "hunted"), "hunted"))
