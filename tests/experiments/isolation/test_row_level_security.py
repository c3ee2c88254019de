"""Row-level security's cost: measured call by call beside a store without it, and nothing left behind."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from eventmark.experiments.isolation.row_level_security import CALLS, measure_row_level_security
from eventmark.server import Server


@pytest.mark.long
def test_each_operation_is_measured_with_and_without(server: Server) -> None:
    measured = measure_row_level_security(server, "secured", share=0.02)
    assert set(measured) == {f"{name}, row-level security" for name in CALLS}
    for one in measured.values():
        assert one.samples >= 20
        (floor,) = one.floors
        assert floor.tool == "without it"
        assert floor.ratio > 0.5
    assert asyncio.run(left(server.dsn)) == (0, 0)


async def left(dsn: str) -> tuple[int, int]:
    connection = await asyncpg.connect(dsn)
    schemas = await connection.fetchval("select count(*) from pg_namespace where nspname like 'secured%'")
    logins = await connection.fetchval(
        "select count(*) from pg_roles where rolname like 'secured%' and rolcanlogin"
    )
    await connection.close()
    return schemas, logins
