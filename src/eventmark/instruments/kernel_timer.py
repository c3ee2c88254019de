"""The kernel's timer: a descriptor that becomes readable at an instant of ``now_ns``. Linux alone has it."""

from __future__ import annotations

import ctypes
import os
import sys

_NS_PER_S = 1_000_000_000
_CLOCK_MONOTONIC = 1  # what ``now_ns`` reads on Linux
_NONBLOCK = 0o4000
_CLOSE_ON_EXEC = 0o2000000
_ABSOLUTE = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class KernelTimer:
    """``fd`` is readable from the instant it was ``set`` to on, until it is set anew; -1 where there is none."""

    def __init__(self) -> None:
        self._setting = _Itimerspec()
        self._reference = ctypes.byref(self._setting)
        self._library = _timer_library()
        self.fd = -1
        if self._library is not None:
            self.fd = self._library.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK | _CLOSE_ON_EXEC)

    def set(self, due_ns: int) -> None:
        assert self._library is not None
        self._setting.value.seconds, self._setting.value.nanoseconds = divmod(due_ns, _NS_PER_S)
        self._library.timerfd_settime(self.fd, _ABSOLUTE, self._reference, None)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _timer_library() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    return library if hasattr(library, "timerfd_create") else None
