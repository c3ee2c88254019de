"""A store proposed from migrations: the tables of well-known event stores, by names and types that they publish."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventmark.errors import StoreDefinitionError, UsageError
from eventmark.seeding import try_store
from eventmark.server import Server
from eventmark.stores import read_definition
from eventmark.stores.from_migrations import Proposal, propose, refusal, told, write_folder
from eventmark.stores.from_migrations.folder import patterns_for
from tests.database import connected, drop_database, execute, fetch

MESSAGE_DB = """
create extension if not exists pgcrypto;
create schema if not exists message_store;
set search_path = message_store;
create table if not exists message_store.messages (
    id uuid not null default gen_random_uuid(), stream_name text not null, type text not null,
    position bigint not null, global_position bigserial not null, data jsonb, metadata jsonb,
    time timestamp without time zone default (now() at time zone 'utc') not null
);
alter table message_store.messages add primary key (global_position) not deferrable initially immediate;
create unique index messages_id on message_store.messages (id);
create unique index messages_stream on message_store.messages (stream_name, position);
create function message_store.write_message(id varchar, stream varchar) returns bigint language sql as
    'insert into message_store.messages (stream_name, type, position) values (stream, id, 0) returning global_position';
do $$ begin perform 1; end $$;
grant select on message_store.messages to message_store;
"""
MARTEN = """
create schema shop;
create table shop.mt_streams (
    id uuid not null, type varchar null, version bigint, timestamp timestamptz not null default now(),
    created timestamptz not null default now(), tenant_id varchar default '*DEFAULT*', is_archived boolean default false,
    primary key (tenant_id, id)
);
create sequence shop.mt_events_sequence;
create table shop.mt_events (
    seq_id bigint not null primary key, id uuid not null, stream_id uuid, version bigint not null, data jsonb not null,
    type varchar(500) not null, timestamp timestamptz not null default now(), tenant_id varchar default '*DEFAULT*',
    mt_dotnet_type varchar null, is_archived boolean default false,
    foreign key (tenant_id, stream_id) references shop.mt_streams (tenant_id, id)
);
create unique index pk_mt_events_stream_and_version on shop.mt_events (tenant_id, stream_id, version);
alter sequence shop.mt_events_sequence owned by shop.mt_events.seq_id;
"""
AXON = """
create table domain_event_entry (
    global_index bigserial primary key, event_identifier varchar(255) not null unique, meta_data bytea,
    payload bytea not null, payload_revision varchar(255), payload_type varchar(255) not null,
    time_stamp varchar(255) not null, aggregate_identifier varchar(255) not null, sequence_number bigint not null,
    type varchar(255), unique (aggregate_identifier, sequence_number)
);
create table snapshot_event_entry (
    aggregate_identifier varchar(255) not null, sequence_number bigint not null, type varchar(255) not null,
    event_identifier varchar(255) not null unique, meta_data bytea, payload bytea not null,
    payload_revision varchar(255), payload_type varchar(255) not null, time_stamp varchar(255) not null,
    primary key (aggregate_identifier, sequence_number, type)
);
"""
EMMETT = """
create sequence emt_global_message_position;
create table emt_streams (
    stream_id text not null, stream_position bigint not null, partition text not null default 'global',
    stream_type text not null, stream_metadata jsonb not null, is_archived boolean not null default false,
    primary key (stream_id, partition, is_archived)
) partition by list (partition);
create table emt_messages (
    stream_id text not null, stream_position bigint not null, partition text not null default 'global',
    message_kind char(1) not null default 'E', message_data jsonb not null, message_metadata jsonb not null,
    message_schema_version text not null, message_type text not null, message_id text not null,
    is_archived boolean not null default false, global_position bigint default nextval('emt_global_message_position'),
    transaction_id xid8 not null, created timestamptz not null default now(),
    primary key (stream_id, stream_position, partition, is_archived)
) partition by list (partition);
create table emt_messages_global partition of emt_messages for values in ('global');
"""
EVENTSOURCING = """
create table stored_events (
    originator_id uuid not null, originator_version bigint not null, topic text, state bytea,
    notification_id bigserial, primary key (originator_id, originator_version)
);
create unique index stored_events_notification_id_idx on stored_events (notification_id asc);
create table snapshots (
    originator_id uuid not null, originator_version bigint not null, topic text, state bytea,
    primary key (originator_id, originator_version)
);
"""
AKKA = """
create table if not exists event_journal (
    ordering bigserial, persistence_id varchar(255) not null, sequence_number bigint not null,
    deleted boolean default false not null, writer varchar(255) not null, write_timestamp bigint,
    adapter_manifest varchar(255), event_ser_id integer not null, event_ser_manifest varchar(255) not null,
    event_payload bytea not null, meta_ser_id integer, meta_ser_manifest varchar(255), meta_payload bytea,
    primary key (persistence_id, sequence_number)
);
create unique index event_journal_ordering_idx on event_journal (ordering);
"""
BROADWAY = """
create table events (
    id serial primary key, uuid uuid not null, playhead int not null, metadata text not null, payload text not null,
    recorded_on varchar(32) not null, type varchar(255) not null, unique (uuid, playhead)
);
"""
HASHED = """
create table tenants (id integer primary key, name text not null);
create table "DomainEvents" (
    "GlobalSequence" bigint generated always as identity, "TenantId" integer not null references tenants,
    "AggregateId" bigint not null, "Version" integer not null check ("Version" > 0), "EventId" uuid not null,
    "EventType" text not null check ("EventType" in ('Placed', 'Paid')), "Payload" json not null,
    "CreatedAt" timestamptz not null, primary key ("TenantId", "AggregateId", "Version")
) partition by hash ("TenantId", "AggregateId");
create table events_0 partition of "DomainEvents" for values with (modulus 2, remainder 0);
create table events_1 partition of "DomainEvents" for values with (modulus 2, remainder 1);
create index events_position on "DomainEvents" ("GlobalSequence");
"""
COMMANDED = """
create table streams (
    stream_id bigserial primary key, stream_uuid text not null unique, stream_version bigint default 0 not null
);
create table events (
    event_id uuid primary key, event_type text not null, causation_id uuid, correlation_id uuid, data bytea not null,
    metadata bytea, created_at timestamptz default now() not null
);
create table stream_events (
    event_id uuid not null references events, stream_id bigint not null references streams,
    stream_version bigint not null, original_stream_id bigint, original_stream_version bigint,
    primary key (event_id, stream_id)
);
"""
RAILS_EVENT_STORE = """
create table event_store_events (
    id bigserial primary key, event_id uuid not null unique, event_type varchar not null, metadata bytea,
    data bytea not null, created_at timestamp not null, valid_at timestamp
);
create table event_store_events_in_streams (
    id bigserial primary key, stream varchar not null, position integer, event_id uuid not null,
    created_at timestamp not null, unique (stream, position)
);
"""
PROOPH = """
create table events (
    no bigserial primary key, event_id uuid not null unique, event_name varchar(100) not null, payload json not null,
    metadata jsonb not null, created_at timestamp(6) not null
);
create unique index on events ((metadata->>'_aggregate_id'), (metadata->>'_aggregate_version'));
"""
NO_EVENTS = "create table customers (id bigserial primary key, name text not null, data jsonb);"

# The event's table, some of its columns, whether the log is ordered by transactions, and the files beside the four.
WHOLE = {
    "message-db": (MESSAGE_DB, "messages", {"sequence_number": "position", "global_sequence_id": "global_position"}, set()),
    "marten": (MARTEN, "mt_events", {"tenant_id": "tenant_id", "aggregate_id": "stream_id"},
        {"seed.sql", "stream_tenant_events.sql"}),
    "axon": (AXON, "domain_event_entry", {"event_type": "payload_type", "aggregate_type": "type",
        "timestamp_utc": "time_stamp"}, set()),
    "emmett": (EMMETT, "emt_messages", {"transaction_id": "transaction_id", "event_id": "message_id"}, set()),
    "eventsourcing": (EVENTSOURCING, "stored_events", {"event_type": "topic", "payload": "state"},
        {"store_snapshot.sql", "read_snapshot.sql"}),
    "akka": (AKKA, "event_journal", {"event_type": "event_ser_manifest", "metadata": "meta_payload"}, set()),
    "broadway": (BROADWAY, "events", {"aggregate_id": "uuid", "sequence_number": "playhead", "event_type": "type"}, set()),
    "hashed": (HASHED, "DomainEvents", {"tenant_id": "TenantId", "aggregate_id": "AggregateId"},
        {"seed.sql", "stream_tenant_events.sql"}),
}  # fmt: skip
FOUR = {"append_events.sql", "load_aggregate.sql", "stream_events.sql", "create_head_token.sql"}
SPLIT = {
    "commanded": (COMMANDED, "stream_events lacks"),
    "rails": (RAILS_EVENT_STORE, "event_store_events lacks a version and a stream"),
    "prooph": (PROOPH, "events lacks a version and a stream"),
    "no events": (NO_EVENTS, "customers lacks a version and a stream"),
}


@pytest.fixture(scope="module")
def scratch(server: Server) -> Iterator[str]:
    """A database for all: what each leaves is nothing."""
    name = "proposed"
    execute(server.dsn, f"create database {name}")
    dsn = server.dsn.rsplit("/", 1)[0] + f"/{name}"
    yield dsn
    left = fetch(
        dsn, "select string_agg(nspname, ' ') from pg_namespace where nspname !~ '^(pg_|information|public)'"
    )
    drop_database(server.dsn, name)
    assert left is None


def proposed(dsn: str, at: Path, migrations: str, table: str | None = None) -> Proposal:
    (at / "db").mkdir()
    (at / "db" / "V1__tables.sql").write_text(migrations)
    return connected(dsn, lambda one: propose(one, "eventmark", [str(at / "db" / "V*.sql")], table))


@pytest.mark.parametrize("name", WHOLE)
def test_a_table_of_events_becomes_a_store_that_is_right(scratch: str, tmp_path: Path, name: str) -> None:
    migrations, table, columns, more = WHOLE[name]
    proposal = proposed(scratch, tmp_path, migrations)
    files = {path.name for path in write_folder(tmp_path / "shop", proposal)}
    definition = read_definition(tmp_path / "shop")
    assert definition.events_table == table
    assert columns.items() <= dict(definition.columns).items()
    assert files == {"store.toml", *FOUR, *more}
    assert definition.has_tenants == ("tenant_id" in definition.columns)
    assert asyncio.run(try_store(scratch, definition, "eventmark")) == []


@pytest.mark.parametrize("name", SPLIT)
def test_what_is_no_table_of_events_is_refused_with_what_is_missing_and_what_to_write(
    scratch: str, tmp_path: Path, name: str
) -> None:
    migrations, missing = SPLIT[name]
    proposal = proposed(scratch, tmp_path, migrations)
    assert proposal.events is None
    assert [path.name for path in write_folder(tmp_path / "shop", proposal)] == ["store.toml"]
    error = refusal(proposal, tmp_path / "shop")
    assert missing in error.message
    assert all(name in (error.remedy or "") for name in FOUR)


def test_what_was_guessed_and_what_is_not_run_is_reported(scratch: str, tmp_path: Path) -> None:
    notes = "\n".join(told(proposed(scratch, tmp_path, MESSAGE_DB)))
    assert f"not run: extensions ({tmp_path}/db/V1__tables.sql:2)" in notes
    assert "not run: settings" in notes
    assert "functions that insert: write_message" in notes
    assert "loses events when transactions overlap" in notes


def test_later_migrations_count(scratch: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "shop", proposed(scratch, tmp_path, BROADWAY))
    (tmp_path / "db" / "V2__type.sql").write_text("alter table events rename column type to kind;")
    with pytest.raises(StoreDefinitionError, match="no column 'type'"):
        asyncio.run(try_store(scratch, read_definition(tmp_path / "shop"), "eventmark"))


def test_a_table_that_is_named_is_taken(scratch: str, tmp_path: Path) -> None:
    two = BROADWAY + BROADWAY.replace("table events", "table audit_events")
    proposal = proposed(scratch, tmp_path, two, "audit_events")
    assert proposal.events is not None
    assert proposal.events.table.name == "audit_events"
    with pytest.raises(UsageError, match="make no table 'evnts'"):
        connected(scratch, lambda one: propose(one, "eventmark", [str(tmp_path / "db")], "evnts"))


def test_tables_in_several_schemas_are_refused(scratch: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="several schemas: a, b"):
        proposed(scratch, tmp_path, "create table a.x (y int); create table b.x (y int);")


def test_what_a_shell_made_of_a_pattern_is_a_pattern_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("db").mkdir()
    names = ["db/10_b.up.sql", "db/2_a.down.sql", "db/2_a.up.sql"]
    for name in names:
        Path(name).write_text("")
    assert patterns_for(names) == patterns_for([names[0], names[2]]) == ("db/*.sql",)
    Path("db/3_c.sql").write_text("")
    assert patterns_for(names) == ("db/2_a.up.sql", "db/10_b.up.sql")
    assert patterns_for(["db/*.sql"]) == ("db/*.sql",)
