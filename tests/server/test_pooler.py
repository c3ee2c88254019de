"""A DSN that leads to a pooler is refused before anything is made, by the mode of the pooler."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import pytest

from eventmark.cli.main import run_command
from eventmark.errors import CannotRunError
from eventmark.server import Server, provision
from eventmark.server.pooler import REMEDY, refuse_lost_settings
from tests.database import fetch
from tests.engine.pgbouncer import answers, needs_pgbouncer, pooler

ONE = "default_pool_size = 1\n"
ROUND_ROBIN = "server_round_robin = 1\n"
DROPPING = "ignore_startup_parameters = options, synchronous_commit\n"
_SCHEMAS = "select count(*) from pg_namespace"


def wait_for(dsn: str) -> None:
    deadline_s = time.monotonic() + 20
    while not asyncio.run(answers(dsn)):
        assert time.monotonic() < deadline_s


@needs_pgbouncer
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("transaction", ""),
        ("transaction", ONE),
        ("transaction", ROUND_ROBIN),
        ("session", ""),
        ("session", ONE),
        ("session", DROPPING),
        ("statement", ""),
    ],
)
def test_a_pooler_is_refused_by_its_mode_whatever_its_sessions_have_seen(
    database: str, mode: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventmark.server.pooler.ANSWER_TIMEOUT_S", 0.5)
    parts = urlsplit(database)
    assert parts.username and parts.password
    with pooler(database, parts.username, parts.password, pool_mode=mode, options=options) as dsn:
        wait_for(dsn)
        for _ in range(3):  # statements of earlier clients may be left in the server's sessions
            refused = pytest.raises(CannotRunError, match=f"leads to a pooler in {mode} mode")
            with refused as caught, provision(dsn):
                pass
            assert caught.value.remedy == REMEDY and parts.password not in str(caught.value)


@needs_pgbouncer
@pytest.mark.parametrize(
    "command",
    [
        ("doctor",),
        ("stores", "check", "--store", "eaf"),
        ("run", "--events", "2k", "--profile", "quick"),
        ("verify", "--events", "2k"),
    ],
    ids=lambda command: command[0],
)
def test_every_verb_refuses_a_pooler_and_makes_nothing(
    database: str, command: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path_factory.mktemp("out"))
    parts = urlsplit(database)
    assert parts.username and parts.password
    before = fetch(database, _SCHEMAS)
    with pooler(database, parts.username, parts.password) as dsn:
        wait_for(dsn)
        assert run_command([*command, "--server", dsn]) == 4
    printed = capsys.readouterr().err
    assert "leads to a pooler in transaction mode" in printed and REMEDY in printed
    assert fetch(database, _SCHEMAS) == before


def test_the_server_itself_is_taken_and_keeps_a_sessions_settings(server: Server, database: str) -> None:
    asyncio.run(refuse_lost_settings(database, "A"))
    with provision(database) as taken:
        assert taken.pid == server.pid


def test_a_server_that_drops_the_path_is_refused(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventmark.server.pooler.confined_dsn", lambda dsn, *_: dsn)
    with pytest.raises(CannotRunError, match="pass on a session's settings"), provision(database):
        pass
