"""No password in anything that a command prints, wherever a DSN is given and whatever the password is."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from eventmark import redaction
from eventmark.cli.main import run_command

AT = "127.0.0.1:1/odddb"  # nobody listens there
LENGTH_SHOWN = 3  # a piece as short as this may occur anywhere
PRINTABLE = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))
PASSWORDS = st.text(
    st.one_of(st.sampled_from("@/?#:%& '\"\\=+;,[]<>abcXYZ019"), PRINTABLE), min_size=4, max_size=24
)

FORMS: dict[str, Callable[[str], str]] = {
    "URI as it is": lambda password: f"postgresql://odd:{password}@{AT}",
    "URI encoded": lambda password: f"postgresql://odd:{quote(password, safe='')}@{AT}",
    "query as it is": lambda password: f"postgresql://odd@{AT}?password={password}",
    "query encoded": lambda password: f"postgresql://{AT}?user=odd&password={quote(password, safe='')}",
    "key's password": lambda password: f"postgresql://odd@{AT}?sslpassword={quote(password, safe='')}",
    "keywords as they are": lambda password: f"host=127.0.0.1 port=1 password={password} dbname=odddb",
    "keywords quoted": lambda password: make_conninfo(host="127.0.0.1", port=1, password=password),
    "keywords quoted wrongly": lambda password: f"host=127.0.0.1 port=1 password='{password}'",
    "SQLAlchemy": lambda password: f"postgresql+asyncpg://odd:{password}@{AT}",
    "JDBC": lambda password: f"jdbc:postgresql://{AT}?user=odd&password={password}",
    "another database": lambda password: f"mysql://odd:{password}@{AT}",
    "no scheme": lambda password: f"odd:{password}@{AT}",
}

RUN_FLAGS = (
    "server schema directory port config store events tenants payload seed profile targets out metrics-port profiler "
    "baseline summary"
).split()
COMMANDS: tuple[tuple[str, ...], ...] = (
    *(("run", f"--{flag}", "DSN") for flag in RUN_FLAGS),
    *(("run", f"--{flag}=DSN") for flag in RUN_FLAGS),
    ("run", "DSN"), ("run", "--keep", "DSN"), ("run", "--DSN"), ("run", "--DSN", "1"), ("run", "--DSN=1"), ("DSN",),
    ("doctor", "--dsn", "DSN"), ("store", "migrate", "--dsn", "DSN"), ("store", "DSN"), ("stores", "check", "--store", "DSN"),
    ("stores", "check", "--server", "DSN"), ("stores", "new", "DSN"), ("report", "DSN"), ("compare", "DSN", "DSN"),
    ("trend", "DSN"), ("trend", "--import", "DSN"), ("dashboards", "DSN"), ("load", "--mix", "DSN"),
    ("load", "--rate", "DSN"), ("load", "--mix", "append=DSN"), ("stress", "--cases", "DSN"), ("verify", "--ordering", "DSN"),
    ("gate", "--base", "DSN", "--candidate", "DSN"), ("gate", "--base", "DSN"), ("gate", "--only", "DSN"),
    ("scale", "--to", "DSN"), ("museum", "--exhibit", "DSN"), ("rnu", "--server", "DSN"), ("report", "--server", "DSN"),
)  # fmt: skip
TOML = (
    "server = VALUE", "port = VALUE", "schema = VALUE", "store = VALUE", "events = VALUE", "mix = VALUE", "keep = VALUE",
    "VALUE = 1", "unknown = VALUE", "[server]\ndsn = VALUE", "cases = [VALUE]", "[VALUE]\nx = 1", "server = DSN",
    "server = VALUE\nport = 99999999",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def elsewhere() -> Iterator[None]:
    """In an empty folder, with no PG* variable and no secret from other tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    with (
        tempfile.TemporaryDirectory() as place,
        mock.patch.dict(os.environ, clean, clear=True),
        contextlib.chdir(place),
    ):
        yield


def said(arguments: tuple[str, ...]) -> str:
    """All that a command prints."""
    out = io.StringIO()
    redaction._secrets.clear()
    redaction._public.clear()
    redaction._masks.clear()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
        mock.patch("sys.argv", ["eventmark", *arguments]),
    ):
        code = run_command(arguments)
    assert code in (2, 4), out.getvalue()
    assert "Traceback" not in out.getvalue()
    return out.getvalue()


