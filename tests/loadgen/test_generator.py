"""The generator: everything accounted for, latency from the due time, and each part of it where it belongs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg
import numpy as np
import psutil
import pytest

from eventmark.errors import CannotRunError, UsageError
from eventmark.jobs.job import Job, draw_sample
from eventmark.loadgen.generator import Pulse, generate, run_load
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.plan import CLIENT, LoadPlan
from eventmark.loadgen.records import DEADLINE
from eventmark.operations.catalogue import OPERATIONS, ReadSnapshot
from eventmark.stores import PooledStore
from eventmark.workers import crew
from eventmark.workload.arrivals import Arrivals
from tests.database import execute, fetch
from tests.experiments.seeded import EVENTS
from tests.loadgen.conftest import Loaded

APPEND = "append_events[1]"
BUSY = "append_events[1]=60, append_events[10]=10, load_aggregate[1000]=10, stream_events[1000]=10, read_snapshot=10"


def poisson(rate: float) -> Arrivals:
    return Arrivals("poisson", rate)


def p(samples_ns: np.ndarray, q: float) -> float:
    return float(np.quantile(samples_ns, q)) / 1e6


class HeldLock:
    """Holds every writer up for ``seconds``, from the first pulse of a load on."""

    def __init__(self, dsn: str, seconds: float) -> None:
        self._dsn, self._seconds = dsn, seconds
        self._begin = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._hold()))
        self._thread.start()

    def __call__(self, pulse: Pulse) -> None:
        self._begin.set()

    def end(self) -> None:
        self._begin.set()
        self._thread.join()

    async def _hold(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        await asyncio.to_thread(self._begin.wait)
        async with connection.transaction():
            await connection.execute("lock table eventmark.domain_events in exclusive mode")
            await connection.fetchval("select pg_sleep($1)", self._seconds)
        await connection.close()


@pytest.fixture
def held(job: Job) -> Callable[[float], HeldLock]:
    locks: list[HeldLock] = []

    def hold(seconds: float) -> HeldLock:
        locks.append(HeldLock(job.server.dsn, seconds))
        return locks[-1]

    yield hold  # type: ignore[misc]
    for lock in locks:
        lock.end()


def test_what_is_offered_is_all_accounted_for(job: Job, loaded: Loaded) -> None:
    outcome = loaded(BUSY, arrivals=poisson(150), seconds=1.5)
    whole = LoadPlan(mix=parse_mix(BUSY), arrivals=poisson(150), seconds=1.5).schedule(0)[0]
    assert sum(one.offered for one in outcome.operations.values()) == len(whole)
    for name, one in outcome.operations.items():
        assert one.offered == one.skipped + one.succeeded + one.conflicted + one.failed
        assert (one.failed, one.conflicted, one.skipped) == (0, 0, 0), (name, one.messages)
        assert one.succeeded > 0
        assert np.all(np.diff(one.at_s) >= 0)
        assert np.all(one.schedule_lag_ns >= 0)
        assert np.all(one.service_ns > 0)
    stored = fetch(job.server.dsn, "select count(*) from eventmark.domain_events") - EVENTS
    appended = outcome.operations[APPEND].succeeded + 10 * outcome.operations["append_events[10]"].succeeded
    assert stored >= appended  # the warm-up appends as well


def test_a_stall_shows_in_the_latency_from_the_due_time_and_not_in_the_service_time(
    job: Job, loaded: Loaded, held: Callable[[float], HeldLock]
) -> None:
    """A lock stops the two calls that are under way. Everybody else waits for these two."""
    lock = held(0.7)
    with ThreadPoolExecutor(1) as executor:
        plan = LoadPlan(
            mix=parse_mix(f"{APPEND}=1"), arrivals=poisson(150), seconds=2.0, pool_max=2, warm_rounds=1
        )
        outcome = run_load(job, draw_sample(job), plan, executor=executor, watch=lock)
    one = outcome.operations[APPEND]
    assert one.failed == 0
    assert p(one.latency_ns, 0.99) > 500
    assert np.count_nonzero(one.service_ns > 500e6) <= 3
    assert p(one.service_ns, 0.95) < p(one.latency_ns, 0.95) / 2
    assert p(one.pool_wait_ns, 0.99) > 400
    assert outcome.in_flight.max() > 20


def test_a_planted_delay_is_measured_right(job: Job, loaded: Loaded) -> None:
    execute(
        job.server.dsn,
        "create function eventmark.slow() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(0.03); return new; end $$",
        "create trigger slow before insert on eventmark.domain_events for each row"
        " execute function eventmark.slow()",
    )
    outcome = loaded(f"{APPEND}=1, read_snapshot=1", arrivals=Arrivals("constant", 40))
    slow, quick = outcome.operations[APPEND], outcome.operations["read_snapshot"]
    assert slow.service_ns.min() >= 30e6
    assert p(slow.latency_ns, 0.5) >= 30
    assert quick.service_ns.min() < 30e6


def test_a_stall_of_the_generator_is_lag_and_no_service_time(
    job: Job, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blocking(ReadSnapshot):
        calls = 0

        def is_right(self, arguments: object, answer: object) -> bool:
            Blocking.calls += 1
            if Blocking.calls == 30:
                time.sleep(0.4)
            return answer is not None

    monkeypatch.setitem(OPERATIONS, "read_snapshot", Blocking)
    outcome = loaded("read_snapshot=1", arrivals=Arrivals("constant", 100))
    one = outcome.operations["read_snapshot"]
    assert p(one.schedule_lag_ns, 1.0) > 300
    assert p(one.latency_ns, 0.99) > 300
    assert outcome.health.workers[0].loop_lag_ms_max > 300
    assert outcome.health.loop_lag_ms_p99 > 200


def test_a_pool_of_one_shows_its_waits_and_one_that_is_large_enough_has_none(loaded: Loaded) -> None:
    alone = loaded("load_aggregate[1000]=1", users=4, pool_max=1).operations["load_aggregate[1000]"]
    assert p(alone.pool_wait_ns, 0.5) > p(alone.service_ns, 0.5)
    assert np.array_equal(alone.latency_ns, alone.schedule_lag_ns + alone.pool_wait_ns + alone.service_ns)
    ample = loaded("load_aggregate[1000]=1", users=4, pool_max=4).operations["load_aggregate[1000]"]
    assert ample.pool_wait_ns.max() == 0


def test_appends_of_one_process_do_not_conflict_by_accident(loaded: Loaded) -> None:
    one = loaded(f"{APPEND}=3, append_events[10]=1", users=16, pool_max=8)
    assert sum(found.succeeded for found in one.operations.values()) > 50
    assert sum(found.conflicted + found.failed for found in one.operations.values()) == 0


def test_contention_on_request_makes_conflicts_which_are_no_failures(job: Job, loaded: Loaded) -> None:
    before = fetch(job.server.dsn, "select count(*) from eventmark.domain_events")
    outcome = loaded(
        f"{APPEND}=1", users=8, pool_max=8, contended_share=1.0, contended_streams=1, warm_rounds=0
    )
    one = outcome.operations[APPEND]
    assert one.conflicted > 0
    assert one.succeeded > 0
    assert one.failed == 0
    assert fetch(job.server.dsn, "select count(*) from eventmark.domain_events") == before + one.succeeded


def test_failures_are_distinguished_by_class(job: Job, loaded: Loaded) -> None:
    execute(job.server.dsn, "drop table eventmark.aggregate_snapshots")
    sample = draw_sample_before_drop(job)
    with ThreadPoolExecutor(1) as executor:
        plan = LoadPlan(
            mix=parse_mix(f"read_snapshot=1, {APPEND}=1"),
            arrivals=poisson(60),
            seconds=1.0,
            warm_rounds=1,
            through=CLIENT,
        )
        outcome = run_load(job, sample, plan, executor=executor)
    broken = outcome.operations["read_snapshot"]
    assert broken.failures == {"StoreUnavailableError": broken.failed}
    assert broken.failed == broken.offered > 10
    assert "aggregate_snapshots" in broken.messages["StoreUnavailableError"]
    assert outcome.operations[APPEND].failed == 0


def draw_sample_before_drop(job: Job):  # type: ignore[no-untyped-def]
    drawn = draw_sample(replace(job, definition=replace(job.definition, snapshots_table=None)))
    return replace(drawn, snapshot_streams=[one.stream for one in drawn.streams[:50]])


def test_a_wrong_answer_is_a_failure_of_its_own_class(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReadSnapshot, "is_right", lambda self, arguments, answer: False)
    one = loaded("read_snapshot=1", arrivals=poisson(40)).operations["read_snapshot"]
    assert one.failures == {"wrong answer": one.offered}


def test_what_is_not_answered_by_its_deadline_has_failed_and_is_not_dropped(
    job: Job, held: Callable[[float], HeldLock]
) -> None:
    lock = held(2.5)
    with ThreadPoolExecutor(1) as executor:
        plan = LoadPlan(
            mix=parse_mix(f"{APPEND}=1"), arrivals=Arrivals("constant", 50), seconds=2.0, pool_max=2, deadline_s=0.8,
            warm_rounds=1,
        )  # fmt: skip
        outcome = run_load(job, draw_sample(job), plan, executor=executor, watch=lock)
    one = outcome.operations[APPEND]
    assert one.offered == 100
    assert one.failures == {DEADLINE: one.failed}
    assert one.failed > 10
    assert one.latency_ns.max() < 2e9


def test_arrivals_that_find_too_many_under_way_are_skipped_and_counted(
    job: Job, held: Callable[[float], HeldLock]
) -> None:
    lock = held(1.0)
    with ThreadPoolExecutor(1) as executor:
        plan = LoadPlan(
            mix=parse_mix(f"{APPEND}=1"), arrivals=Arrivals("constant", 200), seconds=2.0, pool_max=2,
            in_flight_max=20, warm_rounds=1,
        )  # fmt: skip
        outcome = run_load(job, draw_sample(job), plan, executor=executor, watch=lock)
    one = outcome.operations[APPEND]
    assert one.skipped > 20
    assert one.offered == 400 == one.skipped + one.succeeded
    assert outcome.in_flight.max() <= 20


def test_users_think_between_their_calls(loaded: Loaded) -> None:
    outcome = loaded("read_snapshot=1", users=10, think_s=0.2, seconds=2.0)
    one = outcome.operations["read_snapshot"]
    assert outcome.mode == "closed loop"
    assert 10 <= one.succeeded < 10 * 2.0 / 0.2 * 1.6
    assert outcome.in_flight.max() <= 10


def test_only_the_chosen_tenants_are_touched(job: Job, loaded: Loaded) -> None:
    tenant = "tenant-0003"
    count = f"select count(*) from eventmark.domain_events where tenant_id <> '{tenant}'"
    before = fetch(job.server.dsn, count)
    outcome = loaded(f"{APPEND}=4, stream_events[1000]=1", arrivals=poisson(60), tenants=(tenant,))
    assert all(one.failed == 0 and one.succeeded > 0 for one in outcome.operations.values())
    assert fetch(job.server.dsn, count) == before


def test_appends_meet_the_tenants_as_often_as_they_own_events(job: Job, loaded: Loaded) -> None:
    loaded(f"{APPEND}=1", arrivals=poisson(400), seconds=1.5)
    large = fetch(
        job.server.dsn,
        f"select avg((tenant_id < 'tenant-0004')::int)::float8 from eventmark.domain_events where global_sequence_id > {EVENTS}",
    )
    assert 0.55 < large < 0.98  # four of twenty own 80%; half of the appends go to ten streams alone


def test_two_worker_processes_start_together_and_share_nothing(job: Job) -> None:
    pulses: list[Pulse] = []
    plan = LoadPlan(
        mix=parse_mix(f"{APPEND}=4, load_aggregate[1000]=1"), arrivals=poisson(200), seconds=2.0, workers=2,
        pool_max=5, warm_rounds=1,
    )  # fmt: skip
    outcome = run_load(job, draw_sample(job), plan, watch=pulses.append)
    assert len(outcome.health.workers) == 2
    one = outcome.operations[APPEND]
    assert one.conflicted == one.failed == 0
    first = [one.at_s[one.worker == number][0] for number in (0, 1)]
    assert max(first) < 0.5
    assert [len(part) for part in one.by_worker(one.latency_ns)] == [
        np.count_nonzero(one.worker == number) for number in (0, 1)
    ]
    assert len(pulses) >= 2
    seen = sum(pulse.latency_ms.get(APPEND, {}).get("p50", 0) > 0 for pulse in pulses)
    assert seen >= 2


@pytest.mark.usefixtures("spawned_workers")
def test_a_worker_process_that_dies_ends_the_load_with_one_clear_error(job: Job) -> None:
    mine = psutil.Process()
    before = {process.pid for process in mine.children()}
    plan = LoadPlan(mix=parse_mix("read_snapshot=1"), users=4, workers=2, seconds=600.0, warm_rounds=1)

    def kill_one(pulse: Pulse) -> None:
        workers = [
            one
            for one in mine.children()
            if one.pid not in before and "spawn_main" in " ".join(one.cmdline())
        ]
        if workers:
            workers[0].kill()

    began_s = time.monotonic()
    with pytest.raises(
        CannotRunError, match="a worker process was killed by SIGKILL while it worked on: load worker"
    ):
        run_load(job, draw_sample(job), plan, watch=kill_one)
    assert time.monotonic() - began_s < 300  # bound: half of what it was to run


def test_the_schedule_is_the_same_for_any_number_of_workers() -> None:
    plan = LoadPlan(mix=parse_mix(BUSY), arrivals=poisson(500), seconds=2.0, workers=3)
    due, kinds = (np.concatenate(parts) for parts in zip(*(plan.schedule(n) for n in range(3)), strict=True))
    whole_due, whole_kinds = replace(plan, workers=1).schedule(0)
    order = np.argsort(due, kind="stable")
    assert np.array_equal(due[order], whole_due)
    assert np.array_equal(kinds[order], whole_kinds)


def test_a_store_that_cannot_be_opened_is_one_clear_error(job: Job) -> None:
    sample = draw_sample(job)
    plan = LoadPlan(mix=parse_mix("read_snapshot=1"), users=1, seconds=0.5)
    with _Elsewhere(1) as executor, pytest.raises(CannotRunError, match="no event store"):
        run_load(job, sample, plan, executor=executor)


class _Elsewhere(ThreadPoolExecutor):
    """Sends tasks to another schema than the one that was looked at."""

    def submit(self, function, task):  # type: ignore[no-untyped-def,override]
        return super().submit(function, replace(task, schema="nowhere"))


def test_an_executor_that_is_too_small_is_named(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "READY_TIMEOUT_S", 3.0)
    plan = LoadPlan(mix=parse_mix("read_snapshot=1"), users=2, workers=2, seconds=0.5, warm_rounds=1)
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(CannotRunError, match="of 2 workers were not ready"),
    ):
        run_load(job, draw_sample(job), plan, executor=executor)


@dataclass
class Holder:
    """Holds a connection of a tenant while the load runs, and counts who waits for one."""

    tenant: str
    seen_waits: int = 0

    @asynccontextmanager
    async def at_work(self, store: PooledStore) -> AsyncIterator[Holder]:
        session = await store.pool.acquire(self.tenant)
        waited = store.pool.waited_total
        yield self
        self.seen_waits = store.pool.waited_total - waited
        store.pool.release(session)


@pytest.mark.parametrize("tenant_pool_max", [None, 1])
def test_a_companion_works_on_the_load_s_own_store_and_its_account_comes_back(
    job: Job, tenant_pool_max: int | None
) -> None:
    sample = draw_sample(job)
    tenant = sample.streams[0].stream.tenant_id
    plan = LoadPlan(
        mix=parse_mix("append_events[1]=1"), seconds=0.5, users=3, pool_max=6, warm_rounds=1, tenants=(tenant,),
        through=CLIENT, tenant_pool_max=tenant_pool_max,
    )  # fmt: skip
    with ThreadPoolExecutor(1) as executor:
        outcome = asyncio.run(generate(job, sample, plan, executor, companion=Holder("another")))
    appends = outcome.operations[APPEND]
    assert appends.succeeded > 10 and appends.failed == 0
    (account,) = outcome.companions
    is_bounded = tenant_pool_max is not None
    assert (account.seen_waits > 0) == (appends.pool_wait_ns.max() > 0) == is_bounded


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "either arrivals or users"),
        ({"users": 1, "arrivals": poisson(1)}, "either arrivals or users"),
        ({"users": 1, "pool_max": 0}, "pool must be from 1"),
        ({"users": 1, "seconds": 0.0}, "seconds must be"),
        ({"users": -1}, "users must be"),
        ({"users": 1, "contended_share": 1.5}, "contended share"),
        ({"users": 1, "tenant_pool_max": 2}, "through the wire has no bound"),
    ],
)
def test_a_plan_that_is_none_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LoadPlan(**({"mix": parse_mix(""), "seconds": 1.0} | changes))  # type: ignore[arg-type]
