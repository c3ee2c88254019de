"""A load judged, on records that are made up: the generator first, then each operation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eventmark.loadgen.judge import to_results
from eventmark.loadgen.mix import Mix
from eventmark.loadgen.outcome import LATE_MS_MAX, LoadOutcome, OperationLoad, merged
from eventmark.loadgen.plan import CLIENT, WIRE, LoadPlan
from eventmark.loadgen.records import CONFLICTED, FAILED, SUCCEEDED, WorkerHealth, WorkerRecords
from eventmark.loadgen.sections import generator_section
from eventmark.results.results import Verdict
from eventmark.results.targets import Target
from eventmark.workload.arrivals import Arrivals

APPEND, READ = "append_events[1]", "read_snapshot"
PLAN = LoadPlan(
    mix=Mix.of({APPEND: 3, READ: 1}), seconds=10.0, arrivals=Arrivals("constant", 400.0), workers=2
)
BY_CLIENT = replace(PLAN, through=CLIENT)
TARGETS = {APPEND: Target("p95", 10.0), READ: Target("p95", 5.0)}
HEALTHY = WorkerHealth(
    cpu_share=0.3, loop_lag_ms_p50=0.05, loop_lag_ms_p95=0.1, loop_lag_ms_p99=0.2, loop_lag_ms_max=0.5,
    pacing_ms={"p50": 0.05, "p95": 0.1, "p99": 0.2, "max": 0.4}, gc_count=1, gc_total_ms=1.0, gc_max_ms=1.0,
    gc_at_s=np.array([1.0]), gc_ms=np.array([1.0]), gc_generation=np.array([0], np.uint8), peak_rss_mib=100.0,
)  # fmt: skip


def records(
    count: int = 4000,
    *,
    service_ms: float = 2.0,
    lag_ms: float = 0.05,
    answer_lag_ms: float | None = None,
    health: WorkerHealth = HEALTHY,
    seed: int = 1,
) -> WorkerRecords:
    """``count`` operations due evenly over the plan's time, all of which succeeded."""
    random = np.random.default_rng(seed)
    kind = (np.arange(count) % 4 == 3).astype(np.uint8)
    answer_lag_ns = None if answer_lag_ms is None else np.full(count, int(answer_lag_ms * 1e6))
    return WorkerRecords(
        kind=kind,
        outcome=np.full(count, SUCCEEDED, np.uint8),
        due_ns=np.linspace(0, 10e9, count, endpoint=False).astype(np.int64),
        lag_ns=(lag_ms * 1e6 * random.uniform(0.5, 1.5, count)).astype(np.int64),
        pool_wait_ns=random.integers(0, 1000, count),
        service_ns=(service_ms * 1e6 * random.lognormal(0, 0.1, count)).astype(np.int64),
        answer_lag_ns=answer_lag_ns,
        offered=np.bincount(kind, minlength=2).tolist(),
        skipped=[0, 0],
        failures=[{}, {}],
        messages=[{}, {}],
        health=health,
    )


def judged(*parts: WorkerRecords, plan: LoadPlan = PLAN) -> dict[str, tuple[Verdict, str]]:
    results = to_results(merged(plan, parts, 0.0), TARGETS)
    return {name: (one.verdict, one.reason) for name, one in results.items()}


def part_of(whole: WorkerRecords, places: np.ndarray, offered: list[int]) -> WorkerRecords:
    arrays = {
        name: getattr(whole, name)[places]
        for name in ("kind", "outcome", "due_ns", "lag_ns", "pool_wait_ns", "service_ns", "answer_lag_ns")
        if getattr(whole, name) is not None
    }
    return replace(whole, offered=offered, **arrays)


def test_what_workers_did_apart_is_the_same_as_if_one_had_done_it_all() -> None:
    whole = records(answer_lag_ms=0.1)
    whole.outcome[::50] = CONFLICTED
    once = merged(PLAN, [whole], 0.0)
    split = np.random.default_rng(5).integers(0, 3, len(whole.kind))
    parts = []
    for number in range(3):
        places = np.flatnonzero(split == number)
        parts.append(part_of(whole, places, np.bincount(whole.kind[places], minlength=2).tolist()))
    together = merged(PLAN, parts, 0.0)
    for name, one in once.operations.items():
        other = together.operations[name]
        assert (one.offered, one.succeeded, one.conflicted) == (
            other.offered,
            other.succeeded,
            other.conflicted,
        )
        for field in ("at_s", "latency_ns", "schedule_lag_ns", "pool_wait_ns", "service_ns", "answer_lag_ns"):
            assert np.array_equal(getattr(one, field), getattr(other, field)), (name, field)
        assert sum(len(part) for part in other.by_worker(other.latency_ns)) == one.succeeded
    assert np.array_equal(once.in_flight, together.in_flight)
    assert once.call_times == together.call_times
    results, others = to_results(once, TARGETS), to_results(together, TARGETS)
    assert [one.latency_ms for one in results.values()] == [one.latency_ms for one in others.values()]
    assert [one.histogram for one in results.values()] == [one.histogram for one in others.values()]


