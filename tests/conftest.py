"""One real server for the session, one fresh database per test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from itertools import count

import asyncpg
import pytest

from eventmark.server import Server, provision

_numbers = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL 18, or with EVENTMARK_TEST_SERVER=local the installed one; not durable, so it is quick."""
    with provision(os.environ.get("EVENTMARK_TEST_SERVER", "embedded"), durable=False) as started:
        yield started


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The DSN of an empty database of the test's own."""
    name = f"test_{next(_numbers)}"
    asyncio.run(_execute(server.dsn, f"create database {name}"))
    yield server.dsn.rsplit("/", 1)[0] + f"/{name}"
    asyncio.run(_execute(server.dsn, f"drop database {name} with (force)"))


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
