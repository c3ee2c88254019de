"""Whatever a role's defaults are, Eventmark's sessions have what they need, the user is told, and options stand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.pq import PGconn

from eventmark.cli.main import run_command
from eventmark.engine.pool import Opening
from eventmark.loadgen.wire.connection import conninfo_of
from eventmark.results.files import read_result
from eventmark.results.results import Verdict
from eventmark.server import Server, provision
from eventmark.server.doctor import _settings_findings
from tests.database import execute, fetch

HOSTILE = {
    "DateStyle": ("SQL, DMY", "ISO, MDY"),
    "IntervalStyle": ("sql_standard", "postgres"),
    "bytea_output": ("escape", "hex"),
    "extra_float_digits": ("-15", "1"),
    "standard_conforming_strings": ("off", "on"),
    "array_nulls": ("off", "on"),
    "transform_null_equals": ("on", "off"),
    "row_security": ("off", "on"),
    "default_transaction_deferrable": ("on", "off"),
    "statement_timeout": ("50ms", "0"),
    "lock_timeout": ("5ms", "0"),
    "idle_in_transaction_session_timeout": ("50ms", "0"),
    "idle_session_timeout": ("50ms", "0"),
}
LEFT = {"TimeZone": "Asia/Kathmandu", "default_transaction_isolation": "serializable", "jit": "off"}


@contextmanager
def hostile(database: str, settings: dict[str, str]) -> Iterator[str]:
    """The DSN of a role with these defaults."""
    name = database.rsplit("/", 1)[1]
    execute(
        database, "create role hurried login password 'secret'",
        f"grant create on database {name} to hurried",
        *(f"alter role hurried set {name} to '{value}'" for name, value in settings.items()),
    )  # fmt: skip
    try:
        yield f"postgresql://hurried:secret@{database.rpartition('@')[2]}"
    finally:
        execute(database, "drop owned by hurried cascade", "drop role hurried")


def by_psql(server: Server, names: list[str]) -> list[str]:
    assert server.bin_directory is not None
    asked = "; ".join(f"show {name}" for name in names)
    done = subprocess.run(
        [str(server.bin_directory / "psql"), "-XAtc", asked, server.program_dsn],
        env={**os.environ, **server.program_environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_sessions_of_driver_and_programs_have_what_they_need_and_the_user_is_warned(database: str) -> None:
    defaults = {name: value for name, (value, _) in HOSTILE.items()}
    with hostile(database, {**defaults, **LEFT}) as dsn, provision(dsn) as server:
        wanted = [value for _, value in HOSTILE.values()]
        confined = server.confined("a b")
        assert [fetch(confined.dsn, f"show {name}") for name in HOSTILE] == wanted
        assert by_psql(confined, list(HOSTILE)) == wanted
        assert {name: fetch(confined.dsn, f"show {name}") for name in LEFT} == LEFT
        assert server.replaced_settings == dict(sorted(defaults.items()))
        [told] = _settings_findings(server)
        assert "statement_timeout 50ms" in told.observed
        assert server.address == confined.address == dsn.replace(":secret", "")


def test_what_the_dsn_asks_for_is_kept(database: str) -> None:
    options = "?options=-c%20statement_timeout%3D9s"
    limits = {"statement_timeout": "50ms", "lock_timeout": "5ms"}
    with hostile(database, limits) as dsn, provision(dsn + options) as server:
        assert by_psql(server, list(limits)) == ["9s", "0"]
        assert set(server.replaced_settings) == {"lock_timeout"}


def test_texts_are_utf_8_whatever_the_roles_encoding_is(database: str) -> None:
    with hostile(database, {"client_encoding": "LATIN1"}) as dsn, provision(dsn) as server:
        assert by_psql(server, ["client_encoding"]) == ["UTF8"]
        assert fetch(server.dsn, "show client_encoding") == "UTF8"
        opening = Opening(dsn=server.dsn, settings={}, application_name="test", sql={})
        session = PGconn.connect(conninfo_of(opening))
        assert session.parameter_status(b"client_encoding") == b"UTF8"
        session.finish()


def test_a_role_without_such_defaults_has_its_dsn_as_it_is(server: Server) -> None:
    with provision(server.dsn) as taken:
        assert taken.dsn == server.dsn and not taken.replaced_settings and not _settings_findings(taken)


@pytest.mark.parametrize("verb", [("stores", "check"), pytest.param(("verify", "--events", "2k", "--profile", "quick"), marks=pytest.mark.long)], ids=lambda verb: verb[0])  # fmt: skip
def test_the_verbs_work_under_all_of_them_at_once(
    database: str, verb: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {**{name: value for name, (value, _) in HOSTILE.items()}, "search_path": "nowhere", **LEFT}
    with hostile(database, settings) as dsn:
        assert run_command([*verb, "--store", "eaf", "--server", dsn]) == 0


@pytest.mark.long
def test_a_run_under_all_of_them_fails_no_call_and_judges_every_plan(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {**{name: value for name, (value, _) in HOSTILE.items()}, "search_path": "nowhere", **LEFT}
    with hostile(database, settings) as dsn:
        flags = ("--events", "2k", "--profile", "quick", "--store", "eaf", "--server", dsn)
        assert run_command(["run", *flags]) in (0, 1, 3)  # its times are the machine's
    result = read_result(tmp_path / "out" / "result.json")
    assert "append_events[1]" in result.operations
    assert [name for name, one in result.operations.items() if one.failed] == []
    assert result.corpus is not None
    assert {one.verdict for one in result.corpus.audit} <= {Verdict.MET, Verdict.INCONCLUSIVE}
    assert result.plans and not [one.statement for one in result.plans if one.verdict is Verdict.BROKEN]
