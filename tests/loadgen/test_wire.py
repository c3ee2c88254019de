"""The generator on libpq: what it sends is what the store's own client sends, and what it hears means the same."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import asyncpg
import numpy as np
import pytest
from psycopg import pq

from eventmark.domain import NewEvent
from eventmark.engine.pool import Opening
from eventmark.jobs.job import Job, draw_sample
from eventmark.loadgen.generator import Pulse, run_load
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.loadgen.plan import CLIENT, LoadPlan
from eventmark.loadgen.records import DEADLINE
from eventmark.loadgen.wire.connection import conninfo_of
from eventmark.loadgen.wire.making import statements_of, wire_operation
from eventmark.loadgen.wire.statements import describe
from eventmark.operations.appends import EVENT_TYPE, METADATA
from eventmark.operations.catalogue import OPERATIONS
from eventmark.server import Server
from eventmark.stores import (
    StoreSessions,
    append_values,
    event_values,
    find_store,
    open_sessions,
    write_template,
)
from eventmark.workload.arrivals import Arrivals
from tests.database import connected, execute, fetch
from tests.experiments.seeded import EVENTS, job_on
from tests.loadgen.conftest import Loaded

APPEND = "append_events[1]"
EVERY = ", ".join(f"{name}=1" for name in OPERATIONS)

ONE_BY_ONE = """-- name: append_events
-- parameters: tenant_id text, aggregate_id text, sequence_number bigint, event_id uuid, event_type text, payload jsonb, metadata jsonb, timestamp timestamptz
insert into {schema}.events (tenant, stream, version, id, type, data, meta, recorded_at)
values (:tenant_id, :aggregate_id, :sequence_number, :event_id, :event_type, :payload, :metadata, :timestamp)
"""


@pytest.fixture
def one_by_one(server: Server, own_corpus: str, tmp_path: Path) -> Job:
    """A store whose statement appends one event, and answers with nothing."""
    write_template(tmp_path / "own")
    (tmp_path / "own" / "append_events.sql").write_text(ONE_BY_ONE)
    return job_on(server, own_corpus, str(tmp_path / "own"))


def run(job: Job, mix: str, **plan: object) -> LoadOutcome:
    settings = {"seconds": 0.7, "warm_rounds": 1, "pool_max": 2} | plan
    with ThreadPoolExecutor(1) as executor:
        return run_load(job, draw_sample(job), LoadPlan(mix=parse_mix(mix), **settings), executor=executor)


def sessions_of(job: Job) -> StoreSessions:
    return asyncio.run(open_sessions(find_store(job.store), job.server.dsn, schema=job.schema))


def elsewhere(job: Job, statement: str) -> None:
    """Run it while this thread's event loop is busy with a load."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(execute, job.server.dsn, statement).result()


def test_every_operation_of_the_catalogue_goes_over_the_wire(job: Job) -> None:
    outcome = run(job, EVERY, users=4, pool_max=4, seconds=1.0)
    for name, one in outcome.operations.items():
        assert (one.failed, one.conflicted, one.skipped) == (0, 0, 0), (name, one.messages)
        assert one.succeeded > 0, name


def test_users_whose_calls_ask_no_server_call_as_often_as_there_is_time(job: Job) -> None:
    outcome = run(job, "compare_tokens=1", users=2, seconds=3.0)
    one = outcome.operations["compare_tokens"]
    assert one.failed == 0 and one.succeeded > 2 * sys.getrecursionlimit()


def test_a_folder_of_sql_goes_over_the_wire(server: Server, own_corpus: str, tmp_path: Path) -> None:
    write_template(tmp_path / "own")
    outcome = run(job_on(server, own_corpus, str(tmp_path / "own")), EVERY, users=4, pool_max=4, seconds=1.0)
    for name, one in outcome.operations.items():
        assert (one.failed, one.conflicted, one.skipped) == (0, 0, 0), (name, one.messages)
        assert one.succeeded > 0, name


