"""The clock every latency is taken with, and how late the event loop is to look at it."""

from __future__ import annotations

import asyncio
import gc
import time
from array import array
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

import numpy as np

from eventmark.stats.histogram import LatencyHistogram

now_ns = time.perf_counter_ns

LAG_INTERVAL_S = 0.005
LAG_PENDING_MAX = 65_536
LAG_TICKS_MAX = 24_000  # of one stall: two minutes of ticks; a suspended machine must not fill the memory
GC_PAUSES_MAX = 100_000  # kept one by one; all are counted
_RESOLUTION_READINGS = 2_000


def clock_resolution_ns() -> int:
    """The smallest step seen between two readings of ``now_ns``: shorter times cannot be told apart.

    Includes the cost of a reading. Takes well below a millisecond on common machines.
    """
    steps = []
    for _ in range(_RESOLUTION_READINGS):
        before = now_ns()
        after = now_ns()
        while after == before:
            after = now_ns()
        steps.append(after - before)
    return min(steps)


class Lateness:
    """How late a loop comes to wake-ups that are due every 5 ms, from ``begin`` on.

    Wake-ups are due on a fixed grid, and one stall counts for every wake-up it delayed: counted once, a stall of
    100 ms among a thousand good samples would leave the p99 untouched.
    """

    def __init__(self, interval_s: float = LAG_INTERVAL_S) -> None:
        self._interval_ns = max(round(interval_s * 1e9), 1)
        self._counted = LatencyHistogram()
        self._pending = array(
            "q"
        )  # counted later, many at a time: one by one it takes longer than most wake-ups
        self.due_ns = 0

    def begin(self) -> None:
        self.due_ns = now_ns() + self._interval_ns

    def observe(self, at_ns: int) -> None:
        """Count every wake-up due until ``at_ns``; a loop that wakes a little early counts nothing yet."""
        late_ns = at_ns - self.due_ns
        if late_ns < 0:
            return
        ticks = late_ns // self._interval_ns + 1
        self.due_ns += ticks * self._interval_ns
        counted = min(ticks, LAG_TICKS_MAX)
        self._pending.extend(late_ns - tick * self._interval_ns for tick in range(counted))
        if len(self._pending) > LAG_PENDING_MAX:
            self._count()

    def _count(self) -> LatencyHistogram:
        if self._pending:
            pending, self._pending = self._pending, array("q")
            self._counted.record_all(np.frombuffer(pending, np.int64))
        return self._counted

    @property
    def samples(self) -> int:
        return self._count().count

    def quantile_ms(self, q: float) -> float:
        """0.0 before the first wake-up was due."""
        return self._count().quantile_ms(q) if self.samples else 0.0

    @property
    def p99_ms(self) -> float:
        """0.0 before the first wake-up was due."""
        return self.quantile_ms(0.99)

    @property
    def max_ms(self) -> float:
        """0.0 before the first wake-up was due."""
        return self._count().max_ms if self.samples else 0.0


class LoopLag(Lateness):
    """How late the running event loop wakes a task that asks to be woken every 5 ms.

    An async context manager; samples from entering to leaving. What wakes late here has also made the
    latencies measured on this loop longer. uvloop rounds timers to milliseconds, so that there up to 1 ms is the
    loop's normal state; ``until``, where given, is asked to wake it instead (``Alarm.until``).
    """

    def __init__(
        self, *, interval_s: float = LAG_INTERVAL_S, until: Callable[[int], Awaitable[None]] | None = None
    ) -> None:
        super().__init__(interval_s)
        self._until = until or _sleep_until
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.begin()
        self._task = asyncio.get_running_loop().create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.observe(now_ns())  # a stall right before leaving has not been seen by the task

    async def _sample(self) -> None:
        while True:
            await self._until(self.due_ns)
            self.observe(now_ns())


async def _sleep_until(due_ns: int) -> None:
    await asyncio.sleep(max(due_ns - now_ns(), 0) / 1e9)


class GcPauses:
    """How long this process stood still while its garbage was collected. A context manager.

    ``pauses_ns`` are the lengths of the first ``GC_PAUSES_MAX`` collections, ``at_ns`` on ``now_ns`` when each
    began, ``generations`` what each collected: 0 the youngest, 2 everything.
    """

    def __init__(self) -> None:
        self.at_ns: list[int] = []
        self.pauses_ns: list[int] = []
        self.generations: list[int] = []
        self.count = 0
        self.total_ns = 0
        self.max_ns = 0
        self._began_ns = 0

    def __enter__(self) -> Self:
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began_ns = now_ns()
            return
        if not self._began_ns:  # entered from within a collection
            return
        took_ns = now_ns() - self._began_ns
        self.count += 1
        self.total_ns += took_ns
        self.max_ns = max(self.max_ns, took_ns)
        if len(self.pauses_ns) < GC_PAUSES_MAX:
            self.at_ns.append(self._began_ns)
            self.pauses_ns.append(took_ns)
            self.generations.append(info["generation"])
        self._began_ns = 0
