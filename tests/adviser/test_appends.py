"""Appends for pgbench and for EXPLAIN: by any store's statement, with the corpus' documents as they are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from eventmark.adviser.appends import Template, append_call, append_script
from eventmark.operations.pgbench import pgbench_rate
from eventmark.server import Server
from eventmark.stores import StoreDefinition, find_store, make_scratch_store, read_definition
from tests.adviser.conftest import MakeCopies

HOSTILE = Template(
    tenant_id="o'neill:acme", aggregate_type="Order", event_type="Order:Placed",
    payload='{"a": "it\'s :stream, \\\\ and :b", "c":true, "d": "größer ; --"}', metadata='{"at":"12:30:45"}',
    payload_type="Order:Placed", payload_revision="1.0",
)  # fmt: skip


def one_by_one(folder: Path) -> StoreDefinition:
    (folder / "append_events.sql").write_text(
        "-- parameters: tenant_id text, aggregate_id text, stream_id text, sequence_number bigint, event_id uuid,"
        " event_type text, payload jsonb, metadata jsonb, timestamp timestamptz\n"
        "insert into {schema}.events (tenant, stream, version, id, type, data, meta, recorded_at)\n"
        "-- :tenant_id in a comment is nobody's parameter\n"
        "values (:tenant_id, :aggregate_id, :sequence_number, :event_id, :event_type, :payload, :metadata, :timestamp)"
    )
    return read_definition(folder)


@pytest.mark.parametrize("store", ["eaf", "eaf-v3", "example", "one by one"])
def test_what_pgbench_appends_is_what_was_to_be_appended(server: Server, own: Path, store: str) -> None:
    definition = {"example": lambda: read_definition(own), "one by one": lambda: one_by_one(own)}.get(
        store, lambda: find_store(store)
    )()
    asyncio.run(make_scratch_store(server.dsn, definition, "appended"))
    statement = definition.statements["append_events"]
    script = append_script(statement, "appended", HOSTILE, version_num=server.version_num)
    assert pgbench_rate(server, [script], seconds=1, clients=2) > 1
    columns = definition.columns
    rows = asyncio.run(fetch(
        server.dsn,
        f'select distinct "{columns["tenant_id"]}" as tenant, "{columns["event_type"]}" as type,'
        f' "{columns["payload"]}"::jsonb::text as payload, "{columns["metadata"]}"::jsonb::text as metadata,'
        f' "{columns["sequence_number"]}" as version from appended."{definition.events_table}"',
    ))  # fmt: skip
    assert [tuple(row) for row in rows] == [
        ("o'neill:acme", "Order:Placed", '{"a": "it\'s :stream, \\\\ and :b", "c": true, "d": "größer ; --"}',
         '{"at": "12:30:45"}', 1)
    ]  # fmt: skip


def test_templates_have_the_sizes_of_the_corpus(copies_of: MakeCopies) -> None:
    copies = copies_of("eaf")
    sizes = [len(one.payload) for one in copies.templates]
    mean = asyncio.run(fetch(
        copies.job.server.dsn, f'select avg(length(payload::text))::float from "{copies.plain}".domain_events'
    ))[0][0]  # fmt: skip
    assert sizes == sorted(sizes)
    assert sum(sizes) / len(sizes) == pytest.approx(mean, rel=0.05)
    assert len({one.tenant_id for one in copies.templates}) > 3
    assert len({one.event_type for one in copies.templates}) > 5


def test_a_series_of_calls_is_always_the_same_and_neighbours_are_close() -> None:
    statement = find_store("eaf").statements["append_events"]
    first, again = (append_call(statement, HOSTILE, number=3, neighbour=0) for _ in range(2))
    near = append_call(statement, HOSTILE, number=3, neighbour=1)
    assert first.stream == again.stream
    assert first.stream.aggregate_id[:-2] == near.stream.aggregate_id[:-2]
    assert first.stream != near.stream
    assert (
        append_call(statement, HOSTILE, number=4, neighbour=0).stream.aggregate_id[:8]
        != first.stream.aggregate_id[:8]
    )


async def fetch(dsn: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()
