"""A store for each test: an empty one in a database that tests take in turns, or a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore, install_schema
from eventmark.engine.orderings import HORIZON, gap_aware
from eventmark.engine.payloads import DEFAULT_PAYLOAD
from eventmark.server import Server
from tests.database import FORGET_ROLES, drop_database
from tests.engine.builders import SCHEMA, opened

_CLEAR = """
    select pg_terminate_backend(pid, 60000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend';
    do $$ declare name text; begin
        for name in
            select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
        loop execute format('drop schema %I cascade', name); end loop;
        create schema public;
    end $$
"""


@pytest.fixture(scope="session")
def engine_database(server: Server) -> Iterator[str]:
    """The DSN of a database that one test after the other clears and uses: quicker than making one for each."""
    yield from new_database(server)


@pytest.fixture
async def cleared_dsn(engine_database: str) -> str:
    """The DSN of a database with nothing in it, and nobody: a wire that was cut may have left a session behind."""
    await _execute(engine_database, _CLEAR + ";" + FORGET_ROLES)
    return engine_database


@pytest.fixture
def store_ordering() -> str:
    """The ordering of the test's store; a module whose tests hold for every ordering overrides this."""
    return HORIZON.name


@pytest.fixture
def store_payload() -> str:
    """The type of the test's payloads; a module whose tests need another one overrides this."""
    return DEFAULT_PAYLOAD


@pytest.fixture
async def dsn(cleared_dsn: str, store_ordering: str, store_payload: str) -> str:
    """The DSN of a database with an empty, new store in it and nothing else."""
    await install(cleared_dsn, store_ordering, store_payload)
    return cleared_dsn


@pytest.fixture
async def own_dsn(database: str) -> str:
    """The same in a database of the test's own, for tests that change the database itself."""
    await install(database)
    return database


@pytest.fixture
async def own_connection(own_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(own_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[PostgresEventStore]:
    """An empty store of the test's own."""
    async with await PostgresEventStore.connect(dsn, schema=SCHEMA) as opened:
        yield opened


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A second connection to the store's database, to hold transactions and locks and to look."""
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def ordered(cleared_dsn: str, ordering: str, store_payload: str) -> AsyncIterator[PostgresEventStore]:
    """An empty store of the ``ordering`` that the test is parametrised with."""
    async with opened(cleared_dsn, ordering, store_payload) as store:
        yield store


@pytest.fixture
async def observer(cleared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to look with, there before any store is."""
    opened = await asyncpg.connect(cleared_dsn)
    yield opened
    await opened.close()


@pytest.fixture
def no_gap_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps are looked at whenever there are any."""
    monkeypatch.setattr(gap_aware, "GAP_TIMEOUT_S", 0.0)


@pytest.fixture(scope="module")
def common_dsn(server: Server) -> Iterator[str]:
    """The DSN of a store that a module's tests share, each with a tenant of its own."""
    for shared in new_database(server):
        asyncio.run(install(shared))
        yield shared


@pytest.fixture
async def common_store(common_dsn: str) -> AsyncIterator[PostgresEventStore]:
    async with await PostgresEventStore.connect(common_dsn, schema=SCHEMA, notify=False) as opened:
        yield opened


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has."""
    return f"tenant-{uuid4()}"


def new_database(server: Server) -> Iterator[str]:
    """The DSN of a database, which is dropped afterwards."""
    name = f"engine_{uuid4().hex}"
    asyncio.run(_execute(server.dsn, f"create database {name}"))
    yield server.dsn.rsplit("/", 1)[0] + f"/{name}"
    drop_database(server.dsn, name)


async def install(dsn: str, ordering: str = HORIZON.name, payload: str = DEFAULT_PAYLOAD) -> None:
    """An empty store in a database that has none."""
    connection = await asyncpg.connect(dsn)
    try:
        await install_schema(connection, SCHEMA, ordering=ordering, payload=payload)
    finally:
        await connection.close()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
