"""Whoever may create functions and operators in a schema of the search path runs nothing as the engine's roles."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

import eventmark.engine
from eventmark.domain import Snapshot, StoredEvent
from eventmark.domain.events import SequenceNumber
from eventmark.engine import ORDERINGS, EventProcessor, GroupAppender, PostgresEventStore, install_schema
from eventmark.engine.isolation import enable_row_level_security
from eventmark.engine.migrations import migrate_schema
from eventmark.engine.payload_change import change_payload_type
from eventmark.engine.rebase import rebase_store
from eventmark.errors import VersionConflictError
from eventmark.server import Server
from tests.database import drop_database, execute
from tests.engine.builders import SCHEMA, new_event, new_events, read_on, stream_of, until
from tests.engine.test_safety import AHEAD, installed_at
from tests.engine.test_sessions import as_visitor

Connection = asyncpg.Connection
ENGINE = Path(eventmark.engine.__file__).parent
SYNTAX = {"coalesce", "greatest", "least", "nullif", "extract", "exists"}
"""Written like functions, read by the parser: no search path is looked at."""

TYPES = (
    "bigint", "integer", "smallint", "numeric", "double precision", "text", "name", '"char"', "boolean", "uuid",
    "timestamptz", "interval", "xid8", "xid", "oid", "regclass", "regnamespace", "json", "jsonb", "bigint[]",
    "integer[]", "text[]", "uuid[]", "json[]", "jsonb[]", "timestamptz[]",
)  # fmt: skip
OPERATORS = ("=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "&", "||")
PLANT = """
do $do$
declare
    body text := ' language plpgsql volatile as $$begin raise exception ''looted''; end$$';
    operator text; called text; a text; b text;
begin
    foreach a in array {types} loop
        foreach b in array {types} loop
            execute format('create function loot.loot(%s, %s) returns boolean', a, b) || body;
            foreach operator in array {operators} loop
                -- one that PostgreSQL has for exactly these types comes first, and cannot be hidden
                if to_regoperator(format('pg_catalog.%s(%s, %s)', operator, a, b)) is null then
                    execute format(
                        'create operator loot.%s (function = loot.loot, leftarg = %s, rightarg = %s)', operator, a, b
                    );
                end if;
            end loop;
        end loop;
        foreach called in array {functions} loop
            if to_regprocedure(format('pg_catalog.%s(%s)', called, a)) is null then
                execute format('create function loot.%s(%s) returns boolean', called, a) || body;
            end if;
            if to_regprocedure(format('pg_catalog.%s(%s, integer, %s)', called, a, a)) is null then
                execute format('create function loot.%s(%s, integer, %s) returns boolean', called, a, a) || body;
            end if;
        end loop;
    end loop;
end $do$;
"""
USED_FROM_LOOT = """
select distinct coalesce(p.proname, o.oprname)::text
from pg_depend d
left join pg_proc p on d.refclassid = 'pg_proc'::regclass and p.oid = d.refobjid
left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
where d.classid = 'pg_proc'::regclass and d.objid = to_regproc('public.probe')
    and coalesce(p.pronamespace, o.oprnamespace) = to_regnamespace('loot')
"""


def sql_texts() -> Iterator[tuple[str, str]]:
    """Every SQL text of the engine without its comments, and where it stands."""
    for path in sorted(ENGINE.rglob("*.sql")):
        yield path.name, re.sub(r"--[^\n]*", "", path.read_text())
    for path in sorted(ENGINE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        docstrings = {
            node.body[0].value.value  # type: ignore[attr-defined]
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value not in docstrings
            ):
                yield f"{path.name}:{node.lineno}", re.sub(r"--[^\n]*", "", node.value)


def called(text: str) -> Iterator[tuple[str, str]]:
    """Schema and name of all that is written as a call."""
    for match in re.finditer(r"((?:[\w{}\"]+\.)*)([a-z_][a-z0-9_]*)\(", text):
        yield match[1], match[2]


async def functions_of_the_server(connection: Connection) -> set[str]:
    return {
        row[0]
        for row in await connection.fetch(
            "select proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace"
        )
    }


async def test_every_function_that_the_engine_calls_is_named_with_its_schema(connection: Connection) -> None:
    known = await functions_of_the_server(connection) - SYNTAX
    counted = 0
    for where, text in sql_texts():
        for schema, name in called(text):
            counted += schema == "pg_catalog."
            assert schema or name not in known, f"{where}: {name} is not qualified"
    assert counted > 100


def test_an_unqualified_call_is_found_whatever_stands_before_it() -> None:
    text = "select lag(a), pg_catalog.max(b),max(c) from unnest(d) where x=now() and y = any(z)"
    assert [name for schema, name in called(text) if not schema] == ["lag", "max", "unnest", "now", "any"]


def array(values: Iterable[str]) -> str:
    return "array[" + ", ".join(f"'{value}'" for value in values) + "]"


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[str]:
    """A database where every name that the engine uses is also somebody's, for types that fit better."""
    functions = {name for _, text in sql_texts() for schema, name in called(text) if schema == "pg_catalog."}
    execute(server.dsn, "create database planted")
    execute(
        server.dsn.rsplit("/", 1)[0] + "/planted",
        "create schema loot",
        "grant usage on schema loot to public",
        PLANT.format(types=array(TYPES), operators=array(OPERATORS), functions=array(sorted(functions))),
    )
    yield "planted"
    drop_database(server.dsn, "planted")


@pytest.fixture
def planted(server: Server, template: str) -> Iterator[str]:
    """The DSN of such a database, whose sessions find what was planted before anything but PostgreSQL's own."""
    execute(
        server.dsn,
        f"create database looted template {template}",
        "alter database looted set search_path to loot, public",
    )
    yield server.dsn.rsplit("/", 1)[0] + "/looted"
    drop_database(server.dsn, "looted")


