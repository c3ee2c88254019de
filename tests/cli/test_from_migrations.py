"""From a folder of migrations to a verdict, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.stores.test_from_migrations import COMMANDED, HASHED, MARTEN


def migrations(text: str) -> None:
    Path("db").mkdir()
    Path("db/V1__tables.sql").write_text(text)


def test_a_store_is_written_over_migrations_and_every_guess_is_reported(
    command: Command, database: str
) -> None:
    migrations(MARTEN)
    done = command("stores", "new", "shop", "--from", "db/V*.sql", "--server", database)
    assert done.code == 0, done.err
    assert 'schema = ["../db/V*.sql"]' in Path("shop/store.toml").read_text()
    assert "the unique key (tenant_id, stream_id, version)" in done.out
    assert "table mt_streams: events refer to it" in done.out
    assert "shop: 5 statements are right" in done.out
    assert "Left on the server: nothing." in done.out
    again = command("stores", "new", "shop", "--from", "db/V*.sql", "--server", database)
    assert (again.code, "not empty" in again.err) == (2, True)


def test_tables_that_hold_no_whole_events_end_with_what_is_to_be_written(
    command: Command, database: str
) -> None:
    migrations(COMMANDED)
    done = command("stores", "new", "shop", "--from", "db/V*.sql", "--server", database)
    assert (done.code, "append_events.sql, load_aggregate.sql" in done.err) == (2, True)
    assert [path.name for path in Path("shop").iterdir()] == ["store.toml"]


def test_no_migrations_are_no_store(command: Command, database: str) -> None:
    done = command("stores", "new", "shop", "--from", "db/V*.sql", "--server", database)
    assert (done.code, "there is no file db/V*.sql" in done.err) == (2, True)
    assert not Path("shop").exists()


@pytest.mark.long
@pytest.mark.parametrize("text", [MARTEN, HASHED], ids=["a table of streams", "tenants and partitions"])
def test_two_commands_lead_from_migrations_to_a_verdict(command: Command, database: str, text: str) -> None:
    migrations(text)
    assert command("stores", "new", "shop", "--from", "db/V*.sql", "--server", database).code == 0
    hunted = command("verify", "--store", "./shop", "--events", "20k", "--server", database)
    assert hunted.code == 1, hunted.err
    assert "lost" in hunted.out
    done = command(
        "run",
        "--store",
        "./shop",
        "--events",
        "20k",
        "--profile",
        "quick",
        "--no-floors",
        "--server",
        database,
    )
    assert done.code in (0, 1, 3), done.err
