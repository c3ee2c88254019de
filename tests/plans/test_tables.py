"""Tables as facts: what alignment leaves empty is what the server leaves empty, and a table made anew is the same."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from eventmark.adviser.copies import apply
from eventmark.adviser.index_facts import read_indexes
from eventmark.adviser.rebuild import Partitioning, by_hash, by_range, rebuild_statements
from eventmark.adviser.table_facts import TableFacts, best_order, read_table, row_bytes, sampled_sizes
from eventmark.stores import find_store, make_scratch_store

HEADER_BYTES = 24
Connection = asyncpg.Connection


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database)
    await opened.execute("create schema made")
    yield opened
    await opened.close()


async def table_of(connection: Connection, columns: str, rows: str) -> TableFacts:
    await connection.execute(f"create table made.t ({columns}); insert into made.t {rows}")
    return await read_table(connection, "made", "t")


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ("a bigint, b smallint, c text, d uuid, e int", "select n, n, repeat('x', n), gen_random_uuid(), n from generate_series(1, 200) n"),
        ("a text, b bigint, c boolean, d timestamptz, e text", "select repeat('x', n), n, true, now(), null from generate_series(120, 140) n"),
        ("a boolean, b bigint, c boolean, d bigint", "values (true, 1, false, 2), (null, 1, null, 2)"),
    ],
)  # fmt: skip
async def test_a_row_takes_as_many_bytes_as_the_server_states(
    connection: Connection, columns: str, rows: str
) -> None:
    table = await table_of(connection, columns, rows)
    sizes = await sampled_sizes(connection, "made", table, 500)
    told = [row[0] for row in await connection.fetch("select pg_column_size(t) from made.t")]
    for one, seen in zip(sizes, told, strict=True):
        assert row_bytes(table.columns, one) == seen - HEADER_BYTES + -(seen - HEADER_BYTES) % 8


async def test_the_best_order_takes_least_and_is_what_a_table_in_that_order_takes(
    connection: Connection,
) -> None:
    table = await table_of(
        connection, "a boolean, b bigint, c smallint, d bigint, e text", "values (true, 1, 2, 3, 'x')"
    )
    order = best_order(table.columns)
    assert [column.name for column in order] == ["b", "d", "c", "a", "e"]
    (sizes,) = await sampled_sizes(connection, "made", table, 1)
    before, after = row_bytes(table.columns, sizes), row_bytes(order, sizes)
    await apply(connection, "made", rebuild_statements(table, [], order=order))
    told = await connection.fetchval("select pg_column_size(t) from made.t")
    assert before - after == 16
    assert after == told - HEADER_BYTES + -(told - HEADER_BYTES) % 8


async def test_long_values_count_as_pointers(connection: Connection) -> None:
    rows = "select 1, string_agg(md5(n::text), '') from generate_series(1, 500) n"
    table = await table_of(connection, "a bigint, b text", rows)
    (sizes,) = await sampled_sizes(connection, "made", table, 1)
    assert sizes["b"] > 10_000
    assert row_bytes(table.columns, sizes) == 32  # eight bytes, a pointer of eighteen, rounded up


@pytest.mark.parametrize(
    "partitioning", [None, by_hash("tenant"), by_range("recorded_at", ["2024-01-01", "2025-01-01"])]
)
async def test_a_table_made_anew_keeps_rows_indexes_checks_triggers_defaults_and_its_sequence(
    connection: Connection, partitioning: Partitioning | None
) -> None:
    await connection.execute(
        """set search_path = made;
        create table t (
            position bigserial, tenant text not null, kept boolean default true, recorded_at timestamptz not null,
            doubled bigint generated always as (position * 2) stored, label text collate "C",
            constraint named check (tenant <> ''), constraint t_key unique (tenant, recorded_at, position)
        );
        create index t_label on t (label text_pattern_ops) where kept;
        create function touch() returns trigger language plpgsql as $$ begin new.label := 'touched'; return new; end $$;
        create trigger touched before insert on t for each row execute function touch();
        alter table t enable always trigger touched;
        insert into t (tenant, recorded_at) select 'tenant ' || n % 3, timestamptz '2023-06-01' + n * interval '1 day'
        from generate_series(1, 1000) n;
        reset search_path"""
    )
    table, indexes = await read_table(connection, "made", "t"), await read_indexes(connection, "made", ["t"])
    before = await connection.fetch(
        "select position, tenant, kept, recorded_at, doubled, label from made.t order by 1"
    )
    order = best_order(table.columns)
    await apply(
        connection, "made", rebuild_statements(table, indexes, order=order, partitioning=partitioning)
    )
    assert (
        await connection.fetch(
            "select position, tenant, kept, recorded_at, doubled, label from made.t order by 1"
        )
        == before
    )
    after = await read_table(connection, "made", "t")
    assert [column.name for column in after.columns] == [column.name for column in order]
    assert after.is_partitioned == (partitioning is not None)
    assert after.checks == table.checks
    assert [(one.name, one.enabled) for one in after.triggers] == [("touched", "A")]
    again = await read_indexes(connection, "made", ["t"])
    assert {(one.name, one.keys, one.predicate) for one in again} == {
        (one.name, one.keys, one.predicate) for one in indexes
    }
    await connection.execute("insert into made.t (tenant, recorded_at) values ('late', now())")
    row = await connection.fetchrow("select position, kept, label from made.t where tenant = 'late'")
    assert tuple(row) == (1001, True, "touched")


async def test_the_engines_own_table_can_be_made_anew(database: str, connection: Connection) -> None:
    definition = find_store("eaf")
    await make_scratch_store(database, definition, "engine")
    table = await read_table(connection, "engine", "domain_events")
    indexes = await read_indexes(connection, "engine", ["domain_events"])
    await apply(connection, "engine", rebuild_statements(table, indexes))
    assert await read_table(connection, "engine", "domain_events") == table
    assert {one.shape for one in await read_indexes(connection, "engine", ["domain_events"])} == {
        one.shape for one in indexes
    }
    insert = (
        "insert into engine.domain_events (sequence_number, expected_version, timestamp_utc, event_id, tenant_id, stream_id,"
        " aggregate_type, aggregate_id, event_type, payload_type, payload_revision, payload, metadata)"
        " values (1, 0, now(), gen_random_uuid(), 't', 's', 'a', 'a', 'e', 'p', '1', '{}', '{}')"
    )
    await connection.execute(insert)
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute("delete from engine.domain_events")
