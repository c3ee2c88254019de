"""What a case of stress works on: the store, its own connections, and whether everything is as it was before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from eventmark.experiments.stress.book import Book
from eventmark.jobs.job import Job
from eventmark.results.results import Finding, Verdict
from eventmark.stores import PooledStore, open_store

APPLICATION = "eventmark-stress"
PROBE_CALLS = 60
NORMAL_RATIO_MAX = 2.0
"""Half again as slow is what a busy machine does by itself; twice as slow is not how it was before."""

NORMAL_WITHIN_S = 30.0
CONFIDENCE_DRAWS = 400

_OURS = "(application_name like 'eventmark%' and application_name !~ '^eventmark-(monitor|waits|run)')"
_LEFT = f"""
select
    (select count(*) from pg_stat_activity
        where {_OURS} and datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
    ) as transactions,
    (select count(*) from pg_locks join pg_stat_activity using (pid)
        where {_OURS} and datname = current_database() and pid <> pg_backend_pid() and locktype <> 'virtualxid'
    ) as locks,
    (select count(*) from pg_prepared_xacts where database = current_database() and gid like 'eventmark%') as prepared
"""


@dataclass(slots=True)
class Stage:
    """One case's place to work. ``step_s`` is how long one step of a case lasts."""

    job: Job
    book: Book
    step_s: float

    @property
    def dsn(self) -> str:
        return self.job.server.dsn

    @asynccontextmanager
    async def store(self, pool_max: int, *, pool_min: int = 1) -> AsyncIterator[PooledStore]:
        """The job's store with a pool of its own."""
        opened = await open_store(
            self.job.definition, self.dsn, schema=self.job.schema, pool_min=pool_min, pool_max=pool_max
        )
        try:
            yield opened
        finally:
            await opened.close()

    async def connect(self) -> asyncpg.Connection[Any]:
        """A connection apart from the store's, that names itself."""
        return await asyncpg.connect(self.dsn, server_settings={"application_name": APPLICATION})

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        opened = await self.connect()
        try:
            yield opened
        finally:
            await opened.close()


async def probe(stage: Stage) -> NDArray[np.int64]:
    """Nanoseconds of single appends, one after the other, each followed by a look at its stream."""
    samples = np.empty(PROBE_CALLS, np.int64)
    async with stage.store(1) as store:
        stream = stage.book.new_stream()
        for version, number in enumerate(range(-PROBE_CALLS // 4, PROBE_CALLS)):  # a few to warm up
            began_ns = time.perf_counter_ns()
            await stage.book.append(store, stream, 1, version)
            await store.load_aggregate(stream.tenant_id, stream.aggregate_id, from_sequence=version + 1)
            if number >= 0:
                samples[number] = time.perf_counter_ns() - began_ns
    return samples


def slowdown(
    before: NDArray[np.int64], after: NDArray[np.int64], random: np.random.Generator
) -> tuple[float, float]:
    """A 95% interval of the ratio of the medians, after to before, by bootstrap."""
    ratios = [
        np.median(random.choice(after, len(after))) / np.median(random.choice(before, len(before)))
        for _ in range(CONFIDENCE_DRAWS)
    ]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


async def back_to_normal(stage: Stage, before: NDArray[np.int64]) -> list[Finding]:
    """Whether single appends take as long as before the case, and nothing of it is left open."""
    random = np.random.default_rng(1)
    began_s = time.monotonic()
    while True:
        low, high = slowdown(before, await probe(stage), random)
        waited_s = time.monotonic() - began_s
        if high < NORMAL_RATIO_MAX or waited_s > NORMAL_WITHIN_S:
            break
    verdict = Verdict.MET if high < NORMAL_RATIO_MAX else Verdict.INCONCLUSIVE
    if low >= NORMAL_RATIO_MAX:
        verdict = Verdict.BROKEN
    speed = Finding(
        name="back to normal", verdict=verdict,
        observed=f"an append and reading it back take {low:.2f} to {high:.2f} times as long as before, "
        f"{waited_s:.1f} s after the case",
        expected=f"less than {NORMAL_RATIO_MAX:g} times as long within {NORMAL_WITHIN_S:g} s",
        remedy="" if verdict is Verdict.MET else "see what still works on the server: eventmark doctor",
        timed=True,
    )  # fmt: skip
    return [speed, await _nothing_left(stage)]


async def _nothing_left(stage: Stage) -> Finding:
    """Transactions, locks and prepared transactions of ours. A session that is just closing is given a moment."""
    async with stage.connection() as connection:
        for _ in range(50):
            row = await connection.fetchrow(_LEFT)
            if not any(row.values()):
                break
            await asyncio.sleep(0.1)
    seen = ", ".join(f"{count} {name}" for name, count in row.items())
    clean = not any(row.values())
    return Finding(
        name="nothing left open", verdict=Verdict.MET if clean else Verdict.BROKEN, observed=seen,
        expected="no transaction, lock or prepared transaction of the case's",
        remedy="" if clean else "end the sessions named eventmark in pg_stat_activity",
    )  # fmt: skip