@pytest.fixture
async def looted(planted: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(planted)
    yield connection
    await connection.close()


async def probe(connection: Connection, sql: str, types: Iterable[str]) -> list[str]:
    """What a statement would use of the loot: its parsed form knows every operator and function."""
    _, inserts, last = sql.rpartition("insert into")
    answers = "void" if inserts and "returning" not in last else "setof record"
    await connection.execute(
        f"create function public.probe({', '.join(types)}) returns {answers} begin atomic {sql}; end"
    )
    await connection.execute("set search_path to pg_catalog")
    used = [row[0] for row in await connection.fetch(USED_FROM_LOOT)]
    await connection.execute("reset search_path; drop function public.probe")
    return used


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_no_statement_uses_a_planted_operator_or_function(looted: Connection, ordering: str) -> None:
    await install_schema(looted, SCHEMA, ordering=ordering)
    for statement in ORDERINGS[ordering].statements().values():
        types = [parameter.sql_type for parameter in statement.parameters]
        assert not await probe(looted, statement.typed_sql(SCHEMA), types), statement.name


async def test_a_statement_that_uses_what_was_planted_is_found(looted: Connection) -> None:
    calls = [
        "select array_agg(n) from generate_series(1, 2) as n",
        "select lag(n, 1, n) over () from generate_series(1, 2) as n",
        "select unnest($1)",
        "select 1::numeric - 3",
    ]
    for call in calls:
        with_array = ["text[]"] if "$1" in call else []
        try:
            assert await probe(looted, call, with_array), call
        except asyncpg.WrongObjectTypeError as error:
            assert "loot" in str(error) or "lag" in str(error), error


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_no_operation_of_a_store_calls_what_was_planted(
    planted: str, looted: Connection, ordering: str
) -> None:
    await install_schema(looted, SCHEMA, ordering=ordering)
    async with await PostgresEventStore.connect(planted, schema=SCHEMA) as store:
        await use(store, "acme")
        async with GroupAppender(store) as appender:
            appends = (
                appender.append_events(stream_of(f"g-{n}"), [new_event()], expected_version=0)
                for n in range(9)
            )
            await asyncio.gather(*appends)


async def test_no_role_of_a_store_with_row_level_security_calls_what_was_planted(
    planted: str, looted: Connection
) -> None:
    """From the first release's schema on: the owner migrates, makes the roles and the policies."""
    await installed_at(looted, 1)
    await migrate_schema(looted, SCHEMA)
    await enable_row_level_security(looted, SCHEMA, "horizon")
    await looted.execute("drop role if exists visitor; create role visitor login password 'secret'")
    try:
        for tenant, granted in (("acme", "appender"), ("globex", "consumer")):
            await looted.execute(f"grant eventmark_{granted} to visitor")
            async with await PostgresEventStore.connect(as_visitor(planted), schema=SCHEMA) as store:
                await use(store, tenant, processes=granted == "consumer")
        await until(
            lambda: looted.fetchval("select count(*) = 0 from pg_stat_activity where usename = 'visitor'")
        )
    finally:
        await looted.execute("drop owned by visitor; drop role visitor")


async def test_a_rebase_and_a_change_of_type_call_nothing_that_was_planted(
    planted: str, looted: Connection
) -> None:
    await install_schema(looted, SCHEMA)
    async with await PostgresEventStore.connect(planted, schema=SCHEMA, notify=False) as store:
        for number in range(3):
            await store.append_events(stream_of(f"s-{number}"), new_events(2), expected_version=0)
    await looted.execute(AHEAD)
    assert (await rebase_store(looted, SCHEMA)).events_moved == 6
    assert await change_payload_type(looted, SCHEMA, "jsonb")


async def use(store: PostgresEventStore, tenant: str, *, processes: bool = True) -> None:
    """Every operation there is, of one tenant."""
    stream, first, tail = stream_of(tenant_id=tenant), new_event(), await store.create_tail_token()
    await store.append_events(stream, [first, *new_events(2)], expected_version=0)
    async with store.transaction() as transaction:
        await transaction.append_events(stream, new_events(1), expected_version=3)
    with pytest.raises(VersionConflictError):
        await store.append_events(stream, new_events(1), expected_version=0)
    await store.store_snapshot(
        Snapshot(
            stream=stream,
            sequence_number=SequenceNumber(2),
            payload={"n": 1},
            payload_type="shop.Order",
            timestamp=datetime.now(UTC),
        )
    )
    assert await store.read_snapshot(tenant, stream.aggregate_id)
    assert len(await store.load_aggregate(tenant, stream.aggregate_id)) == 4
    assert await store.find_events(tenant, [first.event_id])
    assert (await read_on(store, tail, 4, tenant_id=tenant)).events
    if not processes:
        return
    await store.create_head_token(tenant_id=tenant)
    await store.create_token_at(first.timestamp, tenant_id=tenant)
    everybody = None if store.capabilities.all_tenants_stream else tenant
    await store.stream_events(tail, tenant_id=everybody)
    await run_processor(store, everybody)


async def run_processor(store: PostgresEventStore, tenant_id: str | None) -> None:
    async def handle(events: Sequence[StoredEvent], connection: Connection | None) -> None:
        await asyncio.sleep(0.2)  # longer than the lease's third

    processor = EventProcessor(store, "p", handle, lease_s=0.3, tenant_id=tenant_id)
    running = asyncio.create_task(processor.run())

    async def has_handled() -> bool:
        return running.done() or processor.events_handled > 3

    await until(has_handled)
    await processor.lag()
    processor.stop()
    await running
    assert await EventProcessor.split(store, "p") == 2
    assert await store.run_statement("list_segments")
