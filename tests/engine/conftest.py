"""A store in a database of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import asyncpg
import pytest

from eventmark.engine import PostgresEventStore, install_schema
from eventmark.server import Server
from tests.engine.builders import SCHEMA


@pytest.fixture
async def dsn(database: str) -> str:
    """The DSN of a database of the test's own with an empty store in it."""
    await _install(database)
    return database


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


@pytest.fixture(scope="module")
def common_dsn(server: Server) -> Iterator[str]:
    """The DSN of a store that a module's tests share, each with a tenant of its own."""
    name = f"engine_{uuid4().hex}"
    asyncio.run(_execute(server.dsn, f"create database {name}"))
    shared = server.dsn.rsplit("/", 1)[0] + f"/{name}"
    asyncio.run(_install(shared))
    yield shared
    asyncio.run(_execute(server.dsn, f"drop database {name} with (force)"))


@pytest.fixture
async def common_store(common_dsn: str) -> AsyncIterator[PostgresEventStore]:
    async with await PostgresEventStore.connect(common_dsn, schema=SCHEMA, notify=False) as opened:
        yield opened


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has."""
    return f"tenant-{uuid4()}"


async def _install(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await install_schema(connection, SCHEMA)
    finally:
        await connection.close()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
