"""Isolation in one service, judged with the bound on one tenant's connections and shown without it as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eventmark.experiments.isolation.aggressors import DESCRIPTIONS
from eventmark.experiments.isolation.isolation_report import (
    JUDGED,
    QUANTILES,
    Judgement,
    aggression,
    inflations,
    lag_charts,
    lag_table,
)
from eventmark.experiments.isolation.legs import Duel, Leg, Trio, Way, joined
from eventmark.judgement.verdicts import worst
from eventmark.results.results import Chart, Column, Figure, Point, Row, Section, Table, columns

LOWER = "lower --tenant-pool-max; where the service's own core is busy, only more processes of it help"
RAISE = "raise --tenant-pool-max: the victim's calls wait for each other more than they work"
BESIDE = (Way.UNBOUNDED, Way.BOUNDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one kind of aggressor. What is judged is the service with its bound."""

    trio: Trio
    inflation_max: float

    @property
    def bounded(self) -> Judgement:
        return self.of(Way.BOUNDED)

    def of(self, way: Way) -> Judgement:
        figure = "inflation" if way is Way.BOUNDED else "unbounded_inflation"
        return Judgement(pair=self.trio.beside(way), inflation_max=self.inflation_max, figure=figure)

    @property
    def remedy(self) -> str:
        """The bound is the victim's as well: one that is too low delays it by its own calls."""
        late, waiting, at_work = _parts_ms(self.trio.legs[Way.BOUNDED])
        return RAISE if waiting > late + at_work else LOWER

    def figures(self) -> dict[str, Figure]:
        return {name: figure for way in BESIDE for name, figure in self.of(way).figures().items()}

    def latencies_ms(self, name: str, q: float) -> list[float | None]:
        """A quantile of an operation in each way, of all legs together."""
        samples = [joined(self.trio.legs[way]).operations[name].latency_ns for way in Way]
        return [
            float(np.quantile(samples_ns, q)) / 1e6 if len(samples_ns) else None for samples_ns in samples
        ]

    def inflations(self, name: str, quantile: str) -> list[float | None]:
        """Without the bound and with it, each with its interval."""
        ratios = [self.of(way).ratio(name, quantile) for way in BESIDE]
        return [
            value
            for ratio in ratios
            for value in ((ratio.value, ratio.low, ratio.high) if ratio else (None, None, None))
        ]


def summary_section(outcomes: Sequence[Outcome], duel: Duel, bound: int) -> Section:
    """Every aggressor and operation in one table, at the judged quantile."""
    rows: list[Row] = [
        [
            outcome.trio.kind, name, *outcome.latencies_ms(name, QUANTILES[JUDGED]), *outcome.inflations(name, JUDGED),
        ]
        for outcome in outcomes
        for name in outcome.bounded.names
    ]  # fmt: skip
    return Section(
        name="isolation",
        title="Isolation in one service",
        text=[
            f"One process serves {duel.victim_tenant} and {duel.aggressor_tenant}, on one pool of "
            f"{duel.victim.pool_max} connections. Judged is the service in which one tenant may hold {bound} of them "
            "while the other is active; without that bound it is measured for comparison. These figures are not "
            "comparable with those of tenants in processes of their own."
        ],
        tables=[
            Table(
                title="Inflation",
                columns=[Column(name="aggressor"), Column(name="operation"), *_columns(f"{JUDGED} ")],
                rows=rows,
            )
        ],
        charts=[
            Chart(
                title="Inflation", mark="bar", x="", y="times as long as alone",
                points=[point for outcome in outcomes for point in _points(outcome, f"{outcome.trio.kind}, ")],
            )
        ],
    )  # fmt: skip


def service_section(outcome: Outcome, duel: Duel) -> Section:
    trio = outcome.trio
    findings = inflations(outcome.bounded, outcome.remedy)
    findings += aggression([leg for way in BESIDE for leg in trio.legs[way]])
    rate = duel.victim.arrivals.rate_per_s if duel.victim.arrivals else 0
    shown = {way.value: trio.legs[way] for way in Way}
    return Section(
        name=f"isolation-{trio.kind}",
        title=f"In one service with {trio.kind}",
        verdict=worst(findings),
        text=[
            f"{duel.victim_tenant} at {rate:g} operations/s, alone and under load of {duel.aggressor_tenant}: "
            f"{duel.users} users at once, {DESCRIPTIONS[trio.kind]}. "
            f"{len(trio.legs[Way.BOUNDED])} legs of {duel.victim.seconds:g} s of each kind, in turns."
        ],
        findings=findings,
        tables=[_latency_table(outcome), _service_table(trio), *lag_table(shown)],
        charts=[
            Chart(
                title=f"Inflation under {trio.kind}", mark="bar", x="", y="times as long as alone",
                points=_points(outcome),
                note=f"At {JUDGED}, which must stay below {outcome.inflation_max:g} times with the bound.",
            ),
            *lag_charts(shown),
        ],
    )  # fmt: skip


def _columns(latency: str) -> list[Column]:
    """Of what ``latencies_ms`` and ``inflations`` return."""
    return [
        *(Column(name=f"{latency}{way}", unit="ms") for way in Way),
        *(
            Column(name=f"{name}{way}", unit="times")
            for way in BESIDE
            for name in ("inflation ", "from, ", "to, ")
        ),
    ]


def _points(outcome: Outcome, before: str = "") -> list[Point]:
    return [
        Point(x=f"{before}{name}", y=ratio.value, low=ratio.low, high=ratio.high, series=way.value)
        for name in outcome.bounded.names
        for way in BESIDE
        if (ratio := outcome.of(way).ratio(name, JUDGED)) is not None
    ]


def _latency_table(outcome: Outcome) -> Table:
    return Table(
        title="Latency from the due time",
        columns=[Column(name="operation"), Column(name="quantile"), *_columns("")],
        rows=[
            [name, quantile, *outcome.latencies_ms(name, q), *outcome.inflations(name, quantile)]
            for name in outcome.bounded.names
            for quantile, q in QUANTILES.items()
        ],
        note="Inflation is the geometric mean of the rounds' ratios to the leg alone, with its 95% interval.",
    )  # fmt: skip


def _service_table(trio: Trio) -> Table:
    """Where a call of the victim's spends its time, and what else the service did."""
    rows: list[Row] = []
    for way in Way:
        legs = trio.legs[way]
        work = [leg.work for leg in legs if leg.work is not None]
        seconds = sum(leg_work.seconds for leg_work in work)
        rows.append([
            way.value, *_parts_ms(legs), max(leg.outcome.health.cpu_share for leg in legs),
            sum(leg_work.calls for leg_work in work) / seconds if seconds else None,
            float(sum(leg_work.failed for leg_work in work)) if work else None,
        ])  # fmt: skip
    return Table(
        title="In the service",
        columns=columns(
            "legs", "before the call begins|ms", "waiting for a connection|ms", "server, wire and client|ms",
            "the process's share of a core|share", "the aggressor's calls|calls/s", "of them failed",
        ),
        rows=rows,
        note="Times are means over all calls of the victim. Both tenants use the same connections, so that "
        "the server's time is not told apart. The share of a core is the highest of all legs.",
    )  # fmt: skip


def _parts_ms(legs: Sequence[Leg]) -> list[float]:
    """Of a mean call: until it was begun, until it had a connection, and the rest."""
    times = [leg.outcome.call_times for leg in legs]
    calls = max(sum(timed.calls for timed in times), 1)
    late, pool, total = (
        sum(getattr(timed, name) for timed in times) / calls * 1e3
        for name in ("late_s", "pool_wait_s", "total_s")
    )
    return [late, pool, total - late - pool]
