"""A soak judged and shown: the rate held, memory, latency over time, and what collecting garbage cost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec.structs import replace

from eventmark.experiments.soak.pauses import PauseCost, cost_of_pauses, met_pause
from eventmark.experiments.soak.soaked import SOAKED_LEAST_S, Soaked, thinned
from eventmark.judgement.verdicts import worst
from eventmark.loadgen.outcome import LoadOutcome, OperationLoad
from eventmark.results.results import (
    Chart,
    Figure,
    Finding,
    Point,
    Row,
    Section,
    Table,
    Verdict,
    columns,
)
from eventmark.stats.trend import Slope

ANSWERED_SHARE_MIN = 0.98
"""Of what was offered, within the time: the rest is what may still be under way at the end, and no queue."""

UNDER_WAY_S = 0.2

NEGLIGIBLE_MIB_PER_H = 6.0
"""1 GiB in a week, which is how long a service runs at the least between two deployments."""

MEMORY_OF, OVER_TIME = "memory of ", " over time"
"""How the findings about memory begin, and those about latency end."""

DRIFT_MAX = 1.25
"""The last third's p95 to the first's: a quarter more within one run is no noise, and doubles in three more."""

_S_PER_H = 3600.0


def soak_section(soaked: Soaked) -> Section:
    outcome = soaked.outcome
    rate, *drifts = (replace(finding, timed=True) for finding in (_rate(soaked), *_drifts(soaked)))
    findings = [rate, *_memory(soaked), *drifts]
    return Section(
        name="soak",
        title="Soak",
        verdict=worst(findings),
        text=[
            f"{soaked.events_per_s:,.0f} events/s appended for {outcome.seconds:g} s"
            + (f", {soaked.origin}" if soaked.origin else "") + f", by the mix {outcome.plan.mix}."
        ],
        findings=findings,
        tables=[_drift_table(soaked), _memory_table(soaked)],
        charts=[*_memory_charts(soaked)],
    )  # fmt: skip


def _rate(soaked: Soaked) -> Finding:
    """Whether the rate was held to the end: nothing skipped or failed, no queue."""
    outcome = soaked.outcome
    failed = sum(operation.failed + operation.skipped for operation in outcome.operations.values())
    answered = 1 - outcome.unanswered / max(outcome.offered, 1)
    held = not failed and answered >= min(ANSWERED_SHARE_MIN, 1 - UNDER_WAY_S / outcome.seconds)
    limited = not held and any(operation.client.bottleneck for operation in soaked.operations.values())
    return Finding(
        name="rate held", verdict=Verdict.MET if held else Verdict.INCONCLUSIVE if limited else Verdict.BROKEN,
        observed=f"{answered:.1%} of what was offered answered in time, {failed} failed or skipped"
        + (", and the generator was the bottleneck" if limited else ""),
        expected=f"{ANSWERED_SHARE_MIN:.0%} or more, and none",
    )  # fmt: skip


def _memory(soaked: Soaked) -> Iterator[Finding]:
    for side, who in (
        ("client", f"{MEMORY_OF}the workers"),
        ("server", f"{MEMORY_OF}the server's processes"),
    ):
        trend = soaked.memory(side)
        expected = f"rises by less than {NEGLIGIBLE_MIB_PER_H:g} MiB an hour"
        if trend is None:
            seen = soaked.private_mib(side)
            yield Finding(
                name=who, verdict=Verdict.INCONCLUSIVE, expected=expected,
                observed="too short to tell" if seen else "not to be seen from here",
                remedy=f"soak for longer than {SOAKED_LEAST_S:g} s; an hour tells" if seen else "",
            )  # fmt: skip
            continue
        verdict = soaked.memory_verdict(side, NEGLIGIBLE_MIB_PER_H / _S_PER_H)
        yield Finding(
            name=who, verdict=verdict, expected=expected, observed=_per_hour(trend),
            remedy="" if verdict is Verdict.MET
            else "soak for longer" if verdict is Verdict.INCONCLUSIVE else "see what is kept, with --profiler memory",
        )  # fmt: skip


def _per_hour(trend: Slope) -> str:
    slope, low, high = (value * _S_PER_H for value in (trend.slope, trend.low, trend.high))
    return f"{slope:+.3g} MiB an hour, 95% interval {low:+.3g} to {high:+.3g}"


def _drifts(soaked: Soaked) -> Iterator[Finding]:
    for name, operation in soaked.operations.items():
        ratio = soaked.drift(name)
        if ratio is None:
            continue
        verdict, limited = ratio.judged(DRIFT_MAX), operation.client.reason
        if verdict is Verdict.BROKEN and limited:
            verdict = Verdict.INCONCLUSIVE
        yield Finding(
            name=f"{name}{OVER_TIME}", verdict=verdict,
            observed=f"p95 of the last third {ratio.value:.2f} times the first's, {ratio.low:.2f} to {ratio.high:.2f}"
            + (f"; the client was the bottleneck ({limited})" if limited else ""),
            expected=f"less than {DRIFT_MAX:g} times",
            remedy="" if verdict is Verdict.MET else "see what grew meanwhile: tables, dead rows, checkpoints",
        )  # fmt: skip


def _drift_table(soaked: Soaked) -> Table:
    rows: list[Row] = []
    for name, operation in soaked.outcome.judged.items():
        third = soaked.outcome.seconds / 3
        first, last = (
            operation.latency_ns[operation.at_s < third],
            operation.latency_ns[operation.at_s >= 2 * third],
        )
        ratio = soaked.drift(name)
        rows.append([
            name, float(operation.succeeded), _ms(first, 0.95), _ms(last, 0.95), _ms(first, 0.99), _ms(last, 0.99),
            ratio.value if ratio else None, ratio.low if ratio else None, ratio.high if ratio else None,
        ])  # fmt: skip
    return Table(
        title="Latency over time",
        columns=columns(
            "operation", "calls", "p95, first third|ms", "p95, last third|ms", "p99, first third|ms",
            "p99, last third|ms", "p95, last to first|times", "from|times", "to|times",
        ),
        rows=rows,
    )  # fmt: skip


def _memory_table(soaked: Soaked) -> Table:
    rows: list[Row] = []
    for side, who in (("client", "workers"), ("server", "server's processes")):
        points, trend = soaked.private_mib(side), soaked.memory(side)
        per_h = [getattr(trend, part) * _S_PER_H if trend else None for part in ("slope", "low", "high")]
        rows.append([
            who, points[0][1] if points else None, points[-1][1] if points else None, *per_h, NEGLIGIBLE_MIB_PER_H,
        ])  # fmt: skip
    return Table(
        title="Private memory",
        columns=columns(
            "whose", "at first|MiB", "at last|MiB", "slope|MiB/h", "from|MiB/h", "to|MiB/h", "negligible below|MiB/h",
        ),
        rows=rows,
        note="Theil-Sen slope once memory has settled. What the workers write down takes no more of it.",
    )  # fmt: skip


def _memory_charts(soaked: Soaked) -> Iterator[Chart]:
    points = [
        Point(x=round(at_s, 2), y=round(value, 3), series=side)
        for side in ("client", "server")
        for at_s, value in thinned(soaked.private_mib(side))
    ]
    if points:
        yield Chart(title="Private memory", mark="line", x="seconds", y="MiB", points=points)


def garbage_section(soaked: Soaked) -> Section:
    """Collections of garbage in the workers, and the tail with and without what met one."""
    rows: list[Row] = []
    for name, operation in soaked.outcome.operations.items():
        cost = pause_cost(soaked.outcome, operation)
        if cost is not None:
            rows.append([name, cost.met_share, cost.with_ms, cost.without_ms, cost.cost_ms])
    return Section(
        name="garbage",
        title="Garbage collection",
        text=[
            "What an operation's p99 would be without the calls during which its worker collected garbage. Objects "
            "made before the load are not looked at by collections (gc.freeze), as in a service that does the same."
        ],
        tables=[
            Table(
                title="The tail with and without collections",
                columns=columns("operation", "met one|share", "p99|ms", "p99 without|ms", "cost|ms"),
                rows=rows,
            ),
            _collections(soaked),
        ],
    )  # fmt: skip


def pause_cost(outcome: LoadOutcome, load: OperationLoad) -> PauseCost | None:
    """Of an operation's p99. Each call is held against the pauses of its own worker."""
    met = np.zeros(load.succeeded, bool)
    for number, worker in enumerate(outcome.health.workers):
        own = load.worker == number
        began_s = load.at_s[own]
        met[own] = met_pause(
            began_s, began_s + load.latency_ns[own] / 1e9, worker.gc_at_s, worker.gc_ms / 1e3
        )
    return cost_of_pauses(load.latency_ns, met, 0.99) if load.succeeded else None


