"""Planted bottlenecks under load: a generator that computes, a slow server, a pool of one. Each is to be blamed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eventmark.experiments.selfcheck.client import COMPUTING_MS
from eventmark.experiments.selfcheck.proving import Proving
from eventmark.jobs.job import Job, draw_sample
from eventmark.loadgen.generator import Work, run_load
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.records import WorkerRecords
from eventmark.loadgen.task import WorkerTask
from eventmark.loadgen.wire.worker import run_load_worker
from eventmark.operations.catalogue import OPERATIONS, ReadSnapshot
from eventmark.results.results import Finding, Verdict
from eventmark.results.targets import Target
from eventmark.stores import find_store
from eventmark.workers import WorkerLink

OPERATION = "read_snapshot"
USERS, SECONDS = 4, 1.5
TARGET = Target("p95", 1.0)


class _Computing(ReadSnapshot):
    """Looks at each answer for long."""

    def is_right(self, arguments: Any, answer: Any) -> bool:
        over_s = time.perf_counter() + COMPUTING_MS / 1e3
        while time.perf_counter() < over_s:
            pass
        return super().is_right(arguments, answer)


async def run_computing_worker(task: WorkerTask, link: WorkerLink) -> WorkerRecords:
    """A worker of the load whose own work is slow, in a process of its own."""
    OPERATIONS[OPERATION] = _Computing
    return await run_load_worker(task, link)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """What a load says of who was slow: the generator, by its health, or the pool, by waits for a connection."""

    generator: str
    pool_wait_ms: float
    service_ms: float

    @property
    def pool(self) -> bool:
        """Most of a call's time went to waiting for a connection."""
        return self.pool_wait_ms > self.service_ms


def measure_blames(proving: Proving) -> dict[str, Blame]:
    """The same users on the wire, each time with another cause of slowness."""
    job, slow = proving.job, proving.planted({OPERATION: COMPUTING_MS})
    slowed = replace(job, store=slow, definition=find_store(slow))
    return {
        "computing generator": _blame(job, run_computing_worker, USERS),
        "slow server": _blame(slowed, None, USERS),
        "pool of one": _blame(slowed, None, 1),
    }


def blame_findings(blames: dict[str, Blame]) -> list[Finding]:
    computing, server, pool = (blames[name] for name in ("computing generator", "slow server", "pool of one"))
    neither = not server.generator and not server.pool
    return [
        _finding(
            "load by a computing generator", computing, bool(computing.generator), "the generator is blamed"
        ),
        _finding("load on a slow server", server, neither, "neither generator nor pool is blamed"),
        _finding("load over a pool of one", pool, not pool.generator and pool.pool, "the pool is blamed"),
    ]


def check_generator(proving: Proving) -> list[Finding]:
    return blame_findings(measure_blames(proving))


def _blame(job: Job, work: Work | None, connections: int) -> Blame:
    plan = LoadPlan(
        mix=parse_mix(f"{OPERATION}=1"), seconds=SECONDS, users=USERS, pool_max=connections, warm_rounds=1
    )
    outcome = run_load(job, draw_sample(job), plan, work=work)
    load = outcome.operations[OPERATION]
    return Blame(
        generator=to_results(outcome, {OPERATION: TARGET})[OPERATION].client.reason,
        pool_wait_ms=float(np.median(load.pool_wait_ns)) / 1e6,
        service_ms=float(np.median(load.service_ns)) / 1e6,
    )


def _finding(name: str, blame: Blame, is_right: bool, expected: str) -> Finding:
    return Finding(
        name=name,
        verdict=Verdict.MET if is_right else Verdict.BROKEN,
        observed=f"generator: {blame.generator or 'not blamed'}; half of the calls waited {blame.pool_wait_ms:.3g} ms "
        f"or more for a connection, and took {blame.service_ms:.3g} ms with it",
        expected=expected,
    )
