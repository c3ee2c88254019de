"""Isolation judged and shown: ratios with their intervals, the waits that explain them, the victim's lag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from eventmark.experiments.isolation.aggressors import DESCRIPTIONS, IDLE_TRANSACTION
from eventmark.experiments.isolation.legs import Duel, Leg, Pair, joined, per_call_ms
from eventmark.jobs.bottleneck import STORE_APPLICATION
from eventmark.judgement.evidence import Spent, spent_on
from eventmark.judgement.verdicts import worst
from eventmark.results.results import (
    Chart,
    Column,
    Figure,
    Finding,
    OperationResult,
    Point,
    Row,
    Section,
    Table,
    Verdict,
    columns,
)
from eventmark.stats.ratios import Ratio, paired_ratio

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
JUDGED = "p95"
SAMPLES_LEAST = 20
"""Of an operation in each leg, or its p95 is its maximum."""

PAIRS_MIN = 3
REMEDY = "limit what one tenant may do at once; the waits below say what they meet at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One kind of aggressor, and by how much it inflated the victim's operations."""

    pair: Pair
    inflation_max: float
    figure: str = "inflation"

    @property
    def names(self) -> list[str]:
        return list(self.pair.alone[0].outcome.operations)

    def ratio(self, name: str, quantile: str) -> Ratio | None:
        """Of the quantile under the aggressor's load to that alone, over the pairs of legs."""
        if any(leg.outcome.operations[name].succeeded < SAMPLES_LEAST for leg in self._legs()):
            return None
        whole = min(len(self.pair.alone), len(self.pair.beside))  # an interrupted pair has no second leg
        alone, beside = (
            [_quantile_ms(leg, name, QUANTILES[quantile]) for leg in legs[:whole]]
            for legs in (self.pair.alone, self.pair.beside)
        )
        return paired_ratio(beside, alone) if len(alone) >= PAIRS_MIN and min(*alone, *beside) > 0 else None

    def figures(self) -> dict[str, Figure]:
        return {
            f"{self.figure}[{self.pair.kind}, {name}, {quantile}]": Figure(
                value=round(ratio.value, 4), low=round(ratio.low, 4), high=round(ratio.high, 4), unit="times",
                better="less",
            )
            for name in self.names
            for quantile in QUANTILES
            if (ratio := self.ratio(name, quantile)) is not None
        }  # fmt: skip

    @property
    def inflation(self) -> float:
        """Of all operations together at the judged quantile; 0 where none can be told."""
        ratios = [ratio.value for name in self.names if (ratio := self.ratio(name, JUDGED)) is not None]
        return float(np.exp(np.mean(np.log(ratios)))) if ratios else 0.0

    def _legs(self) -> list[Leg]:
        return [*self.pair.alone, *self.pair.beside]


def _quantile_ms(leg: Leg, name: str, q: float) -> float:
    return float(np.quantile(leg.outcome.judged[name].latency_ns, q)) / 1e6


def summary_section(judged: Sequence[Judgement], duel: Duel) -> Section:
    """Every aggressor and operation in one table, at the judged quantile."""
    rows: list[Row] = []
    points: list[Point] = []
    for judged_pair in judged:
        alone, beside = joined(judged_pair.pair.alone), joined(judged_pair.pair.beside)
        for name in judged_pair.names:
            ratio = judged_pair.ratio(name, JUDGED)
            values = [_ms_of(load.judged[name].latency_ns) for load in (alone, beside)]
            bounds = (ratio.value, ratio.low, ratio.high) if ratio else (None, None, None)
            rows.append([judged_pair.pair.kind, name, *values, *bounds])
            if ratio is not None:
                points.append(
                    Point(x=judged_pair.pair.kind, y=ratio.value, low=ratio.low, high=ratio.high, series=name)
                )
    return Section(
        name="isolation",
        title="Isolation",
        text=[
            f"{duel.victim_tenant}, alone and under load of {duel.aggressor_tenant}: how many times as long its "
            f"operations take, at {JUDGED}."
        ],
        tables=[
            Table(
                title="Inflation",
                columns=[
                    Column(name="aggressor"), Column(name="operation"), Column(name=f"{JUDGED} alone", unit="ms"),
                    Column(name=f"{JUDGED} under load", unit="ms"), Column(name="inflation", unit="times"),
                    Column(name="from", unit="times"), Column(name="to", unit="times"),
                ],
                rows=rows,
            )
        ],
        charts=[Chart(title="Inflation", mark="bar", x="", y="times as long as alone", points=points)],
    )  # fmt: skip


