"""Servers that take TLS only, and that have few connections: what works, and which cause an error names."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from eventmark.cli.main import run_command
from eventmark.engine import PostgresEventStore
from eventmark.errors import CONNECTIONS_REMEDY, CannotRunError, EventmarkError, StoreUnavailableError
from eventmark.operations.pgbench import pgbench_rate
from eventmark.server import Server, provision
from eventmark.server.connections import check_connections
from eventmark.server.dsn import check_server
from eventmark.server.installations import local_installation
from tests.database import execute, fetch
from tests.server.tls import CONNECTIONS_MAX, needs_tls, tls_server

pytestmark = needs_tls
SCHEMAS = "select count(*) from pg_namespace"


@pytest.fixture(scope="module")
def authority() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="eventmark-") as place:  # pytest's own are closed to the server
        yield Path(place)


@pytest.fixture(scope="module")
def encrypted(authority: Path) -> Iterator[Server]:
    with tls_server(authority) as server:
        yield server


def test_a_server_that_takes_tls_only_has_its_baselines_by_programs_that_can(
    encrypted: Server, authority: Path
) -> None:
    trusted = f"{encrypted.dsn}?sslmode=verify-full&sslrootcert={authority / 'ca.crt'}"
    with provision(trusted) as server:
        assert server.bin_directory == local_installation() / "bin"
        assert pgbench_rate(server, ["select 1;\n"], seconds=1, clients=1) > 0


@pytest.mark.parametrize(
    ("change", "cause", "remedy"),
    [
        (lambda dsn, ca: f"{dsn}?sslmode=disable", "no encryption", "pg_hba.conf"),
        (lambda dsn, ca: f"{dsn}?sslmode=verify-full", "root certificate file", "sslrootcert"),
        (
            lambda dsn, ca: f"{dsn}?sslmode=verify-full&sslrootcert=/etc/hostname",
            "certificate",
            "sslrootcert",
        ),
        (
            lambda dsn, ca: f"{dsn.replace('localhost', '127.0.0.1')}?sslmode=verify-full&sslrootcert={ca}",
            "not valid for '127.0.0.1'",
            "sslrootcert",
        ),
        (lambda dsn, ca: dsn.replace("@", "x@"), "password authentication failed", "user and the password"),
        (
            lambda dsn, ca: f"{dsn}?target_session_attrs=standby",
            "target_session_attrs",
            "leave target_session_attrs out",
        ),
    ],
    ids=["disable", "no authority", "no certificate", "another host's", "password", "standby"],
)
def test_an_error_names_the_cause_behind_it(
    encrypted: Server,
    authority: Path,
    change: Callable[[str, Path], str],
    cause: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(authority))
    dsn = change(encrypted.dsn, authority / "ca.crt")
    with pytest.raises(EventmarkError) as caught, provision(dsn):
        pass
    assert cause in caught.value.message and remedy in caught.value.remedy


def test_a_pool_larger_than_what_is_left_is_refused_before_anything_is_made(
    encrypted: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = fetch(encrypted.dsn, SCHEMAS)
    command = ["load", "--events", "2k", "--seconds", "1", "--pool", "20", "--server", encrypted.dsn]
    assert run_command(command) == 4
    printed = capsys.readouterr().err
    assert "20 connections are needed" in printed and f"max_connections {CONNECTIONS_MAX}" in printed
    assert CONNECTIONS_REMEDY in printed and fetch(encrypted.dsn, SCHEMAS) == before


def test_limits_of_server_role_and_database_are_named(encrypted: Server) -> None:
    async def left_of(dsn: str, wanted: int) -> str:
        connection = await asyncpg.connect(dsn)
        try:
            await check_connections(connection, wanted)
        except CannotRunError as error:
            return error.message
        finally:
            await connection.close()
        return ""

    def refusal(wanted: int) -> str:
        return asyncio.run(left_of(encrypted.dsn.replace("//eventmark:", "//few:"), wanted))

    password = encrypted.dsn.rpartition("@")[0].rpartition(":")[2]
    execute(encrypted.dsn, f"create role few login password '{password}'")
    try:
        assert refusal(CONNECTIONS_MAX - 4) == ""  # three are kept for superusers, one is asking
        assert f"max_connections {CONNECTIONS_MAX}" in refusal(CONNECTIONS_MAX - 3)
        execute(encrypted.dsn, "alter role few connection limit 5")
        assert refusal(4) == "" and "the role's connection limit 5" in refusal(5)
        execute(encrypted.dsn, "alter database postgres connection limit 4")
        assert refusal(3) == "" and "the database's connection limit 4" in refusal(4)
    finally:
        execute(encrypted.dsn, "alter database postgres connection limit -1", "drop role few")


def test_when_no_connection_is_left_the_error_reports_it_with_a_remedy(encrypted: Server) -> None:
    async def ask() -> None:
        async with AsyncExitStack() as taken:
            with pytest.raises(asyncpg.TooManyConnectionsError):
                while True:
                    connection = await asyncpg.connect(encrypted.dsn)
                    taken.push_async_callback(connection.close)
            with pytest.raises(CannotRunError, match="too many clients") as refused:
                await check_server(encrypted.dsn)
            assert refused.value.remedy == CONNECTIONS_REMEDY
            with pytest.raises(
                StoreUnavailableError, match=r"no connection left.*too many clients"
            ) as opened:
                await PostgresEventStore.connect(encrypted.dsn)
            assert opened.value.remedy == CONNECTIONS_REMEDY

    asyncio.run(ask())
