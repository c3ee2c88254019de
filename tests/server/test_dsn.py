"""Servers by DSN: what is refused, in one line, without the password."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from eventmark.errors import CannotRunError, EventmarkError, UsageError
from eventmark.redaction import redact
from eventmark.server import Server, provision
from eventmark.server.account import server_account
from eventmark.server.cluster import Cluster
from eventmark.server.dsn import _refuse_version, check_server, split_password
from eventmark.server.installations import embedded_installation, local_installation
from tests.database import execute

SECRET = "s3cr3t-never-shown"


def refusal(dsn: str) -> EventmarkError:
    """The error that provisioning ends with: one line, with a remedy, without any password."""
    with pytest.raises(EventmarkError) as caught, provision(dsn):
        pass
    error = caught.value
    assert SECRET not in str(error) and "\n" not in str(error) and error.remedy
    return error


@contextmanager
def a_role(server: Server, name: str, options: str = "") -> Iterator[str]:
    execute(server.dsn, f"create role {name} login password '{SECRET}' {options}")
    try:
        yield f"{name}:{SECRET}@"
    finally:
        execute(server.dsn, f"drop role {name}")


def as_user(dsn: str, user: str) -> str:
    return dsn.replace(urlsplit(dsn).netloc.rpartition("@")[0] + "@", user)


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        (f"postgresql://me:{SECRET}@host:5433/db", "postgresql://me@host:5433/db"),
        (f"postgres://me:p@ss@{SECRET}@host/db", "<unreadable DSN>"),
        (f"postgresql://me:{SECRET}/x@host/db", "<unreadable DSN>"),
        (f"postgresql://me:{SECRET}?x=1@host/db", "<unreadable DSN>"),
        (f"postgresql://me:{SECRET}#x@host/db", "<unreadable DSN>"),
        (f"postgresql://me:{SECRET} x@host/db", "<unreadable DSN>"),
        (f"postgresql://me:{SECRET}%zz@host/db", "<unreadable DSN>"),
        (f"postgresql://me:{SECRET}", "<unreadable DSN>"),
        (f"postgresql://host/db?password=a&{SECRET}", "<unreadable DSN>"),
        (f"postgresql://host/db?password=a&{SECRET}=b", "<unreadable DSN>"),
        (f"postgresql://host/db?sslpassword={SECRET}", "postgresql://host/db?sslpassword=***"),
        (f"postgresql://:{SECRET}@host/db", "postgresql://host/db"),
        ("postgresql://me@[::1]:5433/db", "postgresql://me@[::1]:5433/db"),
        ("postgresql://one:1,two:2/db", "postgresql://one:1,two:2/db"),
        (
            f"postgresql:///db?host=/run/pg&password={SECRET}&sslmode=require",
            "postgresql:///db?host=/run/pg&password=***&sslmode=require",
        ),
        (f"postgresql://host/db?pass%77ord={SECRET}", "postgresql://host/db?password=***"),
        (f"postgresql://host/db#{SECRET}", "<unreadable DSN>"),
        (f"postgresql://me:{SECRET}@[host/db", "<unreadable DSN>"),
        (f"host=h password={SECRET}", "host=h password=***"),
        (f"host=h password='a {SECRET}' user=me", "host=h password=*** user=me"),
        (f"host=h password=a {SECRET} user=me", "<unreadable DSN>"),
        (f"host=h password='a'{SECRET}' user=me", "<unreadable DSN>"),
        (f"host=h password=a {SECRET}=b", "<unreadable DSN>"),
        (f"mysql://me:{SECRET}@host/db", "<unreadable DSN>"),
    ],
)
def test_redacted_dsn_shows_the_server_and_never_the_password(dsn: str, shown: str) -> None:
    assert redact(dsn) == shown


@pytest.mark.parametrize(
    ("dsn", "without", "secrets"),
    [
        (
            "postgresql://me:a%40b@h:1/db?sslmode=require",
            "postgresql://me@h:1/db?sslmode=require",
            {"password": "a@b"},
        ),
        ("postgresql://me@h/db?password=x", "postgresql://me@h/db", {"password": "x"}),
        (
            "postgresql://me@h/db?sslpassword=x%2Fy&sslkey=k",
            "postgresql://me@h/db?sslkey=k",
            {"sslpassword": "x/y"},
        ),
        ("postgresql://h/db", "postgresql://h/db", {}),
    ],
)
def test_passwords_are_taken_out_of_a_dsn_whole(dsn: str, without: str, secrets: dict[str, str]) -> None:
    assert split_password(dsn) == (without, secrets)


def test_server_by_dsn_is_used_as_it_is(server: Server) -> None:
    with provision(server.dsn) as given:
        assert given.kind == "dsn" and given.version_num == server.version_num
        assert given.directory is None and given.pid == server.pid and given.tuning == ()
    execute(server.dsn, "select 1")  # and it runs on


def test_server_by_dsn_can_be_had_where_a_loop_runs_already(server: Server) -> None:
    async def inside() -> int:
        with provision(server.dsn) as given:
            return given.version_num

    assert asyncio.run(inside()) == server.version_num


def test_wrong_password_is_said_without_it(server: Server) -> None:
    error = refusal(as_user(server.dsn, f"eventmark:{SECRET}@"))
    assert isinstance(error, CannotRunError) and "password authentication failed" in error.message


def test_unknown_role_is_named(server: Server) -> None:
    assert '"nobody_knows"' in refusal(as_user(server.dsn, f"nobody_knows:{SECRET}@")).message


def test_unknown_database_is_named(server: Server) -> None:
    error = refusal(server.dsn.rsplit("/", 1)[0] + "/not_there")
    assert "not_there" in error.message and "no such database" in error.message


def test_unknown_host_is_named() -> None:
    error = refusal(f"postgresql://me:{SECRET}@no-such-host.invalid/db")
    assert isinstance(error, CannotRunError) and "no-such-host.invalid" in error.message


def test_port_where_nothing_listens_is_named() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # bound and not listening: refused for certain
        port = probe.getsockname()[1]
        assert f"127.0.0.1:{port}" in refusal(f"postgresql://me:{SECRET}@127.0.0.1:{port}/db").message


def test_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventmark.server.dsn.CONNECT_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        assert "no answer within 0.3 s" in refusal(f"postgresql://me:{SECRET}@127.0.0.1:{port}/db").message


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://me:{SECRET}@host:port/db",
        f"postgresql://me:{SECRET}@host:99999999/db",
        f"postgresql://me:{SECRET}@[host/db",
        f"mysql://me:{SECRET}@host/db",
        f"postgresql://me:{SECRET}@host/db?sslmode=perhaps",
    ],
)
def test_malformed_dsn_is_a_usage_error(dsn: str) -> None:
    assert isinstance(refusal(dsn), UsageError)


@pytest.mark.parametrize("spec", ["", "oracle", "embeded", "postgresql:/host"])
def test_unknown_kind_of_server_is_a_usage_error(spec: str) -> None:
    assert isinstance(refusal(spec), UsageError)


@pytest.mark.parametrize(
    "label",
    [
        "comment on database {name} is 'The PRODUCTION system'",
        "alter database {name} set eventmark.production = 'on'",
    ],
)
def test_database_labelled_as_production_is_refused(server: Server, database: str, label: str) -> None:
    name = database.rsplit("/", 1)[1]
    execute(database, label.format(name=name))
    assert "labelled as production" in refusal(database).message


def test_read_only_database_is_refused(server: Server, database: str) -> None:
    name = database.rsplit("/", 1)[1]
    execute(database, f"alter database {name} set default_transaction_read_only = on")
    assert "read-only" in refusal(database).message
    execute(server.dsn, f"alter database {name} reset default_transaction_read_only")


def test_role_that_may_not_create_is_refused_and_names_the_grant(server: Server, database: str) -> None:
    with a_role(server, "visitor") as user:
        error = refusal(as_user(database, user))
        assert "may not create schemas" in error.message and "grant CREATE" in error.remedy


def test_role_that_may_create_is_enough(server: Server, database: str) -> None:
    with a_role(server, "tenant_of_the_house") as user:
        execute(database, f"grant create on database {database.rsplit('/', 1)[1]} to tenant_of_the_house")
        version_num, _ = asyncio.run(check_server(as_user(database, user)))
        assert version_num == server.version_num
        execute(database, "drop owned by tenant_of_the_house")


def test_standby_is_refused() -> None:
    local = os.environ.get("EVENTMARK_TEST_SERVER") == "local"
    installation = local_installation() if local else embedded_installation()
    directory = Path("/var/tmp") / f"eventmark-test-{os.getpid()}"
    cluster = Cluster(installation, directory)
    try:
        cluster.prepare([])
        signal_file = directory / "data" / "standby.signal"
        signal_file.touch()
        server_account().own(signal_file)
        cluster.start()
        dsn = f"postgresql://eventmark:{cluster.password}@127.0.0.1:{cluster.port}/postgres"
        assert "is a standby" in refusal(dsn).message
    finally:
        cluster.stop()
        cluster.remove()
    assert not directory.exists()


@pytest.mark.parametrize(("major", "minor"), [(14, 13), (9, 6)])
def test_server_that_is_too_old_is_refused(major: int, minor: int) -> None:
    version = asyncpg.ServerVersion(major, minor, 0, "final", 0)
    with pytest.raises(CannotRunError, match=f"PostgreSQL {major}.{minor}") as caught:
        _refuse_version(version, "postgresql://host/db")
    assert "15" in caught.value.remedy


def test_local_server_that_is_not_where_it_is_said_to_be_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTMARK_PG_BIN", str(tmp_path))
    assert "EVENTMARK_PG_BIN" in refusal("local").message


def test_docker_without_its_extra_is_a_usage_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("testcontainers.community.postgres", "testcontainers.postgres"):
        monkeypatch.setitem(sys.modules, place, None)
    error = refusal("docker")
    assert isinstance(error, UsageError) and "eventmark[docker]" in error.remedy
