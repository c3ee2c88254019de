"""Schemas: marked, recognised, dropped only when ours; names that are not plain are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore, install_schema, read_marker
from eventmark.engine.claims import claim
from eventmark.engine.migrations import migrate_schema, migrations
from eventmark.engine.schema import (
    SCHEMA_VERSION,
    Purpose,
    create_marked_schema,
    drop_schema,
    schema_digest,
    schema_exists,
)
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError, UsageError
from tests.engine.builders import new_events, stream_of

OURS = {Purpose.CORPUS, Purpose.SCRATCH}


@pytest.fixture
async def empty(cleared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with no store in it."""
    opened = await asyncpg.connect(cleared_dsn)
    yield opened
    await opened.close()


async def test_an_installed_schema_carries_its_marker(empty: asyncpg.Connection) -> None:
    marker = await install_schema(empty, "eventmark")
    assert await read_marker(empty, "eventmark") == marker
    assert (marker.epoch, marker.schema_version) == (1, SCHEMA_VERSION)
    other = await install_schema(empty, "second")
    assert other.store_id != marker.store_id


async def test_a_marker_is_one_row(empty: asyncpg.Connection) -> None:
    await install_schema(empty, "eventmark")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await empty.execute(
            "insert into eventmark.eventmark_store (schema_version, store_name) values (1, 'x')"
        )


async def test_without_a_schema_there_is_no_marker(empty: asyncpg.Connection) -> None:
    assert await read_marker(empty, "eventmark") is None
    await drop_schema(empty, "eventmark", purposes=OURS)


async def test_a_schema_that_exists_is_not_installed_into(empty: asyncpg.Connection) -> None:
    await empty.execute("create schema taken; create table taken.kept (a int)")
    for name in ("taken", "public"):
        with pytest.raises(CannotRunError, match=name):
            await install_schema(empty, name)
    marker = await install_schema(empty, "eventmark")
    with pytest.raises(CannotRunError, match="exists"):
        await install_schema(empty, "eventmark")
    assert await read_marker(empty, "eventmark") == marker
    assert await empty.fetchval("select count(*) from pg_tables where schemaname in ('taken', 'public')") == 1


@pytest.mark.parametrize("name", ["taken", "public"])
async def test_a_schema_of_somebody_elses_is_neither_read_nor_dropped(
    empty: asyncpg.Connection, cleared_dsn: str, name: str
) -> None:
    await empty.execute(f"create schema if not exists {name}; create table {name}.kept (a int)")
    for refused in (
        lambda: read_marker(empty, name),
        lambda: drop_schema(empty, name, purposes=OURS),
        lambda: PostgresEventStore.connect(cleared_dsn, schema=name),
    ):
        with pytest.raises(CannotRunError, match="not created by Eventmark"):
            await refused()  # type: ignore[no-untyped-call]
    assert await empty.fetchval("select to_regclass($1) is not null", f"{name}.kept")


async def test_a_schema_whose_marker_is_empty_is_somebody_elses(empty: asyncpg.Connection) -> None:
    await install_schema(empty, "eventmark")
    await empty.execute("delete from eventmark.eventmark_store")
    with pytest.raises(CannotRunError, match="not created by Eventmark"):
        await drop_schema(empty, "eventmark", purposes=OURS)
    assert await schema_exists(empty, "eventmark")


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
async def test_a_schema_of_another_version_is_not_opened_and_of_a_newer_one_not_dropped(
    empty: asyncpg.Connection, cleared_dsn: str, version: int
) -> None:
    await install_schema(empty, "eventmark", purpose=Purpose.CORPUS)
    await empty.execute("update eventmark.eventmark_store set schema_version = $1", version)
    with pytest.raises(CannotRunError, match=f"version {version}"):
        await PostgresEventStore.connect(cleared_dsn)
    if version > SCHEMA_VERSION:
        with pytest.raises(CannotRunError, match=f"version {version}"):
            await drop_schema(empty, "eventmark", purposes=OURS)
    else:
        await drop_schema(empty, "eventmark", purposes=OURS)
    assert await schema_exists(empty, "eventmark") is (version > SCHEMA_VERSION)


