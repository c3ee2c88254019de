"""One real server for the session, one fresh database per test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import pytest

from eventmark.server import Server, provision
from tests.database import drop_database, execute

_numbers = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL 18, or with EVENTMARK_TEST_SERVER=local the installed one; not durable, so it is quick."""
    with provision(os.environ.get("EVENTMARK_TEST_SERVER", "embedded"), durable=False) as started:
        execute(started.dsn, "create extension if not exists pg_stat_statements")
        yield started


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The DSN of an empty database of the test's own."""
    name = f"test_{next(_numbers)}"
    execute(server.dsn, f"create database {name}")
    yield server.dsn.rsplit("/", 1)[0] + f"/{name}"
    drop_database(server.dsn, name)
