"""A store's SQL stays in the schema that Eventmark made, in a database where somebody else keeps tables."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from eventmark.domain import NewEvent, StreamId
from eventmark.errors import EventmarkError, StoreDefinitionError
from eventmark.seeding import seed
from eventmark.server import Server
from eventmark.server.role import STORE_ROLE, store_dsn
from eventmark.stores import SqlEventStore, check_store, make_scratch_store, read_definition, write_template
from eventmark.stores.script import qualified_names
from eventmark.workload import CorpusPlan
from tests.database import drop_database, execute, fetch

MIGRATIONS = """
create table if not exists events (
    position bigint generated always as identity primary key,
    written_by xid8 not null default pg_current_xact_id(),
    tenant text not null,
    stream text not null,
    version bigint not null,
    recorded_at timestamptz not null,
    id uuid not null,
    type text not null,
    data jsonb not null,
    meta jsonb not null,
    unique (tenant, stream, version)
);
create table if not exists snapshots (
    tenant text not null, stream text not null, version integer not null, state jsonb not null,
    primary key (tenant, stream)
);
create index concurrently if not exists events_type on events (type);
"""

# What somebody's database looks like: a table of the same name, with rows, and everything that can be hung on it.
SOMEBODYS = """
create table public.events (id bigint primary key, tenant text, kind text, data jsonb);
insert into public.events select n, 't', 'real', '{}' from generate_series(1, 3) n;
create sequence public.numbers;
create function public.total() returns bigint language sql as 'select count(*) from public.events';
"""

EVERYTHING = """
select md5(string_agg(line, E'\\n' order by line)) from (
    select 'row ' || e::text || e.xmin from public.events e
    union all select 'number ' || last_value || is_called from public.numbers
    union all select 'relation ' || oid || relname || xmin from pg_class where oid >= 16384
    union all select 'column ' || attrelid || attnum || xmin from pg_attribute where attrelid >= 16384
    union all select 'function ' || oid || xmin from pg_proc where oid >= 16384
    union all select 'trigger ' || oid || xmin from pg_trigger
    union all select 'constraint ' || oid || xmin from pg_constraint
    union all select 'type ' || oid || xmin from pg_type where oid >= 16384
    union all select 'schema ' || nspname || xmin from pg_namespace where nspname !~ '^pg_(toast|temp)'
    union all select 'extension ' || oid || xmin from pg_extension
    union all select 'role ' || r::text from pg_roles r where rolname not like '%test%'
) as everything (line)
"""


@pytest.fixture(scope="module")
def somebodys(server: Server) -> Iterator[str]:
    """The DSN of a database in use: each test shows that it left it as it was."""
    name = "somebodys"
    execute(server.dsn, f"create database {name}")
    dsn = server.dsn.rsplit("/", 1)[0] + f"/{name}"
    execute(dsn, SOMEBODYS)
    yield dsn
    drop_database(server.dsn, name)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write_template(tmp_path / "own")
    return tmp_path / "own"


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


def append_to(folder: Path, name: str, text: str) -> int:
    """The line on which the text begins."""
    before = (folder / name).read_text()
    (folder / name).write_text(f"{before.rstrip()}\n{text}\n")
    return before.rstrip().count("\n") + 2


def check(dsn: str, folder: Path) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await check_store(connection, read_definition(folder), "eventmark")
        finally:
            await connection.close()

    asyncio.run(run())


def refusal(dsn: str, folder: Path) -> StoreDefinitionError:
    """Of the check and of an installation, which are to say the same; and nothing is another than before."""
    before = fetch(dsn, EVERYTHING)
    with pytest.raises(StoreDefinitionError) as checked:
        check(dsn, folder)
    assert fetch(dsn, EVERYTHING) == before
    return checked.value


def test_plain_migrations_run_in_the_stores_own_schema_and_leave_nothing(somebodys: str, own: Path) -> None:
    write(own, "schema.sql", MIGRATIONS)
    for path in own.glob("*.sql"):
        path.write_text(path.read_text().replace("{schema}.", ""))
    before = fetch(somebodys, EVERYTHING)
    check(somebodys, own)
    assert fetch(somebodys, EVERYTHING) == before
    asyncio.run(make_scratch_store(somebodys, read_definition(own), "shop"))
    tables = "select string_agg(tablename, ' ' order by tablename collate \"C\") from pg_tables where schemaname = "
    assert fetch(somebodys, f"{tables} 'shop'") == "eventmark_store events snapshots"
    assert fetch(somebodys, f"{tables} 'public'") == "events"
    assert fetch(somebodys, "select count(*) from public.events") == 3
    execute(somebodys, "drop schema shop cascade")


def test_a_half_converted_folder_is_refused_by_file_line_and_name(somebodys: str, own: Path) -> None:
    write(
        own,
        "append_events.sql",
        """-- parameters: event_ids text[], event_types text[]
