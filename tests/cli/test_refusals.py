"""What is wrong on the command line or with a server ends in one clear line and its exit code, and changes nothing."""

from __future__ import annotations

import asyncio
import locale
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from eventmark.cli.main import run_command
from eventmark.engine import install_schema
from eventmark.engine.schema import SCHEMA_VERSION
from eventmark.report import write_reports
from eventmark.results.files import read_result
from eventmark.server import Server
from tests.database import execute
from tests.faults.clusters import fill, small_disk

RESULT = min(
    (Path(__file__).parents[2] / "docs" / "results").glob("*.json"), key=lambda path: path.stat().st_size
)
SECRET = "s3cr3t-never-shown"


def install(dsn: str, schema: str = "eventmark") -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        await install_schema(connection, schema)
        await connection.close()

    asyncio.run(run())


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[object]:
    """Runs a command line that is to be refused; one line says why, one what to do."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int, said: str) -> str:
        assert run_command(arguments) == code
        out, err = capsys.readouterr()
        assert said in " ".join(err.split()), err
        assert len(err.strip().splitlines()) <= 2
        assert "Traceback" not in err and SECRET not in out + err
        return err

    return run


ODD_NAMES = [
    "Eventmark", '"eventmark"', "x" * 64, "pg_x", 'public"; DROP SCHEMA public CASCADE; --', "a-b", "", "1a", "schéma",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES, ids=repr)
def test_a_schema_name_that_is_not_plain_is_refused_by_every_verb(refused, database: str, name: str) -> None:  # type: ignore[no-untyped-def]
    for verb in (
        ("admin", "migrate"),
        ("admin", "roles"),
        ("admin", "rebase"),
        ("audit",),
        ("doctor",),
        ("verify",),
    ):
        refused(*verb, "--server", database, "--schema", name, code=2, said="is not allowed")


def test_a_reserved_word_is_a_schema_name_like_any_other(database: str, tmp_path: Path) -> None:
    for name in ("select", "user", "table"):
        install(database, name)
        assert run_command(["admin", "migrate", "--dsn", database, "--schema", name]) == 0


def test_a_store_that_is_missing_older_newer_or_somebody_elses_is_left_alone(refused, database: str) -> None:  # type: ignore[no-untyped-def]
    verbs = (("admin", "rebase"), ("admin", "roles"))
    for verb in verbs:
        refused(*verb, "--server", database, code=4, said="there is no event store in schema 'eventmark'")
    install(database)
    for version, said in (
        (SCHEMA_VERSION - 1, "eventmark admin migrate"),
        (SCHEMA_VERSION + 1, "or a newer one"),
    ):
        execute(database, f"update eventmark.eventmark_store set schema_version = {version}")
        for verb in verbs:
            refused(*verb, "--server", database, code=4, said=f"is of version {version}")
            refused(*verb, "--server", database, code=4, said=said)
    execute(
        database, "drop schema eventmark cascade; create schema eventmark; create table eventmark.kept ()"
    )
    for verb in (*verbs, ("seed", "--events", "10k")):
        refused(
            *verb, "--server", database, "--schema", "eventmark", code=4, said="was not created by Eventmark"
        )
    execute(database, "table eventmark.kept")


def test_a_database_that_is_read_only_is_refused(refused, server: Server, database: str) -> None:  # type: ignore[no-untyped-def]
    execute(database, f"alter database {database.rsplit('/', 1)[1]} set default_transaction_read_only = on")
    for verb in (("seed", "--events", "1k"), ("verify", "--events", "1k"), ("admin", "migrate"), ("doctor",)):
        refused(*verb, "--server", database, code=4, said="is read-only")


@pytest.mark.parametrize(
    ("dsn", "code", "said"),
    [
        (f"postgresql://me:{SECRET}@127.0.0.1:1/db", 4, "127.0.0.1:1"),
        (f"postgresql://me:{SECRET}@no-such-host.invalid/db", 4, "no-such-host.invalid"),
        (f"postgresql://me:{SECRET}@host:port/db", 2, "cannot be read"),
        (f"postgresql://me:{SECRET}@[host/db", 2, "cannot be read"),
        (f"postgresql://me:{SECRET}@host/db?sslmode=perhaps", 2, 'invalid sslmode value: "perhaps"'),
        (f"mysql://me:{SECRET}@host/db", 2, "cannot be read"),
        (f"host=no-such-host.invalid password={SECRET}", 4, "no-such-host.invalid"),
        ("", 2, "unknown server"),
    ],
)
def test_a_dsn_that_leads_nowhere_is_refused_without_its_password(
    refused, dsn: str, code: int, said: str
) -> None:  # type: ignore[no-untyped-def]
    refused("doctor", "--server", dsn, code=code, said=said)


def test_a_wrong_password_is_refused_without_it(refused, server: Server) -> None:  # type: ignore[no-untyped-def]
    parts = urlsplit(server.dsn)
    dsn = f"postgresql://eventmark:{SECRET}@{parts.hostname}:{parts.port}/postgres"
    refused("admin", "migrate", "--dsn", dsn, code=4, said="password authentication failed")


@pytest.mark.parametrize("count", ["0", "-1", "1e3", "10_000_000_000_000", "9" * 30, "1,5k", "nan", ""])
def test_a_number_of_events_that_cannot_be_is_refused(refused, count: str) -> None:  # type: ignore[no-untyped-def]
    refused("seed", f"--events={count}", code=2, said="events")


@pytest.mark.parametrize("flag", ["--evnts", "--batch-size", "--orderign"])
def test_an_unknown_flag_is_named(refused, flag: str) -> None:  # type: ignore[no-untyped-def]
    refused("verify", flag, "1", code=2, said=flag)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('evets = "1k"', "did you mean 'events'"),
        ('events = "1k"\nevents = "2k"', "is not TOML"),
        ("events = 1.5", "must be a text"),
        ('[verify]\nseconds = "long"', "must be a whole number"),
    ],
)
def test_a_settings_file_that_is_wrong_is_refused_by_its_key(
    refused, tmp_path: Path, text: str, said: str
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "eventmark.toml").write_text(text + "\n")
    refused("verify", code=2, said=said)


# Reports: where they go, and what they are made of.


@pytest.mark.usefixtures("whole_page")
def test_an_output_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    assert run_command(["report", str(RESULT), "--out", str(tmp_path / "new" / "folders")]) in (0, 1, 3)
    assert (tmp_path / "new" / "folders" / "report.html").exists()


def test_an_output_folder_that_is_read_only_is_refused_and_left_alone(refused, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with small_disk(4) as disk:
        (disk / "kept").write_text("x")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        refused("report", str(RESULT), "--out", str(disk / "out"), code=4, said="--out")
        refused("run", "--out", str(disk), code=4, said="--out")
        assert [path.name for path in disk.iterdir()] == ["kept"]


def test_an_output_folder_without_room_is_refused_and_no_half_report_stays(refused) -> None:  # type: ignore[no-untyped-def]
    with small_disk(1) as disk:
        fill(disk, leaving_bytes=20_000)
        refused("report", str(RESULT), "--out", str(disk / "out"), code=4, said="make room for the reports")
        assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("end", [0, 1, 1000, -2])
def test_a_result_that_was_cut_short_is_refused(refused, tmp_path: Path, end: int) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "cut.json").write_bytes(RESULT.read_bytes().rstrip()[:end])
    refused("report", "cut.json", code=2, said="damaged or no result")
    assert not (tmp_path / "out").exists()


def test_a_result_of_another_format_version_is_refused(refused, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    text = re.sub(r'"format_version":\s*\d+', '"format_version": 99', RESULT.read_text(), count=1)
    (tmp_path / "later.json").write_text(text)
    refused("report", "later.json", code=2, said="format version 99")


COMMAS = "de_DE.UTF-8"


def has_locale(name: str) -> bool:
    before = locale.setlocale(locale.LC_NUMERIC)
    try:
        locale.setlocale(locale.LC_NUMERIC, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_NUMERIC, before)
    return True


def test_programs_are_asked_for_a_decimal_point(server: Server) -> None:
    assert server.program_environment["LC_ALL"] == "C"


@pytest.mark.skipif(not has_locale(COMMAS), reason=f"no locale {COMMAS} (apt-get install locales-all)")
def test_where_numbers_have_decimal_commas_the_work_and_its_figures_are_the_same(
    server: Server, tmp_path: Path
) -> None:
    """Reports compared byte for byte; pgbench, which prints numbers as its locale has them, understood."""
    result, before = read_result(RESULT), locale.setlocale(locale.LC_ALL)
    try:
        for name in (before, COMMAS):
            locale.setlocale(locale.LC_ALL, name)
            write_reports(result, tmp_path / name)
    finally:
        locale.setlocale(locale.LC_ALL, before)
    for path in (tmp_path / before).iterdir():
        assert path.read_bytes() == (tmp_path / COMMAS / path.name).read_bytes(), path.name
    environment = {**os.environ, "LC_ALL": COMMAS, "LANG": COMMAS}
    assert server.bin_directory is not None
    if shutil.which("pgbench", path=str(server.bin_directory)) is None:
        pytest.skip("these binaries come without pgbench")
    script = tmp_path / "one.sql"
    script.write_text("select 1;\n")
    done = subprocess.run(
        [server.bin_directory / "pgbench", "-n", "-t", "10", "-f", script, server.program_dsn],
        env={**environment, **server.program_environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.search(r"tps = \d+\.\d+ ", done.stdout)
