"""The clock, and how late the event loop ran while it was read."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

import numpy as np

now_ns = time.perf_counter_ns
"""Monotonic, nanoseconds."""

LAG_INTERVAL_S = 0.01
_NS_PER_MS = 1e6


class LoopLag:
    """Asks the loop to be called every 10 ms while entered, and notes how much later that happened.

    What delays this call delays an answer's arrival in the client just the same.
    """

    def __init__(self) -> None:
        self._lags_ns: list[int] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def p99_ms(self) -> float:
        """0 where nothing was sampled."""
        return float(np.quantile(self._lags_ns, 0.99)) / _NS_PER_MS if self._lags_ns else 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._sample())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _sample(self) -> None:
        while True:
            due_ns = now_ns() + int(LAG_INTERVAL_S * 1e9)
            await asyncio.sleep(LAG_INTERVAL_S)
            self._lags_ns.append(max(0, now_ns() - due_ns))
