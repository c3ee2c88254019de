"""Isolation on a real store: a planted neighbour is found with what its victim waits for; nothing is left behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eventmark.choices import chosen
from eventmark.errors import UsageError
from eventmark.experiments.isolation.aggressors import KINDS
from eventmark.experiments.isolation.isolation import Isolation, chosen_tenants
from eventmark.experiments.isolation.legs import order_of
from eventmark.experiments.isolation.tenant_filter import measure_filter, measure_streams, without_tenant
from eventmark.jobs.job import Job, draw_sample
from eventmark.loadgen.mix import parse_mix
from eventmark.report import write_reports
from eventmark.results.files import read_result, write_result
from eventmark.results.results import RunResult, Section, Verdict
from eventmark.stores import find_store, write_template
from tests.database import execute, fetch

APPENDS = parse_mix("append_events[1]=1")
# A store with one lock for all its tenants, which the aggressor holds for longer than its victim.
LOCKED = """
create function eventmark.lock_all() returns trigger language plpgsql as $$ begin
    perform pg_advisory_xact_lock(1);
    if new.aggregate_id like 'aggressor-%' then perform pg_sleep(0.0005); end if;
    return new;
end $$;
create trigger lock_all before insert on eventmark.domain_events for each row execute function eventmark.lock_all();
"""


def section_of(result: RunResult, name: str) -> Section:
    return next(section for section in result.sections if section.name == name)


def rows(section: Section, title: str) -> list[dict[str, Any]]:
    table = next(table for table in section.tables if table.title == title)
    return [dict(zip([column.name for column in table.columns], row, strict=True)) for row in table.rows]


@pytest.mark.long
def test_an_idle_transaction_of_another_tenant_holds_up_the_victim_s_consumer(
    job: Job, tmp_path: Path
) -> None:
    scenario = Isolation(kinds=("idle-transaction",), rate_per_s=60, leg_s=1.0, rounds=3, warm_rounds=1)
    result = scenario.run(job)
    write_result(result, tmp_path / "result.json")
    write_reports(result, tmp_path)
    assert read_result(tmp_path / "result.json") == result
    assert [section.name for section in result.sections] == [
        "isolation", "isolation-idle-transaction", "tenant-filter", "bottleneck",
    ]  # fmt: skip
    section = section_of(result, "isolation-idle-transaction")
    alone, beside = rows(section, "The victim's own events: from made to delivered")
    assert alone["events"] > 30 and beside["events"] > 30
    assert beside["max"] > 900  # as long as the leg
    assert beside["p50"] > 2 * alone["p50"]
    assert all(one.failed == 0 for one in result.operations.values())
    assert {name.partition(", ")[2] for name in result.operations} == {"alone", "beside idle-transaction"}
    by_statement = rows(section_of(result, "tenant-filter"), "The same statement with its tenant and without")
    assert [row["statement"] for row in by_statement] == ["load_aggregate", "read_snapshot"]
    assert by_statement[0]["rows"] == 1000
    left = "select count(*) from pg_stat_activity where application_name like 'eventmark-aggressor%'"
    assert fetch(job.server.dsn, left) == 0
    schemas = "select count(*) from pg_namespace where nspname like 'eventmark\\_%'"
    assert fetch(job.server.dsn, schemas) == 0


@pytest.mark.long
def test_a_lock_that_tenants_share_is_found_and_named(job: Job) -> None:
    execute(job.server.dsn, LOCKED)
    scenario = Isolation(
        kinds=("bulk-append",), mix=APPENDS, rate_per_s=40, leg_s=1.0, rounds=3, users=2, warm_rounds=1
    )
    result = scenario.run(job)
    section = section_of(result, "isolation-bulk-append")
    inflated = next(one for one in section.findings if one.name == "append_events[1] inflated")
    assert inflated.verdict is not Verdict.MET, inflated.observed
    parts = rows(section, "Where a call's time goes")
    lock = next(row for row in parts if row["part"] == "waiting for a lock (Lock:advisory)")
    assert lock["under load"] > 15 > lock["alone"]
    figure = result.figures["inflation[bulk-append, append_events[1], p95]"]
    assert figure.value > 2 and figure.low is not None and figure.high is not None


def test_legs_come_in_turns_so_that_drift_meets_both_alike() -> None:
    assert list(order_of(4)) == [False, True, True, False, False, True, True, False]


def test_tenants_are_a_small_one_and_the_largest_unless_they_are_named(job: Job) -> None:
    sample = draw_sample(job)
    victim, aggressor = chosen_tenants(job, sample, "", "")
    large = {one.tenant_id for one in job.corpus.tenants if one.large}
    assert aggressor in large and victim != aggressor
    assert chosen_tenants(job, sample, victim, "")[0] == victim
    with pytest.raises(UsageError, match="no streams of a tenant 'nobody'"):
        chosen_tenants(job, sample, "nobody", "")
    with pytest.raises(UsageError, match="are one tenant"):
        chosen_tenants(job, sample, victim, victim)
    with pytest.raises(UsageError, match="did you mean 'full-replay'"):
        chosen("full-reply", KINDS, "aggressor")


def test_a_statement_without_its_tenant_is_called_alike_and_leaves_no_index(job: Job) -> None:
    sample = draw_sample(job)
    before = fetch(job.server.dsn, "select count(*) from pg_class where relkind = 'i'")
    found, left_out = asyncio.run(measure_filter(job, sample, 12))
    assert left_out == {}
    assert fetch(job.server.dsn, "select count(*) from pg_class where relkind = 'i'") == before
    load = found[0]
    assert load.rows == 1000
    assert 0 < load.with_pages_per_row < 3 and 0 < load.without_pages_per_row < 3
    assert load.without_index_pages < load.with_index_pages
    assert load.ratio is not None and 0.2 < load.ratio.value < 5


def test_a_batch_of_one_tenant_is_compared_with_one_of_all(job: Job) -> None:
    whole, one = asyncio.run(measure_streams(job, ["tenant-0001"], 5))
    assert (whole.whose, one.whose) == ("all tenants", "tenant-0001")
    assert whole.events == 1000 and 0 < one.events <= 1000
    assert one.pages / one.events > whole.pages / whole.events


def test_a_predicate_that_is_undecided_is_left_alone() -> None:
    statements = find_store("eaf").statements
    bare = without_tenant(statements["load_aggregate"], "tenant_id", "eventmark")
    assert bare is not None
    assert "tenant_id = $1" not in bare and "$1::text is not null" in bare and "aggregate_id = $2" in bare
    assert without_tenant(statements["load_aggregate"], "another", "eventmark") is None
    assert without_tenant(statements["stream_events"], "tenant_id", "eventmark") is None


@pytest.mark.long
def test_a_store_without_streams_of_a_tenant_is_measured_without_them(job: Job, tmp_path: Path) -> None:
    write_template(tmp_path / "own")
    (tmp_path / "own" / "stream_tenant_events.sql").unlink()
    own = replace(
        job, store=str(tmp_path / "own"), definition=find_store(str(tmp_path / "own")), schema="own",
        corpus=replace(job.corpus, events=10_000),
    )  # fmt: skip
    result = Isolation(kinds=("full-replay", "aggregate-loads"), rate_per_s=40, leg_s=0.5, rounds=1).run(own)
    assert "stream_tenant_events.sql" in result.skipped["full-replay"]
    assert "stream_tenant_events.sql" in result.skipped["stream_events[1000]"]
    assert {name.partition(", ")[2] for name in result.operations} == {"alone", "beside aggregate-loads"}
    assert all(one.failed == 0 for one in result.operations.values())
    finding = section_of(result, "isolation-aggregate-loads").findings[0]
    assert finding.verdict is Verdict.INCONCLUSIVE  # one pair of legs decides nothing
