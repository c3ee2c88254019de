"""The floor by pgbench is the statement's own time, however quick the statement is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from eventmark.engine.statements import Statement, read_statement
from eventmark.errors import CannotRunError
from eventmark.operations.floors import FloorRounds
from eventmark.operations.pgbench import lay_down_arguments, pgbench_mean_ms
from eventmark.server import Server

SLEEP = """-- name: load_aggregate
-- purpose: Takes as long as it is told.
-- parameters: aggregate_id text
-- index: none
select pg_sleep(0.02), :aggregate_id::text
"""
REPORTS_RATES = """#!/bin/sh
while [ "$1" != -f ]; do shift; done
if grep -q pg_sleep "$2"; then echo "tps = {both} (without initial connection time)"
else echo "tps = {fetch} (without initial connection time)"; fi
"""


@pytest.fixture
def statement(tmp_path: Path) -> Statement:
    path = tmp_path / "load_aggregate.sql"
    path.write_text(SLEEP)
    return read_statement(path)


def test_mean_is_the_statements_time_without_the_fetching_of_arguments(
    server: Server, database: str, statement: Statement
) -> None:
    async def prepare() -> None:
        connection = await asyncpg.connect(database)
        try:
            await connection.execute("create schema bench")
            rows = [{"aggregate_id": f"aggregate-{number}"} for number in range(20)]
            await lay_down_arguments(connection, "bench", "arguments", statement, rows)
        finally:
            await connection.close()

    asyncio.run(prepare())
    here = replace(server, dsn=database)
    mean_ms = pgbench_mean_ms(here, "bench", "arguments", statement, first_call=11, calls=10)
    assert 10.0 <= mean_ms < 100.0  # 20, and what else this machine does
    with pytest.raises(CannotRunError, match="pgbench failed"):  # there are no arguments beyond the twentieth
        pgbench_mean_ms(here, "bench", "arguments", statement, first_call=21, calls=10)


@pytest.mark.parametrize(("fetch", "both", "mean_ms"), [("50000", "25000", 0.02), ("1000", "200", 4.0)])
def test_mean_is_taken_from_rates_of_whole_runs(
    server: Server, statement: Statement, tmp_path: Path, fetch: str, both: str, mean_ms: float
) -> None:
    pgbench = tmp_path / "pgbench"
    pgbench.write_text(REPORTS_RATES.format(fetch=fetch, both=both))
    pgbench.chmod(0o755)
    reporting = replace(server, bin_directory=tmp_path)
    found = pgbench_mean_ms(reporting, "bench", "arguments", statement, first_call=1, calls=10)
    assert found == pytest.approx(mean_ms)


def test_a_run_no_slower_with_the_statement_than_without_is_reported_as_it_is(
    server: Server, statement: Statement, tmp_path: Path
) -> None:
    pgbench = tmp_path / "pgbench"
    pgbench.write_text(REPORTS_RATES.format(fetch="1000", both="1100"))
    pgbench.chmod(0o755)
    here = replace(server, bin_directory=tmp_path)
    assert pgbench_mean_ms(here, "bench", "arguments", statement, first_call=1, calls=10) < 0


@pytest.mark.parametrize(
    ("pairs", "ratio"),
    [
        ([(2.0, 1.0)], 2.0),
        ([(2.0, 1.0), (2.0, -0.1), (3.0, 1.0)], 3.0),
        ([(2.0, 1.0), (2.0, 0.0)], None),
        ([(2.0, -1.0)], None),
        ([], None),
    ],
)
def test_a_round_without_a_floor_counts_as_far_from_it_and_never_flatters(
    pairs: list[tuple[float, float]], ratio: float | None
) -> None:
    floor = FloorRounds("pgbench", pairs).floor()
    assert (floor.ratio if floor else None) == ratio
