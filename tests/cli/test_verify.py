"""The hunt, the stall report and the care of a store, on the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from eventmark.engine import install_schema
from eventmark.results.files import read_result
from eventmark.results.results import Verdict
from eventmark.server import Server
from tests.cli.conftest import Command

SMALL = ("--events", "5k", "--profile", "quick")


@pytest.mark.usefixtures("whole_page")
def test_a_hunt_of_the_control_finds_lost_events_and_states_how_to_see_it_again(
    command: Command, database: str, tmp_path: Path
) -> None:
    done = command("verify", "--ordering", "naive", *SMALL, "--server", database)
    assert done.code == 1, done.err
    said = " ".join(done.out.split())
    assert "never received" in said
    assert "Read below the oldest transaction" in said
    assert "Then hunt again: eventmark verify --ordering naive --events 5000 --seed 1" in " ".join(
        done.out.split()
    )
    result = read_result(tmp_path / "out" / "result.json")
    assert result.verdict is Verdict.BROKEN
    assert result.orderings[0].lost > 0
    assert (tmp_path / "out" / "history-naive.npz").exists()
    assert "naive" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_a_hunt_of_a_safe_ordering_ends_met_and_leaves_nothing_behind(
    command: Command, database: str, tmp_path: Path
) -> None:
    done = command("verify", "--ordering", "horizon", *SMALL, "--server", database)
    assert done.code == 0, done.out + done.err
    assert not list((tmp_path / "out").glob("history-*"))
    assert asyncio.run(schemas(database)) == ["public"]


@pytest.mark.long
def test_a_store_that_loses_events_is_broken_at_the_first_look(
    command: Command, database: str, tmp_path: Path
) -> None:
    done = command("verify", "--store", "eaf-v3", *SMALL, "--server", database)
    assert done.code == 1, done.err
    said = " ".join(done.out.split())
    assert "never received" in said
    assert "Read below the oldest transaction" in said
    assert "Then hunt again: eventmark verify --store eaf-v3 --events 5000 --seed 1" in " ".join(
        done.out.split()
    )
    assert asyncio.run(schemas(database)) == ["public"]


@pytest.mark.long
def test_a_store_that_holds_is_met_beside_a_control_that_was_caught(
    command: Command, database: str, tmp_path: Path
) -> None:
    assert command("stores", "new", "own").code == 0
    done = command("verify", "--store", "./own", *SMALL, "--server", database)
    assert done.code == 0, done.out + done.err
    own, control = read_result(tmp_path / "out" / "result.json").orderings
    assert (own.ordering, own.verdict, own.lost) == ("my-store", Verdict.MET, 0)
    assert (control.ordering, control.verdict) == ("naive", Verdict.BROKEN)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--store", "eaf-v3", "--ordering", "naive"), "has its own ordering"),
        (("--store", "./none"), "store.toml"),
        (("--ordering", "by_time"), "unknown ordering 'by_time'"),
        (("--seconds", "0"), "--seconds must be 1 or more"),
        (("--events", "-5"), "is not a number of events"),
    ],
)
def test_what_cannot_be_hunted_is_said_in_one_line(
    command: Command, arguments: tuple[str, ...], said: str
) -> None:
    done = command("verify", *arguments)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_doctor_names_who_holds_consumers_up(command: Command, server: Server, database: str) -> None:
    async def holding() -> str:
        connection = await asyncpg.connect(database, server_settings={"application_name": "forgetful"})
        async with connection.transaction():
            await connection.execute("select pg_current_xact_id()")
            return (await asyncio.to_thread(command, "doctor", "--dsn", database)).out

    assert "'forgetful'" in " ".join(asyncio.run(holding()).split())


def test_a_store_is_migrated_given_roles_and_rebased(command: Command, database: str, tmp_path: Path) -> None:
    asyncio.run(install(database))
    for verb, said in (
        (("migrate",), "--payload jsonb converts them"),
        (("migrate", "--payload", "jsonb"), "payloads are jsonb now"),
        (("migrate",), "needs three times as much free disk"),
        (("migrate", "--payload", "json"), "payloads are json now"),
        (("migrate", "--payload", "json"), "payloads are json already"),
        (("roles",), "roles are made"),
        (("rebase",), "epoch 2, 0 events moved"),
        (("roles", "--rls"), "row-level security is on"),
    ):
        done = command("admin", *verb, "--dsn", database)
        assert done.code == 0, done.err
        assert said in " ".join(done.out.split())
    done = command("admin", "migrate", "--dsn", database, "--schema", "nowhere")
    assert done.code == 4
    assert "no event store in schema 'nowhere'" in done.err
    done = command("admin", "migrate")
    assert done.code == 2
    assert "which server?" in done.err


async def install(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await install_schema(connection, "eventmark")
    await connection.close()


async def schemas(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' order by 1"
    )
    await connection.close()
    return [row[0] for row in rows]
