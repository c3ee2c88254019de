"""Safety of a store: what is stored stays, roles can do what is theirs, tenants are kept apart, restores are seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from eventmark.domain import Snapshot, TrackingToken, TransactionId
from eventmark.engine import (
    ORDERINGS,
    EventProcessor,
    GroupAppender,
    PostgresEventStore,
    install_schema,
    read_marker,
)
from eventmark.engine.migrations import migrate_schema, migrations
from eventmark.engine.payload_change import change_payload_type
from eventmark.engine.rebase import rebase_store
from eventmark.engine.roles import grant_roles, safety_script
from eventmark.engine.schema import SCHEMA_VERSION, Purpose, drop_schema
from eventmark.errors import (
    CannotRunError,
    EventStoreError,
    StoreUnavailableError,
    TokenRefusedError,
    UsageError,
)
from tests.engine.builders import SCHEMA, new_event, new_events, read_on, stream_of

Connection = asyncpg.Connection
AHEAD = "alter table eventmark.domain_events disable trigger user; update eventmark.domain_events set transaction_id = (transaction_id::text::bigint + 1000000000)::text::xid8"


@pytest.fixture
async def owner(cleared_dsn: str) -> AsyncIterator[Connection]:
    """The superuser who installs."""
    connection = await asyncpg.connect(cleared_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def login(owner: Connection, cleared_dsn: str) -> AsyncIterator[str]:
    """The DSN of a role that may log in and nothing else."""
    await owner.execute("drop role if exists visitor; create role visitor login password 'secret'")
    parts = urlsplit(cleared_dsn)
    yield urlunsplit(parts._replace(netloc=f"visitor:secret@{parts.hostname}:{parts.port}"))
    await owner.execute("drop role if exists visitor")


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("change", ["update {} set payload = '{{}}'", "delete from {}", "truncate {}"])
async def test_stored_events_are_neither_changed_nor_removed_by_anybody(
    owner: Connection, cleared_dsn: str, change: str, ordering: str
) -> None:
    await install_schema(owner, SCHEMA, ordering=ordering)
    async with await PostgresEventStore.connect(cleared_dsn, notify=False) as store:
        await store.append_events(stream_of(), new_events(2), expected_version=0)
    for replica in ("origin", "replica"):
        await owner.execute(f"set session_replication_role = {replica}")
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await owner.execute(change.format(f"{SCHEMA}.domain_events"))
    assert (
        await owner.fetchval(f"select count(*) from {SCHEMA}.domain_events where payload::text <> '{{}}'")
        == 2
    )


async def test_an_appender_appends_and_reads_and_does_no_more(
    owner: Connection, login: str, cleared_dsn: str
) -> None:
    await install_schema(owner, SCHEMA, roles=True)
    await owner.execute("grant eventmark_appender to visitor")
    async with await PostgresEventStore.connect(login, notify=False) as store:
        sent = new_events(3)
        await store.append_events(stream_of(), sent, expected_version=0)
        assert len(await store.load_aggregate("acme", "a-1")) == 3
        snapshot = Snapshot(
            stream=stream_of(),
            sequence_number=2,
            payload={"a": 1},
            payload_type="S",
            timestamp=sent[0].timestamp,
        )  # type: ignore[arg-type]
        await store.store_snapshot(snapshot)
        assert (await store.read_snapshot("acme", "a-1")) is not None
        assert len((await read_on(store, await store.create_tail_token(), 3)).events) == 3
        processor = EventProcessor(store, "p", keep)
        running = asyncio.create_task(processor.run())
        while not processor.events_handled:
            assert not running.done(), running.exception()
            await asyncio.sleep(0.01)
        processor.stop()
        await running
    visitor = await asyncpg.connect(login)
    for refused in (
        f"insert into {SCHEMA}.domain_events (transaction_id) values ('1')",
        f"delete from {SCHEMA}.aggregate_snapshots",
        f"update {SCHEMA}.eventmark_store set epoch = 9",
        f"alter table {SCHEMA}.domain_events disable trigger user",
        f"drop table {SCHEMA}.domain_events",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await visitor.execute(refused)
    await visitor.close()


async def keep(*_: object) -> None: ...


async def test_a_reader_reads_and_cannot_append(owner: Connection, login: str, cleared_dsn: str) -> None:
    await install_schema(owner, SCHEMA, roles=True)
    await owner.execute("grant eventmark_reader to visitor")
    async with await PostgresEventStore.connect(cleared_dsn, notify=False) as store:
        await store.append_events(stream_of(), new_events(2), expected_version=0)
    async with await PostgresEventStore.connect(login, notify=False) as store:
        assert len(await store.load_aggregate("acme", "a-1")) == 2
        assert len((await read_on(store, await store.create_tail_token(), 2)).events) == 2
        with pytest.raises(EventStoreError, match="permission denied"):
            await store.append_events(stream_of(), new_events(1), expected_version=2)


async def test_a_role_that_was_granted_nothing_is_reported(owner: Connection, login: str) -> None:
    await install_schema(owner, SCHEMA, roles=True)
    with pytest.raises((CannotRunError, StoreUnavailableError), match="permission"):
        await PostgresEventStore.connect(login)


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_row_level_security_keeps_tenants_apart_in_a_pool_they_share(
    owner: Connection, login: str, ordering: str
) -> None:
    await install_schema(owner, SCHEMA, ordering=ordering, row_level_security=True)
    await owner.execute("grant eventmark_appender to visitor")
    async with await PostgresEventStore.connect(login, notify=False, pool_max=3) as store:

        async def work(tenant: str) -> None:
            for version in range(10):
                stream = stream_of("same-id", tenant_id=tenant)
                await store.append_events(stream, new_events(1), expected_version=version)
                loaded = await store.load_aggregate(tenant, "same-id")
                assert [event.tenant_id for event in loaded] == [tenant] * (version + 1)
                batch = await store.stream_events(await store.create_tail_token(), tenant_id=tenant)
                assert {event.tenant_id for event in batch.events} <= {tenant}

        await asyncio.gather(*(work(f"tenant-{number}") for number in range(8)))
        batch = await read_on(store, await store.create_tail_token(), 10, tenant_id="tenant-3")
        assert len(batch.events) == 10
        tail = await store.create_tail_token()
        for refused in (store.stream_events(tail), store.create_head_token(tenant_id="tenant-3")):
            with pytest.raises(TokenRefusedError, match="the events of one tenant at a time"):
                await refused
        with pytest.raises(UsageError, match="row-level security"):
            GroupAppender(store)
        session = await store.pool.acquire()
        for unset in (None, "set_config('eventmark.tenant_id', '', false)"):
            if unset:
                await session.connection.execute(f"select {unset}")
            assert await session.connection.fetchval(f"select count(*) from {SCHEMA}.domain_events") == 0
        store.pool.release(session)
    visitor = await asyncpg.connect(login)
    async with visitor.transaction():
        await visitor.execute("select set_config('eventmark.tenant_id', 'tenant-1', true)")
        assert await visitor.fetchval(f"select count(*) from {SCHEMA}.domain_events") == 10
    assert await visitor.fetchval(f"select count(*) from {SCHEMA}.domain_events") == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with visitor.transaction():
            await visitor.execute("select set_config('eventmark.tenant_id', 'tenant-1', true)")
            await visitor.execute(
                f"insert into {SCHEMA}.aggregate_snapshots values (1, now(), 'tenant-2', 'a', 'b', 'c', 'd', '{{}}')"
            )
    await visitor.close()


@pytest.mark.parametrize("ordering", ["horizon", "gap_aware", "table_lock"])
async def test_a_consumer_reads_all_tenants_under_row_level_security(
    owner: Connection, login: str, ordering: str
) -> None:
    await install_schema(owner, SCHEMA, ordering=ordering, row_level_security=True)
    await owner.execute("grant eventmark_appender, eventmark_consumer to visitor")
    async with await PostgresEventStore.connect(login, notify=False) as store:
        for tenant in ("a", "b"):
            await store.append_events(stream_of(tenant_id=tenant), new_events(2), expected_version=0)
        batch = await read_on(store, await store.create_tail_token(), 4)
        assert [event.tenant_id for event in batch.events] == ["a", "a", "b", "b"]
        assert await store.create_head_token() == batch.token


async def test_whom_row_level_security_does_not_bind_is_refused(
    owner: Connection, login: str, cleared_dsn: str
) -> None:
    await install_schema(owner, SCHEMA, row_level_security=True)
    with pytest.raises(CannotRunError, match="is a superuser"):
        await PostgresEventStore.connect(cleared_dsn)
    await owner.execute("grant eventmark_owner to visitor")
    with pytest.raises(CannotRunError, match="owns the tables"):
        await PostgresEventStore.connect(login)
    await owner.execute("revoke eventmark_owner from visitor; grant eventmark_appender to visitor")
    await owner.execute("alter role visitor bypassrls")
    with pytest.raises(CannotRunError, match="BYPASSRLS"):
        await PostgresEventStore.connect(login)
    await owner.execute("alter role visitor nobypassrls")
    await owner.execute(f"alter table {SCHEMA}.domain_events no force row level security")
    with pytest.raises(CannotRunError, match="switched off"):
        await PostgresEventStore.connect(login)


CATALOGUE = """
    select 'column' as kind, c.relname || '.' || a.attname as name,
        format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || a.attidentity::text
            || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
            || ' ' || coalesce((select collname from pg_collation where oid = a.attcollation), '') as definition
    from pg_attribute a join pg_class c on c.oid = a.attrelid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = $1::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
    union all
    select 'constraint', c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
    from pg_constraint k join pg_class c on c.oid = k.conrelid where c.relnamespace = $1::regnamespace and k.contype <> 'n'
    union all
    select 'index', indexname, indexdef from pg_indexes where schemaname = $1::text
    union all
    select 'trigger', t.tgname, pg_get_triggerdef(t.oid) || t.tgenabled::text
    from pg_trigger t join pg_class c on c.oid = t.tgrelid where c.relnamespace = $1::regnamespace
    union all
    select
        'function', regexp_replace(p.proname, '^fence_[0-9a-f]{32}$', 'fence'),  -- named after the store's id
        regexp_replace(pg_get_functiondef(p.oid), 'fence_[0-9a-f]{32}', 'fence')
    from pg_proc p where p.pronamespace = $1::regnamespace
    union all
    select 'options', c.relname, coalesce(c.reloptions::text, '') || c.relrowsecurity || c.relkind::text
    from pg_class c where c.relnamespace = $1::regnamespace
    order by 1, 2, 3