def _collections(soaked: Soaked) -> Table:
    rows: list[Row] = []
    for generation in (0, 1, 2):
        lengths = np.concatenate([
            worker.gc_ms[worker.gc_generation == generation] for worker in soaked.outcome.health.workers
        ])  # fmt: skip
        rows.append([
            f"{generation}", float(len(lengths)), float(lengths.sum()) / 1e3 / soaked.outcome.seconds,
            float(np.median(lengths)) if len(lengths) else None, float(lengths.max()) if len(lengths) else None,
        ])  # fmt: skip
    return Table(
        title="Collections by generation, of all workers",
        columns=columns("generation", "collections", "of the time|share", "median|ms", "longest|ms"),
        rows=rows,
    )  # fmt: skip


def soak_figures(soaked: Soaked) -> dict[str, Figure]:
    figures = {}
    for side in ("client", "server"):
        if (trend := soaked.memory(side)) is not None:
            slope, low, high = (round(value * _S_PER_H, 4) for value in (trend.slope, trend.low, trend.high))
            figures[f"{side}_memory_slope"] = Figure(
                value=slope, low=low, high=high, unit="MiB/h", better="less"
            )
    for name in soaked.operations:
        if (ratio := soaked.drift(name)) is not None:
            figures[f"drift[{name}]"] = Figure(
                value=round(ratio.value, 4), low=round(ratio.low, 4), high=round(ratio.high, 4), unit="times",
                better="less",
            )  # fmt: skip
        if (cost := pause_cost(soaked.outcome, soaked.outcome.operations[name])) is not None:
            figures[f"gc_p99_cost[{name}]"] = Figure(value=round(cost.cost_ms, 4), unit="ms", better="less")
    if soaked.appended_events and "wal_bytes" in soaked.counters:
        figures["wal_bytes_per_event"] = Figure(
            value=round(soaked.counters["wal_bytes"] / soaked.appended_events, 1), unit="B", better="less"
        )
    return figures


def _ms(samples_ns: np.ndarray, q: float) -> float | None:
    return float(np.quantile(samples_ns, q)) / 1e6 if len(samples_ns) else None
