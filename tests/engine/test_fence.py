"""Whoever outlives the store that it opened is refused, on new connections and on those that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from eventmark.domain import TrackingToken
from eventmark.engine import (
    ORDERINGS,
    EventProcessor,
    GroupAppender,
    PostgresEventStore,
    install_schema,
    isolation,
    read_marker,
    rebase,
)
from eventmark.engine.fence import fenced
from eventmark.engine.isolation import enable_row_level_security
from eventmark.engine.migrations import migrate_schema
from eventmark.engine.rebase import rebase_store
from eventmark.errors import CannotRunError, StoreReplacedError, TokenRefusedError
from tests.engine.builders import DEADLINE_S, SCHEMA, every_ordering, new_event, new_events, stream_of, until

Connection = asyncpg.Connection
Change = Callable[[Connection, str], Awaitable[object]]


@pytest.fixture
def clients_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a pooler that holds no connection to the server just now, and its clients' all the while."""

    async def see_nobody(*_: object) -> None: ...

    for module in (rebase, isolation):
        monkeypatch.setattr(module, "refuse_clients", see_nobody)


async def rebased(connection: Connection, ordering: str) -> None:
    await rebase_store(connection, SCHEMA)


async def made_anew(connection: Connection, ordering: str) -> None:
    await connection.execute(f"drop schema {SCHEMA} cascade")
    await install_schema(connection, SCHEMA, ordering=ordering)


async def given_policies(connection: Connection, ordering: str) -> None:
    await enable_row_level_security(connection, SCHEMA, ordering)


CHANGES = [rebased, made_anew, given_policies]


async def refuses_everything(store: PostgresEventStore, token: TrackingToken) -> None:
    for refused in (
        lambda: store.append_events(stream_of("late"), [new_event()], expected_version=0),
        lambda: store.load_aggregate("acme", "a-1"),
        lambda: store.stream_events(token, tenant_id="acme"),
        lambda: store.stream_events(token, tenant_id="acme", wait_s=0.01),
        lambda: store.create_head_token(tenant_id="acme"),
        lambda: store.find_events("acme", []),
        lambda: store.read_snapshot("acme", "a-1"),
        lambda: GroupAppender(store).append_events(stream_of("late"), [new_event()], expected_version=0),
        lambda: EventProcessor(store, "p", handle_nothing, transactional=False).run(),
        lambda: append_in_transaction(store),
    ):
        with pytest.raises(StoreReplacedError, match="no longer the one that was opened"):
            async with asyncio.timeout(DEADLINE_S):
                await refused()  # type: ignore[no-untyped-call]


async def handle_nothing(*_: object) -> None: ...


async def append_in_transaction(store: PostgresEventStore) -> None:
    async with store.transaction() as transaction:
        await transaction.append_events(stream_of("late"), [new_event()], expected_version=0)


@pytest.mark.parametrize("pooled", [False, True], ids=["sessions", "transaction_pooling"])
@pytest.mark.parametrize("change", CHANGES)
@every_ordering
@pytest.mark.usefixtures("clients_are_not_seen")
async def test_a_store_object_whose_store_has_another_identity_refuses_everything(
    dsn: str, connection: Connection, store_ordering: str, change: Change, pooled: bool
) -> None:
    async with await PostgresEventStore.connect(dsn, transaction_pooling=pooled, pool_max=1) as store:
        await store.append_events(stream_of(), new_events(3), expected_version=0)
        tail = await store.create_tail_token()
        for _ in range(6):  # by then its plans are generic, and cached
            await store.load_aggregate("acme", "a-1")
            await store.stream_events(tail, tenant_id="acme")
        await change(connection, store_ordering)
        await refuses_everything(store, tail)
    stored = await connection.fetchval(
        f"select count(*) from {SCHEMA}.domain_events where aggregate_id = 'late'"
    )
    assert stored == 0


@pytest.mark.usefixtures("clients_are_not_seen")
async def test_the_first_statement_on_a_connection_that_lives_on_is_refused_already(
    dsn: str, connection: Connection
) -> None:
    """Each statement by itself, for what one has found out the others know."""
    stores = [await PostgresEventStore.connect(dsn, pool_max=1, notify=False) for _ in range(4)]
    tail = await stores[0].create_tail_token()
    works: list[Callable[[PostgresEventStore], Awaitable[object]]] = [
        lambda store: store.append_events(stream_of("late"), [new_event()], expected_version=0),
        lambda store: store.load_aggregate("acme", "late"),
        lambda store: store.stream_events(tail),
        lambda store: store.run_statement("save_token", "p", 0, 0, "", None),
    ]
    for store, work in zip(stores[1:], works[1:], strict=True):
        await work(store)
    await stores[0].append_events(stream_of(), [new_event()], expected_version=0)
    await rebase_store(connection, SCHEMA)
    for store, work in zip(stores, works, strict=True):
        with pytest.raises(StoreReplacedError):
            await work(store)
        await store.close()