"""


async def catalogue(connection: Connection) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await connection.fetch(CATALOGUE, SCHEMA)]


async def installed_at(connection: Connection, version: int) -> None:
    """The schema as the release of that version made it."""
    await connection.execute(f"create schema {SCHEMA}")
    for migration in migrations()[:version]:
        await connection.execute(migration.script(SCHEMA, engine_tables=True))
    names = "schema_version, store_name" + (", ordering" if version >= 3 else "")
    values = "$1, 'eaf'" + (", 'horizon'" if version >= 3 else "")
    await connection.execute(f"insert into {SCHEMA}.eventmark_store ({names}) values ({values})", version)


@pytest.mark.parametrize("payload", ["jsonb", "json"])
async def test_an_installation_equals_the_sum_of_all_migrations(owner: Connection, payload: str) -> None:
    await install_schema(owner, SCHEMA, payload=payload)
    installed = await catalogue(owner)
    await owner.execute(f"drop schema {SCHEMA} cascade")
    await installed_at(owner, 1)
    assert await migrate_schema(owner, SCHEMA) == (1, SCHEMA_VERSION)
    for name in ("key_collation", "token_indexes"):  # which no migration does unasked
        await owner.execute(safety_script(name, SCHEMA))
    assert await change_payload_type(owner, SCHEMA, payload) == (payload == "json")
    assert await catalogue(owner) == installed
    assert len(installed) > 40


async def test_an_older_store_is_refused_until_it_is_migrated_and_keeps_its_events(
    owner: Connection, cleared_dsn: str
) -> None:
    await installed_at(owner, 1)
    await owner.execute(
        f"insert into {SCHEMA}.domain_events (sequence_number, expected_version, timestamp_utc, event_id, tenant_id,"
        " stream_id, aggregate_type, aggregate_id, event_type, payload_type, payload_revision, payload, metadata)"
        " values (1, 0, now(), gen_random_uuid(), 'acme', 'Order:a-1', 'Order', 'a-1', 't', 't', '1', '{}', '{}')"
    )
    with pytest.raises(CannotRunError, match="eventmark admin migrate"):
        await PostgresEventStore.connect(cleared_dsn)
    await migrate_schema(owner, SCHEMA)
    async with await PostgresEventStore.connect(cleared_dsn, notify=False) as store:
        assert store.ordering.name == "horizon"
        await store.append_events(stream_of(), [new_event()], expected_version=1)
        assert len(await store.load_aggregate("acme", "a-1")) == 2
    assert await migrate_schema(owner, SCHEMA) == (SCHEMA_VERSION, SCHEMA_VERSION)


async def test_a_schema_that_is_not_there_or_newer_is_not_migrated(owner: Connection) -> None:
    with pytest.raises(CannotRunError, match="no event store"):
        await migrate_schema(owner, "nowhere")
    await install_schema(owner, SCHEMA)
    await owner.execute(f"update {SCHEMA}.eventmark_store set schema_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(CannotRunError, match=f"knows {SCHEMA_VERSION} at most"):
        await migrate_schema(owner, SCHEMA)


async def test_a_store_restored_from_a_server_that_was_ahead_is_served_after_a_rebase(
    owner: Connection, cleared_dsn: str
) -> None:
    await install_schema(owner, SCHEMA)
    sent = []
    async with await PostgresEventStore.connect(cleared_dsn, notify=False) as store:
        for number in range(12):
            new = new_events(2)
            await store.append_events(stream_of(f"s-{number % 4}"), new, expected_version=number // 4 * 2)
            sent += [event.event_id for event in new]
        token = (await read_on(store, await store.create_tail_token(), 24)).token
    await owner.execute(AHEAD)
    await owner.execute(f"alter table {SCHEMA}.domain_events enable always trigger domain_events_append_only")
    with pytest.raises(CannotRunError, match="eventmark admin rebase"):
        await PostgresEventStore.connect(cleared_dsn)
    done = await rebase_store(owner, SCHEMA)
    assert (done.epoch, done.events_moved) == (2, 24)
    async with await PostgresEventStore.connect(cleared_dsn, notify=False) as store:
        with pytest.raises(TokenRefusedError, match="another epoch"):
            await store.stream_events(token)
        await store.append_events(stream_of("s-0"), [late := new_event()], expected_version=6)
        batch = await read_on(store, await store.create_tail_token(), 25)
        assert [event.event_id for event in batch.events] == [*sent, late.event_id]
        assert await store.create_head_token() == batch.token
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute(f"delete from {SCHEMA}.domain_events")


async def test_a_rebase_waits_for_nobody_who_still_uses_the_store(
    owner: Connection, cleared_dsn: str
) -> None:
    await install_schema(owner, SCHEMA)
    async with await PostgresEventStore.connect(cleared_dsn, notify=False):
        with pytest.raises(CannotRunError, match="connections of the event store are open"):
            await rebase_store(owner, SCHEMA)
    marker = await read_marker(owner, SCHEMA)
    assert marker is not None and marker.epoch == 1


@pytest.mark.parametrize("row_level_security", [False, True])
async def test_every_member_of_the_owners_role_can_rebase_and_processors_tokens_are_carried_over(
    owner: Connection, login: str, row_level_security: bool
) -> None:
    """Also where the policies, which bind the owner, would show no event."""
    await install_schema(owner, SCHEMA, roles=True, row_level_security=row_level_security)
    roles = "eventmark_appender" + ", eventmark_consumer" * row_level_security
    await owner.execute(f"grant {roles} to visitor")
    async with await PostgresEventStore.connect(login, notify=False) as store:
        await store.append_events(stream_of(), new_events(2), expected_version=0)
        await store.append_events(stream_of("b"), new_events(2), expected_version=0)
        batch = await read_on(store, await store.create_tail_token(), 3, limit=3)
        ahead = replace(batch.token, transaction_id=TransactionId(batch.token.transaction_id + 1_000_000_000))
        await store.run_statement("create_processor", "p", 1, str(ahead))
    await owner.execute("grant eventmark_owner to visitor")
    await owner.execute(AHEAD)
    visitor = await asyncpg.connect(login)
    for connection, moved in ((visitor, 4), (owner, 0), (visitor, 0)):
        done = await rebase_store(connection, SCHEMA)
        assert (done.events_moved, done.segments_carried) == (moved, 1)
    await visitor.close()
    await owner.execute("revoke eventmark_owner from visitor")
    async with await PostgresEventStore.connect(login, notify=False) as store:
        text = await owner.fetchval(f"select token from {SCHEMA}.tracking_tokens")
        rest = await read_on(store, TrackingToken.parse(text), 1)
        assert [(event.aggregate_id, event.sequence_number) for event in rest.events] == [("b", 2)]


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_no_index_depends_on_how_a_language_sorts(owner: Connection, ordering: str) -> None:
    await install_schema(owner, SCHEMA, ordering=ordering)
    collations = await owner.fetch(
        "select i.indexrelid::regclass::text as index, c.collname from pg_index i"
        " join pg_class r on r.oid = i.indrelid and r.relnamespace = $1::regnamespace,"
        " unnest(i.indcollation) as used join pg_collation c on c.oid = used",
        SCHEMA,
    )
    assert {row["collname"] for row in collations} == {"C"}
    assert len(collations) > 6


async def test_roles_of_somebody_else_s_are_refused_and_not_taken_over(owner: Connection) -> None:
    await install_schema(owner, SCHEMA)
    await owner.execute("create role eventmark_appender nologin")
    try:
        with pytest.raises(
            CannotRunError, match="eventmark_appender is there already and is not this store's"
        ) as refused:
            await grant_roles(owner, SCHEMA)
        assert await owner.fetchval("select count(*) from pg_roles where rolname = 'eventmark_owner'") == 0
        assert not await owner.fetchval(
            "select has_schema_privilege('eventmark_appender', 'eventmark', 'usage')"
        )
        mark = refused.value.remedy.partition("if it is meant for this store: ")[2]
        await owner.execute(mark)  # the remedy that is told
        await grant_roles(owner, SCHEMA)
        await grant_roles(owner, SCHEMA)
    finally:
        await owner.execute("drop schema eventmark cascade; drop role if exists eventmark_appender")


async def test_the_roles_of_another_database_s_store_are_refused(owner: Connection, database: str) -> None:
    await install_schema(owner, SCHEMA, roles=True)
    other = await asyncpg.connect(database)
    with pytest.raises(CannotRunError, match="is not this store's"):
        await install_schema(other, SCHEMA, roles=True)
    assert await read_marker(other, SCHEMA) is None
    await other.close()


@pytest.mark.parametrize("secured", [False, True])
async def test_a_scratch_schema_takes_its_roles_with_it(owner: Connection, secured: bool) -> None:
    before = await owner.fetchval("select array_agg(rolname order by 1) from pg_roles")
    await install_schema(owner, "passing", roles=True, row_level_security=secured, purpose=Purpose.SCRATCH)
    assert await owner.fetchval("select count(*) from pg_roles where rolname like 'passing%'") == 3 + secured
    await drop_schema(owner, "passing", purposes={Purpose.SCRATCH})
    assert await owner.fetchval("select array_agg(rolname order by 1) from pg_roles") == before