insert into public.events (id, kind)
select u.id::bigint, u.kind from unnest(:event_ids, :event_types) as u (id, kind)
""",
    )
    refused = refusal(somebodys, own)
    assert refused.path.endswith("append_events.sql")
    assert refused.line == 2
    assert "writes public.events, which is outside the schema that Eventmark made" in str(refused)
    assert "{schema}.events" in refused.remedy


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("create extension pg_trgm;", "creates an extension"),
        ("commit;", "ends or begins a transaction"),
        ("savepoint a;", "ends or begins a transaction"),
        ("set search_path = public;", "changes a setting of the session"),
        ("reset role;", "changes a setting of the session"),
        ("select pg_catalog.set_config('search_path', '', false);", "changes a setting of the session"),
        ("\\connect shop", "is a command of psql"),
        ("create schema if not exists app;", "creates a schema"),
        ("create role stranger;", "creates a role"),
        ("alter role current_user set search_path = public;", "changes a role"),
        ("copy {schema}.events to program 'id';", "copies from or to a file or a program"),
        ("vacuum {schema}.events;", "runs vacuum or analyze"),
        ("alter system set work_mem = '1GB';", "ALTER SYSTEM"),
        ("create index mine on public.events (kind);", "changes public.events"),
        ("insert into public.events values (9);", "writes public.events"),
        ("insert into {schema}.events (kind) select kind from public.events;", "reads public.events"),
        ("select count(*) from {schema}.events where id::text = (select max(kind) from \"public\".events);", "public.events"),
        ("drop table public.events;", "changes public.events"),
        ("create table {schema}.more (id bigint references public.events);", "names public.events"),
        ("create view {schema}.seen as select public.total();", "names public.total"),
        ("select setval('public.numbers', 7);", "names public.numbers"),
        ("comment on table public.events is 'mine';", "changes public.events"),
        ("create trigger t after insert on public.events for each row execute function {schema}.f();", "public.events"),
        ("create function public.f() returns int language sql as 'select 1';", "names public.f"),
        ("create function {schema}.f() returns trigger language plpgsql as $$ begin\n"
         "insert into public.events values (9); return null; end $$;", "writes public.events"),
        ("do $$ begin insert into public.events values (9); end $$;", "writes public.events"),
        ("do $$ begin execute 'insert into public.events values (9)'; end $$;", "writes public.events"),
        # what no reader of the text can see, and the database does
        ("do $$ begin execute 'insert into publ' || 'ic.events values (9)'; end $$;", "writes public.events"),
        ("do $$ declare n bigint; begin execute 'select count(*) from publ' || 'ic.events' into n; end $$;", "reads public.events"),
        ("do $$ begin execute 'create index mine on publ' || 'ic.events (kind)'; end $$;", "public.events"),
        ("do $$ begin execute 'drop function publ' || 'ic.total()'; end $$;", "drops public.total()"),
        ("do $$ begin execute 'create function publ' || 'ic.g() returns int language sql as ''select 1'''; end $$;", "public.g()"),
        ("do $$ begin execute 'alter table publ' || 'ic.events add column mine int'; end $$;", "public.events"),
        ("do $$ begin execute 'create extension pg_trgm'; end $$;", "pg_trgm"),
        ("do $$ begin execute 'create schema elsewhere'; end $$;", "elsewhere"),
        ("do $$ begin execute 'create role stranger'; end $$;", "stranger"),
        ("do $$ begin execute 'create table {schema}.more (id bigint references publ' || 'ic.events)'; end $$;", "public.events"),
    ],
)  # fmt: skip
def test_what_leaves_the_schema_is_refused_by_file_line_and_name_and_leaves_no_trace(
    somebodys: str, own: Path, added: str, said: str
) -> None:
    line = (
        append_to(own, "schema.sql", f"create table {{schema}}.before_it (id int);\n\n-- and then\n{added}")
        + 3
    )
    refused = refusal(somebodys, own)
    assert refused.path.endswith("schema.sql")
    assert line <= (refused.line or 0) <= line + 1
    assert said in str(refused)
    assert refused.remedy


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("update public.events set kind = :event_type", "writes public.events"),
        ("select public.total() as last_global_sequence, :event_type", "names public.total"),
        ("with gone as (delete from public.events returning id) select max(id), :event_type from gone", "writes public.events"),
        ("select nextval('public.numbers'), :event_type", "names public.numbers"),
        ("select 1 from U&\"publ\\0069c\".events where kind = :event_type", "uses public.events"),
        ("do $$ begin null; end $$", "DO"),
        ("copy (select 1) to program 'id'", "copies from or to a file or a program"),
        ("commit", "ends or begins a transaction"),
    ],
)  # fmt: skip
def test_an_operation_that_leaves_the_schema_is_refused(
    somebodys: str, own: Path, statement: str, said: str
) -> None:
    write(own, "append_events.sql", f"-- parameters: event_type text\n{statement}\n")
    refused = refusal(somebodys, own)
    assert refused.path.endswith("append_events.sql")
    assert refused.line == 2
    assert said in str(refused)


def test_extensions_are_found_without_their_schema_where_nobody_else_keeps_anything(
    database: str, own: Path
) -> None:
    execute(database, "create extension pg_trgm")
    append_to(own, "indexes.sql", "create index alike on {schema}.events using gin (type gin_trgm_ops);")
    check(database, own)
    execute(database, "create table public.events (id int)")
    with pytest.raises(StoreDefinitionError, match="gin_trgm_ops"):
        check(database, own)
    text = (own / "indexes.sql").read_text()
    write(own, "indexes.sql", text.replace("gin_trgm_ops", "public.gin_trgm_ops"))
    check(database, own)


def test_an_index_is_made_without_concurrently_and_a_mistake_has_the_line_it_stands_on(
    database: str, own: Path
) -> None:
    append_to(own, "schema.sql", "create index concurrently lately on {schema}.events (recorded_at);")
    check(database, own)
    line = append_to(
        own, "schema.sql", "create table {schema}.more (id int);\n\ncreate table {schema}.more (\n id int\n);"
    )
    with pytest.raises(StoreDefinitionError, match="already exists") as refused:
        check(database, own)
    assert refused.value.line == line + 2


def test_a_function_among_the_indexes_is_made_after_the_load(database: str, own: Path) -> None:
    """Its body has lines that end in a semicolon, and its comment a colon."""
    append_to(
        own, "indexes.sql",
        "create function {schema}.seen() returns trigger language plpgsql as $body$\nbegin\n    /* at 12:30 */\n"
        "    perform (array[1, 2])[1:2];\n    return new;\nend;\n$body$;\n"
        "create trigger seen before insert on {schema}.events for each row execute function {schema}.seen();",
    )  # fmt: skip
    check(database, own)
    asyncio.run(
        seed(database, read_definition(own), CorpusPlan(500, tenant_count=3), schema="eventmark", workers=1)
    )
    assert fetch(database, "select count(*) from pg_trigger where tgname = 'seen'") == 1


def test_a_check_that_is_cut_off_leaves_nothing(somebodys: str, own: Path) -> None:
    append_to(own, "schema.sql", "select pg_terminate_backend(pg_backend_pid());")
    before = fetch(somebodys, EVERYTHING)
    with pytest.raises((EventmarkError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        check(somebodys, own)
    assert fetch(somebodys, EVERYTHING) == before


def test_a_text_with_an_apostrophe_is_no_sql_and_hides_no_name() -> None:
    names = qualified_names(
        "insert into public.notes values ('it''s', $$select 'she''s' from public.events$$)", 1
    )
    assert [(one.schema, one.name) for one in names] == [("public", "notes"), ("public", "events")]


TRIGGER = """
create function {schema}.note() returns trigger language plpgsql as $$
begin
    insert into outbox (id) values (new.version);
    return new;
