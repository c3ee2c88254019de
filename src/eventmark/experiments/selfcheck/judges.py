"""The judges judged: percentiles against a slow obvious computation, the audit and the plan judge against plants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import numpy as np

from eventmark.engine.statements import quoted_schema
from eventmark.experiments.selfcheck.proving import Proving
from eventmark.jobs.examination import examine_repeatedly
from eventmark.jobs.job import Job
from eventmark.results.results import Finding, PlanResult, Verdict
from eventmark.results.targets import QUANTILES
from eventmark.seeding import AuditReport, audit, no_progress
from eventmark.server.loop import ask, connection_to, on_loop
from eventmark.stats.histogram import LatencyHistogram
from eventmark.stats.quantiles import latency_of

SERIES = 60
SERIES_LENGTH_MAX = 300  # counting takes the square of it
HISTOGRAM_TOLERANCE = 0.002
INDEX = "events_stream"
_NS_PER_MS = 1e6


def check_percentiles(seed: int) -> Finding:
    """Random series of many lengths, with and without ties, by the instrument and by counting."""
    random = np.random.default_rng([seed, 21])
    wrong = 0
    for _ in range(SERIES):
        length = int(random.integers(1, SERIES_LENGTH_MAX))
        samples = (
            random.lognormal(13, random.uniform(0, 2), length) // random.choice([1, 1000, 10**6])
        ).astype(np.int64)
        wrong += not _agree(np.maximum(samples, 100))
    return Finding(
        name="percentiles",
        verdict=Verdict.BROKEN if wrong else Verdict.MET,
        observed=f"{SERIES - wrong} of {SERIES} series agree with counting",
        expected="all of them, histograms to a fifth of a percent",
    )


def _agree(samples_ns: np.ndarray) -> bool:
    latency, histogram = latency_of(samples_ns), LatencyHistogram()
    histogram.record_all(samples_ns)
    for name, share in QUANTILES.items():
        obvious_ms = counted_quantile(samples_ns.tolist(), share) / _NS_PER_MS
        if abs(getattr(latency, name) - obvious_ms) > 1e-9 * obvious_ms:
            return False
        if abs(histogram.quantile_ms(share) - obvious_ms) > HISTOGRAM_TOLERANCE * obvious_ms:
            return False
    return True


def counted_quantile(samples: Sequence[int], share: float) -> int:
    """The smallest sample that at least ``share`` of all do not exceed, found by asking each."""
    for value in sorted(set(samples)):
        if sum(sample <= value for sample in samples) >= share * len(samples) - 1e-6:
            return value
    raise AssertionError("the largest exceeds none")


def check_audit(proving: Proving) -> list[Finding]:
    """The corpus as it was seeded passes; with a share of one tenant's events given to another, it does not."""
    before, after = on_loop(_audits(proving.job))
    return [
        _plant_finding("audit of the corpus as seeded", before, wanted=Verdict.MET),
        _plant_finding("audit of a wrong distribution", after, wanted=Verdict.BROKEN),
    ]


async def _audits(job: Job) -> tuple[AuditReport, AuditReport]:
    before = await audit(job.server.dsn, job.definition, schema=job.schema)
    async with connection_to(job.server.dsn) as connection:
        await _skew(connection, job)
    return before, await audit(job.server.dsn, job.definition, schema=job.schema)


def _plant_finding(name: str, report: AuditReport, *, wanted: Verdict) -> Finding:
    faults = [
        f"{finding.name}: {finding.observed}"
        for finding in report.findings
        if finding.verdict is Verdict.BROKEN
    ]
    return Finding(
        name=name,
        verdict=Verdict.MET if report.verdict is wanted else Verdict.BROKEN,
        observed="; ".join(faults[:3]) or f"{len(report.findings)} checks, {report.verdict.value}",
        expected=wanted.value,
    )


async def _skew(connection: asyncpg.Connection[Any], job: Job) -> None:
    """Half of the largest tenant's events to the smallest: the counts stay, the 80/20 does not."""
    table = f'{quoted_schema(job.schema)}."{job.definition.events_table}"'
    tenant, position = (f'"{job.definition.columns[name]}"' for name in ("tenant_id", "global_sequence_id"))
    rows = await connection.fetch(f"select {tenant}::text from {table} group by 1 order by count(*) desc")
    await connection.execute(
        f"update {table} set {tenant} = $1 where {tenant} = $2 and {position} % 2 = 0",
        rows[-1][0],
        rows[0][0],
    )


def check_plan_judge(proving: Proving) -> list[Finding]:
    """Plans of the store as it is are met; without one index, the judge names it."""
    job = proving.job
    before = _examined(job)
    ask(job.server.dsn, _drop_index, job)
    after = _examined(job)
    named = [plan for plan in after if plan.expected_index == INDEX]
    faults = [
        finding.observed for plan in named for finding in plan.findings if finding.verdict is Verdict.BROKEN
    ]
    return [
        _plans_finding("plans of the store as it is", before, Verdict.MET, ""),
        _plans_finding("plans without an index", named, Verdict.BROKEN, "; ".join(dict.fromkeys(faults[:2]))),
    ]


def _plans_finding(name: str, plans: Sequence[PlanResult], wanted: Verdict, detail: str) -> Finding:
    count = sum(plan.verdict is wanted for plan in plans)
    return Finding(
        name=name,
        verdict=Verdict.MET if plans and count == len(plans) else Verdict.BROKEN,
        observed=f"{count} of {len(plans)} plans {wanted.value}" + (f": {detail}" if detail else ""),
        expected=f"all {wanted.value}",
    )


def _examined(job: Job) -> list[PlanResult]:
    return examine_repeatedly(job, no_progress, runs=1)[0]


async def _drop_index(connection: asyncpg.Connection[Any], job: Job) -> None:
    await connection.execute(f'drop index {quoted_schema(job.schema)}."{INDEX}"')
