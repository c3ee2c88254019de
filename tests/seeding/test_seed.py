"""Seeding: whole, resumable after anything, repeatable; and the audit finds what was planted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from eventmark.engine import PostgresEventStore
from eventmark.errors import CannotRunError
from eventmark.results.results import Verdict
from eventmark.seeding import AuditReport, audit, missing_events, remove_appended, seed
from eventmark.server import Server
from eventmark.stores import StoreDefinition, find_store, write_template
from eventmark.workload import CorpusPlan
from tests.database import cloned, drop_database, execute, fetch

EVENTS = 30_000
PLAN = CorpusPlan(EVENTS, seed=3)
SMALL = CorpusPlan(12_000, seed=3)  # of two batches


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[str]:
    """The name of a database with the corpus of ``PLAN``."""
    name = "seeding_template"
    execute(server.dsn, f"create database {name}")
    asyncio.run(
        seed(
            server.dsn.rsplit("/", 1)[0] + f"/{name}", find_store("eaf"), PLAN, schema="eventmark", workers=2
        )
    )
    yield name
    drop_database(server.dsn, name)


@pytest.fixture
def planned(server: Server, template: str) -> Iterator[str]:
    """The DSN of a copy of it."""
    with cloned(server, template) as dsn:
        yield dsn


def audited(dsn: str, definition: StoreDefinition | None = None) -> AuditReport:
    return asyncio.run(audit(dsn, definition or find_store("eaf"), schema="eventmark"))


def wrong(report: AuditReport) -> set[str]:
    return {finding.name for finding in report.findings if finding.verdict is not Verdict.MET}


def test_a_seeded_corpus_passes_its_audit_and_can_be_read_and_appended_to(database: str) -> None:
    report = asyncio.run(seed(database, find_store("eaf"), PLAN, schema="eventmark", workers=2))
    assert (report.events, report.reused, report.resumed) == (EVENTS, False, False)
    assert report.events_per_s > 0
    assert report.growth is not None
    assert report.growth.values[-1] == EVENTS
    assert wrong(audited(database)) == set()

    async def read_everything() -> tuple[int, bool]:
        async with await PostgresEventStore.connect(database) as store:
            token, seen, places = await store.create_tail_token(), 0, []
            while batch := (await store.stream_events(token, limit=10_000)):
                if not batch.events:
                    break
                seen, token = seen + len(batch.events), batch.token
                places += [event.global_sequence for event in batch.events]
            head = await store.create_head_token()
            return seen, places == sorted(places) and head.covers(token)

    assert asyncio.run(read_everything()) == (EVENTS, True)
    assert fetch(
        database, "select nextval(pg_get_serial_sequence('eventmark.domain_events', 'global_sequence_id'))"
    ) == (EVENTS + 1)


def test_a_store_with_columns_of_its_own_is_seeded_and_audited(database: str, tmp_path: Path) -> None:
    write_template(tmp_path / "own")
    definition = find_store(str(tmp_path / "own"))
    asyncio.run(seed(database, definition, CorpusPlan(20_000, seed=3), schema="eventmark", workers=2))
    assert wrong(audited(database, definition)) == set()


def test_a_table_of_other_types_is_loaded_by_the_drivers_own_encoding(database: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    write_template(own)
    for name in ("schema.sql", "append_events.sql"):
        text = (own / name).read_text()
        (own / name).write_text(
            text.replace("data jsonb", "data json").replace("version bigint", "version integer")
        )
    definition = find_store(str(own))
    asyncio.run(seed(database, definition, CorpusPlan(20_000, seed=3), schema="eventmark", workers=2))
    assert wrong(audited(database, definition)) == set()


def test_the_same_plan_is_reused_another_is_refused_unless_replaced(database: str) -> None:
    definition, plan = find_store("eaf"), CorpusPlan(2_000, seed=3)
    asyncio.run(seed(database, definition, plan, schema="eventmark", workers=2))
    first = audited(database).checksum
    again = asyncio.run(seed(database, definition, plan, schema="eventmark", workers=2))
    assert (again.reused, again.events) == (True, 0)
    other = CorpusPlan(2_000, seed=4)
    with pytest.raises(CannotRunError, match="another corpus"):
        asyncio.run(seed(database, definition, other, schema="eventmark", workers=2))
    asyncio.run(seed(database, definition, other, schema="eventmark", workers=2, replace=True))
    assert audited(database).checksum != first
    asyncio.run(seed(database, definition, plan, schema="eventmark", workers=2, replace=True))
    assert audited(database).checksum == first


def test_what_is_still_to_be_seeded_is_known_so_that_room_is_asked_for_that_alone(database: str) -> None:
    def missing(plan: CorpusPlan) -> int:
        async def ask() -> int:
            connection = await asyncpg.connect(database)
            try:
                return await missing_events(connection, find_store("eaf"), plan, "eventmark")
            finally:
                await connection.close()

        return asyncio.run(ask())

    assert missing(SMALL) == SMALL.events
    asyncio.run(seed(database, find_store("eaf"), SMALL, schema="eventmark"))
    assert missing(SMALL) == 0
    assert missing(CorpusPlan(SMALL.events + 5, seed=3)) == SMALL.events + 5
    execute(database, "delete from eventmark.eventmark_seed_batches where batch = 0")
    assert missing(SMALL) == 10_000


def test_a_schema_that_is_not_eventmarks_is_left_alone(database: str) -> None:
    execute(database, "create schema eventmark", "create table eventmark.precious (id int)")
    with pytest.raises(CannotRunError, match="was not created by Eventmark"):
        asyncio.run(seed(database, find_store("eaf"), PLAN, schema="eventmark", replace=True))
    assert fetch(database, "select count(*) from eventmark.precious") == 0


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("delete from eventmark.domain_events where global_sequence_id = 777", {"events", "checksum of every batch"}),
        ("update eventmark.domain_events set tenant_id = 'tenant-0000' where global_sequence_id = 29000",
         {"checksum of every batch"}),
        ("update eventmark.domain_events set sequence_number = 5000 where global_sequence_id = 100",
         {"contiguous streams"}),
        ("update eventmark.domain_events set payload = '{}' where global_sequence_id = 10500", {"contents"}),
        ("update eventmark.domain_events set payload = '{\"a\": 1}' where octet_length(payload::text) > 900",
         {"payload sizes"}),
        ("update eventmark.domain_events set timestamp_utc = timestamp_utc + interval '12 hours'", {"business hours"}),
        ("delete from eventmark.aggregate_snapshots where sequence_number = 100", {"snapshots"}),
        ("delete from eventmark.domain_events where tenant_id in ('tenant-0000', 'tenant-0001', 'tenant-0002')", {"tenants 80/20"}),
    ],
)  # fmt: skip
def test_a_planted_wrong_is_found_by_the_audit(planned: str, fault: str, found: set[str]) -> None:
    execute(planned, "alter table eventmark.domain_events disable trigger user", fault)
    report = audited(planned)
    assert found <= wrong(report)
    assert report.verdict is Verdict.BROKEN


def test_an_event_stored_twice_is_found(planned: str) -> None:
    execute(
        planned,
        "alter table eventmark.domain_events drop constraint domain_events_position",
        "drop index eventmark.domain_events_stream, eventmark.domain_events_event_id",
        "insert into eventmark.domain_events select * from eventmark.domain_events where global_sequence_id = 5",
    )
    assert {"events", "checksum of every batch", "contiguous streams"} <= wrong(audited(planned))


def test_a_seeder_killed_half_way_is_gone_on_with_without_duplicates_or_holes(database: str) -> None:
    plan = CorpusPlan(40_000, seed=3)
    script = (
        "import asyncio; from eventmark.seeding import seed; from eventmark.stores import find_store;"
        "from eventmark.workload import CorpusPlan\n"
        f"if __name__ == '__main__': asyncio.run(seed({database!r}, find_store('eaf'), CorpusPlan(40_000, seed=3),"
        " schema='eventmark', workers=2))"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        _wait_for_batches(database, 1)
        workers = psutil.Process(process.pid).children(recursive=True)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert alive == []
    there = fetch(database, "select count(*) from eventmark.eventmark_seed_batches")
    assert 1 <= there < plan.batch_count
    assert fetch(database, "select count(*) from eventmark.domain_events") == there * 10_000
    report = asyncio.run(seed(database, find_store("eaf"), plan, schema="eventmark", workers=2))
    assert (report.resumed, report.events) == (True, plan.events - there * 10_000)
    assert wrong(audited(database)) == set()


def _wait_for_batches(dsn: str, count: int) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        try:
            if fetch(dsn, "select count(*) from eventmark.eventmark_seed_batches") >= count:
                return
        except asyncpg.PostgresError:
            pass
        time.sleep(0.02)
    pytest.fail("the seeder wrote nothing within a minute")


def test_an_unfinished_corpus_is_not_audited(planned: str) -> None:
    execute(planned, "update eventmark.eventmark_corpus set stage = 'loading'")
    with pytest.raises(CannotRunError, match="not finished"):
        audited(planned)


def test_what_measuring_added_is_taken_out_again(planned: str) -> None:
    definition = find_store("eaf")
    snapshots = fetch(planned, "select count(*) from eventmark.aggregate_snapshots")
    execute(
        planned,
        "insert into eventmark.domain_events select (jsonb_populate_record(d, jsonb_build_object("
        "'global_sequence_id', 30001, 'aggregate_id', 'new', 'event_id', gen_random_uuid(),"
        " 'transaction_id', pg_current_xact_id()))).*"
        " from eventmark.domain_events d where global_sequence_id = 1",
        "insert into eventmark.aggregate_snapshots select (jsonb_populate_record(s, jsonb_build_object("
        "'sequence_number', 1000000))).* from eventmark.aggregate_snapshots s limit 1",
    )
    assert asyncio.run(remove_appended(planned, definition, "eventmark", EVENTS)) == 1
    assert fetch(planned, "select count(*) from eventmark.domain_events") == EVENTS
    assert fetch(planned, "select count(*) from eventmark.aggregate_snapshots") == snapshots


def test_snapshots_are_taken_out_also_where_their_ids_are_of_another_type_than_the_events(
    planned: str,
) -> None:
    definition = find_store("eaf")
    snapshots = fetch(planned, "select count(*) from eventmark.aggregate_snapshots")
    execute(
        planned,
        "alter table eventmark.aggregate_snapshots alter aggregate_id type uuid using aggregate_id::uuid",
        "insert into eventmark.aggregate_snapshots select (jsonb_populate_record(s, jsonb_build_object("
        "'sequence_number', 1000000))).* from eventmark.aggregate_snapshots s limit 1",
    )
    asyncio.run(remove_appended(planned, definition, "eventmark", EVENTS))
    assert fetch(planned, "select count(*) from eventmark.aggregate_snapshots") == snapshots


def test_what_measuring_added_is_found_whatever_its_transaction_ids_after_a_rebase(planned: str) -> None:
    definition = find_store("eaf")
    execute(
        planned,
        "alter table eventmark.domain_events disable trigger user",
        "update eventmark.domain_events set transaction_id = '3'",
        "insert into eventmark.domain_events select (jsonb_populate_record(d, jsonb_build_object("
        "'global_sequence_id', 30001, 'aggregate_id', 'new', 'event_id', gen_random_uuid()))).*"
        " from eventmark.domain_events d where global_sequence_id = 1",
    )
    assert asyncio.run(remove_appended(planned, definition, "eventmark", EVENTS)) == 1


def test_progress_never_goes_back_and_ends_at_its_total(database: str) -> None:
    told: dict[str, list[tuple[float, float]]] = {}
    asyncio.run(seed(
        database, find_store("eaf"), SMALL, schema="eventmark", workers=2,
        progress=lambda stage, done, total: told.setdefault(stage, []).append((done, total)),
    ))  # fmt: skip
    assert set(told) == {"load", "indexes", "analyze", "vacuum"}
    for steps in told.values():
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert steps[-1][0] == steps[-1][1]


def test_a_server_that_refuses_half_way_is_reported_in_one_line(planned: str) -> None:
    definition = find_store("eaf")
    execute(
        planned,
        "update eventmark.eventmark_corpus set stage = 'loading'",
        "delete from eventmark.eventmark_seed_batches where batch = 1",
        "alter table eventmark.domain_events disable trigger user",
        "delete from eventmark.domain_events where global_sequence_id <= 10000",  # no more than is accounted for
    )
    with pytest.raises(CannotRunError, match="batch 1 could not be loaded"):  # its events are there already
        asyncio.run(seed(planned, definition, PLAN, schema="eventmark", workers=2))
