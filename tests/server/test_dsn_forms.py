"""What psql takes for an address is taken here: by libpq's own reading, translated for the driver."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from eventmark.cli.main import run_command
from eventmark.errors import CannotRunError, UsageError
from eventmark.operations.pgbench import pgbench_rate
from eventmark.redaction import UNREADABLE, _forms, redact
from eventmark.server import Server, provision
from eventmark.server.dsn import _refusal, read_dsn, split_password
from tests.database import execute, fetch

ODD = "p@ss/w:o#r%d?&x=1 +'\\é"
KEY_PASSWORD = "k3y+p@ss?/w#rd"


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No PG* variable, and no file in the home directory."""
    for name in list(os.environ):
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def odd(database: str, server: Server, own_environment: Path) -> Iterator[dict[str, str]]:
    """A role with a password of odd characters, and how it is reached."""
    name = database.rsplit("/", 1)[1]
    written = ODD.replace("'", "''")
    execute(
        database, f"create role odd login password '{written}'", f"grant create on database {name} to odd"
    )
    parts = urlsplit(database)
    yield {
        "host": str(parts.hostname), "port": str(parts.port), "user": "odd", "password": ODD, "dbname": name,
    }  # fmt: skip
    execute(database, "drop owned by odd")
    execute(server.dsn, "drop role odd")


def who(spec: str) -> tuple[str, str]:
    """Who is connected, and to which database, by the DSN that becomes the server's."""
    with provision(spec) as server:
        found = fetch(server.dsn, "select current_user || ' ' || current_database()").split()
        assert ODD not in server.address
        return found[0], found[1]


