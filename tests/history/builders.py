"""Results made up for comparison: operations by their forks' medians, plans by their work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from eventmark.results.results import (
    ClientHealth,
    CorpusResult,
    Environment,
    Finding,
    Fork,
    HostEnvironment,
    Latency,
    OperationResult,
    PlanResult,
    RunResult,
    ServerEnvironment,
    StoreEnvironment,
    Verdict,
)
from eventmark.stats.histogram import LatencyHistogram

APPEND = "append_events[1]"


def _histogram() -> str:
    made = LatencyHistogram()
    made.record_all((np.linspace(0.5, 1.5, 200) * 1e6).astype(np.int64))
    return made.encode()


_HISTOGRAM = _histogram()


def operation(
    forks_ms: Sequence[float] = (1.0, 1.01, 0.99, 1.0, 1.005),
    *,
    work: Mapping[str, float] | None = None,
    failed: int = 0,
    bottleneck: bool = False,
    mode: str = "sample",
    p95: float = 2.0,
) -> OperationResult:
    """Each fork's p95 is ``p95`` times its median."""
    middle = float(np.median(forks_ms))
    return OperationResult(
        latency_ms=Latency(p50=middle, p95=p95 * middle, p99=3 * middle, p999=4 * middle, max=5 * middle),
        interval_ms={}, samples=1000, target_ms=10.0, target_quantile="p95", verdict=Verdict.MET, reason="",
        mode=mode, throughput_per_s=100.0, failed=failed, histogram=_HISTOGRAM,
        forks=[
            Fork(samples=200, p50_ms=one, p95_ms=p95 * one, warmup_iterations=5, steady=True) for one in forks_ms
        ],
        client=ClientHealth(
            loop_lag_ms_p99=0.1, cpu_share=0.95 if bottleneck else 0.2, pool_wait_ms_p95=0.0, bottleneck=bottleneck,
            reason="the client used 95% of a core" if bottleneck else "",
        ),
        work=dict(work or {}),
    )  # fmt: skip


def plan(
    verdict: Verdict = Verdict.MET, *, condition: str = "largest tenant, custom plan", **work: float
) -> PlanResult:
    findings = [Finding(name="pages", verdict=verdict, observed="9 pages for 1 row", expected="at most 3")]
    return PlanResult(
        statement="load_aggregate", condition=condition, plan_kind="custom", verdict=verdict, findings=findings,
        parameters={}, query="select 1", expected_index="events_stream", plan={},
        work={"buffers_per_row": 1.0, "rows_removed_per_row": 0.0, "sorts": 0.0, "seq_scans": 0.0} | work,
    )  # fmt: skip


def result(
    operations: Mapping[str, OperationResult] | None = None,
    *,
    run_id: str = "one",
    at: str = "2026-11-24T01:02:03+00:00",
    revision: str = "",
    **changes: Any,
) -> RunResult:
    host = HostEnvironment(
        system="Linux-6.1", cpu_model="A processor", cpu_count=2, memory_mib=24_000, python="CPython 3.11.7",
        libraries={"asyncpg": "0.31"}, eventmark="0.1.0", revision=revision,
    )  # fmt: skip
    server = ServerEnvironment(
        kind="embedded", version="18.6", version_num=180006, address="postgresql://eventmark@127.0.0.1/x",
        settings={"work_mem": "4MB"}, tuning={}, fsync_ms=0.1,
    )  # fmt: skip
    store = StoreEnvironment(
        name="my-store", ordering="transaction-id", schema_sha256="ab" * 32, indexes=[], capabilities={}
    )
    made = RunResult(
        scenario="run", run_id=run_id, started_at=at, seconds=60.0, command="eventmark run", profile="quick", seed=1,
        verdict=Verdict.MET, reasons=[], corpus=corpus(),
        environment=Environment(host=host, server=server, store=store, fitness=[]),
        operations=dict(operations if operations is not None else {APPEND: operation()}), plans=[], skipped={},
        phases=[], series=[],
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def corpus(events: int = 50_000) -> CorpusResult:
    return CorpusResult(
        events=events, tenants=20, aggregates=6800, snapshots=43, seed=1, checksum="c0ffee", reused=False,
        seconds=2.5, events_per_s=20000.0, stage_seconds={}, client_peak_rss_mib=300.0, audit=[], growth=None,
        distributions={}, scatter_pages_per_load=None,
    )  # fmt: skip


def changed(one: RunResult, part: str, **changes: Any) -> RunResult:
    """The result with a part of its environment ("host", "server", "store") changed."""
    replaced = msgspec.structs.replace(getattr(one.environment, part), **changes)
    environment = msgspec.structs.replace(one.environment, **{part: replaced})
    return msgspec.structs.replace(one, environment=environment)
