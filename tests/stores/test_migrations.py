"""Migrations of somebody's application as a store's schema: which files, which parts, and what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from eventmark.errors import StoreDefinitionError, UsageError
from eventmark.stores import check_store, read_definition, write_template
from eventmark.stores.install import _script_error
from eventmark.stores.migrations import migration_files, up_sections
from eventmark.stores.script import ScriptStatement, store_scripts
from tests.database import fetch

TABLES = """
create extension if not exists pgcrypto;
create schema if not exists shop;
set search_path = shop;
begin;
create table shop.events (
    position bigserial, written_by xid8 not null default pg_current_xact_id(), id uuid not null, tenant text not null,
    stream text not null, version bigint not null, type text not null, data jsonb not null, meta jsonb not null,
    recorded_at timestamptz not null
);
alter table shop.events owner to shop_owner;
grant select on shop.events to reporting;
commit;
"""
SNAPSHOTS = """
-- migrate:up
create function shop.first() returns bigint language sql as 'select min(position) from shop.events';
create table shop.snapshots (
    tenant text, stream text, version bigint, state jsonb not null, primary key (tenant, stream, version)
);
-- migrate:down
drop table shop.snapshots;
"""
EVERYTHING = 'leave_out = ["extensions", "settings", "transactions", "grants"]\nschemas = ["shop"]'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The example, its tables made by migrations beside it."""
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "V2__snapshots.sql").write_text(SNAPSHOTS)
    (tmp_path / "db" / "V1__events.sql").write_text(TABLES)
    write_template(tmp_path / "own")
    (tmp_path / "own" / "schema.sql").unlink()
    return named(tmp_path / "own", EVERYTHING)


def named(folder: Path, rules: str, patterns: str = '"../db/V*.sql"') -> Path:
    toml = folder / "store.toml"
    before, tables, after = toml.read_text().partition("[tables]")
    before = before.partition("schema =")[0]
    toml.write_text(f"{before}schema = [{patterns}]\n[migrations]\n{rules}\n{tables}{after}")
    return folder


def refusal(folder: Path) -> StoreDefinitionError:
    with pytest.raises(StoreDefinitionError) as refused:
        store_scripts(read_definition(folder), "eventmark")
    return refused.value


def check(dsn: str, folder: Path) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await check_store(connection, read_definition(folder), "eventmark")
        finally:
            await connection.close()

    asyncio.run(run())


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


def order(folder: Path, *patterns: str) -> list[str]:
    return [str(path.relative_to(folder)) for path in migration_files(folder, patterns)]


def test_flyways_files_run_by_version_and_repeatable_ones_last(tmp_path: Path) -> None:
    names = ("V1__a.sql", "V1.1__b.sql", "sub/V2__c.sql", "V10__d.sql", "R__views.sql")
    files(tmp_path, *reversed(names), "U10__d.sql")
    assert order(tmp_path, ".") == list(names)
    files(tmp_path, "B2__everything.sql")
    assert order(tmp_path, "R*", "B*", "V*") == ["B2__everything.sql", "V10__d.sql", "R__views.sql"]


def test_other_files_run_in_natural_order_without_those_that_undo_them(tmp_path: Path) -> None:
    files(tmp_path, "2_b.up.sql", "2_b.down.sql", "10_c.sql", "1_a/up.sql", "1_a/down.sql", "notes.txt")
    assert order(tmp_path, ".") == ["1_a/up.sql", "2_b.up.sql", "10_c.sql"]
    assert order(tmp_path, "10*", "*.sql") == ["10_c.sql", "2_b.up.sql"]


def test_two_migrations_of_one_version_are_refused(tmp_path: Path) -> None:
    files(tmp_path, "V1__a.sql", "V1.0__b.sql")
    with pytest.raises(UsageError, match="two migrations have version 1"):
        order(tmp_path, ".")


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("-- migrate:up transaction:false", "-- migrate:down"),
        ("-- +goose Up", "-- +goose Down"),
        ("-- +migrate Up", "-- +migrate Down"),
        ("-- rambler up", "-- rambler down"),
        ("-- Up Migration", "-- Down Migration"),
        ("# --- !Ups", "# --- !Downs"),
    ],
)
def test_sections_that_undo_are_not_run_and_lines_keep_their_numbers(up: str, down: str) -> None:
    text = up_sections(f"{up}\nselect 1; -- up\n{down}\nselect 2;\n{up}\nselect 3;")
    assert text.split("\n") == ["", "select 1; -- up", "", "", "", "select 3;"]


def test_migrations_run_in_the_stores_schema_and_leave_nothing(database: str, own: Path) -> None:
    check(database, own)
    assert not fetch(database, "select count(*) from pg_namespace where nspname ~ '^(shop|eventmark)'")


