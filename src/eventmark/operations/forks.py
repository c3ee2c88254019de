"""One fork: a fresh process that warms one operation up, measures it, and hands back every sample."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eventmark.errors import CannotRunError, EventStoreError
from eventmark.instruments.clock import LoopLag, now_ns
from eventmark.jobs.profiles import Profile
from eventmark.operations.appends import AppendEvents
from eventmark.operations.catalogue import OPERATIONS, StoreSnapshot
from eventmark.operations.existing import CATALOGUES
from eventmark.operations.operation import Operation
from eventmark.operations.turns import calls_of_a_turn
from eventmark.seeding import CorpusSample
from eventmark.stats.steadiness import WarmUp
from eventmark.stores import find_store, open_store
from eventmark.workers import own_peak_rss_mib

CALLS_WITHOUT_SERVER = (
    20  # times as many calls where nothing is sent: neighbours are alike within microseconds
)
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkTask:
    """What a fork is to do; travels to its process. ``cold`` measures first touches, without warm-up.

    ``catalogue`` names the one of ``CATALOGUES`` that has the operation.
    """

    dsn: str
    store: str
    schema: str
    operation: str
    sample: CorpusSample
    profile: Profile
    seed: int
    cold: bool = False
    catalogue: str = "seeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkSamples:
    """What a fork measured. ``samples_ns`` in the order measured; ``cpu_share`` is of one core.

    ``peak_rss_mib`` is the most memory its process has had. It measured from ``began_s`` to ``ended_s`` of
    ``time.monotonic``, warm-up left out.
    """

    samples_ns: np.ndarray
    seconds: float
    failed: int
    failure: str
    calls: int
    warmup_iterations: int
    steady: bool
    cpu_share: float
    loop_lag_ms_p99: float
    pool_wait_ms_p95: float
    peak_rss_mib: float = 0.0
    began_s: float = 0.0
    ended_s: float = 0.0


def streams_needed(operation: str, forks: int) -> int:
    """How many streams a sample must have for every writing fork to get one of its own; 0 for one that reads."""
    writers = _writers()
    return len(writers) * forks if operation in writers else 0


def own_part(task: ForkTask, fork: int, forks: int) -> ForkTask:
    """The task with streams that no other fork or writing operation changes, so that versions stay known."""
    writers = _writers()
    if task.operation not in writers:
        return task
    part = writers.index(task.operation) * forks + fork
    streams = task.sample.streams[part :: len(writers) * forks]
    return replace(task, sample=replace(task.sample, streams=streams))


def _writers() -> list[str]:
    return [name for name, kind in OPERATIONS.items() if issubclass(kind, AppendEvents | StoreSnapshot)]


async def run_fork(task: ForkTask) -> ForkSamples:
    """Run in a fresh process. Raises ``CannotRunError`` where the store cannot be opened."""
    async with ready_operation(task) as operation:
        if task.cold:
            return await _measure_cold(operation, task)
        return await measure_warm(operation, task.profile)


@asynccontextmanager
async def ready_operation(task: ForkTask) -> AsyncIterator[Operation]:
    """The task's operation on its open store. Raises ``CannotRunError`` where that cannot be opened."""
    try:
        store = await open_store(
            find_store(task.store),
            task.dsn,
            schema=task.schema,
            pool_max=2,
            marked=task.catalogue == "seeded",
        )
    except EventStoreError as error:
        raise CannotRunError(str(error)) from None
    try:
        random = np.random.default_rng([task.seed, *task.operation.encode()])
        operation = CATALOGUES[task.catalogue][task.operation](store, task.sample, random)
        await operation.prepare()
        yield operation
    finally:
        await store.close()


async def measure_warm(operation: Operation, profile: Profile) -> ForkSamples:
    """Warm up until the operation is steady, then measure."""
    return (await measure_in_turns([operation], profile))[0]


async def measure_in_turns(operations: Sequence[Operation], profile: Profile) -> list[ForkSamples]:
    """The same operation of one or more stores: each is warmed up until it is steady, then they take turns.

    Each gets the profile's samples and seconds. What is said of the process (its memory, its loop's lag) is the
    same for all of them.
    """
    times = 1 if operations[0].statement else CALLS_WITHOUT_SERVER
    pace = profile.calls_per_s_max if operations[0].statement else None
    sides = [_Warmed(operation, pace) for operation in operations]
    for side in sides:
        await side.warm_up(profile, times)
    # What was made until now lives as long as the process: no collection has to look at it again.
    gc.collect()
    gc.freeze()
    for side in sides:
        side.begin()
    left = profile.samples * times
    turn = left if len(sides) == 1 else calls_of_a_turn([side.median_ns / times for side in sides]) * times
    order = list(sides)
    async with LoopLag() as lag:
        while left > 0 and all(side.seconds < profile.seconds_max for side in sides):
            for side in order:
                await side.take_turn(min(turn, left), profile.seconds_max)
            left -= turn
            order.reverse()
    return [side.samples(lag.p99_ms) for side in sides]


