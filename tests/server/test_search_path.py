"""Where unqualified names lead, by the DSN alone."""

from __future__ import annotations

import os
import subprocess

import asyncpg
import pytest

from eventmark.server import Server
from eventmark.server.search_path import (
    confine,
    confined_dsn,
    extension_schemas,
    unconfined_dsn,
    with_options,
)
from tests.database import connected, execute, fetch

PATH = "select current_setting('search_path')"


def test_sessions_find_the_schema_then_extensions_and_nothing_else(database: str) -> None:
    dsn = confined_dsn(database, "shop", ("public",))
    assert fetch(dsn, PATH) == '"shop","public"'
    again = confined_dsn(dsn, "copy")
    assert fetch(again, PATH) == '"copy","public"'
    assert unconfined_dsn(again) == database


@pytest.mark.parametrize("given", ["?search_path=public", "?options=-csearch_path%3Dpublic"])
def test_what_the_dsn_states_of_the_search_path_does_not_count(database: str, given: str) -> None:
    assert fetch(confined_dsn(database + given, "shop"), PATH) == '"shop"'


def test_other_settings_of_the_dsn_are_kept(database: str) -> None:
    dsn = with_options(confined_dsn(f"{database}?options=-c%20work_mem%3D5MB", "shop"), "-c geqo=off")
    assert fetch(dsn, PATH) == '"shop"'
    assert fetch(dsn, "show work_mem") == "5MB"
    assert fetch(dsn, "show geqo") == "off"


@pytest.mark.parametrize("ended", ["reset all", "reset search_path", "discard all"])
def test_the_path_comes_back_when_a_session_is_reset(database: str, ended: str) -> None:
    async def ask(connection: asyncpg.Connection) -> str:
        await connection.execute("set search_path = public")
        await connection.execute(ended)
        return str(await connection.fetchval(PATH))

    assert connected(confined_dsn(database, "shop"), ask) == '"shop"'


def test_programs_of_the_server_take_the_same_path(server: Server, database: str) -> None:
    assert server.bin_directory is not None
    done = subprocess.run(
        [server.bin_directory / "psql", "-XAtc", "show search_path", confined_dsn(database, "shop", ("public",))],
        capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    assert done.stdout.strip() == '"shop","public"'


def test_an_extensions_schema_counts_only_while_nobody_else_keeps_anything_there(database: str) -> None:
    execute(database, "create extension pg_trgm")
    assert connected(database, extension_schemas) == ("public",)
    execute(database, "create table theirs (id int)")
    assert connected(database, extension_schemas) == ()
    execute(database, "drop table theirs", "create function theirs() returns int language sql as 'select 1'")
    assert connected(database, extension_schemas) == ()


def test_a_connection_is_confined_for_a_transaction_or_for_good(database: str) -> None:
    async def ask(connection: asyncpg.Connection) -> list[str]:
        paths = []
        async with connection.transaction():
            await confine(connection, "shop", local=True)
            paths.append(await connection.fetchval(PATH))
        paths.append(await connection.fetchval(PATH))
        await confine(connection, "shop")
        return [*paths, await connection.fetchval(PATH)]

    assert connected(database, ask) == ['"shop"', '"$user", public', '"shop"']
