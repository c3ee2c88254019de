"""The streaming analysis: every event handled once, floors of the same rows, what is planted is found."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from eventmark.errors import CannotRunError
from eventmark.experiments.streaming import delivery
from eventmark.experiments.streaming.catch_up import CatchUp, measure_catch_up
from eventmark.experiments.streaming.consumers import Consumed, ConsumerSpec, WorkerConsumption
from eventmark.experiments.streaming.copying import CopyFloor
from eventmark.experiments.streaming.delivery import Delivery, measure_deliveries
from eventmark.experiments.streaming.group import Group, GroupPlan, Setting
from eventmark.experiments.streaming.idle import measure_idle
from eventmark.experiments.streaming.rates import Case, measure_consumers, measure_segments, to_operation
from eventmark.experiments.streaming.sections import catch_up_finding, delivery_section
from eventmark.experiments.streaming.sizes import DEFAULT_WAY
from eventmark.experiments.streaming.streaming import Streaming
from eventmark.jobs.job import Job, draw_sample
from eventmark.results.results import Latency, Verdict
from eventmark.results.targets import Target
from eventmark.seeding import seed
from eventmark.server import Server
from eventmark.stores import write_template
from tests.database import execute, fetch
from tests.experiments.seeded import EVENTS, job_on


def test_a_quick_analysis_measures_every_part_and_leaves_the_store_as_it_was(job: Job) -> None:
    result = Streaming().run(job)
    assert [section.name for section in result.sections] == [
        "consumption",
        "catch-up",
        "delivery",
        "bottleneck",
    ]
    assert all(one.failed == 0 for one in result.operations.values()), result.reasons
    assert {
        "catch_up_events_per_s", "catch_up_vs_copy", "catch_up_beside_writers_events_per_s", "consumed_events_per_s_1",
        "visible_ms_p95_notified_polling_every_100_ms", "idle_queries_per_s_notified_polling_every_100_ms",
    } <= set(result.figures)  # fmt: skip
    assert not result.sections[2].findings, "an event was not delivered"
    assert fetch(job.server.dsn, "select count(*) from eventmark.domain_events") == EVENTS
    assert fetch(job.server.dsn, "select count(*) from eventmark.tracking_tokens") == 0


def test_every_consumer_handles_every_event_once_in_order(setting: Setting) -> None:
    for case in measure_consumers(setting, 5_000):
        assert case.group.errors == []
        assert [one.handled for one in case.group.consumed] == [5_000] * case.consumers
        assert all(set(one.events) == {1000} for one in case.group.consumed)


def test_segments_handle_every_event_once_together(setting: Setting) -> None:
    cases = list(measure_segments(replace(setting, sizes=replace(setting.sizes, consumers=(1, 4))), 5_000))
    for case in cases:
        assert case.group.errors == []
        assert sum(one.handled for one in case.group.consumed) == 5_000
        assert sorted(one.segment for one in case.group.consumed) == list(range(case.segments))


@pytest.mark.alone
def test_segments_share_the_waiting_of_a_slow_handler(setting: Setting) -> None:
    slow = replace(setting.sizes, consumers=(1, 4), handler_us=400.0)  # 2 s for 5,000 events
    _, _, one, four = measure_segments(replace(setting, sizes=slow), 5_000)
    assert one.group.seconds > 2.0
    assert four.group.seconds < one.group.seconds * 0.75


def test_a_consumer_that_misses_events_fails_its_operation(setting: Setting) -> None:
    spec = ConsumerSpec(name="eventmark-short", expected=(EVENTS + 1,))
    group = setting.consume(GroupPlan(specs=(spec,), seconds=3.0))
    assert group.errors == [f"eventmark-short: {EVENTS} of {EVENTS + 1} events were handled in 3 s"]
    case = Case(name="1 consumer", consumers=1, segments=1, handler_us=0.0, group=group, log_events=EVENTS)
    assert to_operation(case, None).verdict is Verdict.BROKEN


def test_a_planted_delay_of_the_handler_breaks_the_target_of_a_batch(setting: Setting) -> None:
    spec = ConsumerSpec(name="eventmark-slow", expected=(15_000,), handler_us=20.0)
    group = setting.consume(GroupPlan(specs=(spec,), seconds=30.0))
    case = Case(name="slow", consumers=1, segments=1, handler_us=20.0, group=group, log_events=15_000)
    found = to_operation(case, Target("p50", 10.0))
    assert found.latency_ms.p50 >= 20.0
    assert found.verdict is Verdict.BROKEN


def test_copy_reads_the_very_rows_that_are_streamed(job: Job) -> None:
    floor = CopyFloor(job.server, job.definition.statements["stream_events"], job.schema, EVENTS)
    query = floor.command.removeprefix("copy (").rpartition(")")[0].rpartition(")")[0]
    rows = fetch(job.server.dsn, f"select array_agg(global_sequence_id) from ({query}) as streamed")
    assert rows == list(range(1, EVENTS + 1))
    assert floor.events_per_s() > 0


def test_where_psql_is_missing_catching_up_goes_on_without_its_floor(setting: Setting) -> None:
    job = replace(setting.job, server=replace(setting.job.server, bin_directory=None))
    found = CatchUp(events=job.corpus.events)
    measure_catch_up(replace(setting, job=job), draw_sample(job), found)
    assert found.against_copy is None
    assert found.events_per_s > 0
    assert "psql was not found" in found.missing["COPY as the baseline of catching up"]
    assert catch_up_finding(found).verdict is Verdict.INCONCLUSIVE


def caught_up(ours: list[float], copies: list[float]) -> CatchUp:
    return CatchUp(events=1000, consumed_per_s=ours, copied_per_s=copies)


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ([90.0, 91.0, 89.0], Verdict.MET),
        ([60.0, 61.0, 59.0], Verdict.BROKEN),
        ([60.0, 90.0, 120.0], Verdict.INCONCLUSIVE),
        ([90.0], Verdict.INCONCLUSIVE),
    ],
)
def test_catching_up_is_judged_by_the_interval_of_its_ratio_to_copy(
    ours: list[float], verdict: Verdict
) -> None:
    found = caught_up(ours, [100.0] * (len(ours) + 1))
    assert catch_up_finding(found).verdict is verdict


def test_drift_of_the_machine_cancels_in_the_ratio_to_copy() -> None:
    found = caught_up([90.0, 45.0, 22.5], [120.0, 80.0, 20.0, 30.0])
    assert found.against_copy is not None
    assert found.against_copy.value == pytest.approx(0.9)


def test_every_append_is_delivered_and_handled_after_it_is_visible(setting: Setting) -> None:
    for one in measure_deliveries(setting):
        assert one.lost == 0
        assert one.appends > 50
        assert 0 <= one.visible_ms.p50 <= one.handled_ms.p50


def test_events_that_are_not_delivered_are_found(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "GRACE_S", 1.0)
    execute(  # a consumer that never sees every second event
        setting.job.server.dsn,
        "create function eventmark.forget() returns trigger language plpgsql as $$ begin"
        " if random() < 0.5 then new.transaction_id := '1'; end if; return new; end $$",
        "create trigger forget before insert on eventmark.domain_events"
        " for each row execute function eventmark.forget()",
    )
    found = list(
        measure_deliveries(replace(setting, sizes=replace(setting.sizes, ways=setting.sizes.ways[:1])))
    )
    assert 0 < found[0].lost < found[0].appends


def test_idle_consumers_cost_what_they_poll(setting: Setting) -> None:
    nobody, notified, polling = measure_idle(setting)
    assert nobody.queries_per_s is not None
    assert notified.queries_per_s is not None
    assert polling.queries_per_s is not None
    assert nobody.queries_per_s < notified.queries_per_s < 20  # every 100 ms, or later
    assert 1.5 * notified.queries_per_s < polling.queries_per_s < 60  # every 20 ms, or later


@pytest.fixture
def own_job(server: Server, database: str, tmp_path: Path) -> Job:
    """A store of SQL files alone."""
    write_template(tmp_path / "own")
    job = job_on(server, database, str(tmp_path / "own"))
    execute(database, "create extension if not exists pg_stat_statements")
    asyncio.run(seed(database, job.definition, job.corpus, schema=job.schema, workers=2))
    return job


@pytest.mark.long
def test_a_store_of_sql_files_is_streamed_by_plain_loops_and_the_result_reports_it(own_job: Job) -> None:
    result = Streaming().run(own_job)
    assert {name.partition(", ")[2] for name in result.operations} == {"1 consumer", "2 consumers"}
    assert all(one.failed == 0 for one in result.operations.values()), result.reasons
    assert "no processors" in result.skipped["segments"]
    assert "poll" in result.skipped["notifications"]
    assert "visible_ms_p95_polling_every_20_ms" in result.figures
    assert "catch_up_vs_copy" in result.figures
    text = " ".join(text for section in result.sections for text in section.text)
    assert "plain loops" in text


def test_a_store_that_cannot_be_streamed_is_refused(own_job: Job) -> None:
    (own_job.definition.directory / "stream_events.sql").unlink()
    job = job_on(own_job.server, own_job.server.dsn, str(own_job.definition.directory))
    with pytest.raises(CannotRunError, match="cannot be streamed"):
        Streaming().run(job)


def test_rates_of_a_group_are_from_the_common_start_to_the_last_token() -> None:
    def consumed(*at_s: float) -> Consumed:
        return Consumed("x", saved_ns=[int(second * 1e9) for second in at_s], events=[1000] * len(at_s))

    workers = (
        WorkerConsumption(
            start_ns=0,
            consumed=(consumed(0.5, 1.0), consumed(2.0)),
            cpu_s=1.0,
            seconds=2.0,
            loop_lag_ms_p99=0.0,
        ),
    )
    group = Group(workers)
    assert (group.handled, group.seconds, group.events_per_s) == (3000, 2.0, 1500.0)
    assert [series.tolist() for series in group.intervals_ns()] == [[500_000_000]]


def test_times_between_clocks_that_are_not_known_well_enough_decide_nothing() -> None:
    times = Latency(p50=0.5, p95=0.9, p99=1.0, p999=1.0, max=1.0)
    known = Delivery(
        way=DEFAULT_WAY, appends=10, lost=0, append_ms=times, visible_ms=times, handled_ms=times, doubt_ms=0.4
    )
    assert delivery_section([known], []).verdict is None
    section = delivery_section([known, replace(known, doubt_ms=0.6)], [])
    (finding,) = section.findings
    assert section.verdict is finding.verdict is Verdict.INCONCLUSIVE
    assert finding.observed == "the machines' clocks are known to 0.600 ms"