class _Warmed:
    """One operation as it is warmed up and measured."""

    def __init__(self, operation: Operation, calls_per_s_max: float | None) -> None:
        self.seconds = 0.0
        self.median_ns = math.inf
        self._cpu_s = 0.0
        self._tally = Tally(operation, calls_per_s_max=calls_per_s_max)
        self._measured: list[np.ndarray] = []
        self._waits = operation.store.pool.waited_s
        self._waited_before = 0

    async def warm_up(self, profile: Profile, times: int) -> None:
        self._warm_up = WarmUp(iterations_max=profile.warmup_iterations_max)
        deadline_s = time.monotonic() + profile.seconds_max
        while not self._warm_up.over and time.monotonic() < deadline_s:
            iteration = await self._tally.sample(profile.warmup_calls * times)
            if not len(iteration):
                break  # no call succeeds: there is nothing to warm
            self.median_ns = float(np.median(iteration))
            self._warm_up.add(self.median_ns / _NS_PER_MS)

    def begin(self) -> None:
        self._waited_before = len(self._waits)
        self._began_s = time.monotonic()

    async def take_turn(self, calls: int, seconds_max: float) -> None:
        began_s, cpu_began_s = time.monotonic(), time.process_time()
        deadline_s = began_s + seconds_max - self.seconds
        self._measured.append(await self._tally.sample(calls, deadline_s=deadline_s))
        self.seconds += time.monotonic() - began_s
        self._cpu_s += time.process_time() - cpu_began_s

    def samples(self, loop_lag_ms_p99: float) -> ForkSamples:
        waits = list(self._waits)[self._waited_before :]
        return ForkSamples(
            samples_ns=np.concatenate(self._measured),
            seconds=self.seconds,
            failed=self._tally.failed,
            failure=self._tally.failure,
            calls=self._tally.calls,
            warmup_iterations=self._warm_up.iterations,
            steady=self._warm_up.steady,
            cpu_share=self._cpu_s / self.seconds if self.seconds else 0.0,
            loop_lag_ms_p99=loop_lag_ms_p99,
            pool_wait_ms_p95=float(np.quantile(waits, 0.95)) * 1e3 if waits else 0.0,
            peak_rss_mib=own_peak_rss_mib(),
            began_s=self._began_s,
            ended_s=time.monotonic(),
        )


async def _measure_cold(operation: Operation, task: ForkTask) -> ForkSamples:
    """Each call meets arguments not met before, as far as there are so many."""
    tally = Tally(operation, distinct=True)
    # The connection and its statement are made ready on a call whose answer is thrown away.
    await tally.sample(1)
    began_s = time.monotonic()
    samples = await tally.sample(task.profile.cold_samples)
    return ForkSamples(
        samples_ns=samples,
        seconds=time.monotonic() - began_s,
        failed=tally.failed,
        failure=tally.failure,
        calls=tally.calls,
        warmup_iterations=0,
        steady=True,
        cpu_share=0.0,
        loop_lag_ms_p99=0.0,
        pool_wait_ms_p95=0.0,
    )


class Tally:
    """Calls an operation and counts how it went. Nothing is tried again.

    ``calls_per_s_max``: the time between two calls is at least so long; None for one right after the other.
    """

    DRAWS_MAX = 50

    def __init__(
        self, operation: Operation, *, distinct: bool = False, calls_per_s_max: float | None = None
    ) -> None:
        self._operation = operation
        self._interval_s = 1 / calls_per_s_max if calls_per_s_max else 0.0
        self._due_s = 0.0
        self._met: set[str] | None = set() if distinct else None
        self.calls = 0
        self.failed = 0
        self.failure = ""

    async def sample(self, count: int, *, deadline_s: float = float("inf")) -> np.ndarray:
        """Nanoseconds of each call that went right, until ``count`` are made or the time is over."""
        operation = self._operation
        samples = []
        for _ in range(count):
            arguments = self._draw()
            if arguments is _EXHAUSTED:
                break
            if self._interval_s:
                await asyncio.sleep(self._due_s - time.monotonic())
                self._due_s = time.monotonic() + self._interval_s
            self.calls += 1
            answer = (
                None  # a thousand events of the last call are not to be thrown away within this one's time
            )
            try:
                await operation.begin(arguments)
                began_ns = now_ns()
                try:
                    answer = await operation.call(arguments)
                    took_ns = now_ns() - began_ns
                finally:
                    await operation.end(arguments)
            except EventStoreError as error:
                self._fail(str(error))
                await operation.recover(arguments, error)
                continue
            if operation.is_right(arguments, answer):
                samples.append(took_ns)
            else:
                self._fail(operation.complaint(arguments, answer))
                await operation.recover(arguments, None)
            if time.monotonic() >= deadline_s:
                break
        return np.array(samples, dtype=np.int64)

    def _draw(self) -> Any:
        if self._met is None:
            return self._operation.draw()
        for _ in range(self.DRAWS_MAX):
            arguments = self._operation.draw()
            key = repr(arguments)
            if key not in self._met:
                self._met.add(key)
                return arguments
        return _EXHAUSTED

    def _fail(self, reason: str) -> None:
        self.failed += 1
        self.failure = self.failure or reason


_EXHAUSTED = object()
