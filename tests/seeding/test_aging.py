"""An aged corpus: as old as the server itself counts, on any store, and young again afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from eventmark.results.results import Verdict
from eventmark.seeding import Aging, age, audit, read_aging, rejuvenate, remove_appended, seed
from eventmark.stores import StoreDefinition, find_store, write_template
from eventmark.workload import CorpusPlan
from tests.database import fetch

EVENTS = 10_000
PLAN = CorpusPlan(EVENTS, seed=5)


def ledger(dsn: str) -> Aging | None:
    async def run() -> Aging | None:
        connection = await asyncpg.connect(dsn)
        try:
            return await read_aging(connection, "eventmark")
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture(params=["eaf", pytest.param("template", marks=pytest.mark.long), "one by one"])
def definition(request: pytest.FixtureRequest, tmp_path: Path) -> StoreDefinition:
    if request.param == "eaf":
        return find_store("eaf")
    write_template(tmp_path / "own")
    if request.param == "one by one":
        (tmp_path / "own" / "append_events.sql").write_text(
            "-- name: append_events\n"
            "-- parameters: tenant_id text, aggregate_id text, sequence_number bigint, event_id uuid, event_type text,"
            " payload jsonb, metadata jsonb, timestamp timestamptz\n"
            "-- index: none\n"
            "insert into {schema}.events (tenant, stream, version, id, type, data, meta, recorded_at) values"
            " (:tenant_id, :aggregate_id, :sequence_number, :event_id, :event_type, :payload, :metadata, :timestamp)"
        )
    return find_store(str(tmp_path / "own"))


def test_an_aged_corpus_has_gaps_dead_rows_and_a_tail_and_can_be_made_young_again(
    database: str, definition: StoreDefinition
) -> None:
    table = f'eventmark."{definition.events_table}"'
    asyncio.run(seed(database, definition, PLAN, schema="eventmark"))
    aged = asyncio.run(age(database, definition, "eventmark", PLAN))
    assert (aged.tail_events, aged.rolled_back_events) == (300, 200)
    assert fetch(database, f"select count(*) from {table}") == EVENTS + aged.tail_events
    assert aged.gaps == aged.rolled_back_events
    assert aged.dead_rows >= aged.rolled_back_events
    assert aged.pages > aged.visible_pages > 0
    assert aged.analysed_rows == pytest.approx(EVENTS, rel=0.02)
    assert ledger(database) == aged
    if definition.engine:
        assert aged.dead_token_rows is not None and aged.dead_token_rows > 1000
        assert aged.token_pages is not None and aged.token_pages > 10
    else:
        assert aged.dead_token_rows is None
    verdicts = asyncio.run(audit(database, definition, schema="eventmark")).findings
    assert all(finding.verdict is not Verdict.BROKEN for finding in verdicts)

    assert asyncio.run(rejuvenate(database, definition, "eventmark"))
    assert asyncio.run(remove_appended(database, definition, "eventmark", EVENTS)) == aged.tail_events
    assert ledger(database) is None
    assert not asyncio.run(rejuvenate(database, definition, "eventmark"))
    assert fetch(database, f"select count(*) from {table}") == EVENTS
    assert not autovacuum_is_off(database, table)


def autovacuum_is_off(database: str, table: str) -> bool:
    query = f"select 'autovacuum_enabled=off' = any(reloptions) from pg_class where oid = '{table}'::regclass"
    return bool(fetch(database, query))


def test_ageing_that_was_interrupted_is_known_and_taken_back(database: str) -> None:
    definition = find_store("eaf")
    asyncio.run(seed(database, definition, PLAN, schema="eventmark"))

    def stop(stage: str, done: float, total: float) -> None:
        if done > 8:  # of twelve begun at most, every other one of which is rolled back
            raise RuntimeError("stop")

    with pytest.raises(ExceptionGroup):
        asyncio.run(age(database, definition, "eventmark", PLAN, stop))
    assert ledger(database) is None
    assert asyncio.run(rejuvenate(database, definition, "eventmark"))
    assert asyncio.run(remove_appended(database, definition, "eventmark", EVENTS)) > 0
    assert not autovacuum_is_off(database, "eventmark.domain_events")