def test_a_password_of_odd_characters_is_taken_in_every_form(
    odd: dict[str, str], own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, expected = f"{odd['host']}:{odd['port']}/{odd['dbname']}", ("odd", odd["dbname"])
    encoded = quote(ODD, safe="")
    assert who(f"postgresql://odd:{encoded}@{at}") == expected
    assert who(f"postgres://{at}?user=odd&password={encoded}&connect_timeout=3&keepalives=1") == expected
    assert who(make_conninfo(**odd)) == expected

    service = own_environment / "services.conf"
    service.write_text("[cases]\n" + "".join(f"{name}={value}\n" for name, value in odd.items()))
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    assert who("postgresql:///?service=cases") == expected
    assert who("service=cases") == expected
    monkeypatch.setenv("PGSERVICE", "cases")
    assert who("postgresql://") == expected
    monkeypatch.delenv("PGSERVICE")

    passfile = own_environment / "passwords"
    escaped = ODD.replace("\\", "\\\\").replace(":", "\\:")
    passfile.write_text(f"{odd['host']}:{odd['port']}:{odd['dbname']}:odd:{escaped}\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    assert who(f"postgresql://odd@{at}") == expected
    monkeypatch.delenv("PGPASSFILE")
    passfile.rename(own_environment / ".pgpass")
    assert who(f"postgresql://odd@{at}") == expected

    (own_environment / ".pgpass").unlink()
    for variable, name in (
        ("PGHOST", "host"), ("PGPORT", "port"), ("PGUSER", "user"), ("PGPASSWORD", "password"), ("PGDATABASE", "dbname"),
    ):  # fmt: skip
        monkeypatch.setenv(variable, odd[name])
    assert who("postgresql://") == expected


@pytest.mark.parametrize(
    ("dsn", "read"),
    [
        ("postgresql://me@[::1]:5433/db", "postgresql://me@[::1]:5433/db"),
        ("postgresql://me@one:1,two:2/db", "postgresql://me@one:1,two:2/db"),
        ("host=one,two port=1 user=me dbname=db", "postgresql://me@one:1,two:1/db"),
        ("host=/run/pg port=5433 user=me dbname=db", "postgresql://me@%2Frun%2Fpg:5433/db"),
        ("postgresql://me@/db?host=/run/pg&port=5433", "postgresql://me@%2Frun%2Fpg:5433/db"),
        ("port=5433 user=me dbname=db", "postgresql://me@/db?port=5433"),
        ("host=h hostaddr=10.0.0.1 user=me dbname=db", "postgresql://me@10.0.0.1/db"),
        (
            "postgresql://me@h/db?sslmode=require&channel_binding=prefer&gssencmode=disable&keepalives_idle=3"
            "&connect_timeout=3&tcp_user_timeout=9&client_encoding=utf8",
            "postgresql://me@h/db?sslmode=require",
        ),
        (
            "postgresql://me@h/db?target_session_attrs=read-write&application_name=a%20b&options=-c%20jit%3Doff",
            "postgresql://me@h/db?application_name=a%20b&options=-c%20jit%3Doff&target_session_attrs=read-write",
        ),
    ],
)
@pytest.mark.usefixtures("own_environment")
def test_a_dsn_is_translated_for_the_driver_and_reads_the_same_again(dsn: str, read: str) -> None:
    assert read_dsn(dsn) == read == read_dsn(read)


@pytest.mark.parametrize(
    ("dsn", "said", "remedy"),
    [
        ("postgresql+asyncpg://u:s3cr3t@h/d", "scheme is postgresql+asyncpg", "postgresql://user"),
        ("jdbc:postgresql://h/d?user=u&password=s3cr3t", "scheme is jdbc:postgresql", "postgresql://user"),
        ("mysql://u:s3cr3t@h/d", UNREADABLE, "postgresql://user"),
        ("postgresql://u:s3cr3t@h:0/d", UNREADABLE, "1 to 65535"),
        ("postgresql://u:s3cr3t@h:65536/d", UNREADABLE, "1 to 65535"),
        ("postgresql://u:s3cr3t@h:abc/d", UNREADABLE, "1 to 65535"),
        ("host=h port=abc password=s3cr3t", "names a port that is none", "1 to 65535"),
        ("host=h port=0 password=s3cr3t", "names a port that is none", "1 to 65535"),
        ("host=a,b port=1,2,3 password=s3cr3t", "could not match 3 port numbers to 2 hosts", "correct"),
        ("postgresql://u:s3cr3t@h/d?work_mem=4MB", "'work_mem'", "options=-c%20work_mem"),
        ("postgresql://u:s3cr3t@h/d?sslmode=perhaps", 'invalid sslmode value: "perhaps"', "correct"),
        ("postgresql:///?service=nope", 'definition of service "nope" not found', "correct"),
        ("postgresql://u:s3cr3t@h/d?gssencmode=require", "does not support gssencmode", "leave it out"),
        (
            "postgresql://u:s3cr3t@h/d?channel_binding=require",
            "does not support channel_binding",
            "leave it out",
        ),
        (
            "postgresql://u:s3cr3t@h/d?require_auth=scram-sha-256",
            "does not support require_auth",
            "leave it out",
        ),
        ("host=h password=s3cr3t x", UNREADABLE, "percent-encode"),
        (
            "postgresql://u:s3cr3t/x@h/d",
            UNREADABLE,
            "percent-encode special characters of the password: @ is %40",
        ),
        ("postgresql://u:\udcff@h/d", UNREADABLE, "percent-encode"),
    ],
)
@pytest.mark.usefixtures("own_environment")
def test_a_dsn_that_cannot_be_used_is_refused_with_the_cause_and_a_remedy(
    dsn: str, said: str, remedy: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read_dsn(dsn)
    assert said in caught.value.message and remedy in caught.value.remedy
    assert "s3cr3t" not in str(caught.value)


@settings(max_examples=30)  # each is one secret more that all texts are searched for
@given(
    password=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30),
    key=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30),
)
def test_any_password_survives_the_translation_and_the_way_into_a_program(password: str, key: str) -> None:
    given_options = {"host": "h", "user": "me", "dbname": "d", "password": password, "sslpassword": key}
    for dsn in (
        make_conninfo(**given_options),
        f"postgresql://me:{quote(password, safe='')}@h/d?sslpassword={quote(key, safe='')}",
    ):
        if redact(dsn) == UNREADABLE:  # a keyword DSN with characters that are not printable
            assert not (password + key).isprintable()
            continue
        read = read_dsn(dsn)
        assert conninfo_to_dict(read) == given_options
        without, secrets = split_password(read)
        assert secrets == {"password": password, "sslpassword": key}
        assert conninfo_to_dict(without) == {"host": "h", "user": "me", "dbname": "d"}


def test_passwords_reach_programs_and_never_their_command_lines(
    odd: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    begin = subprocess.Popen.__init__

    def spy(self: Any, command: Any, *arguments: Any, **named: Any) -> None:
        started.append(([str(word) for word in command], named["env"]))
        begin(self, command, *arguments, **named)

    monkeypatch.setattr(subprocess.Popen, "__init__", spy)
    with provision(make_conninfo(**odd, sslpassword=KEY_PASSWORD)) as server:
        assert pgbench_rate(server, ["select 1;\n"], seconds=1, clients=1) > 0
    assert {Path(command[0]).name for command, _ in started} == {"psql", "pgbench"}
    for command, environment in started:
        assert not any(ODD in word or KEY_PASSWORD in word or quote(ODD, safe="") in word for word in command)
        assert not any("pass" in word for word in command)
        assert environment["PGPASSWORD"] == ODD
    service = Path(environment["PGSERVICEFILE"])
    assert f"sslpassword={KEY_PASSWORD}" in service.read_text() and service.stat().st_mode & 0o077 == 0
    assert service.parent.stat().st_mode & 0o077 == 0


def test_errors_name_the_cause_that_was_named(server: Server) -> None:
    import ssl

    untrusted = _refusal(
        ssl.SSLCertVerificationError("certificate verify failed: self-signed certificate"), "A"
    )
    assert isinstance(untrusted, CannotRunError) and "self-signed certificate" in untrusted.message
    assert "sslrootcert" in untrusted.remedy
    missing = _refusal(asyncpg.ClientConfigurationError('root certificate file "x" does not exist'), "A")
    assert isinstance(missing, UsageError) and 'root certificate file "x" does not exist' in missing.message
    absent = _refusal(FileNotFoundError(2, "No such file or directory", "client.crt"), "A")
    assert isinstance(absent, CannotRunError) and "client.crt" in absent.message
    with pytest.raises(asyncpg.PostgresError) as caught:
        asyncio.run(asyncpg.connect(server.dsn, server_settings={"work_mem": "much"}))
    refused = _refusal(caught.value, "A")
    assert isinstance(refused, CannotRunError) and 'invalid value for parameter "work_mem"' in refused.message
    assert "port" not in refused.remedy


@pytest.mark.long
@pytest.mark.usefixtures("spawned_workers")  # for what they print, and how they are started
@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "--events", "1k", "--profile", "quick"),
        pytest.param(
            ("run", "--events", "2k", "--profile", "quick", "--profiler", "cpu"), marks=pytest.mark.long
        ),
    ],
    ids=["explain", "run"],
)
def test_a_whole_run_shows_its_password_in_no_output_file_or_command_line(
    odd: dict[str, str], own_environment: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    encoded = quote(ODD, safe="")
    dsn = f"postgresql://odd:{encoded}@{odd['host']}:{odd['port']}/{odd['dbname']}?sslpassword={quote(KEY_PASSWORD)}"
    started: list[str] = []
    begin = subprocess.Popen.__init__

    def spy(self: Any, command: Any, *positional: Any, **named: Any) -> None:
        started.append(" ".join(map(str, command)))
        begin(self, command, *positional, **named)

    monkeypatch.setattr(subprocess.Popen, "__init__", spy)
    monkeypatch.chdir(own_environment)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    command = (*arguments, "--server", dsn, "--out", "out", "--summary", "out/summary.md")
    monkeypatch.setattr("sys.argv", ["eventmark", *command])
    assert run_command(command) in (0, 1, 3)
    output = "".join(capfd.readouterr())
    files = [path for path in own_environment.rglob("*") if path.is_file()]
    assert {"result.json", "report.html", "report.md", "junit.xml", "summary.md"} <= {
        path.name for path in files
    }
    texts = [output, *started, *(path.read_text(encoding="utf-8", errors="replace") for path in files)]
    pieces = [*_forms(ODD), *_forms(KEY_PASSWORD), ODD[:8], ODD[4:12], KEY_PASSWORD[:6], KEY_PASSWORD[6:]]
    for piece in pieces:
        assert not any(piece in text for text in texts), piece
    assert f"odd@{odd['host']}:{odd['port']}" in (own_environment / "out" / "result.json").read_text()
    execute(odd_dsn(odd), "drop schema if exists eventmark cascade")


def odd_dsn(odd: dict[str, str]) -> str:
    return f"postgresql://odd:{quote(ODD, safe='')}@{odd['host']}:{odd['port']}/{odd['dbname']}"