@pytest.mark.parametrize("name", ["append_events[1]", "append_events[10]"])
def test_what_is_encoded_ahead_is_what_the_client_would_send(job: Job, one_by_one: Job, name: str) -> None:
    for each in (job, one_by_one):
        sessions = sessions_of(each)
        operation = OPERATIONS[name](sessions.store, draw_sample(each), np.random.default_rng(1))
        statements = describe(sessions, conninfo_of(sessions.opening), statements_of([operation]))
        asyncio.run(operation.prepare())
        made = wire_operation(operation, sessions, statements)
        numbers = operation.batches.draw_numbers(made.block * operation.batch_events)
        operation.batches.draw_numbers = lambda count, same=numbers: same
        call = made.drawn()[-1]
        made.complete(call)
        known, drawn, version = call.arguments
        instant, ids, places = numbers[0], *(one[-operation.batch_events :] for one in numbers[1:])
        assert list(drawn) == ids
        prepared = statements["append_events"]
        assert len(call.rows) == (operation.batch_events if each is one_by_one else 1)
        for number, row in enumerate(call.rows):
            values = append_values(
                known.stream,
                [
                    NewEvent(
                        event_id=UUID(int=event_id), event_type=EVENT_TYPE, payload=operation.batches.payloads[place],
                        metadata=METADATA, timestamp=instant, payload_type=EVENT_TYPE,
                    )
                    for event_id, place in zip(ids, places, strict=True)
                ],
                version,
            )  # fmt: skip
            expected = prepared.encoded(
                {**values, **event_values(values, number)} if each is one_by_one else values
            )
            for parameter, sent, wanted in zip(prepared.parameters, row, expected, strict=True):
                assert sent == wanted, parameter


def test_events_appended_one_by_one_are_all_stored_or_none(one_by_one: Job) -> None:
    count = "select count(*) from eventmark.events"
    before = fetch(one_by_one.server.dsn, count)
    outcome = run(one_by_one, "append_events[10]=1", users=2, warm_rounds=0)
    one = outcome.operations["append_events[10]"]
    assert (one.failed, one.conflicted) == (0, 0), one.messages
    assert fetch(one_by_one.server.dsn, count) == before + 10 * one.succeeded
    assert outcome.transactions == ("append_events[10]",)


def test_a_conflict_within_a_transaction_takes_all_of_it_back(one_by_one: Job) -> None:
    execute(
        one_by_one.server.dsn,
        "create function eventmark.stand_in() returns trigger language plpgsql as $$ begin"
        " if new.version % 10 = 7 then raise unique_violation; end if; return new; end $$",
        "create trigger stand_in before insert on eventmark.events for each row execute function eventmark.stand_in()",
    )
    count = "select count(*) from eventmark.events"
    before = fetch(one_by_one.server.dsn, count)
    one = run(one_by_one, "append_events[10]=1", users=2, warm_rounds=0).operations["append_events[10]"]
    assert one.conflicted > 5
    assert (one.succeeded, one.failed) == (0, 0), one.messages
    assert fetch(one_by_one.server.dsn, count) == before


def test_a_conflict_that_does_not_tell_the_version_is_followed_by_a_look(one_by_one: Job) -> None:
    one = run(
        one_by_one,
        f"{APPEND}=1",
        users=4,
        pool_max=4,
        contended_share=1.0,
        contended_streams=1,
        warm_rounds=0,
    ).operations[APPEND]
    assert one.conflicted > 0
    assert one.succeeded > 5
    assert one.failed == 0, one.messages


def test_a_lost_connection_is_a_failure_of_its_call_alone(job: Job) -> None:
    begin, stop = threading.Event(), threading.Event()
    cut = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where application_name = 'eventmark' and datname = current_database() and wait_event_type = 'Lock'"
    )

    async def cut_appends_under_way(holder: asyncpg.Connection) -> None:
        while not stop.is_set():
            async with holder.transaction():
                await holder.execute("lock table eventmark.domain_events in exclusive mode")
                while not (await holder.fetchval(cut) or stop.is_set()):
                    await asyncio.sleep(0.01)
                    await holder.execute("select pg_stat_clear_snapshot()")
            await asyncio.sleep(0.2)

    def interfere() -> None:
        begin.wait()
        connected(job.server.dsn, cut_appends_under_way)

    thread = threading.Thread(target=interfere)
    thread.start()
    try:
        plan = LoadPlan(
            mix=parse_mix(f"{APPEND}=1, load_aggregate[1000]=1"), arrivals=Arrivals("constant", 80), seconds=2.0,
            pool_max=2, warm_rounds=1,
        )  # fmt: skip
        with ThreadPoolExecutor(1) as executor:
            outcome = run_load(job, draw_sample(job), plan, executor=executor, watch=lambda _: begin.set())
    finally:
        begin.set()
        stop.set()
        thread.join()
    failures = {name for one in outcome.operations.values() for name in one.failures}
    assert failures and failures <= {"OutcomeUnknownError", "StoreUnavailableError"}
    assert sum(one.succeeded for one in outcome.operations.values()) > 60