@pytest.mark.parametrize("purposes", [OURS, {Purpose.CORPUS}, {Purpose.SCRATCH}, set(Purpose)])
async def test_a_store_in_use_is_never_dropped(empty: asyncpg.Connection, purposes: set[Purpose]) -> None:
    marker = await install_schema(empty, "eventmark")
    assert marker.purpose is Purpose.IN_USE
    with pytest.raises(CannotRunError, match="in use"):
        await drop_schema(empty, "eventmark", purposes=purposes, owner=marker.owner)
    assert await read_marker(empty, "eventmark") == marker


@pytest.mark.parametrize(
    ("made", "asked"), [(Purpose.CORPUS, Purpose.SCRATCH), (Purpose.SCRATCH, Purpose.CORPUS)]
)
async def test_a_schema_is_dropped_only_by_who_expects_what_it_is_for(
    empty: asyncpg.Connection, made: Purpose, asked: Purpose
) -> None:
    await install_schema(empty, "eventmark", purpose=made)
    with pytest.raises(CannotRunError, match="was made as a"):
        await drop_schema(empty, "eventmark", purposes={asked})
    await drop_schema(empty, "eventmark", purposes={made})
    assert not await schema_exists(empty, "eventmark")


async def test_a_scratch_schema_is_dropped_by_its_own_run_or_when_that_run_is_dead(
    empty: asyncpg.Connection, cleared_dsn: str
) -> None:
    await install_schema(empty, "eventmark", purpose=Purpose.SCRATCH, owner="a run")
    run = await asyncpg.connect(cleared_dsn, server_settings={"application_name": "eventmark bench"})
    assert await claim(run, "a run")
    with pytest.raises(CannotRunError, match=r"still going on: eventmark bench \(role .* server process"):
        await drop_schema(empty, "eventmark", purposes=OURS, owner="another run")
    assert await schema_exists(empty, "eventmark")
    await drop_schema(empty, "eventmark", purposes=OURS, owner="a run")
    await install_schema(empty, "eventmark", purpose=Purpose.SCRATCH, owner="a run")
    await run.close()
    await drop_schema(empty, "eventmark", purposes=OURS, owner="another run")
    assert not await schema_exists(empty, "eventmark")


async def _of_version_3(connection: asyncpg.Connection, schema: str) -> None:
    """A schema as an older release made it, whose marker tells no purpose."""
    await connection.execute(f"create schema {schema}")
    for migration in migrations()[:3]:
        await connection.execute(migration.script(schema, engine_tables=True))
    await connection.execute(
        f"insert into {schema}.eventmark_store (schema_version, store_name, ordering) values (3, 'eaf', 'horizon')"
    )


@pytest.mark.parametrize("migrated", [False, True])
async def test_an_older_schema_is_in_use_unless_it_has_a_ledger_of_the_seeding(
    empty: asyncpg.Connection, migrated: bool
) -> None:
    for schema in ("kept", "seeded"):
        await _of_version_3(empty, schema)
    await empty.execute("create table seeded.eventmark_corpus ()")
    if migrated:
        for schema, purpose in (("kept", Purpose.IN_USE), ("seeded", Purpose.CORPUS)):
            await migrate_schema(empty, schema)
            marker = await read_marker(empty, schema)
            assert marker is not None
            assert (marker.purpose, marker.owner, marker.digest) == (purpose, "", "")
    with pytest.raises(CannotRunError, match="in use"):
        await drop_schema(empty, "kept", purposes=OURS)
    await drop_schema(empty, "seeded", purposes=OURS)
    assert [await schema_exists(empty, schema) for schema in ("kept", "seeded")] == [True, False]


async def test_a_marker_shows_from_which_files_the_tables_were_made(empty: asyncpg.Connection) -> None:
    one, other = [await install_schema(empty, name, ordering=name) for name in ("horizon", "gap_aware")]
    without = await install_schema(empty, "bare", with_indexes=False)
    assert one.digest == without.digest != other.digest
    assert schema_digest("a", "b") != schema_digest("a", "c")


