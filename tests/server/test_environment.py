"""The fingerprint: what ran where, with which settings; and never a password."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import msgspec

from eventmark.server import Server, host_environment, provision, server_environment


def test_host_is_described_with_its_libraries() -> None:
    host = host_environment()
    assert host.cpu_count >= 1 and host.memory_mib > 100 and host.cpu_model
    assert host.libraries["asyncpg"] == asyncpg.__version__
    assert "CPython" in host.python or "PyPy" in host.python


def test_revision_is_the_commit_of_the_project_and_empty_elsewhere(tmp_path: Path) -> None:
    assert host_environment(tmp_path).revision == ""


async def test_settings_that_matter_are_shown_even_at_their_defaults(server: Server) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        found = await server_environment(connection, server, fsync_ms=0.25)
    finally:
        await connection.close()
    assert found.settings["synchronous_commit"] == "on"
    assert found.settings["fsync"] == "off"  # as the tests' server really runs
    assert "synchronous_commit" in found.tuning and "(" in found.tuning["synchronous_commit"]
    assert found.fsync_ms == 0.25 and found.version_num == server.version_num
    assert found.settings["shared_buffers"] == "128MB"


async def test_no_password_reaches_the_environment(server: Server) -> None:
    secret = "s3cr3t-never-shown"
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(f"alter system set primary_conninfo = 'host=x password={secret}'")
        await connection.execute("select pg_reload_conf()")
        while secret not in await connection.fetchval("show primary_conninfo"):
            pass
        found = msgspec.json.encode(await server_environment(connection, server)).decode()
    finally:
        await connection.execute("alter system reset primary_conninfo")
        await connection.execute("select pg_reload_conf()")
        await connection.close()
    assert secret not in found
    assert server.program_environment["PGPASSWORD"] not in found


async def test_server_by_dsn_has_no_tuning_of_ours(server: Server) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        with provision(server.dsn) as given:
            found = await server_environment(connection, given)
    finally:
        await connection.close()
    assert found.kind == "dsn" and found.tuning == {} and found.settings["fsync"] == "off"
