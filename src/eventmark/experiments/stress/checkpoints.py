"""Checkpoints in the middle of steady appends."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

import asyncpg
import numpy as np
from numpy.typing import NDArray

from eventmark.experiments.stress.case import CaseReport
from eventmark.experiments.stress.stage import Stage
from eventmark.jobs.job import Job
from eventmark.judgement.evidence import CallTimes
from eventmark.results.results import Chart, Column, Figure, Finding, Point, Row, Table, Verdict
from eventmark.server import Watch
from eventmark.stores import PooledStore

APPENDS_PER_S = 100.0
CHECKPOINTS = 3
QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class CheckpointsUnderLoad:
    """Checkpoints asked for in the middle of steady appends: latency before, during and after each."""

    name: ClassVar[str] = "checkpoint"
    title: ClassVar[str] = "Checkpoints under load"

    def missing(self, job: Job) -> str:
        return ""

    async def run(self, stage: Stage) -> CaseReport:
        spans: list[tuple[float, float]] = []
        async with (
            stage.store(4, pool_min=4) as store,
            stage.connection() as admin,
            Watch(stage.job.server) as watch,
        ):
            began_s = time.monotonic()
            seconds = stage.step_s * (CHECKPOINTS + 1)
            loading = asyncio.create_task(_timed_appends(stage, store, seconds))
            try:
                for _ in range(CHECKPOINTS):
                    await asyncio.sleep(stage.step_s)
                    from_s = time.monotonic() - began_s
                    await admin.execute("checkpoint")
                    spans.append((from_s, time.monotonic() - began_s))
                due_s, took_ns = await loading
            except asyncpg.InsufficientPrivilegeError:
                return CaseReport(findings=[_not_allowed()])
            finally:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)
        parts = _split(due_s, took_ns, spans)
        return CaseReport(
            text=[
                f"Single appends at {APPENDS_PER_S:g} a second, timed from when they were due, and {CHECKPOINTS} "
                "checkpoints, " + ", ".join(f"{until - since:.2f} s" for since, until in spans) + " long."
            ],
            findings=[
                Finding(
                    name="appends go on", verdict=Verdict.MET if len(took_ns) else Verdict.BROKEN,
                    observed=f"{len(took_ns)} appends, none failed", expected="every append is answered",
                )
            ],
            tables=[_parts_table(parts)],
            charts=[_latency_chart(due_s, took_ns, spans)],
            figures=_slowdown(parts),
            evidence=watch.evidence(CallTimes(calls=len(took_ns), total_s=float(took_ns.sum()) / 1e9)),
        )  # fmt: skip


def _not_allowed() -> Finding:
    return Finding(
        name="checkpoints", verdict=Verdict.INCONCLUSIVE, observed="this role may not ask for one",
        expected="checkpoints under load", remedy="grant pg_checkpoint to it",
    )  # fmt: skip


async def _timed_appends(
    stage: Stage, store: PooledStore, seconds: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """When each append was due, from the beginning on, and nanoseconds from then to its answer.

    An append that is late makes none after it late: each goes to a stream of its own.
    """
    count = int(seconds * APPENDS_PER_S)
    due_s = np.arange(count) / APPENDS_PER_S
    took_ns = np.zeros(count, np.int64)
    began_ns = time.perf_counter_ns()

    async def append(number: int) -> None:
        await stage.book.append(store, stage.book.new_stream(), 1, 0)
        took_ns[number] = time.perf_counter_ns() - began_ns - int(due_s[number] * 1e9)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(due_s[number] - (time.perf_counter_ns() - began_ns) / 1e9, 0))
            group.create_task(append(number))
    return due_s, took_ns


def _split(
    due_s: NDArray[np.float64], took_ns: NDArray[np.int64], spans: list[tuple[float, float]]
) -> dict[str, NDArray[np.int64]]:
    """The samples before the first checkpoint, while one ran, and at all other times after."""
    during = np.zeros(len(due_s), bool)
    for since, until in spans:
        during |= (due_s + took_ns / 1e9 >= since) & (due_s <= until)
    before = (due_s < spans[0][0]) & ~during
    return {"before": took_ns[before], "during": took_ns[during], "after": took_ns[~during & ~before]}


def _parts_table(parts: dict[str, NDArray[np.int64]]) -> Table:
    rows: list[Row] = [
        [name, float(len(samples)), *(_ms(samples, q) for _, q in QUANTILES), _ms(samples, 1.0)]
        for name, samples in parts.items()
    ]  # fmt: skip
    return Table(
        title="Latency of an append, by checkpoints",
        columns=[
            Column(name="when"), Column(name="appends"), *(Column(name=name, unit="ms") for name, _ in QUANTILES),
            Column(name="max", unit="ms"),
        ],
        rows=rows,
    )  # fmt: skip


def _ms(samples: NDArray[np.int64], q: float) -> float | None:
    return float(np.quantile(samples, q)) / 1e6 if len(samples) else None


def _latency_chart(
    due_s: NDArray[np.float64], took_ns: NDArray[np.int64], spans: list[tuple[float, float]]
) -> Chart:
    points = [
        Point(
            x=round(float(at_s), 3), y=float(took) / 1e6,
            series="during a checkpoint" if any(since <= at_s <= until for since, until in spans) else "otherwise",
        )
        for at_s, took in zip(due_s, took_ns, strict=True)
    ]  # fmt: skip
    return Chart(
        title="Appends by when they were due", mark="point", x="seconds", y="ms", y_log=True, points=points
    )


def _slowdown(parts: dict[str, NDArray[np.int64]]) -> dict[str, Figure]:
    if not len(parts["before"]) or not len(parts["during"]):
        return {}
    ratio = float(np.quantile(parts["during"], 0.95) / np.quantile(parts["before"], 0.95))
    return {"checkpoint_p95_inflation": Figure(value=round(ratio, 3), unit="times", better="less")}