@functools.cache
def ordinary(place: tuple[str, ...], form: str) -> str:
    """What is printed where the password is a quite different one."""
    return said_at(place, FORMS[form]("ÄÖÜäöüß"))


def said_at(place: tuple[str, ...], dsn: str) -> str:
    """What is printed with the DSN at ``place``: a command line, or a line of the settings file."""
    if place[0] != "toml":
        return said(tuple(word.replace("DSN", dsn) for word in place))
    text = place[1].replace("VALUE", json.dumps(dsn, ensure_ascii=False)).replace("DSN", dsn)
    Path("eventmark.toml").write_text(text, encoding="utf-8")
    try:
        return said(("run",))
    finally:
        Path("eventmark.toml").unlink()


def pieces(password: str) -> set[str]:
    length = LENGTH_SHOWN + 1
    return {password[start : start + length] for start in range(len(password) - length + 1)}


@settings(max_examples=600)
@given(
    place=st.sampled_from([*COMMANDS, *(("toml", line) for line in TOML)]),
    form=st.sampled_from(sorted(FORMS)),
    password=PASSWORDS,
)
@example(place=("run", "--server", "DSN"), form="URI as it is", password="top/secret")
@example(place=("run", "--server", "DSN"), form="URI as it is", password="top?secret")
@example(place=("run", "--server", "DSN"), form="URI as it is", password="top#secret")
@example(place=("run", "--server", "DSN"), form="URI as it is", password="to@p/secret")
@example(place=("run", "--server", "DSN"), form="URI as it is", password="p@ss/w:o#r%d?&x=1 +")
@example(place=("run", "--server", "DSN"), form="query as it is", password="top&secret=1")
@example(place=("run", "--server", "DSN"), form="keywords as they are", password="top secret=1")
@example(place=("run", "--port", "DSN"), form="no scheme", password="topsecret")
@example(place=("toml", "port = VALUE"), form="no scheme", password="topsecret")
def test_no_piece_of_a_password_is_printed(place: tuple[str, ...], form: str, password: str) -> None:
    shown = said_at(place, FORMS[form](password))
    leaked = {one for one in pieces(password) if one in shown and one not in ordinary(place, form)}
    assert not leaked, shown


@pytest.mark.parametrize(
    "dsn", ["postgresql://odd:top/secret", "postgresql://odd:topsecret", "postgresql://odd:1topsecret"]
)
def test_a_dsn_without_a_host_does_not_show_its_password(dsn: str) -> None:
    assert "secret" not in said(("run", "--server", dsn))


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--server", "postgresql://odd:top/secret@127.0.0.1:1/db"),
        ("run", "--port", "postgresql://odd:topsecret@127.0.0.1:1/db"),
        (
            "gate",
            "--base",
            "postgresql://odd:topsecret@127.0.0.1:1/db",
            "--candidate",
            "postgresql://odd:top/secret@h/d",
        ),
        (
            "doctor",
            "--server",
            "postgresql://odd:topsecret@127.0.0.1:1/db?sslrootcert=/none&sslmode=verify-full",
        ),
    ],
)
def test_the_program_itself_prints_no_password(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "eventmark.cli.main", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode in (2, 4)
    assert "secret" not in done.stdout + done.stderr and done.stderr.startswith("eventmark: ")


def test_the_remedy_states_how_a_password_is_written() -> None:
    shown = said(
        ("stores", "check", "--store", "eaf", "--server", "postgresql://odd:top/secret@127.0.0.1:15401/odddb")
    )
    assert "<unreadable DSN>" in shown and "@ is %40, / is %2F, # is %23" in shown and "PGPASSWORD" in shown


def test_a_defect_is_shown_with_its_traceback_and_without_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("lost postgresql://odd:topsecret1@127.0.0.1:1/odddb and topsecret1")

    monkeypatch.setattr(sys.modules["eventmark.server.provision"], "check_server", fail)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        assert run_command(("doctor", "--server", "postgresql://odd:topsecret1@127.0.0.1:1/odddb")) == 4
    assert "Traceback" in out.getvalue() and "lost postgresql://odd@127.0.0.1:1/odddb" in out.getvalue()
    assert "topsecret1" not in out.getvalue()
