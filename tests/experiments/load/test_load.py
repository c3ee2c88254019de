"""The scenarios of load on a real store: right in kind; how fast the store is, is not asked here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eventmark.errors import CannotRunError
from eventmark.experiments.load.capacity import CapacityPlan, CapacitySearch
from eventmark.experiments.load.load import Load
from eventmark.experiments.load.search import Answer
from eventmark.experiments.load.sweep import Sweep
from eventmark.jobs.job import Job
from eventmark.loadgen.generator import Pulse
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.plan import LoadPlan
from eventmark.report import write_reports
from eventmark.results.files import read_result, write_result
from eventmark.results.results import RunResult, Verdict
from eventmark.results.targets import Target
from eventmark.server import Server
from eventmark.stores import find_store, write_template
from eventmark.workload.arrivals import Arrivals
from tests.database import execute
from tests.experiments.seeded import job_on

APPEND = "append_events[1]"
MIX = "append_events[1]=6, append_events[10]=1, load_aggregate[1000]=1, stream_events[1000]=1, create_tail_token=1"


def plan(mix: str = MIX, **changes: object) -> LoadPlan:
    settings = {
        "seconds": 2.0,
        "arrivals": Arrivals("poisson", 80),
        "pool_max": 6,
        "warm_rounds": 1,
    } | changes
    return LoadPlan(mix=parse_mix(mix), **settings)  # type: ignore[arg-type]


def kept(result: RunResult, at: Path) -> RunResult:
    """Written, shown in every form, and read again."""
    write_result(result, at / "result.json")
    assert len(write_reports(result, at)) >= 4
    assert read_result(at / "result.json") == result
    return result


def test_load_ends_with_accounts_series_its_generators_health_and_its_bottleneck(
    job: Job, tmp_path: Path
) -> None:
    told: list[tuple[Pulse, dict[str, float]]] = []
    scenario = Load(plan=plan(), watch=lambda pulse, waits: told.append((pulse, dict(waits))))
    result = kept(scenario.run(job), tmp_path)
    assert set(result.operations) == set(parse_mix(MIX).shares)
    for one in result.operations.values():
        assert (one.mode, one.failed) == ("open loop", 0)
        assert one.samples > 0
    assert [one.name for one in result.sections] == ["load", "generator", "bottleneck"]
    collecting = next(one for one in result.sections[1].findings if one.name == "garbage collection")
    collections = sum(row[7] for row in result.sections[1].tables[0].rows)
    ended = sum(one.samples for one in result.operations.values())
    per_100_000 = int(collecting.observed.split(", ")[2].split()[0])
    assert per_100_000 == pytest.approx(collections / ended * 1e5, rel=0.05)  # a conflict is no sample
    accounts = result.sections[0].tables[0].rows
    assert all(row[1] == sum(float(cell) for cell in row[2:6]) for row in accounts)  # type: ignore[arg-type]
    names = {series.name for series in result.series}
    assert {APPEND, f"{APPEND} p95", "in flight", "client_cpu"} <= names
    (phase,) = (phase for phase in result.phases if phase.name == "load")
    (rates,) = (series for series in result.series if series.name == APPEND)
    assert phase.start_s <= rates.at_s[0] < rates.at_s[-1] <= phase.end_s
    assert result.figures["appends_per_s"].value > 20
    assert result.figures["streamed_events_per_s"].value > 1000
    assert len(told) >= 2
    assert told[-1][0].at_s > 1.0


def test_users_are_a_closed_loop(job: Job) -> None:
    result = Load(plan=plan(arrivals=None, users=3, think_s=0.02)).run(job)
    assert {one.mode for one in result.operations.values()} == {"closed loop"}


@pytest.mark.long
def test_a_store_that_is_nothing_but_sql_is_loaded_without_what_it_lacks(
    server: Server, database: str, tmp_path: Path
) -> None:
    write_template(tmp_path / "own")
    (tmp_path / "own" / "create_token_at.sql").unlink()
    execute(database, "create extension if not exists pg_stat_statements")
    job = job_on(server, database, str(tmp_path / "own"))
    mix = f"{MIX}, create_token_at=5"
    result = Load(plan=plan(mix, contended_share=0.5, contended_streams=1)).run(job)
    assert set(result.operations) == set(parse_mix(MIX).shares)
    assert "create_token_at.sql" in result.skipped["create_token_at"]
    assert all(one.failed == 0 for one in result.operations.values()), result.reasons
    only = plan("create_token_at=1")
    with pytest.raises(CannotRunError, match="the store has no operation of the mix"):
        Load(plan=only).run(job_on(server, database, str(tmp_path / "own")))
    assert find_store(str(tmp_path / "own")).engine == ""


def _slowed(job: Job, seconds: float) -> None:
    execute(
        job.server.dsn,
        "create or replace function eventmark.slow() returns trigger language plpgsql as"
        f" $$ begin perform pg_sleep({seconds}); return new; end $$",
        "create trigger slow before insert on eventmark.domain_events for each row execute function eventmark.slow()",
    )


@pytest.mark.long
def test_the_capacity_of_one_connection_to_a_slow_store_is_what_its_delay_allows(
    job: Job, tmp_path: Path
) -> None:
    """25 ms each over one connection: 40 a second, and no more, whatever the machine."""
    _slowed(job, 0.025)
    load = plan(f"{APPEND}=1", pool_max=1, arrivals=Arrivals("poisson", 20))
    search = CapacitySearch(
        plan=CapacityPlan(load=load, probe_s=1.0, confirm_s=3.0, confirm_max_s=6.0, probes_max=5)
    )
    lenient = replace(job, targets={APPEND: Target("p95", 600.0)})
    result = kept(search.run(lenient), tmp_path)
    table = next(one for one in result.sections if one.name == "capacity").tables[0]
    held = [float(row[1]) for row in table.rows if row[6] == Answer.HELD]  # type: ignore[arg-type]
    assert held and max(held) < 60
    assert any(row[6] != Answer.HELD for row in table.rows)
    assert result.verdict in (Verdict.MET, Verdict.INCONCLUSIVE)
    if "capacity_appends_per_s" in result.figures:
        assert 2 < result.figures["capacity_appends_per_s"].value < 45
        assert "within targets" in result.sections[0].text[0]
    else:
        assert "No rate was confirmed" in result.sections[0].text[0]


@pytest.mark.long
def test_a_store_too_slow_for_any_rate_is_broken_and_has_no_capacity(job: Job) -> None:
    _slowed(job, 0.3)
    load = plan(f"{APPEND}=1", arrivals=Arrivals("poisson", 80), pool_max=4, warm_rounds=0)
    search = CapacitySearch(
        plan=CapacityPlan(load=load, probe_s=1.2, confirm_s=2.0, confirm_max_s=2.0, probes_max=2)
    )
    result = search.run(replace(job, targets={APPEND: Target("p95", 10.0)}))
    assert result.verdict is Verdict.BROKEN
    assert set(result.figures) == {"corpus_events"}
    assert f"{APPEND} misses its target at any rate" in result.reasons[0]


@pytest.mark.long
def test_a_sweep_measures_every_level_and_fits_its_law(job: Job, tmp_path: Path) -> None:
    sweep = Sweep(operations=(APPEND, "create_head_token"), clients=(1, 2, 4, 8), seconds=0.5, warm_rounds=1)
    result = kept(sweep.run(job), tmp_path)
    assert [one.name for one in result.sections] == [
        "sweep", "sweep-append-events-1", "sweep-create-head-token", "bottleneck",
    ]  # fmt: skip
    levels = result.sections[1].tables[0].rows
    assert [row[0] for row in levels] == [1.0, 2.0, 4.0, 8.0]
    assert all(float(row[1]) > 10 for row in levels)  # type: ignore[arg-type]
    assert result.figures[f"sweep_peak_per_s {APPEND}"].value == pytest.approx(
        max(float(row[1]) for row in levels), abs=0.1  # type: ignore[arg-type]
    )  # fmt: skip
    assert {point.series for point in result.sections[1].charts[0].points} == {"measured", "fitted"}
