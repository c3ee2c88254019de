"""A log that grows, measured at each volume: resumed where it was interrupted, planted wrongs found."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from eventmark.errors import CannotRunError
from eventmark.experiments.scale.measuring import EFFORTS
from eventmark.experiments.scale.relations import relations_of
from eventmark.experiments.scale.scale import Scale
from eventmark.jobs.job import Job
from eventmark.jobs.warming import warm
from eventmark.results.results import RunResult, Verdict
from eventmark.seeding import seed
from eventmark.server import Server
from eventmark.server.loop import ask
from eventmark.stores import find_store, write_template
from eventmark.workload import CorpusPlan
from tests.database import execute, fetch
from tests.experiments.seeded import job_on

VOLUMES = (20_000, 40_000)
LARGE, SMALL = "eventmark_scale", "eventmark_scale_small"
ONLY = ("append_events[1]", "load_aggregate[1000]")


@pytest.fixture(autouse=True)
def few_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    measure_only(monkeypatch, *ONLY)


def measure_only(monkeypatch: pytest.MonkeyPatch, *operations: str, rounds: int = 2) -> None:
    monkeypatch.setitem(EFFORTS, "quick", replace(EFFORTS["quick"], only=operations, rounds=rounds))


@pytest.fixture
def job(server: Server, database: str) -> Job:
    execute(database, "create extension if not exists pg_stat_statements")
    return job_on(server, database)


def finding(result: RunResult, name: str) -> Verdict:
    return next(one for one in result.sections[0].findings if one.name.startswith(name)).verdict


def interrupted_at(stage: str):  # type: ignore[no-untyped-def]
    def progress(name: str, done: float, total: float) -> None:
        if name == stage:
            raise KeyboardInterrupt

    return progress


@pytest.mark.long
def test_interrupted_it_goes_on_with_the_next_volume_and_finds_what_was_planted_meanwhile(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_only(monkeypatch, *ONLY, rounds=4)
    with pytest.raises(KeyboardInterrupt):
        Scale(volumes=VOLUMES).run(job, interrupted_at("measure 40,000"))
    dsn = job.server.dsn
    assert (
        fetch(dsn, f"select count(*) from {LARGE}.domain_events where global_sequence_id <= 40000") == 40_000
    )
    assert fetch(dsn, f"select array_agg(volume) from {LARGE}.eventmark_scale_steps") == [20_000]
    execute(dsn, f"drop index {LARGE}.domain_events_stream")
    result = Scale(volumes=VOLUMES).run(job)
    assert [section.name for section in result.sections] == [
        "growth", "laws", "accounts", "volumes", "bottleneck",
    ]  # fmt: skip
    assert finding(result, "pages per event of load_aggregate[1000]") is Verdict.BROKEN
    assert finding(result, "pages per event of append_events[1]") is not Verdict.INCONCLUSIVE
    assert result.verdict is Verdict.BROKEN
    assert result.figures["load_aggregate[1000]_pages_growth"].value > 1.5
    assert "the quick profile leaves it out" in result.skipped["stream_events[1000]"]
    assert set(result.operations) == set(ONLY)
    for schema, events in ((LARGE, 40_000), (SMALL, 20_000)):
        assert fetch(dsn, f"select count(*) from {schema}.domain_events") == events, (
            "appends were left behind"
        )
    again = Scale(volumes=VOLUMES).run(job)
    assert again.figures == result.figures
    assert not [phase for phase in again.phases if phase.name.startswith("measure")]


@pytest.mark.long
def test_a_log_that_has_grown_beyond_a_volume_is_not_measured_at_it(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_only(monkeypatch, "append_events[1]", rounds=1)
    plan = replace(CorpusPlan(20_000), cohort_events=10_000)
    asyncio.run(seed(job.server.dsn, job.definition, plan, schema=LARGE))
    result = Scale(volumes=(10_000, 20_000)).run(job)
    assert "grown beyond" in result.skipped["10k events"]
    assert len(result.sections[0].charts[0].points) == 1
    law = result.sections[1].tables[0].rows[0]
    assert law[2:4] == ["undecided", "1 volumes show no law, 3 are needed"]


@pytest.mark.long
def test_another_log_is_refused_and_replaced_when_asked_for(job: Job) -> None:
    asyncio.run(seed(job.server.dsn, job.definition, CorpusPlan(20_000, seed=9), schema=LARGE))
    with pytest.raises(CannotRunError, match="another corpus") as refused:
        Scale(volumes=VOLUMES).run(job)
    assert "--replace" in refused.value.remedy
    with pytest.raises(KeyboardInterrupt):
        Scale(volumes=VOLUMES).run(replace(job, replace=True), interrupted_at("measure 20,000"))
    assert fetch(job.server.dsn, f"select seed from {LARGE}.eventmark_corpus") == 1


@pytest.mark.long
def test_a_store_of_sql_files_grows_as_well(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_only(monkeypatch, "load_aggregate[1000]")
    write_template(tmp_path / "own")
    execute(database, "create extension if not exists pg_stat_statements")
    result = Scale(volumes=VOLUMES).run(job_on(server, database, str(tmp_path / "own")))
    assert set(result.operations) == {"load_aggregate[1000]"}
    assert all(one.failed == 0 for one in result.operations.values())
    assert finding(result, "pages per event of load_aggregate[1000]") in (Verdict.MET, Verdict.INCONCLUSIVE)


@pytest.mark.long
def test_without_statistics_of_statements_latencies_are_measured_and_the_rest_is_said_to_be_missing(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_only(monkeypatch, "read_snapshot")
    result = Scale(volumes=VOLUMES).run(job_on(server, database))
    assert "pg_stat_statements" in result.skipped["accounts of single calls"]
    assert not [one for one in result.sections[0].findings if one.name.startswith("pages")]
    assert len(result.sections[0].tables[0].rows) == 1


def test_indexes_are_reported_with_their_levels_and_all_pages_are_brought_in(job: Job) -> None:
    asyncio.run(seed(job.server.dsn, find_store("eaf"), CorpusPlan(20_000), schema=LARGE))
    relations, missing = ask(job.server.dsn, relations_of, job.server, LARGE)
    assert missing == ""
    kinds = {one.name: one.kind for one in relations}
    assert kinds["domain_events"] == "table"
    assert kinds["TOAST of domain_events"] == "toast"
    assert not [name for name in kinds if name.startswith("eventmark_")]
    stream = next(one for one in relations if one.name == "domain_events_stream")
    assert stream.levels in (1, 2)
    assert stream.leaf_density is not None
    assert 0.8 < stream.leaf_density < 1
    assert asyncio.run(warm(job.server, (LARGE,))) == ""
