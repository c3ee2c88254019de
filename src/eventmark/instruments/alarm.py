"""Waking up on time: as precisely as the system's timers allow, without burning a core until then."""

from __future__ import annotations

import asyncio
import heapq
import os
from itertools import count
from typing import Self

from eventmark.instruments.clock import now_ns
from eventmark.instruments.kernel_timer import KernelTimer

_NS_PER_S = 1_000_000_000


class Alarm:
    """Wakes coroutines of the running loop at instants of ``now_ns``. An async context manager.

    Event loops count their timers in milliseconds, which is as long as a short operation takes. On Linux
    this is a timer of the kernel's (``timerfd``), as precise as a few hundredths of one. Elsewhere it is
    ``asyncio.sleep``, and as late as that is.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._timer: KernelTimer | None = None

    async def __aenter__(self) -> Self:
        timer = KernelTimer()
        if timer.fd >= 0:
            self._timer = timer
            asyncio.get_running_loop().add_reader(timer.fd, self._ring, timer)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            asyncio.get_running_loop().remove_reader(self._timer.fd)
            self._timer.close()
            self._timer = None

    async def until(self, due_ns: int) -> None:
        """Return at ``due_ns``, or as soon after it as the loop is free. Not before."""
        if self._timer is None:
            while (left_ns := due_ns - now_ns()) > 0:  # noqa: ASYNC110 - time is what is waited for
                await asyncio.sleep(left_ns / _NS_PER_S)
            return
        if due_ns <= now_ns():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (due_ns, next(self._numbers), future))
        if self._waiting[0][2] is future:
            self._timer.set(due_ns)
        await future

    def _ring(self, timer: KernelTimer) -> None:
        try:
            os.read(timer.fd, 8)
        except BlockingIOError:  # set anew since the loop saw it ring
            return
        now = now_ns()
        waiting = self._waiting
        while waiting and (waiting[0][0] <= now or waiting[0][2].done()):
            future = heapq.heappop(waiting)[2]
            if not future.done():
                future.set_result(None)
        if waiting:
            timer.set(waiting[0][0])
