"""One result of each kind, small and realistic. Its sentences come from the functions that write them in a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from eventmark.certify.criteria import Part, criteria, verdict_of
from eventmark.engine.statements import Statement
from eventmark.history.compare import compare_results
from eventmark.history.comparison_section import result_of
from eventmark.history.entries import entry_of
from eventmark.history.runs import KeptRun
from eventmark.history.trend_section import trend_result
from eventmark.history.trends import find_trends
from eventmark.jobs.bottleneck import bottleneck_section
from eventmark.jobs.kernel import _operation_parts, _plan_parts
from eventmark.judgement.operation import client_of, fork_of, judged_operation
from eventmark.judgement.verdicts import judge_orderings, overall, worst
from eventmark.plans.judge import judge
from eventmark.plans.work import work_of
from eventmark.results.results import (
    CorpusResult,
    Environment,
    Finding,
    Floor,
    HostEnvironment,
    Latency,
    OperationResult,
    OrderingResult,
    PlanResult,
    RunResult,
    ServerEnvironment,
    StoreEnvironment,
    Verdict,
)
from eventmark.results.targets import Target
from eventmark.verify.checker import Fault
from eventmark.verify.findings import Reader, described_fault, findings
from tests.certify.conftest import done, part_result
from tests.judgement.test_bottleneck import evidence

ENVIRONMENT = Environment(
    host=HostEnvironment(
        system="Linux", cpu_model="A processor", cpu_count=2, memory_mib=24_000, python="CPython 3.11.7",
        libraries={"asyncpg": "0.31"}, eventmark="0.2.0", revision="abc1234",
    ),
    server=ServerEnvironment(
        kind="embedded", version="18.6", version_num=180006, address="postgresql://eventmark@127.0.0.1/eventmark",
        settings={"fsync": "on"}, tuning={"shared_buffers": "4GB (the corpus fits into memory)"}, fsync_ms=0.11,
    ),
    store=StoreEnvironment(
        name="orders", ordering="global-sequence", schema_sha256="c0ffee", indexes=["events_stream"],
        capabilities={"tokens": True},
    ),
    fitness=[Finding(name="other processes", verdict=Verdict.MET, observed="2% of the cores", expected="at most 10%")],
)  # fmt: skip
CORPUS = CorpusResult(
    events=50_000, tenants=20, aggregates=6_800, snapshots=43, seed=1, checksum="c0ffee", reused=False, seconds=2.5,
    events_per_s=20_000.0, stage_seconds={"load": 2.0, "indexes": 0.5}, client_peak_rss_mib=300.0, growth=None,
    audit=[Finding(name="events", verdict=Verdict.MET, observed="50,000", expected="50,000")], distributions={},
    scatter_pages_per_load=917.0,
    floors=[Floor(tool="psql \\copy", statistic="2 connections", value=21_000.0, unit="rows/s", ratio=1.05)],
)  # fmt: skip
INDEXLESS = {
    "Node Type": "Seq Scan", "Relation Name": "events", "Actual Rows": 1000, "Plan Rows": 900, "Actual Loops": 1,
    "Rows Removed by Filter": 49_000, "Shared Hit Blocks": 4_200, "Shared Read Blocks": 0, "Plans": [],
}  # fmt: skip


def run_result() -> RunResult:
    """A store with an index too few: one operation misses its target, one is undecided, one plan scans the table."""
    operations = {
        "append_events[1]": operation(0.9, Target("p95", 10.0), floor_ms=0.84),
        "load_aggregate[1000]": operation(31.0, Target("p95", 20.0)),
        "stream_events[1000]": operation(20.0, Target("p95", 50.0), samples=20),
    }
    plans = [plan()]
    verdict, reasons = overall([*_plan_parts(plans), *_operation_parts(operations, None)])
    return replace(
        part_result("run", verdict=verdict, reasons=reasons, operations=operations, plans=plans),
        command="eventmark run --events 50k --profile quick --store ./orders", seconds=58.4, environment=ENVIRONMENT,
        corpus=CORPUS, sections=[bottleneck_section(evidence())],
        skipped={"create_token_at": "the store has no create_token_at.sql"},
    )  # fmt: skip


def verify_result() -> RunResult:
    """A store whose consumers read by number, and the control."""
    lost = Fault("I7", "lost", 3_475, consumer="tail, all tenants", due=5_869, passed=3_400)
    orderings = [
        ordering("orders", [lost], Reader(by_number=True, statement="stream_events.sql")),
        ordering("naive", [Fault("I7", "lost", 51, due=5_800, passed=51, consumer="tail")], Reader(by_number=True)),
    ]  # fmt: skip
    verdict, reasons = judge_orderings(orderings)
    return replace(
        part_result("verify", verdict=verdict, reasons=reasons, orderings=orderings),
        command="eventmark verify --store ./orders", environment=ENVIRONMENT,
    )  # fmt: skip


def certify_result() -> RunResult:
    """A store that misses events, with a certification that had no time for the soak."""
    parts = done(verify=verify_result(), soak=None)
    answers = criteria(parts)
    verdict, reasons = verdict_of(answers, parts)
    return replace(
        run_result(), scenario="certify", profile="5 minutes", verdict=verdict, reasons=reasons, criteria=answers,
        command="eventmark certify --minutes 5 --store ./orders", orderings=parts.parts[Part.VERIFY].orderings,
    )  # fmt: skip


def compare_result() -> RunResult:
    """Two runs, between which loading became a third slower."""
    base, candidate = (history_run(day, ms) for day, ms in ((1, 9.0), (2, 12.0)))
    comparison = compare_results(base, candidate, base_file="base.json", candidate_file="candidate.json")
    return result_of(candidate, comparison, command="eventmark compare base.json candidate.json")


def trend_result_of_nights() -> RunResult:
    """Twelve nights; loading became a third slower in the seventh."""
    runs = nights()
    trends = find_trends([entry_of(run) for run in runs])
    return trend_result(runs[-1].result, trends, command="eventmark trend results")


def nights() -> list[KeptRun]:
    return [
        KeptRun(Path(f"{day:02}.json"), history_run(day, 9.0 if day < 7 else 12.0), f"{day:02}c0ffee")
        for day in range(1, 13)
    ]


def operation(
    median_ms: float, target: Target, *, samples: int = 900, floor_ms: float = 0.0
) -> OperationResult:
    """Five forks whose latencies lie evenly between half and one and a half of the median."""
    forks = [
        np.random.default_rng(fork).permutation(np.linspace(0.5, 1.5, samples // 5) * median_ms * 1e6)
        for fork in range(5)
    ]
    series = [one.astype(np.int64) for one in forks]
    floors = (
        [Floor(tool="pgbench", statistic="mean", value=floor_ms, unit="ms", ratio=median_ms / floor_ms)]
        if floor_ms
        else ()
    )
    return judged_operation(
        series, target, np.random.default_rng(1), mode="sample", throughput_per_s=1000 / median_ms,
        client=client_of(0.2, loop_lag_ms_p99=0.1), forks=[fork_of(one, warmup_iterations=6) for one in series],
        floors=floors,
    )  # fmt: skip


def plan() -> PlanResult:
    statement = Statement(
        name="load_aggregate", purpose="", parameters=(), index="events_stream", template="select", path="any.sql",
        first_line=1,
    )  # fmt: skip
    work = work_of(INDEXLESS)
    found = judge(statement, INDEXLESS, work)
    return PlanResult(
        statement=statement.name, condition="largest tenant", plan_kind="custom", verdict=worst(found), plan=INDEXLESS,
        findings=sorted(found, key=lambda one: one.verdict is not Verdict.BROKEN), parameters={"tenant_id": "tenant-0001"},
        query="select * from events where tenant_id = $1 order by sequence_number", expected_index="events_stream", work=work,
    )  # fmt: skip


def ordering(name: str, faults: list[Fault], reader: Reader) -> OrderingResult:
    latency = Latency(p50=0.5, p95=1.25, p99=4.0, p999=5.0, max=8.0)
    return OrderingResult(
        ordering=name, description="reads by number", lossless=name != "naive", verdict=Verdict.BROKEN,
        reason="; ".join(described_fault(one, reader) for one in faults), committed=5_869, consumers=4, delivered=19_900,
        lost=sum(one.count for one in faults), duplicated=0, out_of_order=0, conflicts=17, rolled_back=9, unknown=0,
        seconds=5.5, appends_per_s=760.0, events_per_s=9_876.0, append_ms=latency, visible_ms=latency, handled_ms=None,
        client_cpu_share=0.4, replay="eventmark verify --store ./orders --seed 1",
        findings=findings(faults, reader=reader),
    )  # fmt: skip


def history_run(day: int, load_ms: float) -> RunResult:
    """``day`` is of November; the work of a load is the same on each."""
    load = operation(load_ms * (1 + 0.002 * (day % 3)), Target("p95", 20.0))
    return replace(
        run_result(), run_id=f"{day:02}", started_at=f"2026-11-{day:02}T01:02:03+00:00", plans=[], sections=[], verdict=Verdict.MET,
        reasons=[], operations={"load_aggregate[1000]": replace(load, work={"shared_hit_buffers": 1_004.0})},
    )  # fmt: skip


EXAMPLES: Mapping[str, Callable[[], RunResult]] = {
    "run": run_result,
    "verify": verify_result,
    "certify": certify_result,
    "compare": compare_result,
    "trend": trend_result_of_nights,
}