end $$;
create table {schema}.outbox (id bigint);
create trigger note before insert on {schema}.events for each row execute function {schema}.note();
"""


def test_seeding_and_appending_reach_no_table_of_the_same_name_elsewhere(database: str, own: Path) -> None:
    """Neither by a statement without a schema, nor by a function that a trigger calls."""
    execute(database, SOMEBODYS, "create table public.outbox (id bigint)")
    append_to(own, "schema.sql", TRIGGER)
    for path in (own / "append_events.sql", own / "load_aggregate.sql"):
        path.write_text(path.read_text().replace("{schema}.", ""))
    before = fetch(database, EVERYTHING)
    definition = read_definition(own)
    plan = CorpusPlan(1000)
    asyncio.run(seed(database, definition, plan, schema="shop", workers=1))

    async def append() -> int:
        stream = StreamId(tenant_id="t", aggregate_type="order", aggregate_id="1")
        event = NewEvent(
            event_id=uuid4(),
            event_type="made",
            payload={},
            metadata={},
            payload_type="made",
            timestamp=datetime.now(UTC),
        )
        async with await SqlEventStore.connect(database, definition, schema="shop") as store:
            await store.append_events(stream, [event], expected_version=0)
            return len(await store.load_aggregate("t", "1"))

    assert asyncio.run(append()) == 1
    assert fetch(database, "select count(*) from shop.events") == plan.events + 1
    assert fetch(database, "select count(*) from shop.outbox") == plan.events + 1
    assert fetch(database, "select count(*) from public.outbox") == 0
    execute(database, "drop schema shop cascade")
    assert fetch(database, EVERYTHING) == before


@pytest.mark.parametrize(
    "does",
    [
        "do $$ begin execute 'co' || 'py (select 1) to program ''touch {victim}'''; end $$;",
        "create function {schema}.run() returns trigger language plpgsql as $$ begin\n"
        "execute 'co' || 'py (select 1) to program ''touch {victim}'''; return new; end $$;\n"
        "create trigger run before insert on {schema}.events for each row execute function {schema}.run();",
        "create function {schema}.run() returns text language plpgsql as $$ begin\n"
        "execute 'reset role; reset session authorization; co' || 'py (select 1) to program ''touch {victim}''';\n"
        "return 'x'; end $$;\n"
        "alter table {schema}.events alter column type set default {schema}.run(), add column more text default {schema}.run();",
        "create function {schema}.run() returns text language sql security definer as 'select pg_read_file(''PG_VERSION'')';\n"
        "select {schema}.run();",
    ],
    ids=["do", "trigger", "default", "security definer"],
)  # fmt: skip
def test_a_folder_runs_no_program_and_reads_no_file_on_a_server_of_our_own(
    server: Server, database: str, own: Path, tmp_path: Path, does: str
) -> None:
    name, victim = database.rsplit("/", 1)[1], tmp_path / "victim"
    tmp_path.chmod(0o777)
    execute(database, f"grant create on database {name} to {STORE_ROLE}")
    dsn = store_dsn(server.superuser_dsn).rsplit("/", 1)[0] + f"/{name}"
    append_to(own, "schema.sql", does.replace("{victim}", str(victim)))
    with pytest.raises(EventmarkError, match=r"permission denied|must be superuser"):
        check(dsn, own)
        asyncio.run(seed(dsn, read_definition(own), CorpusPlan(100), schema="shop", workers=1))
    assert not victim.exists()
