"""Waking up on time: as precisely as the system's timers allow, without burning a core until then."""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import sys
from itertools import count
from typing import Self

from eventmark.instruments.clock import now_ns

_NS_PER_S = 1_000_000_000
_CLOCK_MONOTONIC = 1  # what ``now_ns`` reads on Linux
_NONBLOCK = 0o4000
_CLOSE_ON_EXEC = 0o2000000
_ABSOLUTE = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """Wakes coroutines of the running loop at instants of ``now_ns``. An async context manager.

    Event loops count their timers in milliseconds, which is as long as a short operation takes. On Linux
    this is a timer of the kernel's (``timerfd``), as precise as a few hundredths of one. Elsewhere it is
    ``asyncio.sleep``, and as late as that is.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._setting = _Itimerspec()
        self._library = _timer_library()
        self._fd = -1

    async def __aenter__(self) -> Self:
        if self._library is not None:
            self._fd = self._library.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK | _CLOSE_ON_EXEC)
        if self._fd >= 0:
            asyncio.get_running_loop().add_reader(self._fd, self._ring)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    async def until(self, due_ns: int) -> None:
        """Return at ``due_ns``, or as soon after it as the loop is free. Not before."""
        if self._fd < 0:
            while (left_ns := due_ns - now_ns()) > 0:  # noqa: ASYNC110 - time is what is waited for
                await asyncio.sleep(left_ns / _NS_PER_S)
            return
        if due_ns <= now_ns():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (due_ns, next(self._numbers), future))
        if self._waiting[0][2] is future:
            self._set(due_ns)
        await future

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # set anew since the loop saw it ring
            return
        now = now_ns()
        waiting = self._waiting
        while waiting and (waiting[0][0] <= now or waiting[0][2].done()):
            future = heapq.heappop(waiting)[2]
            if not future.done():
                future.set_result(None)
        if waiting:
            self._set(waiting[0][0])

    def _set(self, due_ns: int) -> None:
        assert self._library is not None
        self._setting.value.seconds, self._setting.value.nanoseconds = divmod(due_ns, _NS_PER_S)
        self._library.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(self._setting), None)


def _timer_library() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    return library if hasattr(library, "timerfd_create") else None