def _ms_of(samples_ns: np.ndarray) -> float | None:
    return float(np.quantile(samples_ns, QUANTILES[JUDGED])) / 1e6 if len(samples_ns) else None


def isolation_section(judged: Judgement, duel: Duel) -> Section:
    pair = judged.pair
    legs = {"alone": pair.alone, "under load": pair.beside}
    findings = inflations(judged, REMEDY) + aggression(pair.beside)
    return Section(
        name=f"isolation-{pair.kind}",
        title=f"Beside {pair.kind}",
        verdict=worst(findings),
        text=[
            f"{duel.victim_tenant} at {duel.victim.arrivals.rate_per_s if duel.victim.arrivals else 0:g} operations/s, "
            f"alone and under load of {duel.aggressor_tenant}: {_work(pair, duel)}. {len(pair.beside)} pairs of legs "
            f"of {duel.victim.seconds:g} s in turns."
        ],
        findings=findings,
        tables=[_ratio_table(judged), _waits_table(pair), *lag_table(legs)],
        charts=[_ratio_chart(judged), *lag_charts(legs)],
    )  # fmt: skip


def _work(pair: Pair, duel: Duel) -> str:
    """What the aggressor did, and how much of it."""
    work = [leg.work for leg in pair.beside if leg.work is not None]
    if pair.kind == IDLE_TRANSACTION:
        return DESCRIPTIONS[pair.kind]
    per_s = sum(leg_work.calls for leg_work in work) / max(sum(leg_work.seconds for leg_work in work), 1e-9)
    return f"{duel.users} users at once, {DESCRIPTIONS[pair.kind]}, {per_s:,.1f} calls/s"


def inflations(judged: Judgement, remedy: str) -> list[Finding]:
    return [replace(_inflation(judged, name, remedy), timed=True) for name in judged.names]


def _inflation(judged: Judgement, name: str, remedy: str) -> Finding:
    ratio = judged.ratio(name, JUDGED)
    expected = f"{JUDGED} less than {judged.inflation_max:g} times that alone"
    if ratio is None:
        return Finding(
            name=f"{name} inflated", verdict=Verdict.INCONCLUSIVE, expected=expected,
            observed=f"fewer than three pairs, or than {SAMPLES_LEAST} calls in a leg",
            remedy="raise the rate, or the length of legs",
        )  # fmt: skip
    verdict = ratio.judged(judged.inflation_max)
    return Finding(
        name=f"{name} inflated", verdict=verdict, expected=expected,
        observed=f"{ratio.value:.2f} times, 95% interval {ratio.low:.2f} to {ratio.high:.2f}",
        remedy="" if verdict is Verdict.MET else "more rounds decide it" if verdict is Verdict.INCONCLUSIVE
        else remedy,
    )  # fmt: skip


def aggression(legs: Sequence[Leg]) -> list[Finding]:
    """An aggressor that did nothing proves nothing."""
    work = [leg.work for leg in legs]
    idle = [leg_work for leg_work in work if leg_work is None or not leg_work.calls]
    failed = sum(leg_work.failed for leg_work in work if leg_work is not None)
    if not idle and not failed:
        return []
    return [
        Finding(
            name="the aggressor", verdict=Verdict.INCONCLUSIVE,
            observed=f"did nothing in {len(idle)} of {len(work)} legs, {failed} of its calls failed",
            expected="it works in every leg", remedy="look at the errors of its calls",
        )
    ]  # fmt: skip


def _ratio_table(judged: Judgement) -> Table:
    alone, beside = joined(judged.pair.alone), joined(judged.pair.beside)
    rows: list[Row] = []
    for name in judged.names:
        for quantile, q in QUANTILES.items():
            ratio = judged.ratio(name, quantile)
            values = [
                float(np.quantile(load.judged[name].latency_ns, q)) / 1e6
                if load.operations[name].succeeded
                else None
                for load in (alone, beside)
            ]
            rows.append([
                name, quantile, *values, *((ratio.value, ratio.low, ratio.high) if ratio else (None, None, None)),
            ])  # fmt: skip
    return Table(
        title="Latency from the due time",
        columns=columns(
            "operation", "quantile", "alone|ms", "under load|ms", "inflation|times", "from|times", "to|times",
        ),
        rows=rows,
        note="Inflation is the geometric mean of the pairs' ratios, with its 95% interval. Both columns are of all "
        "legs together.",
    )  # fmt: skip


