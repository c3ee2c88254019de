"""What waiting for events costs while there are none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import asyncpg

from eventmark.experiments.streaming.consumers import ConsumerSpec
from eventmark.experiments.streaming.delivery import head_token
from eventmark.experiments.streaming.group import GroupPlan, Setting
from eventmark.experiments.streaming.sizes import Waiting
from eventmark.jobs.job import Job
from eventmark.server import statements_between, statements_snapshot
from eventmark.server.loop import on_loop
from eventmark.server.processes import ProcessTree

STAGE = "idle"
SETTLE_S = 0.5
"""From a consumer's start until it is idle: its first reads, and the generic plans after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What one consumer cost in ``seconds`` without an event; None where it cannot be seen. CPU is of one core.

    ``way`` None: nobody waited.
    """

    way: Waiting | None
    seconds: float
    queries_per_s: float | None
    client_cpu: float
    server_cpu: float | None


def measure_idle(setting: Setting) -> Iterator[Idle]:
    """Nobody waiting, then each way in turn."""
    ways: list[Waiting | None] = [None, *setting.ways]
    for number, way in enumerate(ways):
        setting.progress(STAGE, number, len(ways))
        yield _idle(setting, way)
    setting.progress(STAGE, len(ways), len(ways))


def _idle(setting: Setting, way: Waiting | None) -> Idle:
    job, seconds = setting.job, setting.sizes.idle_s
    look = _Look(job, seconds)
    client_cpu = 0.0
    if way is None:
        on_loop(look())
    else:
        spec = ConsumerSpec(name=f"eventmark-idle-{uuid4().hex[:8]}", start=on_loop(head_token(job)))
        plan = GroupPlan(
            specs=(spec,),
            seconds=seconds + 2 * SETTLE_S,
            poll_interval_s=way.poll_interval_s,
            settle_s=SETTLE_S,
        )
        client_cpu = setting.consume(plan, meanwhile=look).workers[0].cpu_share
    return Idle(
        way=way, seconds=look.seconds, queries_per_s=look.queries_per_s, client_cpu=client_cpu,
        server_cpu=look.server_cpu,
    )  # fmt: skip


class _Look:
    """The server's counters over a stretch of time, its own statistics' queries left out."""

    def __init__(self, job: Job, seconds: float) -> None:
        self._dsn = job.server.dsn
        self._asked_s = seconds
        self._processes = ProcessTree(job.server.pid) if job.server.pid else None
        self.seconds = seconds
        self.queries_per_s: float | None = None
        self.server_cpu: float | None = None

    async def __call__(self) -> None:
        await asyncio.sleep(SETTLE_S)
        connection = await asyncpg.connect(self._dsn)
        try:
            before = await statements_snapshot(connection)
            self._cpu_since()
            began_s = time.monotonic()
            await asyncio.sleep(self._asked_s)
            self.server_cpu = self._cpu_since()
            after = await statements_snapshot(connection)
            self.seconds = time.monotonic() - began_s
        finally:
            await connection.close()
        if before is not None and after is not None:
            self.queries_per_s = (
                sum(statement.calls for statement in statements_between(before, after)) / self.seconds
            )

    def _cpu_since(self) -> float | None:
        """The server's share of a core since the last time; None the first time, and where it is not to be seen."""
        usage = self._processes.sample() if self._processes is not None else "not ours"
        if isinstance(usage, str) or not usage.interval_s:
            return None
        return usage.cpu_s / usage.interval_s
