"""Isolation in one service: the order of its legs, what is judged by them, and a run on a real store."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from eventmark.errors import UsageError
from eventmark.experiments.isolation.aggressors import AggressorWork
from eventmark.experiments.isolation.isolation import Isolation
from eventmark.experiments.isolation.isolation_report import Judgement
from eventmark.experiments.isolation.legs import Duel, Leg, Pair, Trio, Way, run_leg, turns_of
from eventmark.experiments.isolation.lone_tenant import Lone, lone_figures, lone_section
from eventmark.experiments.isolation.one_service import OneService, default_bound
from eventmark.experiments.isolation.one_service_report import LOWER, RAISE, Outcome, service_section
from eventmark.history.comparability import refusals
from eventmark.jobs.job import Job
from eventmark.loadgen.generator import run_load
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.outcome import LoadOutcome, merged
from eventmark.loadgen.plan import LoadPlan
from eventmark.report import write_reports
from eventmark.results.files import read_result, write_result
from eventmark.results.results import RunResult, Section, Verdict
from eventmark.seeding import CorpusSample
from eventmark.server.waits import WaitSamples
from eventmark.stores import find_store, write_template
from eventmark.workload.arrivals import Arrivals
from tests.loadgen.test_judge import records

APPEND, LOAD = "append_events[1]", "load_aggregate[1000]"
PLAN = LoadPlan(mix=parse_mix(f"{APPEND}=3, {LOAD}=1"), seconds=10.0, arrivals=Arrivals("constant", 400))


def duel() -> Duel:
    return Duel(
        job=cast("Job", None), sample=cast("Any", None), victim=PLAN, victim_tenant="small",
        aggressor_tenant="large", users=4, follows=False,
    )  # fmt: skip


def outcome_of(service_ms: float, seed: int, *, wait_ms: float = 0.0, count: int = 4000) -> LoadOutcome:
    part = records(count, service_ms=service_ms, seed=seed)
    return merged(PLAN, [replace(part, pool_wait_ns=part.pool_wait_ns + int(wait_ms * 1e6))], 0.0)


def leg(service_ms: float, seed: int, *, work: AggressorWork | None = None, wait_ms: float = 0.0) -> Leg:
    return Leg(
        outcome=outcome_of(service_ms, seed, wait_ms=wait_ms), waits=WaitSamples(), watch=cast("Any", None),
        lag_s=(), work=work,
    )  # fmt: skip


def trio(unbounded: float, bounded: float, *, calls: int = 5, wait_ms: float = 0.0) -> Trio:
    """Four rounds on a machine that becomes slower with each: what is ``times`` as long stays so."""
    made = Trio("bulk-append")
    for number in range(4):
        drift = 2.0 * 1.5**number
        work = AggressorWork(calls, 0, 1.0)
        made.legs[Way.ALONE].append(leg(drift, 10 * number))
        made.legs[Way.UNBOUNDED].append(leg(drift * unbounded, 10 * number + 1, work=work))
        made.legs[Way.BOUNDED].append(leg(drift * bounded, 10 * number + 2, work=work, wait_ms=wait_ms))
    return made


def verdicts(section: Section) -> dict[str, Verdict]:
    return {finding.name: finding.verdict for finding in section.findings}


def test_each_way_is_as_often_first_between_and_last_and_after_each_other() -> None:
    order = list(turns_of(6))
    rounds = [order[place : place + 3] for place in range(0, 18, 3)]
    assert all(set(one) == set(Way) for one in rounds)
    assert len({tuple(one) for one in rounds}) == 6
    for place in range(3):
        assert set(Counter(one[place] for one in rounds).values()) == {2}
        assert {one[place] for one in rounds[:3]} == set(Way)
    followed = Counter(pair for one in rounds for pair in pairwise(one))
    assert set(followed.values()) == {2} and len(followed) == 6


def test_the_service_with_its_bound_is_judged_and_the_one_without_is_shown() -> None:
    outcome = Outcome(trio=trio(5.0, 1.4), inflation_max=2.0)
    section = service_section(outcome, duel())
    assert section.verdict is Verdict.MET
    assert verdicts(section) == {f"{APPEND} inflated": Verdict.MET, f"{LOAD} inflated": Verdict.MET}
    figures = outcome.figures()
    assert figures[f"inflation[bulk-append, {APPEND}, p95]"].value == pytest.approx(1.4, rel=0.05)
    without = figures[f"unbounded_inflation[bulk-append, {LOAD}, p95]"]
    assert without.value == pytest.approx(5.0, rel=0.05)
    assert without.low is not None and without.high is not None and without.low < without.value < without.high
    broken = service_section(Outcome(trio=trio(1.0, 5.0), inflation_max=2.0), duel())
    assert broken.verdict is Verdict.BROKEN
    assert {finding.remedy for finding in broken.findings} == {LOWER}


def test_a_bound_that_delays_the_victim_by_its_own_calls_is_to_be_raised() -> None:
    section = service_section(Outcome(trio=trio(1.0, 1.0, wait_ms=100.0), inflation_max=2.0), duel())
    assert section.verdict is Verdict.BROKEN
    assert {finding.remedy for finding in section.findings} == {RAISE}


def test_an_aggressor_that_did_nothing_decides_nothing() -> None:
    section = service_section(Outcome(trio=trio(1.0, 1.0, calls=0), inflation_max=2.0), duel())
    assert section.verdict is Verdict.INCONCLUSIVE
    assert verdicts(section)["the aggressor"] is Verdict.INCONCLUSIVE


def test_of_an_interrupted_round_the_legs_without_a_partner_are_left_out() -> None:
    pair = Pair("bulk-append", alone=[leg(2.0, number) for number in range(4)])
    pair.beside = [leg(6.0, 10 + number) for number in range(3)]
    ratio = Judgement(pair=pair, inflation_max=2.0).ratio(APPEND, "p95")
    assert ratio is not None and ratio.count == 3 and ratio.value == pytest.approx(3.0, rel=0.05)


def lone(with_bound: float, *, rounds: int = 4, spread: float = 0.001) -> Lone:
    """A closed loop that answers ``with_bound`` times as many calls with the bound."""
    plan = replace(PLAN, mix=parse_mix(f"{APPEND}=1"), arrivals=None, users=4)
    made = Lone(APPEND, 4)
    random = np.random.default_rng(3)
    for number in range(rounds):
        for loads, times in ((made.without, 1.0), (made.bounded, with_bound)):
            count = int(4000 * times * random.normal(1, spread))
            part = records(count, seed=number)
            part.kind[:] = 0
            loads.append(merged(plan, [replace(part, offered=[count], skipped=[0])], 0.0))
    return made


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (lone(1.0), Verdict.MET),
        (lone(0.9), Verdict.BROKEN),
        (lone(1.0, spread=0.1), Verdict.INCONCLUSIVE),
        (lone(1.0, rounds=2), Verdict.INCONCLUSIVE),
    ],
)
def test_a_lone_tenant_may_lose_three_in_a_hundred_to_the_bound(measured: Lone, verdict: Verdict) -> None:
    (section,) = lone_section([measured], duel(), 2)
    assert section.verdict is verdict
    assert bool(lone_figures([measured])) == (len(measured.bounded) > 2)


def test_failed_calls_of_a_lone_tenant_decide_nothing() -> None:
    measured = lone(1.0)
    one = measured.bounded[0].operations[APPEND]
    failed = replace(one, offered=one.offered + 1, failed=1, failures={"StoreUnavailableError": 1})
    measured.bounded[0] = replace(measured.bounded[0], operations={APPEND: failed})
    (section,) = lone_section([measured], duel(), 2)
    assert section.verdict is Verdict.INCONCLUSIVE
    assert "1 calls failed" in section.findings[0].observed


def test_a_bound_that_is_never_reached_is_refused() -> None:
    with pytest.raises(UsageError, match="from 1 to 9 of 10 connections, got 10"):
        OneService(setting=Isolation(pool_max=10), tenant_pool_max=10)
    with pytest.raises(UsageError, match="4 users of the aggressor never reach a bound of 4 connections"):
        OneService(setting=Isolation(users=4), tenant_pool_max=4)
    assert OneService(setting=Isolation(users=4), tenant_pool_max=3).bound == 3
    for pool_max in (2, 3, 10, 1000):
        for users in (2, 4, 100):
            assert 1 <= default_bound(pool_max, users) < min(pool_max, users)


def check(result: RunResult, tmp_path: Path) -> None:
    write_result(result, tmp_path / "result.json")
    write_reports(result, tmp_path)
    assert read_result(tmp_path / "result.json") == result
    assert (result.scenario, result.through) == ("isolation in one service", "client")
    assert result.figures["tenant_pool_max"].value == 1
    hows = {name.partition(", ")[2] for name in result.operations}
    assert hows == {"alone", "beside aggregate-loads", "beside aggregate-loads without the bound"}
    assert all(one.samples > 0 and one.failed == 0 for one in result.operations.values())
    # What is measured without the bound is shown, and counts for nothing.
    assert not any("without the bound" in reason.partition(":")[0] for reason in result.reasons)
    sections = {section.name: section for section in result.sections}
    assert list(sections) == ["isolation", "isolation-aggregate-loads", "lone-tenant", "bottleneck"]
    table = next(one for one in sections["isolation-aggregate-loads"].tables if one.title == "In the service")
    rows = {row[0]: row for row in table.rows}
    assert rows["alone"][5] is None
    for way in ("without the bound", "with the bound"):
        assert cast("float", rows[way][5]) > 0 and rows[way][6] == 0
    # With one connection the victim's calls wait for each other; with eight they do not.
    assert cast("float", rows["with the bound"][2]) > 0
    throughput = sections["lone-tenant"].tables[0].rows
    assert [row[0] for row in throughput] == [APPEND, LOAD]
    assert all(cast("float", row[2]) > 0 and cast("float", row[3]) > 0 for row in throughput)


SETTING = Isolation(
    kinds=("aggregate-loads",), rate_per_s=100, leg_s=0.5, rounds=1, warm_rounds=1, pool_max=8
)


def test_victim_and_aggressor_share_the_pool_of_one_process(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    legs: list[tuple[str | None, int | None]] = []
    loads: list[int | None] = []

    def leg_noted(given: Duel, kind: str | None, *others: Any) -> Leg:
        legs.append((kind, given.victim.tenant_pool_max))
        return run_leg(given, kind, *others)

    def load_noted(job: Job, sample: CorpusSample, plan: LoadPlan, **others: Any) -> LoadOutcome:
        loads.append(plan.tenant_pool_max)
        return run_load(job, sample, plan, **others)

    monkeypatch.setattr("eventmark.experiments.isolation.one_service.run_leg", leg_noted)
    monkeypatch.setattr("eventmark.experiments.isolation.lone_tenant.run_load", load_noted)
    result = OneService(setting=SETTING, tenant_pool_max=1).run(job)
    check(result, tmp_path)
    assert legs == [(None, None), ("aggregate-loads", None), ("aggregate-loads", 1)]
    assert loads == [None, 1, None, 1]
    apart = msgspec.structs.replace(result, scenario=Isolation.name)
    (refusal, *_) = refusals(apart, result, across_schemas=False)
    assert refusal.what == "scenario"


@pytest.mark.long
def test_a_folder_of_sql_is_measured_in_one_service_as_well(job: Job, tmp_path: Path) -> None:
    write_template(tmp_path / "own")
    own = replace(
        job, store=str(tmp_path / "own"), definition=find_store(str(tmp_path / "own")), schema="own",
        corpus=replace(job.corpus, events=10_000),
    )  # fmt: skip
    check(OneService(setting=SETTING, tenant_pool_max=1).run(own), tmp_path)
