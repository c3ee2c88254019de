"""A complete result, made up, with hostile text wherever text comes from outside."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from eventmark.report.html import render_html
from eventmark.results.results import (
    Block,
    CacheState,
    Chart,
    ClientHealth,
    Column,
    CorpusResult,
    Environment,
    Figure,
    Finding,
    Floor,
    Fork,
    HostEnvironment,
    Latency,
    OperationResult,
    OrderingResult,
    Phase,
    PlanResult,
    Point,
    RunResult,
    Section,
    Series,
    ServerEnvironment,
    StoreEnvironment,
    Table,
    Verdict,
)
from eventmark.stats.histogram import LatencyHistogram
from eventmark.stats.quantiles import intervals_of, latency_of

HOSTILE = "</script><script>alert(1)</script>\x1b[31m=cmd()|`x`\x00 @somebody $x$ \u202egnp.exe"


def operation(median_ms: float, verdict: Verdict, seed: int) -> OperationResult:
    random = np.random.default_rng(seed)
    samples = (random.lognormal(0, 0.3, 900) * median_ms * 1e6).astype(np.int64)
    latency = latency_of(samples)
    histogram = LatencyHistogram()
    histogram.record_all(samples.tolist())
    return OperationResult(
        latency_ms=latency,
        interval_ms=intervals_of([samples], random),
        samples=900,
        target_ms=10.0,
        target_quantile="p95",
        verdict=verdict,
        reason=f"a reason {HOSTILE}",
        mode="sample",
        throughput_per_s=321.0,
        failed=0,
        histogram=histogram.encode(),
        forks=[Fork(samples=900, p50_ms=median_ms, p95_ms=latency.p95, warmup_iterations=6, steady=False)],
        client=ClientHealth(
            loop_lag_ms_p99=0.2, cpu_share=0.95, pool_wait_ms_p95=0.0, bottleneck=True, reason="x"
        ),
        cache=CacheState(cold=latency, warm=latency, cold_samples=40),
        floors=[Floor(tool="pgbench", statistic="mean", value=0.5, unit="ms", ratio=1.07)],
        work={"shared_hit_buffers": 20.5},
    )


def ordering(name: str, verdict: Verdict, lost: int) -> OrderingResult:
    latency = Latency(p50=0.5, p95=1.25, p99=4.0, p999=5.0, max=8.0)
    return OrderingResult(
        ordering=name, description=HOSTILE, lossless=not lost, verdict=verdict, reason=HOSTILE if lost else "",
        committed=51_234, consumers=4, delivered=150_000, lost=lost, duplicated=0, out_of_order=0, conflicts=17,
        rolled_back=9, unknown=0, seconds=5.5, appends_per_s=760.0, events_per_s=9876.0, append_ms=latency,
        visible_ms=latency, handled_ms=None, client_cpu_share=0.4, replay=f"eventmark verify {HOSTILE}",
        findings=[Finding(name="I7", verdict=verdict, observed=f"{lost} lost {HOSTILE}", expected="once")],
    )  # fmt: skip


@pytest.fixture(scope="session")
def result() -> RunResult:
    plan = {
        "Node Type": "Limit", "Actual Rows": 1000, "Actual Loops": 1, "Shared Hit Blocks": 900,
        "Plans": [
            {"Node Type": "Seq Scan", "Relation Name": HOSTILE, "Actual Rows": 1000, "Actual Loops": 1,
             "Rows Removed by Filter": 250000.0, "Shared Read Blocks": 4200}
        ],
    }  # fmt: skip
    bad = Finding(
        name="rows removed", verdict=Verdict.BROKEN, observed="250 per row", expected="at most 1 per row",
        remedy="create an index",
    )  # fmt: skip
    good = Finding(name="events", verdict=Verdict.MET, observed="50,000", expected="50,000")
    series = [
        Series(
            name=name, unit="x", at_s=[t * 0.5 for t in range(900)], values=[float(t % 7) for t in range(900)]
        )
        for name in (
            "client_cpu",
            "server_cpu",
            "client_rss",
            "server_rss",
            "wal_rate",
            "waits:WALWrite",
            "waits:CPU",
            f"waits:{HOSTILE}",
            f"extra {HOSTILE}",
        )
    ]
    return RunResult(
        scenario="run", run_id="run-1",
        started_at="2026-11-24T01:02:03+00:00",
        seconds=93.2,
        command=f"eventmark run --store {HOSTILE}",
        profile="quick",
        seed=1,
        verdict=Verdict.BROKEN,
        reasons=[f"plan of load_aggregate: {HOSTILE}"],
        environment=Environment(
            host=HostEnvironment(
                system="Linux", cpu_model=HOSTILE, cpu_count=2, memory_mib=24000, python="CPython 3.11.7",
                libraries={"asyncpg": "0.31"}, eventmark="0.1.0", revision="abc",
            ),
            server=ServerEnvironment(
                kind="embedded", version="18.6", version_num=180006, address="postgresql://eventmark@127.0.0.1/x",
                settings={"fsync": "on"}, tuning={"fsync": "on (durability)"}, fsync_ms=0.11,
            ),
            store=StoreEnvironment(
                name=HOSTILE, ordering="transaction-id", schema_sha256="00", indexes=["one"],
                capabilities={"tokens": True},
            ),
            fitness=[good],
        ),
        corpus=CorpusResult(
            events=50000, tenants=20, aggregates=6800, snapshots=43, seed=1, checksum="c0ffee", reused=False,
            seconds=2.5, events_per_s=20000.0, stage_seconds={"load": 2.0, "indexes": 0.5}, client_peak_rss_mib=300.0,
            audit=[good], growth=Series(name="events", unit="events", at_s=[0.0, 2.0], values=[0.0, 50000.0]),
            distributions={"events per tenant": {HOSTILE: 5.0, "b": 7.0}, "payload size": {"small": 0.7, "large": 0.3}},
            scatter_pages_per_load=917.0,
            floors=[Floor(tool="psql \\copy", statistic="2 connections", value=21000.0, unit="rows/s", ratio=1.05)],
        ),
        operations={
            "append_events[1]": operation(0.4, Verdict.MET, 1),
            "load_aggregate[1000]": operation(12.0, Verdict.BROKEN, 2),
            "compare_tokens": operation(0.0005, Verdict.INCONCLUSIVE, 3),
            f"foreign {HOSTILE}": operation(3.0, Verdict.MET, 4),
        },
        plans=[
            PlanResult(
                statement="load_aggregate", condition="largest tenant, custom plan", plan_kind="custom",
                verdict=Verdict.BROKEN, findings=[bad], parameters={"tenant_id": HOSTILE}, query=f"select {HOSTILE}",
                expected_index="domain_events_stream", work={"rows": 1000.0}, plan=plan,
            ),
            PlanResult(
                statement="stream_events", condition="start of the log, generic plan", plan_kind="generic",
                verdict=Verdict.MET, findings=[good], parameters={}, query="select 1", expected_index="",
                work={"rows": 1000.0}, plan=plan,
            ),
        ],
        skipped={"create_token_at": f"the store has no create_token_at.sql {HOSTILE}"},
        phases=[
            Phase(name=f"seed {HOSTILE}", start_s=0.0, end_s=10.0),
            Phase(name="measure", start_s=10.0, end_s=90.0),
        ],
        series=series,
    )  # fmt: skip


@pytest.fixture(scope="session")
def page(result: RunResult) -> str:
    return render_html(result)


@pytest.fixture(scope="session")
def hunted(result: RunResult) -> RunResult:
    """The same with a hunt beside it, and no series."""
    found = [ordering("horizon", Verdict.MET, 0), ordering(f"naive {HOSTILE}", Verdict.BROKEN, 128)]
    return msgspec.structs.replace(result, orderings=found, series=[])


@pytest.fixture(scope="session")
def hunted_page(hunted: RunResult) -> str:
    return render_html(hunted)


@pytest.fixture(scope="session")
def shown(result: RunResult) -> RunResult:
    """A scenario's result: sections with every kind of chart, alone."""
    names = ["one", "two", HOSTILE]
    charts = [
        Chart(
            title=f"{mark} {HOSTILE}", mark=mark, x="clients", y="ms", x_log=mark == "line", y_log=mark == "heat",
            points=[
                Point(
                    x=names[place % 3] if mark in ("bar", "heat") else 2.0**place,
                    y=names[place // 3] if mark == "heat" else 1.5 + place,
                    series=names[place % 2], low=1.0, high=9.0, value=10.0**place,
                )
                for place in range(9)
            ],
        )
        for mark in ("line", "point", "area", "bar", "heat")
    ]  # fmt: skip
    table = Table(
        title=f"Clients {HOSTILE}",
        columns=[Column(name="who"), Column(name="p95", unit="ms"), Column(name="rate", unit="events/s")],
        rows=[[HOSTILE, 1.25, 51_234.0], ["nobody", None, None]],
        note=HOSTILE,
    )
    section = Section(
        name="capacity", title="Capacity", verdict=Verdict.BROKEN, text=[f"Up to here. {HOSTILE}"],
        findings=[
            Finding(name=f"rate {HOSTILE}", verdict=Verdict.BROKEN, observed="5", expected="7", remedy="more")
        ],
        tables=[table], charts=charts, blocks=[Block(title="SQL", text=f"select '{HOSTILE}'", language="sql")],
    )  # fmt: skip
    figures = {"capacity_appends_per_s": Figure(value=1234.5, unit="appends/s", better="more")}
    return msgspec.structs.replace(
        result, operations={}, plans=[], corpus=None, skipped={}, sections=[section], figures=figures,
        series=[], phases=[],
    )  # fmt: skip


@pytest.fixture(scope="session")
def shown_page(shown: RunResult) -> str:
    return render_html(shown)
