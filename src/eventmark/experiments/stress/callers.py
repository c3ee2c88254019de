"""Callers in one process that append one event after the other, and what became of their calls."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eventmark.domain import StreamId
from eventmark.errors import EventStoreError, VersionConflictError
from eventmark.experiments.stress.stage import Stage
from eventmark.judgement.evidence import CallTimes
from eventmark.stores import PooledStore


@dataclass(slots=True)
class Calls:
    """Nanoseconds of each call that went right, and the others by the class of their error.

    ``all_ns`` is what every call took together, lost ones too.
    """

    seconds: float = 0.0
    took_ns: list[int] = field(default_factory=list)
    conflicts: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    pool_wait_s: float = 0.0
    all_ns: int = 0

    @property
    def per_s(self) -> float:
        return len(self.took_ns) / self.seconds if self.seconds else 0.0

    @property
    def conflict_share(self) -> float:
        """Of all attempts that were answered."""
        answered = len(self.took_ns) + self.conflicts
        return self.conflicts / answered if answered else 0.0

    @property
    def samples_ns(self) -> NDArray[np.int64]:
        return np.array(self.took_ns, np.int64)

    def quantile_ms(self, q: float) -> float | None:
        return float(np.quantile(self.took_ns, q)) / 1e6 if self.took_ns else None

    @property
    def times(self) -> CallTimes:
        calls = len(self.took_ns) + self.conflicts + self.failures.total()
        return CallTimes(calls=calls, total_s=self.all_ns / 1e9, pool_wait_s=self.pool_wait_s)


async def append_alone(stage: Stage, store: PooledStore, callers: int, seconds: float) -> Calls:
    """Each caller appends to a stream of its own."""
    return await _append_to(stage, store, [stage.book.new_stream() for _ in range(callers)], seconds)


async def append_to_one(stage: Stage, store: PooledStore, writers: int, seconds: float) -> Calls:
    """All append to one new stream. One that lost tries again at the version it is told: a new attempt."""
    return await _append_to(stage, store, [stage.book.new_stream()] * writers, seconds)


async def _append_to(stage: Stage, store: PooledStore, streams: Sequence[StreamId], seconds: float) -> Calls:
    """A caller for each of the streams, which may be the same."""
    calls, waits_s = Calls(), list[float]()
    store.pool.on_wait = waits_s.append
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(_append_until(stage, store, stream, began_s + seconds, calls))
    calls.seconds, calls.pool_wait_s = time.monotonic() - began_s, sum(waits_s)
    store.pool.on_wait = None
    return calls


async def _append_until(
    stage: Stage, store: PooledStore, stream: StreamId, ends_s: float, calls: Calls
) -> None:
    version = 0
    while time.monotonic() < ends_s:
        began_ns = time.perf_counter_ns()
        try:
            await stage.book.append(store, stream, 1, version)
            version += 1
            calls.took_ns.append(time.perf_counter_ns() - began_ns)
        except VersionConflictError as conflict:
            calls.conflicts += 1
            version = conflict.actual_version
            if version < 0:  # a store that does not tell
                version = stage.book.acknowledged(stream)
        except EventStoreError as error:
            calls.failures[type(error).__name__] += 1
        calls.all_ns += time.perf_counter_ns() - began_ns
