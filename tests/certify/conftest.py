"""Made-up results of parts: what each criterion is decided by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from eventmark.certify.criteria import Done, Part
from eventmark.experiments.load.levels import Level, swept
from eventmark.experiments.load.sweep_sections import sweep_sections
from eventmark.judgement.symptoms import Limit
from eventmark.results.results import (
    ClientHealth,
    Column,
    Environment,
    Figure,
    Finding,
    HostEnvironment,
    Latency,
    OperationResult,
    OrderingResult,
    PlanResult,
    RunResult,
    Section,
    ServerEnvironment,
    StoreEnvironment,
    Table,
    Verdict,
)

MET, BROKEN, INCONCLUSIVE = Verdict.MET, Verdict.BROKEN, Verdict.INCONCLUSIVE
ENVIRONMENT = Environment(
    host=HostEnvironment(
        system="Linux", cpu_model="x", cpu_count=2, memory_mib=1, python="3", libraries={}, eventmark="0", revision=""
    ),
    server=ServerEnvironment(
        kind="embedded", version="18", version_num=180000, address="", settings={}, tuning={}, fsync_ms=None
    ),
    store=StoreEnvironment(name="eaf", ordering="transaction-id", schema_sha256="0", indexes=[], capabilities={}),
    fitness=[],
)  # fmt: skip


def part_result(
    scenario: str,
    *,
    verdict: Verdict = MET,
    reasons: Sequence[str] = (),
    operations: Mapping[str, OperationResult] | None = None,
    plans: Sequence[PlanResult] = (),
    orderings: Sequence[OrderingResult] = (),
    figures: Mapping[str, Figure] | None = None,
    sections: Sequence[Section] = (),
) -> RunResult:
    return RunResult(
        scenario=scenario, run_id="1", started_at="2026-11-30T00:00:00+00:00", seconds=10.0, command="", profile="quick",
        seed=1, verdict=verdict, reasons=list(reasons), environment=ENVIRONMENT, corpus=None,
        operations=dict(operations or {}), plans=list(plans), skipped={}, phases=[], series=[],
        orderings=list(orderings), figures=dict(figures or {}), sections=list(sections),
    )  # fmt: skip


def operation(verdict: Verdict = MET, reason: str = "") -> OperationResult:
    return OperationResult(
        latency_ms=Latency(p50=1.0, p95=2.0, p99=3.0, p999=4.0, max=5.0), interval_ms={}, samples=100, target_ms=10.0,
        target_quantile="p95", verdict=verdict, reason=reason, mode="sample", throughput_per_s=1.0, failed=0,
        histogram="", forks=[],
        client=ClientHealth(loop_lag_ms_p99=0.0, cpu_share=0.0, pool_wait_ms_p95=0.0, bottleneck=False),
    )  # fmt: skip


def section(name: str, *findings: Finding, tables: Sequence[Table] = ()) -> Section:
    return Section(name=name, title=name, verdict=MET, findings=list(findings), tables=list(tables))


def finding(name: str, verdict: Verdict = MET, remedy: str = "") -> Finding:
    return Finding(name=name, verdict=verdict, observed="seen", expected="wanted", remedy=remedy)


def plan(verdict: Verdict = MET) -> PlanResult:
    return PlanResult(
        statement="load_aggregate", condition="largest tenant", plan_kind="custom", verdict=verdict,
        findings=[finding("rows removed", verdict, "create an index")], parameters={}, query="", expected_index="",
        work={}, plan={},
    )  # fmt: skip


def ordering(name: str, verdict: Verdict = MET, lost: int = 0, *, lossless: bool = True) -> OrderingResult:
    return OrderingResult(
        ordering=name, description="", lossless=lossless, verdict=verdict, reason="Your consumers miss events." * bool(lost),
        committed=1000, consumers=4, delivered=4000 - lost, lost=lost, duplicated=0, out_of_order=0, conflicts=0,
        rolled_back=0, unknown=0, seconds=1.0, appends_per_s=1.0, events_per_s=1.0, append_ms=None, visible_ms=None,
        handled_ms=None, client_cpu_share=0.1, replay="",
        findings=[
            finding("versions", verdict, "compare the expected version"),
            msgspec.structs.replace(
                finding("delivered", verdict, "Read below the oldest transaction."),
                observed="Your consumers miss events: 3,475 of them. Cause: it reads by number.",
            ),
        ],
    )  # fmt: skip


def sweep(limit: Limit) -> RunResult:
    """As the experiment shows it: its own sections, of levels that are made up."""
    levels = [
        Level(
            clients=clients, throughput_per_s=1000.0 * clients / (1 + 0.1 * (clients - 1)), latency=None, failed=0,
            conflicted=0, cpu_share=0.5, limit=limit,
        )
        for clients in (1, 2, 4, 8, 16)
    ]  # fmt: skip
    return part_result("sweep", sections=sweep_sections([swept("append_events[1]", levels)]))


def growth(largest: int = 10_000_000, verdict: Verdict = MET) -> RunResult:
    figures = {
        "largest_volume": Figure(value=float(largest), unit="events", exact=True),
        "append_events[1]_p95_growth": Figure(value=1.04, unit="times", low=0.98, high=1.1),
    }
    return part_result(
        "scale", figures=figures, sections=[section("growth", finding("p95 of append_events[1]", verdict))]
    )


def all_met() -> dict[Part, RunResult]:
    """Every part, everything in it MET."""
    operations = {"append_events[1]": operation(), "stream_events[1000]": operation()}
    slope = Figure(value=0.5, unit="MiB/h", low=-1.0, high=2.0)
    table = Table(title="", columns=[Column(name="a")], rows=[])
    return {
        Part.VERIFY: part_result(
            "verify", orderings=[ordering("horizon"), ordering("naive", BROKEN, 7, lossless=False)]
        ),
        Part.OPERATIONS: part_result("run", operations=operations, plans=[plan()]),
        Part.CLIFFS: part_result("plan cliffs", sections=[section("cliffs", finding("none"))]),
        Part.LOAD: part_result(
            "load", operations=operations,
            figures={"appended_events_per_s": Figure(value=1003.0, unit="events/s")},
        ),
        Part.CAPACITY: part_result(
            "capacity", operations={"append_events[1]": operation(BROKEN)},
            sections=[section("capacity", finding("capacity"))],
        ),
        Part.SWEEP: sweep(Limit.SERVER_CPU),
        Part.ISOLATION: part_result(
            "isolation", sections=[section("isolation-bulk-append", finding("inflated"))],
            figures={"inflation[bulk-append, append_events[1], p95]": Figure(value=1.5, unit="times")},
        ),
        Part.GROWTH: growth(),
        Part.STRESS: part_result("stress", sections=[section("stress-deadlock", finding("stored"))]),
        Part.SOAK: part_result(
            "soak", figures={"server_memory_slope": slope},
            sections=[
                section("soak", finding("rate held"), finding("memory of the server's processes"), tables=[table])
            ],
        ),
    }  # fmt: skip


def done(parts: Mapping[Part, RunResult] | None = None, **changed: RunResult | None) -> Done:
    """Everything MET but for what is ``changed``, by the part's name; None: not done."""
    found = dict(all_met() if parts is None else parts)
    not_done = {}
    for name, result in changed.items():
        part = Part(name)
        if result is None:
            found.pop(part, None)
            not_done[part] = f"{part}: not done in 5 minutes"
        else:
            found[part] = result
    return Done(parts=found, not_done=not_done)
