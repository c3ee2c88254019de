"""Stores as folders: every mistake named by file and line before anything is seeded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from eventmark.errors import StoreDefinitionError, UsageError
from eventmark.stores import check_store, find_store, read_definition, store_names, write_template


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write_template(tmp_path / "own")
    return tmp_path / "own"


def check(dsn: str, folder: Path) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await check_store(connection, read_definition(folder), "eventmark")
        finally:
            left = await connection.fetchval(
                "select count(*) from pg_namespace where nspname like 'eventmark%'"
            )
            await connection.close()
            assert left == 0

    asyncio.run(run())


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def test_every_bundled_store_and_the_example_are_right(database: str, own: Path) -> None:
    assert store_names() == ("eaf", "eaf-jsonb", "eaf-v3")
    for name in store_names():
        check(database, find_store(name).directory)
    check(database, own)


@pytest.mark.parametrize(
    ("mistake", "file", "line", "said"),
    [
        (edit("store.toml", 'ordering = "', 'odering = "'), "store.toml", 15, "did you mean 'ordering'"),
        (edit("store.toml", "[tables]", "[tables"), "store.toml", 22, ""),
        (edit("store.toml", 'sequence_number = "version"\ntimestamp', "timestamp"), "store.toml", 27, "sequence_number"),
        (edit("store.toml", '"load_aggregate[1000]" = 20', '"load_agregate[1000]" = 20'), "store.toml", None, "load_aggregate"),
        (edit("store.toml", '"transaction-id"', '"by-luck"'), "store.toml", 15, "by-luck"),
        (edit("load_aggregate.sql", ":tenant_id and", ":tenant and"), "load_aggregate.sql", 10, ":tenant"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_files_is_named_by_file_and_line(
    own: Path, mistake: Callable[[Path], None], file: str, line: int | None, said: str
) -> None:
    mistake(own)
    with pytest.raises(StoreDefinitionError) as refused:
        read_definition(own)
    assert refused.value.path.endswith(file)
    assert line is None or refused.value.line == line
    assert said in str(refused.value)


def test_a_missing_statement_is_named(own: Path) -> None:
    (own / "append_events.sql").unlink()
    with pytest.raises(StoreDefinitionError, match=r"append_events\.sql"):
        read_definition(own)


def test_an_unknown_statement_is_named_with_the_nearest(own: Path) -> None:
    (own / "load_agregate.sql").write_text("select 1")
    with pytest.raises(StoreDefinitionError, match="did you mean 'load_aggregate'"):
        read_definition(own)


@pytest.mark.parametrize(
    ("mistake", "file", "line", "said"),
    [
        (edit("load_aggregate.sql", "where tenant =", "where tennant ="), "load_aggregate.sql", 10, "tennant"),
        (edit("load_aggregate.sql", "order by version", "order version"), "load_aggregate.sql", 11, "syntax error"),
        (edit("load_aggregate.sql", "data as payload", "data as body"), "load_aggregate.sql", 7, "payload"),
        (edit("schema.sql", "tenant text not null", "tenant txt not null"), "schema.sql", 6, "txt"),
        (edit("indexes.sql", "(written_by, position)", "(written_by, place)"), "indexes.sql", None, "place"),
        (edit("store.toml", 'payload = "data"', 'payload = "dta"'), "store.toml", 36, "dta"),
        (edit("store.toml", 'events = "events"', 'events = "evts"'), "store.toml", 23, "evts"),
        (edit("create_token_at.sql", "instant timestamptz", "instant timestamptz, when date"), "create_token_at.sql", None, "when"),
    ],
)  # fmt: skip
def test_a_mistake_only_a_server_can_see_is_named_by_file_and_line_and_nothing_is_left(
    database: str, own: Path, mistake: Callable[[Path], None], file: str, line: int | None, said: str
) -> None:
    mistake(own)
    with pytest.raises(StoreDefinitionError) as refused:
        check(database, own)
    assert refused.value.path.endswith(file)
    assert line is None or refused.value.line == line
    assert said in str(refused.value)


def test_what_a_store_lacks_is_known_with_the_reason(own: Path) -> None:
    for name in ("create_token_at", "store_snapshot", "stream_events"):
        (own / f"{name}.sql").unlink()
    definition = read_definition(own)
    assert not definition.capabilities.snapshots
    assert not definition.capabilities.all_tenants_stream
    assert definition.absent["create_token_at"] == "the store has no create_token_at.sql"


def test_an_unknown_store_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'eaf'"):
        find_store("eafs")


def test_the_example_is_not_written_over_anything(own: Path) -> None:
    with pytest.raises(UsageError, match="not empty"):
        write_template(own)
