"""Whatever is wrong: one clear line that names it, one with the remedy, the right exit code, nothing half made."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from eventmark.config import CORPUS_SCHEMA
from eventmark.engine import install_schema
from eventmark.engine.schema import Purpose
from eventmark.results.results import RESULT_FORMAT
from eventmark.server import Server
from tests.cli.conftest import Command, Done
from tests.database import execute

SECRET = "s3cr3t-never-shown"
USAGE, CANNOT_RUN = 2, 4
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do that")


def check(done: Done, code: int, *said: str) -> None:
    """One line of what is wrong, one of what to do; no traceback, no password."""
    lines = done.err.strip().splitlines()
    assert done.code == code, done.err
    assert all(word in done.err for word in said), done.err
    assert len(lines) == 2 and lines[0].startswith("eventmark: ") and lines[1].startswith("  "), done.err
    assert SECRET not in done.err + done.out
    assert "Traceback" not in done.err + done.out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--events", "0"), "'0' is not a number of events above 0"),
        (("--events", "-5"), "'-5' is not a number of events"),
        (("--events", ""), "'' is not a number of events"),
        (("--events", "1e6"), "'1e6'"),
        (("--events", "1.000.000"), "'1.000.000'"),
        (("--events", "1,5M"), "'1,5M'"),
        (("--events", "0.5"), "'0.5'"),
        (("--events", "1000G"), "1000000000000 events cannot be seeded"),
        (("--events", "9" * 5000), "is not a number of events"),
        (("--tenants", "0"), "0 tenants"),
        (("--tenants", "-1"), "-1 tenants"),
        (("--tenants", "1"), "1 tenants"),
        (("--tenants", "1000000000000"), "1000000000000 tenants"),
        (("--tenants", "many"), "many"),
        (("--seed", "-1"), "seed -1"),
        (("--seed", str(2**63)), f"seed {2**63}"),
        (("--payload", "fat"), "'fat'"),
        (("--profile", "quik"), "did you mean 'quick'"),
        (("--store", "eafs"), "did you mean 'eaf'"),
        (("--store", "./none"), "store.toml"),
        (("--server", "cloud"), "unknown server 'cloud'"),
        (("--server", ""), "unknown server ''"),
        (("--port", "99999"), "99999 is not a port"),
        (("--port", "-1"), "-1 is not a port"),
        (("--targets", "none.toml"), "none.toml"),
        (("--config", "none.toml"), "none.toml cannot be read"),
        (("--evnts", "5"), "--evnts"),
        (("--events",), "--events"),
        (("more",), "more"),
        (("--port", "65536"), "65536 is not a port"),
        (("--metrics-port", "70000"), "70000 is not a port"),
        (("--metrics-port", "-1"), "-1 is not a port"),
        (("--server", f"postgresql://me:{SECRET}@a..b/db"), "cannot be a host's name"),
        (
            ("--server", f"postgresql://me:{SECRET}@host:port/db"),
            "<unreadable DSN>",
        ),
        ((f"--server=mysql://me:{SECRET}@host/db",), "cannot be read"),
    ],
)
def test_a_wrong_flag_is_a_usage_error_and_starts_nothing(
    command: Command, tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    check(command("run", *flags), USAGE, said)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mixed",
        '"quoted"',
        'public"; drop schema public cascade; --',
        "pg_mine",
        "9lives",
        "with space",
        "ö",
        "a" * 64,
    ],
)
@pytest.mark.parametrize("verb", ["seed", "doctor"])
def test_an_odd_schema_name_is_refused_before_a_server_starts(
    command: Command, tmp_path: Path, name: str, verb: str
) -> None:
    check(command(verb, "--schema", name), USAGE, "schema name", "is not allowed")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("verb", "flags"),
    [
        ("seed", "--json"),
        ("seed", "--out"),
        ("audit", "--profile"),
        ("stores check", "--events"),
        ("admin roles", "--events"),
    ],
)
def test_a_flag_that_a_verb_would_not_heed_is_refused(command: Command, verb: str, flags: str) -> None:
    check(command(*verb.split(), flags, "1"), USAGE, flags)


def test_an_unknown_verb_is_named(command: Command) -> None:
    check(command("fly"), USAGE, "fly")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('evets = "50k"\n', "did you mean 'events'"),
        ("[events]\n", "[events] is not a verb"),
        ("events = [1]\n", "events must be a text"),
        ("events = 0\n", "number of events"),
        ("keep = 1\n", "keep must be true or false"),
        ("events = \n", "eventmark.toml is not TOML"),
        (b"\xff\xfe", "eventmark.toml is not TOML"),
    ],
)
def test_a_wrong_settings_file_is_named_with_the_key(
    command: Command, tmp_path: Path, content: str | bytes, said: str
) -> None:
    (tmp_path / "eventmark.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    check(command("run"), USAGE, said)


def test_a_settings_file_with_the_mark_some_editors_begin_with_is_read(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "eventmark.toml").write_bytes(b'\xef\xbb\xbfserver = "cloud"\n')
    check(command("run"), USAGE, "unknown server 'cloud'")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is damaged or no result"),
        (b"{", "is damaged or no result"),
        (b"\xff\xfe\x00", "is damaged or no result"),
        (b"[]", "is damaged or no result"),
        (b"{}", "not a result of Eventmark's"),
        (json.dumps({"format": RESULT_FORMAT, "format_version": 99}).encode(), "format version 99"),
        (json.dumps({"format": RESULT_FORMAT, "format_version": 1}).encode(), "is damaged"),
    ],
)
def test_a_file_that_is_no_result_is_refused_and_no_report_is_written(
    command: Command, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "result.json"
    if content is not None:
        path.write_bytes(content)
    check(command("report", "result.json", "--out", "reports"), USAGE, "result.json", said)
    assert not (tmp_path / "reports").exists()


def test_a_folder_in_place_of_a_result_is_refused(command: Command) -> None:
    check(command("report", "."), USAGE, "Is a directory")


def test_an_output_folder_below_a_file_is_refused_before_anything_starts(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "flat").write_text("")
    for out in ("flat", "flat/out"):
        check(command("run", "--out", out), CANNOT_RUN, f"{out} cannot be written", "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["flat"]


def test_an_output_folder_that_may_not_be_written_is_refused(command: Command) -> None:
    check(command("run", "--out", "/proc/eventmark/out"), CANNOT_RUN, "/proc/eventmark/out cannot be written")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100m,mode=755", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@as_root
def test_a_full_disk_below_the_output_folder_is_refused_before_anything_starts(
    command: Command, small_disk: Path
) -> None:
    (small_disk / "filling").write_bytes(bytes(90 * 2**20))
    check(command("run", "--out", "small/out"), CANNOT_RUN, "small/out has", "MiB free", "make room")
    assert [path.name for path in small_disk.iterdir()] == ["filling"]


@as_root
def test_a_disk_too_small_for_the_corpus_is_refused_and_nothing_is_made_on_it(
    command: Command, small_disk: Path
) -> None:
    done = command("seed", "--events", "100k", "--directory", "small/cluster")
    check(
        done, CANNOT_RUN, "the corpus needs about 210 MiB, and WAL and temporary files 1.0 GiB", "make room"
    )
    assert not any(small_disk.iterdir())


def test_a_corpus_no_disk_could_hold_is_refused_at_once(command: Command, tmp_path: Path) -> None:
    check(command("run", "--events", "900M"), CANNOT_RUN, "the corpus needs about", "GiB")
    assert not any(tmp_path.iterdir())


def test_a_port_in_use_is_named_and_no_cluster_is_left(command: Command, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        check(
            command("seed", "--port", str(port)), CANNOT_RUN, f"port {port} of 127.0.0.1 is in use", "--port"
        )
    assert not (tmp_path / ".eventmark" / "embedded").exists()


def test_a_directory_with_other_things_in_it_is_left_alone(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    check(command("seed", "--directory", "mine"), CANNOT_RUN, "holds no cluster of Eventmark's")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter"]


def as_user(dsn: str, user: str) -> str:
    return dsn.replace(urlsplit(dsn).netloc.rpartition("@")[0] + "@", f"{user}:{SECRET}@")


def schemas(dsn: str) -> set[str]:
    async def run() -> set[str]:
        connection = await asyncpg.connect(dsn)
        try:
            rows = await connection.fetch(
                "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
            )
            return {row[0] for row in rows}
        finally:
            await connection.close()

    return asyncio.run(run())


def test_a_server_that_is_not_there_is_named_without_its_password(command: Command) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # bound and not listening: refused for certain
        port = probe.getsockname()[1]
        done = command("run", "--server", f"postgresql://me:{SECRET}@127.0.0.1:{port}/db")
    check(done, CANNOT_RUN, f"no connection to postgresql://me@127.0.0.1:{port}/db")


def test_a_wrong_password_is_said_and_never_shown(command: Command, database: str) -> None:
    check(
        command("doctor", "--dsn", as_user(database, "eventmark")),
        CANNOT_RUN,
        "password authentication failed",
    )


def test_a_server_that_is_too_old_is_refused(
    command: Command, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventmark.server.dsn.VERSION_NUM_MIN", 990000)
    check(command("seed", "--server", database), CANNOT_RUN, "runs PostgreSQL", "15 or later is needed")
    assert schemas(database) == {"public"}


def test_binaries_that_are_too_old_are_refused_and_no_cluster_is_made(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["eventmark.server.provision"], "VERSION_NUM_MIN", 990000)
    check(command("seed"), CANNOT_RUN, "is PostgreSQL", "install 15 or later")
    assert not (tmp_path / ".eventmark").exists()


def test_a_role_that_may_not_create_is_shown_the_grant(
    command: Command, server: Server, database: str
) -> None:
    execute(server.dsn, f"create role passer_by login password '{SECRET}'")
    try:
        done = command("seed", "--server", as_user(database, "passer_by"))
        check(done, CANNOT_RUN, "may not create schemas", "grant CREATE")
    finally:
        execute(server.dsn, "drop role passer_by")


def test_a_read_only_database_is_refused(command: Command, database: str) -> None:
    execute(database, f"alter database {database.rsplit('/', 1)[1]} set default_transaction_read_only = on")
    check(command("seed", "--server", database), CANNOT_RUN, "is read-only")


def test_a_schema_of_somebody_elses_is_left_alone(command: Command, database: str) -> None:
    execute(database, "create schema theirs", "create table theirs.letters as select 1 as one")
    for verb in ("seed", "run", "bench", "explain"):
        done = command(verb, "--server", database, "--schema", "theirs", "--replace", "--events", "1k")
        check(done, CANNOT_RUN, "schema 'theirs' was not created by Eventmark and is left alone", "--schema")
    execute(database, "select one from theirs.letters")
    assert schemas(database) == {"public", "theirs"}


def test_a_store_of_another_version_is_named(command: Command, database: str) -> None:
    async def older() -> None:
        connection = await asyncpg.connect(database)
        try:
            await install_schema(connection, CORPUS_SCHEMA, purpose=Purpose.CORPUS)
            await connection.execute(f"update {CORPUS_SCHEMA}.eventmark_store set schema_version = 1")
        finally:
            await connection.close()

    asyncio.run(older())
    done = command("seed", "--server", database, "--events", "1k")
    check(done, CANNOT_RUN, "schema 'eventmark_corpus' is of version 1", "eventmark admin migrate")


def test_another_corpus_in_the_schema_is_kept_unless_it_may_be_replaced(
    command: Command, database: str
) -> None:
    assert command("seed", "--server", database, "--events", "300").code == 0
    done = command("seed", "--server", database, "--events", "200")
    check(done, CANNOT_RUN, "holds another corpus", "300 events", "--replace")
    assert command("audit", "--server", database, "--events", "300").out.count("MET") > 3
    assert command("seed", "--server", database, "--events", "200", "--replace").code == 0


def test_an_audit_makes_no_cluster(command: Command, tmp_path: Path) -> None:
    check(command("audit"), CANNOT_RUN, "there is no cluster in .eventmark/embedded", "eventmark seed")
    assert not any(tmp_path.iterdir())


def test_an_audit_of_a_schema_with_no_corpus_reports_it(command: Command, database: str) -> None:
    check(command("audit", "--server", database), CANNOT_RUN, "eventmark")
    assert schemas(database) == {"public"}
