"""A soak on a real store, right in kind; and its judgement on courses that are made up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from eventmark.errors import CannotRunError, UsageError
from eventmark.experiments.soak.soak import (
    CAPACITY_FIGURE,
    WARM_ROUNDS,
    Soak,
    events_per_operation,
    half_of_capacity,
)
from eventmark.experiments.soak.soak_report import NEGLIGIBLE_MIB_PER_H, pause_cost, soak_section
from eventmark.experiments.soak.soaked import SOAKED_LEAST_S, Soaked
from eventmark.experiments.soak.upkeep import Autovacuum, Upkeep
from eventmark.experiments.soak.upkeep_report import upkeep_section
from eventmark.jobs.job import Job, draw_sample
from eventmark.loadgen.generator import run_load
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.loadgen.plan import LoadPlan
from eventmark.results.results import Figure, RunResult, Section, Verdict
from eventmark.server import Server, relations_snapshot
from eventmark.server.loop import ask
from eventmark.workload.arrivals import Arrivals
from tests.database import drop_database, execute
from tests.experiments.results import assert_kept
from tests.experiments.seeded import job_on

MIX = (
    "append_events[1]=8, append_events[10]=1, load_aggregate[1000]=1, stream_events[1000]=1, read_snapshot=1"
)
HOUR_S = 3600.0
SETTLING = 1  # a seed of noise that hides where the rise ends


@pytest.mark.parametrize("rounds", [1, WARM_ROUNDS + 3])
def test_sessions_have_their_generic_plans_before_their_memory_is_looked_at(rounds: int) -> None:
    load = LoadPlan(mix=parse_mix(MIX), seconds=1.0, arrivals=Arrivals("poisson", 10.0), warm_rounds=rounds)
    assert Soak(load=load)._plan(load.mix).warm_rounds == max(rounds, WARM_ROUNDS) > 5


def load_of(mix: str = MIX, seconds: float = 5.0) -> LoadPlan:
    return LoadPlan(
        mix=parse_mix(mix), seconds=seconds, arrivals=Arrivals("poisson", 1), pool_max=4, warm_rounds=1
    )


def finding(section: Section, name: str) -> Any:
    return next(one for one in section.findings if one.name == name)


def test_a_soak_reports_memory_latency_garbage_tables_and_wal(job: Job, tmp_path: Path) -> None:
    result = Soak(load=load_of(seconds=2.0), events_per_s=120).run(job)
    assert_kept(result, tmp_path)
    sections = {section.name: section for section in result.sections}
    assert list(sections) == ["soak", "garbage", "upkeep", "load", "generator", "bottleneck"]
    assert finding(sections["soak"], "memory of the workers").observed == "too short to tell"
    assert {"client_private", "table", "index", "dead_rows"} <= {one.name for one in result.series}
    grown, _, wal = sections["upkeep"].tables
    by_name = {row[0]: row for row in grown.rows}
    assert by_name["domain_events"][3] is not None and by_name["domain_events"][3] > 100
    assert by_name["domain_events_stream"][6] is not None and 0.2 < by_name["domain_events_stream"][6] <= 1
    assert dict(wal.rows)["WAL per event, bytes"] > 300
    assert result.figures["wal_bytes_per_event"].value > 300
    appended = sum(result.operations[f"append_events[{size}]"].samples * size for size in (1, 10))
    assert appended == pytest.approx(120 * 2, rel=0.3)
    assert all(one.failed == 0 for one in result.operations.values())


def test_a_mix_without_appends_cannot_soak(job: Job) -> None:
    with pytest.raises(CannotRunError, match="appends nothing"):
        Soak(load=load_of("read_snapshot=1")).run(job)


def test_the_rate_counts_events_and_not_calls() -> None:
    assert events_per_operation(parse_mix("append_events[10]=1, read_snapshot=1")) == pytest.approx(5.0)
    assert events_per_operation(parse_mix("append_events[100]=2, append_events[1]=2")) == pytest.approx(50.5)


def test_half_of_a_capacity_is_half_of_what_was_confirmed_for_this_store(minimal_result: RunResult) -> None:
    figure = Figure(value=900.0, unit="events/s")
    found = msgspec.structs.replace(minimal_result, figures={CAPACITY_FIGURE: figure})
    assert half_of_capacity(found, "eaf") == 450.0
    with pytest.raises(UsageError, match="of store 'eaf', not of 'mine'"):
        half_of_capacity(found, "mine")
    with pytest.raises(UsageError, match="confirms no capacity"):
        half_of_capacity(minimal_result, "eaf")


@pytest.fixture(scope="module")
def short_soak(server: Server, seeded: str) -> Iterator[Soaked]:
    name = "soak_once"
    execute(server.dsn, f"create database {name} template {seeded}")
    job = job_on(server, server.dsn.rsplit("/", 1)[0] + f"/{name}")
    outcome = run_load(job, draw_sample(job), replace(load_of(seconds=1.0), arrivals=Arrivals("poisson", 60)))
    after = ask(job.server.dsn, relations_snapshot, job.schema)
    yield Soaked(
        outcome=outcome, operations=to_results(outcome, job.targets), events_per_s=100.0, origin="",
        upkeep=Upkeep(job, before=after), after=after, events_table="domain_events",
        autovacuum=Autovacuum(1000.0, 60.0), counters={}, seconds=1.0,
    )  # fmt: skip
    drop_database(server.dsn, name)


@pytest.fixture
def soaked(short_soak: Soaked) -> Soaked:
    """A short soak, to be given another course."""
    return replace(short_soak, upkeep=Upkeep(short_soak.upkeep.job, before=short_soak.upkeep.before))


def lasting(outcome: LoadOutcome, seconds: float) -> LoadOutcome:
    return replace(outcome, plan=replace(outcome.plan, seconds=seconds))


@pytest.mark.parametrize(
    ("mib_per_h", "noise", "seconds", "verdict"),
    [
        (60.0, 0.5, HOUR_S, Verdict.BROKEN),
        (0.0, 0.5, HOUR_S, Verdict.MET),
        (60.0, 20.0, 400.0, Verdict.INCONCLUSIVE),
        (600.0, 0.0, SOAKED_LEAST_S - 1, Verdict.INCONCLUSIVE),
    ],
)
def test_memory_that_rises_is_broken_only_where_that_is_sure(
    soaked: Soaked, mib_per_h: float, noise: float, seconds: float, verdict: Verdict
) -> None:
    random = np.random.default_rng(3)
    at_s = np.arange(0, seconds, 0.5)
    values = 400 + mib_per_h * at_s / HOUR_S + noise * random.normal(size=len(at_s))
    values[at_s < 0.1 * seconds] -= 200  # while it settles
    soaked.upkeep.points["server_private"] = list(zip(at_s.tolist(), values.tolist(), strict=True))
    long = replace(soaked, outcome=lasting(soaked.outcome, seconds))
    found = finding(soak_section(long), "memory of the server's processes")
    assert found.verdict is verdict, found.observed
    assert f"{NEGLIGIBLE_MIB_PER_H:g} MiB an hour" in found.expected


def test_memory_that_settles_is_no_leak(soaked: Soaked) -> None:
    at_s = np.arange(0, HOUR_S, 0.5)
    values = 400 + 0.1 * np.minimum(at_s, 1900) + 400 * np.random.default_rng(SETTLING).normal(size=len(at_s))
    soaked.upkeep.points["server_private"] = list(zip(at_s.tolist(), values.tolist(), strict=True))
    long = replace(soaked, outcome=lasting(soaked.outcome, HOUR_S))
    whole = long.memory("server")
    assert whole is not None and whole.low > NEGLIGIBLE_MIB_PER_H / HOUR_S
    found = finding(soak_section(long), "memory of the server's processes")
    assert found.verdict is Verdict.INCONCLUSIVE, found.observed


def test_memory_is_shown_as_it_was_while_the_load_lasted(soaked: Soaked) -> None:
    points = [(at_s, 300.0) for at_s in np.arange(0, HOUR_S, 10.0).tolist()]
    soaked.upkeep.points["client_private"] = [*points, (HOUR_S + 1, 150.0)]  # a worker has ended
    section = soak_section(replace(soaked, outcome=lasting(soaked.outcome, HOUR_S)))
    (row,) = (
        row
        for table in section.tables
        for row in table.rows
        if table.title == "Private memory" and row[0] == "workers"
    )
    assert row[1:3] == [300.0, 300.0]
    (chart,) = (chart for chart in section.charts if chart.title == "Private memory")
    assert all(point.y == 300.0 for point in chart.points if point.series == "client")


def test_memory_that_nobody_can_see_is_undecided(soaked: Soaked) -> None:
    found = finding(soak_section(soaked), "memory of the server's processes")
    assert (found.verdict, found.observed) == (Verdict.INCONCLUSIVE, "not to be seen from here")


def test_a_rate_that_was_not_held_is_broken(soaked: Soaked) -> None:
    assert finding(soak_section(soaked), "rate held").verdict is not Verdict.BROKEN
    name, one = next(iter(soaked.outcome.operations.items()))
    queued = replace(one, offered=one.offered + 1000, failed=1000, failures={"deadline": 1000})
    outcome = replace(soaked.outcome, operations={**soaked.outcome.operations, name: queued})
    found = finding(soak_section(replace(soaked, outcome=outcome)), "rate held")
    assert found.verdict in (Verdict.BROKEN, Verdict.INCONCLUSIVE)
    assert "1000 failed or skipped" in found.observed


@pytest.mark.parametrize(
    ("autovacuum", "seconds", "verdict"),
    [
        (Autovacuum(1e9, 60.0), 10.0, Verdict.MET),
        (Autovacuum(1.0, 60.0), 10.0, Verdict.INCONCLUSIVE),
        (Autovacuum(1.0, 60.0), 600.0, Verdict.BROKEN),
        (None, 600.0, Verdict.INCONCLUSIVE),
    ],
)
def test_autovacuum_that_is_overdue_is_broken_once_it_has_had_the_time(
    soaked: Soaked, autovacuum: Autovacuum | None, seconds: float, verdict: Verdict
) -> None:
    after = dict(soaked.after)
    after["domain_events"] = replace(after["domain_events"], rows_since_vacuum=5000)
    changed = replace(soaked, after=after, autovacuum=autovacuum, seconds=seconds)
    assert finding(upkeep_section(changed), "autovacuum keeps up").verdict is verdict


def test_what_a_collection_cost_is_shown_by_the_pauses_of_the_call_s_own_worker(soaked: Soaked) -> None:
    (worker,) = soaked.outcome.health.workers
    name = "append_events[1]"
    one = soaked.outcome.operations[name]
    slow = one.latency_ns.copy()
    slow[: len(slow) // 10] += 500_000_000
    planted = replace(one, latency_ns=slow, service_ns=one.service_ns + (slow - one.latency_ns))
    health = replace(
        worker, gc_at_s=one.at_s[: len(slow) // 10] + 0.25, gc_ms=np.full(len(slow) // 10, 1e-6),
        gc_generation=np.zeros(len(slow) // 10, np.uint8),
    )  # fmt: skip
    outcome = replace(soaked.outcome, health=replace(soaked.outcome.health, workers=(health,)))
    cost = pause_cost(outcome, planted)
    assert cost is not None
    assert cost.with_ms > 400
    assert cost.without_ms < 400


def test_a_table_whose_autovacuum_is_off_is_reported_as_such(job: Job) -> None:
    execute(job.server.dsn, "alter table eventmark.domain_events set (autovacuum_enabled = off)")
    result = Soak(load=load_of(seconds=1.0), events_per_s=50).run(job)
    section = next(section for section in result.sections if section.name == "upkeep")
    assert "off for the table" in finding(section, "autovacuum keeps up").observed
