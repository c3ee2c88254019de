"""Cases are drawn from the table, at its extremes, without reading it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import asyncpg

from eventmark.engine.statements import Parameter, Statement
from eventmark.plans import PlanCase, examine_plans, sampled_cases
from eventmark.results.results import Verdict
from eventmark.stores import StoreDefinition, install_store, read_definition, write_template
from tests.plans.conftest import COLUMNS, EVENTS, SCHEMA

Connection = asyncpg.Connection


def _statement(name: str, template: str, index: str, *parameters: tuple[str, str]) -> Statement:
    return Statement(
        name=name, purpose="", parameters=tuple(Parameter(*pair) for pair in parameters), index=index,
        template=template, path=f"{name}.sql", first_line=1,
    )  # fmt: skip


async def _cases(connection: Connection, statements: dict[str, Statement]) -> list[PlanCase]:
    return await sampled_cases(
        connection, statements, SCHEMA, COLUMNS, "domain_events", "aggregate_snapshots"
    )


def _of(cases: list[PlanCase], statement: str) -> dict[str, tuple[object, ...]]:
    return {case.condition: case.arguments for case in cases if case.statement == statement}


async def test_tenants_aggregates_and_batches_are_the_extremes(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    cases = _of(await _cases(connection, statements), "append_events")
    assert {condition.split(",")[0] for condition in cases} == {"largest tenant", "smallest tenant"}
    long = cases["largest tenant, long aggregate, batch of 100"]
    assert long[:4] == ("big", "long", "Order", 989)
    assert [len(column) for column in long[4:]] == [100] * 7  # type: ignore[arg-type]
    short = cases["largest tenant, short aggregate, batch of 1"]
    assert short[0] == "big" and short[3] <= 10  # type: ignore[operator]
    assert any(arguments[0] == "small" for arguments in cases.values())


async def test_places_are_at_the_start_in_the_middle_and_near_the_end(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    cases = _of(await _cases(connection, statements), "stream_events")
    start, middle, end = (cases[f"{place} of the log"] for place in ("start", "middle", "end"))
    assert start == (0, 0, 1000)
    assert EVENTS * 0.4 < middle[1] < EVENTS * 0.6  # type: ignore[operator]
    assert end[1] == EVENTS - 11


async def test_without_statistics_the_tenants_are_found_from_the_table(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    await connection.execute("delete from pg_statistic where starelid = 'store.domain_events'::regclass")
    cases = _of(await _cases(connection, statements), "stream_tenant_events")
    tenants = {condition.split(",")[0]: arguments[0] for condition, arguments in cases.items()}
    assert tenants == {"largest tenant": "big", "smallest tenant": "small"}


async def test_drawing_cases_reads_a_part_of_the_table_that_does_not_grow_with_it(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    counted = (
        "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)"
        " from pg_stat_user_tables where relname = 'domain_events'"
    )
    await connection.execute("select pg_stat_force_next_flush()")
    before = await connection.fetchval(counted)
    await connection.execute("set enable_seqscan = off")  # the planner's choice, were the table larger
    await _cases(connection, statements)
    await connection.execute("select pg_stat_force_next_flush()")
    assert await connection.fetchval(counted) - before < 15_000  # 2 tenants: 2000 rows, 200 streams, ...


async def test_an_events_table_without_the_needed_columns_is_inconclusive_with_the_reason(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    for table, columns in (("gone", COLUMNS), ("domain_events", {"tenant_id": "tenant_id"})):
        cases = await sampled_cases(connection, statements, SCHEMA, columns, table, None)
        assert all("no column for aggregate_id, sequence_number" in case.reason for case in cases)
        results = await examine_plans(connection, statements, SCHEMA, cases)
        assert {result.verdict for result in results} == {Verdict.INCONCLUSIVE}


async def test_a_store_with_names_and_types_of_its_own_and_no_tenants_is_examined(
    connection: Connection,
) -> None:
    await connection.execute("""
        create table store."Stored Events" (
            originator_id uuid, originator_version integer, notification_id bigint primary key, state bytea
        );
        insert into store."Stored Events"
        select md5((place % 500)::text)::uuid, 1 + (place - 1) / 500, place, '\\x00'
        from generate_series(1, 20000) as place;
        create unique index stored_events_stream
            on store."Stored Events" (originator_id, originator_version);
        analyze store."Stored Events";
    """)
    columns = {
        "aggregate_id": "originator_id",
        "sequence_number": "originator_version",
        "global_sequence_id": "notification_id",
    }
    statements = {
        "load": _statement(
            "load",
            'select * from {schema}."Stored Events" where originator_id = :aggregate_id'
            " order by originator_version",
            "stored_events_stream",
            ("aggregate_id", "uuid"),
        ),
        "stream": _statement(
            "stream",
            'select * from {schema}."Stored Events" where notification_id > :global_sequence'
            " order by notification_id limit :batch_size",
            '"Stored Events_pkey"'.strip('"'),
            ("global_sequence", "bigint"),
            ("batch_size", "bigint"),
        ),
        "append": _statement(
            "append",
            'insert into {schema}."Stored Events" select :aggregate_id, version, 100000 + place, payload'
            " from unnest(:sequence_numbers::integer[], :payloads::bytea[]) with ordinality"
            " as batch (version, payload, place)",
            "",
            ("aggregate_id", "uuid"),
            ("sequence_numbers", "integer[]"),
            ("payloads", "bytea[]"),
        ),
    }
    cases = await sampled_cases(connection, statements, SCHEMA, columns, "Stored Events", None)
    assert set(_of(cases, "stream")) == {f"{place} of the log" for place in ("start", "middle", "end")}
    results = await examine_plans(connection, statements, SCHEMA, cases)
    assert [
        (result.condition, result.findings) for result in results if result.verdict is not Verdict.MET
    ] == []
    assert {result.work["rows_written"] for result in results if result.statement == "append"} == {1, 10, 100}


async def test_the_store_template_is_met(connection: Connection, tmp_path: Path) -> None:
    write_template(tmp_path / "own")
    store = read_definition(tmp_path / "own")
    await install_store(connection, store, "own")
    await connection.execute("""
        insert into own.events (position, written_by, id, tenant, stream, version, type, data, meta, recorded_at)
        select global_sequence_id, transaction_id, event_id, tenant_id, aggregate_id, sequence_number,
            event_type, payload, metadata, timestamp_utc from store.domain_events;
        select setval(pg_get_serial_sequence('own.events', 'position'), 30000);
        insert into own.snapshots select tenant_id, aggregate_id, sequence_number, payload
        from store.aggregate_snapshots;
        analyze own.events, own.snapshots;
    """)
    assert set(await _met(connection, store, store.statements)) == set(store.statements)
    await connection.execute(f"{_FUNCTION}; alter table own.events alter id set default gen_random_uuid()")
    for append in (_ONE_BY_ONE, _IDS_BY_THE_SERVER, _BY_A_FUNCTION):
        assert await _met(connection, store, {"append_events": append})


_EVENT = (
    *((name, "text") for name in ("tenant_id", "aggregate_id", "event_type")),
    *(("sequence_number", "bigint"), ("timestamp", "timestamptz"), ("payload", "jsonb"), ("metadata", "jsonb")),
)  # fmt: skip
_ONE_BY_ONE = _statement(
    "append_events",
    "insert into {schema}.events (tenant, stream, version, id, type, data, meta, recorded_at) values"
    " (:tenant_id, :aggregate_id, :sequence_number, :event_id, :event_type, :payload, :metadata, :timestamp)",
    "",
    *_EVENT,
    ("event_id", "uuid"),
)
_IDS_BY_THE_SERVER = _statement(
    "append_events",
    "insert into {schema}.events (tenant, stream, version, type, data, meta, recorded_at) values"
    " (:tenant_id, :aggregate_id, :sequence_number, :event_type, :payload, :metadata, :timestamp)",
    "",
    *_EVENT,
)
_FUNCTION = """
    create function own.put(whose text, name text, expected bigint, ids uuid[], bodies jsonb[]) returns bigint
    language sql begin atomic
        insert into own.events (tenant, stream, version, id, type, data, meta, recorded_at)
        select whose, name, expected + place, id, 'Put', body, '{}', now()
        from unnest(ids, bodies) with ordinality as batch (id, body, place);
        select max(position) from own.events where tenant = whose and stream = name
            and version > expected;
    end
"""
_BY_A_FUNCTION = _statement(
    "append_events",
    "select {schema}.put(:tenant_id, :aggregate_id, :expected_version, :event_ids, :payloads) as last_global_sequence",
    "",
    ("tenant_id", "text"),
    ("aggregate_id", "text"),
    ("expected_version", "bigint"),
    ("event_ids", "uuid[]"),
    ("payloads", "jsonb[]"),
)


async def _met(
    connection: Connection, store: StoreDefinition, statements: Mapping[str, Statement]
) -> list[str]:
    """The statements examined; all plans of them have to be MET."""
    cases = await sampled_cases(
        connection, statements, "own", store.columns, store.events_table, store.snapshots_table,
        snapshot_columns=store.snapshot_columns,
    )  # fmt: skip
    results = await examine_plans(connection, statements, "own", cases)
    for result in results:
        assert result.verdict is Verdict.MET, (result.statement, result.condition, result.findings)
    appended = {result.condition: result.work["rows_written"] for result in results if result.work["writes"]}
    assert all(rows == 100 for condition, rows in appended.items() if "batch of 100" in condition)
    return [result.statement for result in results]
