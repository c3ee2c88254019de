"""One aggregate that more and more writers append to."""

from __future__ import annotations

from typing import ClassVar

from eventmark.experiments.stress.callers import Calls, append_to_one
from eventmark.experiments.stress.case import CaseReport, met
from eventmark.experiments.stress.stage import Stage
from eventmark.jobs.job import Job
from eventmark.judgement.evidence import Evidence, Spent
from eventmark.results.results import Chart, Figure, Finding, Point, Row, Table, columns
from eventmark.server import Watch

WRITERS = (1, 2, 4, 8, 16)
POOL = 18  # nobody waits for a connection, though appends are announced on one as well


class HotAggregates:
    """More and more writers append to one stream: how often they lose, and what is left of the rate."""

    name: ClassVar[str] = "hot-aggregate"
    title: ClassVar[str] = "Hot aggregate"

    def missing(self, job: Job) -> str:
        return job.definition.capabilities.lack("expected_version")

    async def run(self, stage: Stage) -> CaseReport:
        by_writers: dict[int, tuple[Calls, Evidence]] = {}
        async with stage.store(POOL, pool_min=POOL) as store:
            for writers in WRITERS:
                async with Watch(stage.job.server) as watch:
                    calls = await append_to_one(stage, store, writers, stage.step_s)
                by_writers[writers] = calls, watch.evidence(calls.times)
        alone = by_writers[1][0]
        return CaseReport(
            text=[
                "Writers append single events to one stream. A writer that loses receives the stream's version and "
                "tries again with it; every try counts."
            ],
            findings=[
                Finding(
                    name="a writer alone", verdict=met(alone.conflicts == 0 and bool(alone.took_ns)),
                    observed=f"{alone.conflicts} conflicts in {len(alone.took_ns)} appends", expected="no conflict",
                ),
                _somebody_wins({writers: calls for writers, (calls, _) in by_writers.items()}),
            ],
            tables=[_hot_table(by_writers)],
            charts=[_share_chart(by_writers), _rate_chart(by_writers)],
            figures={
                f"conflict_share[{writers}]": Figure(value=round(calls.conflict_share, 4), unit="share", better="less")
                for writers, (calls, _) in by_writers.items()
            },
            evidence=by_writers[max(WRITERS)][1],
        )  # fmt: skip


def _somebody_wins(by_writers: dict[int, Calls]) -> Finding:
    """Of the writers that meet, one wins each time: nobody is kept from going on for ever."""
    stuck = [writers for writers, calls in by_writers.items() if not calls.took_ns]
    failures = {name for calls in by_writers.values() for name in calls.failures}
    return Finding(
        name="progress", verdict=met(not stuck and not failures),
        observed=f"appends by {len(by_writers) - len(stuck)} of {len(by_writers)} groups of writers"
        + (f", failures: {', '.join(sorted(failures))}" if failures else ""),
        expected="some writer wins, and losers get a conflict and no other error",
    )  # fmt: skip


def _hot_table(measured: dict[int, tuple[Calls, Evidence]]) -> Table:
    rows: list[Row] = []
    for writers, (calls, evidence) in measured.items():
        connected = evidence.connected_sessions
        lock = evidence.sessions_on(Spent.LOCK) / connected if connected else None
        rows.append([
            float(writers), calls.per_s, (len(calls.took_ns) + calls.conflicts) / calls.seconds, calls.conflict_share,
            calls.quantile_ms(0.5), calls.quantile_ms(0.95), lock,
        ])  # fmt: skip
    return Table(
        title="By the number of writers",
        columns=columns(
            "writers", "won|appends/s", "tried|appends/s", "lost|share", "p50 of those won|ms", "p95|ms",
            "waiting for locks|share",
        ),
        rows=rows,
    )  # fmt: skip


def _share_chart(measured: dict[int, tuple[Calls, Evidence]]) -> Chart:
    points = [Point(x=float(writers), y=calls.conflict_share) for writers, (calls, _) in measured.items()]
    return Chart(
        title="Appends that lost", mark="line", x="writers", y="share of attempts", x_log=True, points=points
    )


def _rate_chart(measured: dict[int, tuple[Calls, Evidence]]) -> Chart:
    points = [
        Point(x=float(writers), y=rate, series=series)
        for writers, (calls, _) in measured.items()
        for series, rate in (
            ("won", calls.per_s), ("tried", (len(calls.took_ns) + calls.conflicts) / calls.seconds),
        )
    ]  # fmt: skip
    return Chart(
        title="Appends to one aggregate", mark="line", x="writers", y="appends/s", x_log=True, points=points
    )