def _ratio_chart(judged: Judgement) -> Chart:
    points = [
        Point(x=name, y=ratio.value, low=ratio.low, high=ratio.high, series=quantile)
        for name in judged.names
        for quantile in QUANTILES
        if (ratio := judged.ratio(name, quantile)) is not None
    ]
    return Chart(
        title=f"Inflation under {judged.pair.kind}", mark="bar", x="", y="times as long as alone", points=points,
        note=f"The limit is {judged.inflation_max:g} times, at {JUDGED}.",
    )  # fmt: skip


def _waits_table(pair: Pair) -> Table:
    """Where a call of the victim's spends its time, in both cases."""
    parts = [_parts_ms(legs) for legs in (pair.alone, pair.beside)]
    names = sorted(
        set(parts[0]) | set(parts[1]), key=lambda name: -abs(parts[1].get(name, 0) - parts[0].get(name, 0))
    )
    rows: list[Row] = [
        [
            name,
            parts[0].get(name, 0.0),
            parts[1].get(name, 0.0),
            parts[1].get(name, 0.0) - parts[0].get(name, 0.0),
        ]
        for name in names
        if max(parts[0].get(name, 0.0), parts[1].get(name, 0.0)) > 0.0005
    ]
    return Table(
        title="Where a call's time goes",
        columns=columns("part", "alone|ms", "under load|ms", "more|ms"),
        rows=rows,
        note="Means over all calls of the victim: what the server's sessions wait for, from samples, and what is left. "
        "What is left holds the client, the wire, and the wait for a core that the server does not see.",
    )  # fmt: skip


def _parts_ms(legs: list[Leg]) -> dict[str, float]:
    """Milliseconds of one call by what they are spent on; waits with their events."""
    times = [leg.outcome.call_times for leg in legs]
    calls = max(sum(timed.calls for timed in times), 1)
    on_server: dict[str, float] = {}
    for wait, value in per_call_ms(legs, STORE_APPLICATION).items():
        spent = spent_on(wait)
        name = spent.value if spent is Spent.RUNNING else f"{spent.value} ({wait})"
        on_server[name] = on_server.get(name, 0.0) + value
    late, pool, total = (
        sum(getattr(timed, name) for timed in times) / calls * 1e3
        for name in ("late_s", "pool_wait_s", "total_s")
    )
    rest = max(total - late - pool - sum(on_server.values()), 0.0)
    return {
        **on_server, "before the call was sent": late, "waiting for a connection": pool,
        "client, wire and wait for a core": rest,
    }  # fmt: skip


def lag_table(by_way: Mapping[str, Sequence[Leg]]) -> Iterator[Table]:
    """How long after it was made each of the victim's events was delivered to its consumer."""
    rows: list[Row] = []
    for how, legs in by_way.items():
        lag_ms = np.array([lag_s * 1e3 for leg in legs for lag_s in leg.lag_s])
        if len(lag_ms):
            quantiles = [float(np.quantile(lag_ms, q)) for q in QUANTILES.values()]
            rows.append([how, float(len(lag_ms)), *quantiles, float(lag_ms.max())])
    if rows:
        yield Table(
            title="The victim's own events: from made to delivered",
            columns=[
                Column(name="legs"), Column(name="events"), *(Column(name=name, unit="ms") for name in QUANTILES),
                Column(name="max", unit="ms"),
            ],
            rows=rows,
            note="Where consumers read below the oldest transaction still running, one that stays open holds them up; "
            "other tenants' included.",
        )  # fmt: skip


def lag_charts(by_way: Mapping[str, Sequence[Leg]]) -> Iterator[Chart]:
    points = [
        Point(x=f"leg {number}", y=float(np.quantile(leg.lag_s, 0.95)) * 1e3, series=how)
        for how, legs in by_way.items()
        for number, leg in enumerate(legs, 1)
        if leg.lag_s
    ]
    if points:
        yield Chart(
            title="From made to delivered, p95 of each leg",
            mark="bar",
            x="",
            y="ms",
            points=points,
        )


def rls_table(secured: Mapping[str, OperationResult]) -> Table:
    rows: list[Row] = [
        [name.partition(",")[0], cost.quantile_ms("p50"), cost.floors[0].value, cost.floors[0].ratio]
        for name, cost in secured.items()
    ]
    return Table(
        title="With row-level security on top",
        columns=columns("operation", "with, p50|ms", "without, p50|ms", "with to without|times"),
        rows=rows,
        note="On two small stores of their own, call by call in turns.",
    )  # fmt: skip
