"""The page on orderings says how a table that loses events becomes one that does not: its SQL is run here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from eventmark.engine.statements import Statement
from eventmark.stores import read_definition, write_template
from tests.engine.builders import until

PAGE = (Path(__file__).parents[2] / "docs" / "ordering.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## In a store of SQL files\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```sql\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
COLUMN, INDEX, TENANT_INDEX, APPEND, READ, HEAD = BLOCKS
NAIVE = "select position, version from events where position > $1 order by position"


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Statement]:
    write_template(tmp_path / "own")
    return dict(read_definition(tmp_path / "own").statements)


def body(statement: Statement) -> str:
    return statement.template.replace("{schema}.", "").strip()


def test_the_page_shows_the_statements_of_the_example(own: dict[str, Statement]) -> None:
    shown = {"append_events": APPEND, "stream_events": READ, "create_head_token": HEAD}
    assert {name: block.strip() for name, block in shown.items()} == {name: body(own[name]) for name in shown}


async def appended(
    connection: asyncpg.Connection[Any], own: dict[str, Statement], stream: str, version: int
) -> Any:
    """The answer of the page's append: (last number or None, actual version, transaction)."""
    values = ([uuid4()], ["Opened"], [json.dumps({})], [json.dumps({})])
    statement = own["append_events"].sql("public")
    now = await connection.fetchval("select now()")
    return await connection.fetchrow(statement, "t", stream, version, *values, [now])


async def test_a_table_in_use_is_made_one_that_loses_nothing(
    database: str, own: dict[str, Statement]
) -> None:
    connection, other = await asyncpg.connect(database), await asyncpg.connect(database)
    await connection.execute(
        "create table events (position bigserial, id uuid not null, tenant text not null, stream text not null,"
        " version bigint not null, type text not null, data jsonb not null, meta jsonb not null,"
        " recorded_at timestamptz not null)"
    )
    old = "insert into events (id, tenant, stream, version, type, data, meta, recorded_at)"
    old += " values (gen_random_uuid(), 't', $1, $2, 'Opened', '{}', '{}', now())"

    async with connection.transaction():  # the loss: 1 is not committed when 2 is read
        await connection.execute(old, "a", 1)
        await other.execute(old, "b", 1)
        assert [row["position"] for row in await other.fetch(NAIVE, 0)] == [2]
    assert await other.fetch(NAIVE, 2) == []

    for block in (COLUMN, INDEX, TENANT_INDEX):
        await connection.execute(block)
    assert await connection.fetchval("select count(*) from events where written_by = '0'") == 2

    async def read(written_by: int, position: int) -> list[tuple[int, int]]:
        rows = await other.fetch(own["stream_events"].sql("public"), written_by, position, 10)
        return [(row["transaction_id"], row["global_sequence_id"]) for row in rows]

    assert await read(0, 0) == [(0, 1), (0, 2)]
    async with connection.transaction():
        await appended(connection, own, "a", 1)
        assert (await appended(other, own, "b", 1))["last_global_sequence"] == 4
        assert await read(0, 2) == []  # it waits, and skips nothing
        head = await other.fetchrow(own["create_head_token"].sql("public"))
        assert (head["transaction_id"], head["global_sequence_id"]) == (0, 2)

    async def both() -> bool:
        return len(await read(0, 2)) == 2

    await until(both)

    async with connection.transaction():  # the id early, the append late
        await connection.execute("select pg_current_xact_id()")
        await appended(other, own, "late", 0)
        refused = await appended(connection, own, "late", 1)
        assert (refused["last_global_sequence"], refused["actual_version"]) == (None, 1)
    assert (await appended(connection, own, "late", 1))["last_global_sequence"] is not None
    assert (await appended(connection, own, "late", 7))["last_global_sequence"] is None
    await connection.close()
    await other.close()