async def test_a_store_restored_from_a_server_that_was_ahead_is_not_opened(
    store: PostgresEventStore, connection: asyncpg.Connection, dsn: str
) -> None:
    """Its events would stay hidden from consumers until this server's transaction ids have caught up."""
    await store.append_events(stream_of(), new_events(3), expected_version=0)
    await (await PostgresEventStore.connect(dsn)).close()  # as it is, it opens
    await connection.execute("alter table eventmark.domain_events disable trigger user")
    await connection.execute("update eventmark.domain_events set transaction_id = '1000000000000'")
    with pytest.raises(CannotRunError, match="restored"):
        await PostgresEventStore.connect(dsn)


async def test_dropping_removes_the_schema_and_nothing_beside_it(empty: asyncpg.Connection) -> None:
    await install_schema(empty, "eventmark", purpose=Purpose.CORPUS)
    await install_schema(empty, "second")
    await drop_schema(empty, "eventmark", purposes=OURS)
    assert not await schema_exists(empty, "eventmark")
    assert await read_marker(empty, "second") is not None


async def test_an_installation_that_fails_leaves_nothing(empty: asyncpg.Connection) -> None:
    scripts = ["create table {schema}.first (a int);", "create table {schema}.second (a no_such_type);"]
    with pytest.raises(asyncpg.UndefinedObjectError):
        await create_marked_schema(
            empty, "eventmark", scripts, store_name="broken", ordering="horizon", purpose=Purpose.SCRATCH,
            owner="", digest="",
        )  # fmt: skip
    assert not await schema_exists(empty, "eventmark")
    await install_schema(empty, "eventmark")


async def test_an_installation_without_permission_is_refused_with_the_reason(
    empty: asyncpg.Connection,
) -> None:
    await empty.execute("create role nobody_here")
    try:
        await empty.execute("set role nobody_here")
        with pytest.raises(CannotRunError, match="permission"):
            await install_schema(empty, "eventmark")
        await empty.execute("reset role")
        await install_schema(empty, "eventmark")
        await empty.execute("set role nobody_here")
        with pytest.raises(CannotRunError, match="permission"):
            await read_marker(empty, "eventmark")
    finally:
        await empty.execute("reset role")
        await empty.execute("drop role nobody_here")


async def test_a_store_that_is_not_there_is_not_opened(cleared_dsn: str) -> None:
    with pytest.raises(CannotRunError, match="no event store"):
        await PostgresEventStore.connect(cleared_dsn, schema="nowhere")


ODD_NAMES = [
    "", " ", "Eventmark", "eventMark", '"eventmark"', 'public"; drop schema public cascade; --', "a-b", "a.b",
    "a b", "a\n", "eventmark\n", "1a", "pg_eventmark", "pg_", "pg_catalog", "x" * 49, "x" * 64, "schéma",
    "a$", "a'b", "a;b", "{schema}", "%s", "\0", "a\0",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES, ids=repr)
async def test_a_schema_name_that_is_not_plain_is_refused_everywhere(common_dsn: str, name: str) -> None:
    connection = await asyncpg.connect(common_dsn)
    try:
        for refused in (
            lambda: install_schema(connection, name),
            lambda: read_marker(connection, name),
            lambda: drop_schema(connection, name, purposes=OURS),
            lambda: PostgresEventStore.connect(common_dsn, schema=name),
        ):
            with pytest.raises(UsageError):
                await refused()  # type: ignore[no-untyped-call]
        assert await connection.fetchval("select count(*) from eventmark.eventmark_store") == 1
    finally:
        await connection.close()


async def test_reserved_words_and_the_longest_name_are_names_like_any_other(
    empty: asyncpg.Connection, cleared_dsn: str
) -> None:
    for name in ("select", "user", "order", "x" * 48, "_", "a1_b2"):
        assert quoted_schema(name) == f'"{name}"'
        await install_schema(empty, name, purpose=Purpose.SCRATCH)
        async with await PostgresEventStore.connect(cleared_dsn, schema=name) as store:
            batch = await store.stream_events(await store.create_tail_token(), wait_s=0.01)
            assert list(batch.events) == []
        await drop_schema(empty, name, purposes=OURS)