def test_a_change_of_a_migration_is_a_change_of_the_schema(own: Path) -> None:
    before = read_definition(own).schema_sha256
    (own.parent / "db" / "V3__more.sql").write_text("create index more on shop.events (type);")
    after = read_definition(own).schema_sha256
    assert len({before, after, read_definition(named(own, 'schemas = ["shop"]')).schema_sha256}) == 3


@pytest.mark.parametrize(
    ("rules", "line", "does", "remedy"),
    [
        ("", 2, "creates an extension", 'leave_out = ["extensions"]'),
        ('leave_out = ["extensions"]', 3, "creates a schema", 'leave_out = ["schemas"]'),
        (
            'leave_out = ["extensions"]\nschemas = ["shop"]',
            4,
            "changes a setting",
            'leave_out = ["settings"]',
        ),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_line_that_leaves_it_out(
    own: Path, rules: str, line: int, does: str, remedy: str
) -> None:
    refused = refusal(named(own, rules))
    assert refused.path == str(own.parent / "db" / "V1__events.sql")
    assert (refused.line, does in refused.message, remedy in (refused.remedy or "")) == (line, True, True)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("create role reporting", "creates a role"),
        ("rollback", "ends or begins a transaction"),
        ("\\connect shop", "\\connect shop is a command of psql"),
        ("create table x (y ${type})", "${type} is a placeholder"),
    ],
)
def test_what_no_schema_can_have_is_refused_by_the_migrations_file_and_line(
    own: Path, statement: str, said: str
) -> None:
    path = own.parent / "db" / "V3__more.sql"
    path.write_text(f"select 1;\n{statement}\n")
    refused = refusal(own)
    assert (refused.path, refused.line) == (str(path), 2)
    assert said in refused.message


def test_a_migration_that_fails_is_reported_in_the_servers_words(database: str, own: Path) -> None:
    path = own.parent / "db" / "V3__more.sql"
    path.write_text("-- and more\n\nalter table shop.events\n    add constraint c check (vresion > 0);\n")
    with pytest.raises(StoreDefinitionError) as refused:
        check(database, own)
    assert (refused.value.path, refused.value.line) == (str(path), 3)
    assert 'column "vresion" does not exist' in str(refused.value)


@pytest.mark.parametrize(
    ("error", "server", "is_newer"),
    [
        (asyncpg.PostgresSyntaxError('syntax error at or near "VIRTUAL"'), 15, True),
        (asyncpg.UndefinedFunctionError("function uuidv7() does not exist"), 17, True),
        (asyncpg.UndefinedFunctionError("function uuid_generate_v4() does not exist"), 17, False),
        (asyncpg.PostgresSyntaxError('syntax error at or near "VIRTUAL"'), 18, False),
    ],
)
def test_a_migration_that_needs_a_newer_server_is_reported(
    error: asyncpg.PostgresError, server: int, is_newer: bool
) -> None:
    statement = ScriptStatement(sql="select 1", path=Path("V1__a.sql"), line=3)
    error.query = statement.sql
    told = _script_error(error, [statement], server)
    assert "V1__a.sql:3" in str(told)
    assert ("use a newer one" in (told.remedy or "")) is is_newer


def test_of_two_statements_alike_the_one_that_fails_is_named(database: str, own: Path) -> None:
    path = own.parent / "db" / "V3__more.sql"
    path.write_text("alter table shop.events add column note text;\n" * 2)
    with pytest.raises(StoreDefinitionError, match="already exists") as refused:
        check(database, own)
    assert (refused.value.path, refused.value.line) == (str(path), 2)


def test_names_of_other_schemas_stay_refused(database: str, own: Path) -> None:
    named(own, EVERYTHING.replace('["shop"]', '["shops"]').replace('"grants"', '"grants", "schemas"'))
    with pytest.raises(StoreDefinitionError, match=r"V1__events\.sql:6"):
        check(database, own)


@pytest.mark.parametrize(
    ("rules", "patterns", "said"),
    [
        ("", '"../db/W*.sql"', "there is no file"),
        ('leave_out = ["role"]', '"../db"', "did you mean 'roles'"),
        ('leave_out = "roles"', '"../db"', "must be a list of texts"),
    ],
)
def test_a_mistake_in_store_toml_is_named_by_line(own: Path, rules: str, patterns: str, said: str) -> None:
    named(own, rules, patterns)
    with pytest.raises(StoreDefinitionError, match=said) as refused:
        read_definition(own)
    assert refused.value.path == str(own / "store.toml")
    assert (refused.value.line or 0) > 1


def test_a_schema_sql_that_would_not_run_is_refused(own: Path) -> None:
    (own / "schema.sql").write_text("select 1;")
    with pytest.raises(StoreDefinitionError, match=r"schema\.sql, so that file would not be run"):
        read_definition(own)