def test_accounts_that_do_not_add_up_cannot_be_made() -> None:
    one = merged(PLAN, [records()], 0.0).operations[APPEND]
    with pytest.raises(AssertionError):
        replace(one, offered=one.offered + 1)
    with pytest.raises(AssertionError):
        replace(one, service_ns=one.service_ns + 1)
    with pytest.raises(AssertionError):
        replace(one, failed=1, offered=one.offered + 1)  # of no class


def test_latency_below_its_target_is_met_and_above_it_is_broken() -> None:
    assert judged(records(service_ms=2.0))[APPEND][0] is Verdict.MET
    verdict, reason = judged(records(service_ms=30.0))[APPEND]
    assert (verdict, "target 10 ms" in reason) == (Verdict.BROKEN, True)


def test_on_the_wire_what_the_generator_was_late_by_is_not_held_against_the_store() -> None:
    late = judged(records(service_ms=8.0, lag_ms=3.0, answer_lag_ms=0.5))
    assert late[APPEND][0] is Verdict.MET
    assert judged(records(service_ms=30.0, lag_ms=5.0, answer_lag_ms=0.5))[APPEND][0] is Verdict.BROKEN
    verdict, reason = judged(records(service_ms=12.0, answer_lag_ms=6.0))[APPEND]
    assert (verdict, "p95 8." in reason) == (Verdict.MET, True)


def test_a_generator_that_was_too_late_leaves_everything_undecided() -> None:
    for service_ms in (2.0, 60.0):
        verdict, reason = judged(records(service_ms=service_ms, lag_ms=20.0, answer_lag_ms=0.1))[APPEND]
        assert (verdict, "late at p99" in reason) == (Verdict.INCONCLUSIVE, True)


def test_a_client_that_was_late_takes_broken_back_and_leaves_met() -> None:
    late = judged(records(service_ms=2.0, lag_ms=20.0), plan=BY_CLIENT)
    assert late[APPEND][0] is Verdict.INCONCLUSIVE
    assert "begun late" in late[APPEND][1]
    assert judged(records(service_ms=2.0, lag_ms=1.0), plan=BY_CLIENT)[APPEND][0] is Verdict.MET


def test_lag_of_a_client_that_explains_only_a_part_leaves_broken() -> None:
    assert judged(records(service_ms=30.0, lag_ms=5.0), plan=BY_CLIENT)[APPEND][0] is Verdict.BROKEN


def test_a_full_core_takes_broken_back_and_leaves_met() -> None:
    full = replace(HEALTHY, cpu_share=0.97)
    verdict, reason = judged(records(service_ms=30.0, health=full))[APPEND]
    assert (verdict, "97% of a core" in reason) == (Verdict.INCONCLUSIVE, True)
    assert judged(records(service_ms=2.0, health=full))[APPEND][0] is Verdict.MET


def test_a_loop_as_late_as_the_latency_takes_broken_back() -> None:
    slow = replace(HEALTHY, loop_lag_ms_p95=6.0)
    verdict, reason = judged(records(service_ms=12.0, health=slow))[APPEND]
    assert (verdict, "event loop" in reason) == (Verdict.INCONCLUSIVE, True)
    assert judged(records(service_ms=40.0, health=slow))[APPEND][0] is Verdict.BROKEN


def test_a_late_loop_excuses_nothing_where_it_is_known_when_answers_were_read() -> None:
    slow = replace(HEALTHY, loop_lag_ms_p95=6.0)
    assert judged(records(service_ms=12.0, health=slow, answer_lag_ms=0.1))[APPEND][0] is Verdict.BROKEN


def test_how_late_answers_were_read_is_known_of_all_workers_or_of_none() -> None:
    known, unknown = records(answer_lag_ms=0.5), records()
    assert merged(PLAN, [known, unknown], 0.0).operations[APPEND].answer_lag_ns is None
    operation = merged(PLAN, [known, known], 0.0).operations[APPEND]
    assert operation.answer_lag_ns is not None and (operation.answer_lag_ns == 500_000).all()
    times = merged(PLAN, [known, known], 0.0).call_times
    assert times.loop_lag_s == pytest.approx(0.5e-3 * times.calls)


