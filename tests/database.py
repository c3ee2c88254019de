"""Statements and questions to a database, each over a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg

from eventmark.server import Server

Answer = TypeVar("Answer")


FORGET_ROLES = """
do $$ declare name text; begin
    for name in select rolname from pg_roles where shobj_description(oid, 'pg_authid') like 'eventmark store %' loop
        begin
            execute format('drop role %I', name);
        exception when dependent_objects_still_exist then null;  -- another database's
        end;
    end loop;
end $$
"""
"""Roles are the cluster's: those of stores that are gone, so that the next test's are not taken for somebody else's."""


def execute(dsn: str, *statements: str) -> None:
    """One after the other, each a transaction of its own unless it says otherwise."""

    async def run(connection: asyncpg.Connection[Any]) -> None:
        for statement in statements:
            await connection.execute(statement)

    connected(dsn, run)


def fetch(dsn: str, query: str) -> Any:
    """The first column of the answer's first row."""
    return connected(dsn, lambda connection: connection.fetchval(query))


def drop_database(dsn: str, name: str) -> None:
    """And let the server that is asked by ``dsn`` forget its statements.

    It has room for 5,000: those of thousands of tests would drive out the ones that a test is counting.
    """
    number = fetch(dsn, f"select oid from pg_database where datname = '{name}'")
    execute(
        dsn,
        f"drop database {name} with (force)",
        f"select pg_stat_statements_reset(0, {number}, 0)",
        FORGET_ROLES,
    )


@contextmanager
def cloned(server: Server, template: str) -> Iterator[str]:
    """The DSN of a copy of a database, dropped afterwards."""
    name = f"{template}_{uuid4().hex[:8]}"
    execute(server.dsn, f"create database {name} template {template} strategy file_copy")
    yield server.dsn.rsplit("/", 1)[0] + f"/{name}"
    drop_database(server.dsn, name)


def connected(dsn: str, ask: Callable[[asyncpg.Connection[Any]], Coroutine[Any, Any, Answer]]) -> Answer:
    """What ``ask`` answers when it is given a connection."""

    async def run() -> Answer:
        connection = await asyncpg.connect(dsn)
        try:
            return await ask(connection)
        finally:
            await connection.close()

    return asyncio.run(run())
