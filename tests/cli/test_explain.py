"""eventmark explain: golden plans, approved and compared, on the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from eventmark.cli.main import run_command
from eventmark.measure.files import read_result
from eventmark.measure.results import Verdict
from eventmark.plans.golden import folder_of
from eventmark.server import Server
from eventmark.stores import find_store, write_template

EVENTS = "20k"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def explain(*flags: str, database: str, events: str = EVENTS) -> int:
    return run_command(["explain", *flags, "--events", events, "--server", database])


def test_the_plans_of_the_engine_s_own_store_are_the_golden_ones(server: Server, database: str) -> None:
    """A change of a plan is meant or a mistake; who means it approves it: eventmark explain --approve --events 20k."""
    major = server.version_num // 10000
    if not folder_of(find_store("eaf").directory, major).is_dir():
        pytest.skip(f"no plans were approved for PostgreSQL {major}")
    assert explain("--golden", database=database) == 0
    assert read_result(Path("out/result.json")).verdict is Verdict.MET


def test_plans_of_a_users_own_store_are_approved_into_its_folder_and_a_change_is_shown(
    server: Server, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", "./my-store")
    write_template(Path("my-store"))
    assert explain("--golden", *store, database=database) == 3
    assert "eventmark explain --approve" in capsys.readouterr().out
    assert explain("--approve", *store, database=database) == 0
    folder = folder_of(Path("my-store"), server.version_num // 10000)
    assert {path.stem for path in folder.iterdir()} >= {"append_events", "load_aggregate", "stream_events"}
    assert explain("--golden", *store, database=database) == 0
    asyncio.run(execute(database, "drop index eventmark.events_recorded_at"))
    assert explain("--golden", *store, database=database) == 1
    shown = capsys.readouterr().out
    assert "create_token_at, approved" in shown
    assert any("- " in line and "using events_recorded_at" in line for line in shown.splitlines())


def test_plans_of_another_corpus_are_no_comparison(
    server: Server, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_template(Path("my-store"))
    store = ("--store", "./my-store")
    assert explain("--approve", *store, database=database, events="2k") in (0, 3)
    assert explain("--golden", *store, database=database, events="1k") == 2
    assert "plans of another corpus" in capsys.readouterr().err


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()