def test_one_busy_worker_of_two_is_enough_to_doubt() -> None:
    half = records(service_ms=30.0)
    busy = replace(half, health=replace(HEALTHY, cpu_share=0.95))
    assert judged(half, busy)[APPEND][0] is Verdict.INCONCLUSIVE


def test_skipped_arrivals_break_the_target_however_quick_the_others_were() -> None:
    part = records()
    part.skipped[0], part.offered[0] = 7, part.offered[0] + 7
    verdict, reason = judged(part)[APPEND]
    assert (verdict, "7 of" in reason) == (Verdict.BROKEN, True)
    busy = replace(part, health=replace(HEALTHY, cpu_share=0.95))
    assert judged(busy)[APPEND][0] is Verdict.INCONCLUSIVE


def test_failures_break_the_target_and_are_shown_by_class_and_conflicts_do_not() -> None:
    part = records()
    part.outcome[np.flatnonzero(part.kind == 0)[:5]] = FAILED
    part.failures[0].update({"deadline": 3, "StoreUnavailableError": 2})
    part.outcome[np.flatnonzero(part.kind == 1)[:9]] = CONFLICTED
    found = judged(part)
    assert found[APPEND][0] is Verdict.BROKEN
    assert "3 not answered within 10 s" in found[APPEND][1]
    assert found[READ][0] is Verdict.MET


def test_what_all_failed_is_broken_and_what_was_not_offered_is_left_out() -> None:
    part = records()
    own = part.kind == 0
    part.outcome[own] = FAILED
    part.failures[0]["deadline"] = int(own.sum())
    places = np.flatnonzero(own)
    only = part_of(part, places, [len(places), 0])
    results = to_results(merged(PLAN, [only], 0.0), TARGETS)
    assert set(results) == {APPEND}
    assert (results[APPEND].verdict, results[APPEND].samples) == (Verdict.BROKEN, 0)


def test_latency_that_rises_all_the_time_never_became_steady() -> None:
    part = records(service_ms=8.0)
    rising = (part.service_ns * np.linspace(0.6, 1.15, len(part.kind))).astype(np.int64)
    results = to_results(merged(PLAN, [replace(part, service_ns=rising)], 0.0), TARGETS)
    assert not results[APPEND].forks[0].steady
    assert results[APPEND].verdict is Verdict.INCONCLUSIVE
    assert "became slower while it was measured" in results[APPEND].reason


def test_a_load_that_settles_while_it_is_measured_keeps_its_met() -> None:
    part = records(service_ms=7.0)
    settling = (part.service_ns * np.linspace(1.1, 0.8, len(part.kind))).astype(np.int64)
    append = to_results(merged(PLAN, [replace(part, service_ns=settling)], 0.0), TARGETS)[APPEND]
    assert append.verdict is Verdict.MET and "became faster while it was measured" in append.reason
    assert (append.interval_ms["p95"].high or 0.0) > 7.5  # within a quarter of the target


def test_throughput_counts_what_was_answered_within_the_time() -> None:
    part = records(4000, service_ms=1000.0)
    outcome: LoadOutcome = merged(PLAN, [part], 0.0)
    one: OperationLoad = outcome.operations[APPEND]
    assert one.completed_within(10.0) == pytest.approx(0.9 * one.succeeded, rel=0.02)
    assert outcome.achieved_per_s < 0.93 * outcome.offered_per_s
    assert outcome.unanswered == outcome.offered - round(outcome.achieved_per_s * 10)


@pytest.mark.parametrize(
    ("through", "late_ms", "verdict"),
    [
        (WIRE, 3.0, Verdict.MET),
        (WIRE, LATE_MS_MAX + 1, Verdict.INCONCLUSIVE),
        (CLIENT, 0.5, Verdict.MET),
        (CLIENT, 3.0, Verdict.INCONCLUSIVE),
    ],
)
def test_waking_late_is_a_complaint_where_it_is_part_of_the_latency_or_makes_bursts(
    through: str, late_ms: float, verdict: Verdict
) -> None:
    health = replace(HEALTHY, pacing_ms=HEALTHY.pacing_ms | {"p99": late_ms})
    outcome = merged(replace(PLAN, through=through), [records(health=health)], 0.0)
    pacing = next(one for one in generator_section(outcome).findings if one.name == "pacing")
    assert pacing.verdict is verdict, pacing.observed