async def test_after_its_connections_broke_a_process_does_not_go_on_in_a_store_that_was_rebased(
    dsn: str, connection: Connection
) -> None:
    async with await PostgresEventStore.connect(dsn, schema=SCHEMA, notify=False) as store:
        await store.append_events(stream_of(), new_events(3), expected_version=0)
        token = (await store.stream_events(await store.create_tail_token())).token
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'eventmark' and datname = current_database()"
        )
        await until(lambda: is_rebased(connection))
        await refuses_everything(store, token)
    async with await PostgresEventStore.connect(dsn, schema=SCHEMA) as store:
        assert len(await store.load_aggregate("acme", "a-1")) == 3
        with pytest.raises(TokenRefusedError, match="another epoch"):
            await store.stream_events(token)


async def is_rebased(connection: Connection) -> bool:
    """Processes of the server that were ended take a moment to go."""
    try:
        await rebase_store(connection, SCHEMA)
    except CannotRunError:
        return False
    return True


@pytest.mark.usefixtures("clients_are_not_seen")
async def test_a_processor_at_work_ends_when_its_store_is_rebased(
    store: PostgresEventStore, connection: Connection
) -> None:
    processor = EventProcessor(store, "p", handle_nothing, lease_s=0.3)
    running = asyncio.create_task(processor.run())
    await until(lambda: is_claimed(processor))
    await rebase_store(connection, SCHEMA)
    with pytest.raises(StoreReplacedError):
        await asyncio.wait_for(running, DEADLINE_S)


async def is_claimed(processor: EventProcessor) -> bool:
    return processor.claim is not None


async def test_row_level_security_is_not_switched_on_under_connected_clients(
    dsn: str, connection: Connection
) -> None:
    async with await PostgresEventStore.connect(dsn) as store:
        await store.append_events(stream_of(), new_events(2), expected_version=0)
        with pytest.raises(CannotRunError, match="stop appenders and consumers, switch it on"):
            await enable_row_level_security(connection, SCHEMA, "horizon")
        assert len(await store.load_aggregate("acme", "a-1")) == 2
    marker = await read_marker(connection, SCHEMA)
    assert marker is not None and not marker.row_level_security
    await until(lambda: is_switched_on(connection))
    marker = await read_marker(connection, SCHEMA)
    assert marker is not None and marker.row_level_security


async def is_switched_on(connection: Connection) -> bool:
    """A client that has closed its connections takes a moment to go."""
    try:
        await enable_row_level_security(connection, SCHEMA, "horizon")
    except CannotRunError:
        return False
    return True


@pytest.mark.parametrize("damage", ["drop function {}()", "update {schema}.eventmark_store set epoch = 7"])
async def test_a_store_without_the_fence_of_its_marker_is_opened_after_a_migration_makes_it(
    dsn: str, connection: Connection, damage: str
) -> None:
    marker = await read_marker(connection, SCHEMA)
    assert marker is not None
    await connection.execute(damage.format(f"{SCHEMA}.{marker.fence}", schema=SCHEMA))
    with pytest.raises(CannotRunError, match="eventmark admin migrate"):
        await PostgresEventStore.connect(dsn)
    await migrate_schema(connection, SCHEMA)
    async with await PostgresEventStore.connect(dsn) as store:
        await store.append_events(stream_of(), new_events(1), expected_version=0)


@pytest.mark.parametrize("ordering", ORDERINGS)
async def test_the_fence_changes_no_plan(observer: Connection, ordering: str) -> None:
    marker = await install_schema(observer, SCHEMA, ordering=ordering)
    await observer.execute("set plan_cache_mode = force_generic_plan")
    for statement in ORDERINGS[ordering].statements().values():
        types = ", ".join(parameter.sql_type for parameter in statement.parameters)
        nulls = ", ".join("null" for _ in statement.parameters)
        plans = []
        for number, sql in enumerate(
            (statement.sql(SCHEMA), fenced(statement.sql(SCHEMA), SCHEMA, marker.fence))
        ):
            name = f"{statement.name}_{number}"
            await observer.execute(f"prepare {name}" + (f"({types})" if types else "") + f" as {sql}")
            plans.append(await observer.fetch(f"explain execute {name}" + (f"({nulls})" if nulls else "")))
        assert plans[0] == plans[1], statement.name