def test_a_call_past_its_deadline_is_ended_on_the_server_too(job: Job) -> None:
    execute(
        job.server.dsn,
        "create function eventmark.slow() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(5); return new; end $$",
        "create trigger slow before insert on eventmark.domain_events for each row execute function eventmark.slow()",
    )
    outcome = run(
        job, f"{APPEND}=1", arrivals=Arrivals("constant", 10), deadline_s=0.3, seconds=1.0, warm_rounds=0
    )
    one = outcome.operations[APPEND]
    assert one.failures == {DEADLINE: 10}
    until_s = time.monotonic() + 3
    at_work = (
        "select count(*) from pg_stat_activity where state = 'active' and application_name = 'eventmark'"
        " and datname = current_database()"
    )
    while fetch(job.server.dsn, at_work) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert fetch(job.server.dsn, at_work) == 0


def test_a_session_is_as_the_engine_opens_it(job: Job) -> None:
    execute(
        job.server.dsn,
        "do $$ begin execute format('alter database %I set default_transaction_isolation to serializable',"
        " current_database()); execute format('alter database %I set synchronous_commit to off', current_database());"
        " end $$",
    )
    opening = sessions_of(job).opening
    ours = pq.PGconn.connect(conninfo_of(opening))
    names = ("default_transaction_isolation", "synchronous_commit", "search_path", "application_name")
    found = {name: ours.exec_(f"show {name}".encode()).get_value(0, 0).decode() for name in names}
    ours.finish()
    assert found["default_transaction_isolation"] == "read committed"
    assert found["synchronous_commit"] == "on"
    assert found["application_name"] == "eventmark"
    assert found["search_path"] == asyncio.run(_path_of(job.server.dsn))


async def _path_of(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        path: str = await connection.fetchval("show search_path")
    finally:
        await connection.close()
    return path


def test_a_password_is_not_shown_with_how_sessions_are_opened() -> None:
    opening = Opening(dsn="postgresql://a:geheim@h/d", application_name="eventmark", settings={}, sql={})
    assert "geheim" not in repr(opening)


def test_statements_of_a_store_that_was_replaced_fail_by_its_fence(job: Job) -> None:
    fence = fetch(job.server.dsn, "select proname from pg_proc where proname like 'fence_%'")
    replaced = threading.Event()

    def replace_it(_: Pulse) -> None:
        if not replaced.is_set():
            replaced.set()
            elsewhere(job, f"alter function eventmark.{fence}() rename to fence_of_another")

    with ThreadPoolExecutor(1) as executor:
        plan = LoadPlan(
            mix=parse_mix(f"{APPEND}=1"),
            arrivals=Arrivals("constant", 40),
            seconds=1.5,
            pool_max=2,
            warm_rounds=1,
        )
        outcome = run_load(job, draw_sample(job), plan, executor=executor, watch=replace_it)
    one = outcome.operations[APPEND]
    assert set(one.failures) == {"StoreReplacedError"}
    assert one.failed > 10


def test_failures_are_distinguished_by_class(job: Job) -> None:
    """A table is dropped while statements that need it are prepared."""

    def drop_it(_: Pulse) -> None:
        elsewhere(job, "drop table if exists eventmark.aggregate_snapshots")

    with ThreadPoolExecutor(1) as executor:
        plan = LoadPlan(
            mix=parse_mix(f"{APPEND}=1, read_snapshot=1"), arrivals=Arrivals("constant", 60), seconds=1.5, pool_max=2,
            warm_rounds=1,
        )  # fmt: skip
        outcome = run_load(job, draw_sample(job), plan, executor=executor, watch=drop_it)
    broken = outcome.operations["read_snapshot"]
    assert broken.failures == {"StoreUnavailableError": broken.failed}
    assert broken.failed > 10
    assert "aggregate_snapshots" in broken.messages["StoreUnavailableError"]
    assert outcome.operations[APPEND].failed == 0


def test_the_client_path_makes_the_same_load(job: Job, loaded: Loaded) -> None:
    outcome = loaded(f"{APPEND}=1, read_snapshot=1", arrivals=Arrivals("constant", 60), through=CLIENT)
    assert [one.failed for one in outcome.operations.values()] == [0, 0]
    assert outcome.offered == 60
    assert fetch(job.server.dsn, "select count(*) from eventmark.domain_events") > EVENTS
