"""A corpus that grows: the log's first events first, the next ones into the indexes that are there."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from eventmark.domain import StreamId
from eventmark.engine import PostgresEventStore
from eventmark.seeding import remove_appended, seed, seeded_events, whole_batches
from eventmark.server.loop import ask
from eventmark.stores import find_store
from eventmark.workload import CorpusPlan
from tests.engine.builders import new_events
from tests.seeding.test_seed import audited, execute, fetch, wrong

PLAN = CorpusPlan(60_000, seed=3, cohort_events=20_000)
COUNT = "select count(*) from eventmark.domain_events"


def grow(
    dsn: str, events: int | None, plan: CorpusPlan = PLAN, schema: str = "eventmark", **told: object
) -> int:
    report = asyncio.run(seed(dsn, find_store("eaf"), plan, schema=schema, events=events, workers=2, **told))  # type: ignore[arg-type]
    return report.events


def append(dsn: str, events: int) -> None:
    async def run() -> None:
        async with await PostgresEventStore.connect(dsn) as store:
            stream = StreamId(tenant_id="tenant-0000", aggregate_type="Order", aggregate_id=str(uuid4()))
            await store.append_events(stream, new_events(events), expected_version=0)

    asyncio.run(run())


def test_a_corpus_grown_in_steps_is_the_one_that_is_seeded_at_once(database: str) -> None:
    plan = CorpusPlan(30_000, seed=3, cohort_events=10_000)
    assert grow(database, 10_000, plan) == 10_000
    assert fetch(database, "select stage from eventmark.eventmark_corpus") == "growing"
    assert fetch(database, "select count(*) from pg_indexes where schemaname = 'eventmark'") > 5
    assert grow(database, 20_000, plan) == 10_000
    assert grow(database, None, plan) == 10_000
    grown = audited(database)
    assert wrong(grown) == set()
    assert grow(database, None, plan, schema="at_once") == 30_000
    at_once = fetch(database, "select array_agg(checksum order by batch) from at_once.eventmark_seed_batches")
    assert at_once == fetch(
        database, "select array_agg(checksum order by batch) from eventmark.eventmark_seed_batches"
    )


def test_what_is_there_already_is_not_loaded_again(database: str) -> None:
    grow(database, 20_000)
    assert grow(database, 20_000) == 0
    assert grow(database, 10_000) == 0
    assert fetch(database, COUNT) == 20_000
    assert ask(database, seeded_events, "eventmark") == 20_000


def test_indexes_that_rise_keep_full_pages_also_after_what_was_appended_is_taken_out(database: str) -> None:
    """As in a log in use. The page where appended events were stays at their right, and would have pages split in halves."""
    execute(database, "create extension pgstattuple")
    grow(database, 20_000)
    append(database, 200)
    asyncio.run(remove_appended(database, find_store("eaf"), "eventmark", PLAN.events))
    grow(database, 60_000)
    for index in ("domain_events_position", "domain_events_timestamp"):
        assert fetch(database, f"select avg_leaf_density from pgstatindex('eventmark.{index}')") > 80


@pytest.mark.long
def test_the_table_grows_in_the_order_of_time_also_after_what_was_appended_is_taken_out(
    database: str,
) -> None:
    grow(database, 20_000)
    append(database, 200)
    assert (
        fetch(
            database,
            "select min(global_sequence_id) from eventmark.domain_events where global_sequence_id > 20000",
        )
        == 60_001
    )
    assert asyncio.run(remove_appended(database, find_store("eaf"), "eventmark", PLAN.events)) == 200
    grow(database, 60_000)
    assert fetch(database, COUNT) == 60_000
    order = (
        "select correlation from pg_stats where schemaname = 'eventmark' and tablename = 'domain_events'"
        " and attname = 'timestamp_utc'"
    )
    assert fetch(database, order) > 0.9  # two workers' batches lie beside each other


@pytest.mark.long
def test_a_corpus_interrupted_while_it_grows_is_gone_on_with(database: str) -> None:
    grow(database, 20_000)

    def interrupt(stage: str, done: float, total: float) -> None:
        if stage == "load" and done > 20_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grow(database, 60_000, progress=interrupt)
    there = fetch(database, COUNT)
    assert 20_000 < there < 60_000 + 1
    assert fetch(database, "select stage from eventmark.eventmark_corpus") == "growing"
    grow(database, 60_000)
    assert fetch(database, COUNT) == 60_000
    assert wrong(audited(database)) == set()


def test_streams_of_1000_events_are_whole_from_the_first_step_on(database: str) -> None:
    grow(database, 20_000)
    assert fetch(
        database,
        "select count(*) from (select from eventmark.domain_events group by tenant_id, aggregate_id"
        " having count(*) = 1000) s",
    ) == 4  # fmt: skip


def test_where_no_corpus_is_there_are_no_events(database: str) -> None:
    execute(database, "create schema other")
    assert ask(database, seeded_events, "eventmark") == 0


@pytest.mark.parametrize(
    ("events", "whole"), [(10_000, True), (60_000, True), (15_000, False), (70_000, False), (0, False)]
)
def test_a_log_grows_by_whole_batches(events: int, whole: bool) -> None:
    assert whole_batches(events, PLAN) is whole
