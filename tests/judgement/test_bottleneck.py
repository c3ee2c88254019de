"""The bottleneck by its symptoms: the cause before what it causes, and nothing where nothing tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eventmark.judgement.bottleneck import ADVICE, find_bottleneck, time_budget
from eventmark.judgement.evidence import (
    CallTimes,
    Evidence,
    ProcessLoad,
    Spent,
    StatementTime,
    Wait,
    spent_on,
)
from eventmark.judgement.symptoms import LOOKS_MIN, SYMPTOMS, Limit

RUNNING = Wait("", "")
LOCK = Wait("Lock", "transactionid")
SLEEP = Wait("Timeout", "PgSleep")
FLUSH = Wait("IO", "WalSync")
READ = Wait("IO", "DataFileRead")


def evidence(waits: dict[Wait, float] | None = None, **changes: Any) -> Evidence:
    """Ten seconds of four callers on two cores, with nothing at its limit."""
    given = waits or {RUNNING: 1.0, FLUSH: 0.5}
    calls = CallTimes(calls=10_000, total_s=40.0)
    known: dict[str, Any] = {
        "seconds": 10.0, "cores": 2, "looks": 400, "waits": given, "calls": calls, "machine_cores": 1.2,
        "client": ProcessLoad(cores=0.3, busiest=0.3), "server": ProcessLoad(cores=0.8),
        "statements": [statement(pages=20_000, sessions=given)],
    }  # fmt: skip
    return Evidence(**(known | changes))


def statement(pages: float, sessions: dict[Wait, float]) -> StatementTime:
    return StatementTime(
        text="insert", calls=10_000, execution_ms=15_000, rows=10_000, pages=pages, sessions=sessions
    )


def calls(*, late_s: float = 0.0, pool_wait_s: float = 0.0) -> CallTimes:
    return CallTimes(
        calls=10_000, total_s=40.0 + late_s + pool_wait_s, late_s=late_s, pool_wait_s=pool_wait_s
    )


def test_nothing_at_its_limit_is_reported_as_such() -> None:
    found = find_bottleneck(evidence())
    assert (found.limit, found.known) == (Limit.NONE, True)
    assert all(one.state == "within" for one in found.symptoms)


@pytest.mark.parametrize(
    ("limit", "seen"),
    [
        (Limit.CLIENT, evidence(client=ProcessLoad(cores=1.0, busiest=0.97))),
        (Limit.CLIENT, evidence(client=ProcessLoad(cores=1.2, busiest=0.6), server=ProcessLoad(cores=0.75))),
        (Limit.CLIENT, evidence(calls=calls(late_s=200.0))),
        (Limit.CLIENT, evidence(calls=CallTimes(calls=10_000, total_s=40.0, loop_lag_s=22.0))),
        (Limit.CLIENT, evidence({Wait("Client", "ClientWrite"): 3.0, RUNNING: 0.5})),
        (Limit.STATEMENT, evidence({SLEEP: 3.5, RUNNING: 0.2})),
        (Limit.STATEMENT, evidence({RUNNING: 3.5}, server=ProcessLoad(cores=0.1))),
        (Limit.STATEMENT, evidence(statements=[statement(pages=9e7, sessions={RUNNING: 1.4})])),
        (Limit.LOCKS, evidence({LOCK: 3.2, RUNNING: 0.3})),
        (Limit.SERVER_CPU, evidence({RUNNING: 1.7}, server=ProcessLoad(cores=1.6))),
        (Limit.POOL, evidence(calls=calls(pool_wait_s=100.0))),
        (Limit.WAL_FLUSH, evidence({FLUSH: 2.5, Wait("LWLock", "WALWrite"): 0.7, RUNNING: 0.3})),
        (Limit.READS, evidence({READ: 3.2, RUNNING: 0.3})),
        (Limit.WRITES, evidence({Wait("IO", "DataFileExtend"): 3.2, RUNNING: 0.3})),
        (Limit.LATCHES, evidence({Wait("LWLock", "BufferContent"): 3.2, RUNNING: 0.3})),
        (Limit.OTHERS, evidence(machine_cores=1.95)),
    ],
)  # fmt: skip
def test_each_limit_is_named_by_its_symptom_alone(limit: Limit, seen: Evidence) -> None:
    found = find_bottleneck(seen)
    assert found.limit is limit, found.because
    assert found.advice == ADVICE[limit]


def test_every_limit_has_advice_and_every_named_one_a_symptom() -> None:
    assert set(ADVICE) == set(Limit)
    assert {symptom.limit for symptom in SYMPTOMS} == set(Limit) - {Limit.NONE, Limit.UNKNOWN}


def test_the_cause_is_named_before_what_it_causes() -> None:
    full_pool = calls(pool_wait_s=400.0)
    for limit, waits in ((Limit.LOCKS, {LOCK: 3.9}), (Limit.STATEMENT, {SLEEP: 3.9})):
        found = find_bottleneck(evidence(waits, calls=full_pool))
        assert found.limit is limit
        assert "pool" in found.because
    flushing = find_bottleneck(evidence({FLUSH: 3.9}, calls=full_pool))
    assert flushing.limit is Limit.POOL
    assert "WAL flush" in flushing.because


def test_a_share_from_few_looks_at_the_limit_is_undecided() -> None:
    near = {LOCK: 2.1, RUNNING: 1.9}
    undecided = find_bottleneck(evidence(near, looks=100))
    assert (undecided.limit, undecided.known) == (Limit.UNKNOWN, False)
    assert "locks" in undecided.because
    assert find_bottleneck(evidence(near, looks=100_000)).limit is Limit.LOCKS


def test_a_client_that_may_be_busy_on_a_crowded_machine_is_undecided() -> None:
    crowded = evidence(client=ProcessLoad(cores=0.3, busiest=0.8, demand=0.97))
    assert find_bottleneck(crowded).limit is Limit.UNKNOWN
    assert find_bottleneck(replace(crowded, machine_cores=2.0)).limit is Limit.OTHERS


def test_a_client_that_waits_for_a_core_on_a_machine_that_the_server_filled_is_not_to_blame() -> None:
    """As a sweep saw it: its process ran for 0.2 s of each second and was able to run for 0.86 s."""
    lagged = CallTimes(calls=5_600, total_s=61.0, late_s=17.4, loop_lag_s=36.0)
    starved = evidence(
        {Wait("LWLock", "WALWrite"): 24.7, RUNNING: 0.5},
        calls=lagged, client=ProcessLoad(cores=0.4, busiest=0.597, demand=0.86), server=ProcessLoad(cores=1.4),
        machine_cores=1.98,
    )  # fmt: skip
    assert starved.client is not None
    assert starved.client.kept_waiting == pytest.approx(0.76, abs=0.01)
    assert find_bottleneck(starved).limit is Limit.SERVER_CPU
    own = replace(
        starved, client=ProcessLoad(cores=0.6, busiest=0.597, demand=0.597), server=ProcessLoad(cores=0.8)
    )
    assert find_bottleneck(own).limit is Limit.CLIENT


def test_what_the_system_does_for_client_and_server_fills_the_machine_too() -> None:
    nearly = evidence(
        {RUNNING: 1.4}, client=ProcessLoad(cores=0.4, busiest=0.4), server=ProcessLoad(cores=1.35)
    )
    assert find_bottleneck(replace(nearly, machine_cores=1.76)).limit is Limit.NONE
    assert find_bottleneck(replace(nearly, machine_cores=1.9)).limit is Limit.SERVER_CPU


def test_what_was_not_seen_is_unknown_and_not_none() -> None:
    assert find_bottleneck(evidence(looks=LOOKS_MIN - 1)).limit is Limit.UNKNOWN
    found = find_bottleneck(evidence(server=None, waits={RUNNING: 1.8}))
    assert found.limit is Limit.UNKNOWN
    assert "server CPU" in found.because
    assert find_bottleneck(evidence(calls=None, waits={RUNNING: 0.2})).limit is Limit.UNKNOWN


def test_a_server_elsewhere_on_which_less_than_one_session_runs_is_not_short_of_cores() -> None:
    assert find_bottleneck(evidence({RUNNING: 0.4}, server=None)).limit is Limit.NONE


def test_sessions_that_queue_for_a_full_machine_are_not_taken_for_stalled() -> None:
    found = find_bottleneck(evidence({RUNNING: 3.9}, server=ProcessLoad(cores=0.4), machine_cores=2.0))
    assert found.limit is Limit.OTHERS


def test_the_time_of_calls_adds_up() -> None:
    budget = time_budget(evidence(calls=calls(late_s=5.0, pool_wait_s=15.0)))
    assert sum(budget.values()) == pytest.approx(1.0)
    assert budget["waiting for a connection"] == pytest.approx(15 / 60)
    assert budget["client and wire"] == pytest.approx((40 - 15) / 60)
    lagged = time_budget(evidence(calls=CallTimes(calls=10_000, total_s=40.0, loop_lag_s=10.0)))
    assert lagged["client's event loop"] == pytest.approx(10 / 40)
    assert lagged["client and wire"] == pytest.approx((40 - 15 - 10) / 40)
    assert budget[Spent.WAL.value] == pytest.approx(5 / 60)
    assert time_budget(evidence(waits={RUNNING: 0.0}, calls=None)) == {}


@pytest.mark.parametrize(
    ("wait", "spent"),
    [
        (RUNNING, Spent.RUNNING), (Wait("IO", "WALSync"), Spent.WAL), (Wait("IO", "WalSync"), Spent.WAL),
        (Wait("LWLock", "WALInsert"), Spent.WAL), (Wait("IPC", "SyncRep"), Spent.WAL), (LOCK, Spent.LOCK),
        (READ, Spent.READ), (Wait("IO", "AioIoCompletion"), Spent.READ), (Wait("IPC", "BufferIO"), Spent.READ),
        (Wait("IO", "DataFileExtend"), Spent.WRITE), (Wait("LWLock", "ProcArray"), Spent.LATCH),
        (Wait("BufferPin", "BufferPin"), Spent.LATCH), (Wait("Timeout", "SpinDelay"), Spent.LATCH),
        (SLEEP, Spent.SLEEP), (Wait("Extension", "Extension"), Spent.SLEEP),
        (Wait("Client", "ClientWrite"), Spent.CLIENT), (Wait("IPC", "ParallelFinish"), Spent.OTHER),
    ],
)  # fmt: skip
def test_a_wait_event_is_spent_on_what_it_stands_for(wait: Wait, spent: Spent) -> None:
    assert spent_on(wait) is spent
