"""Time that passes when a test waits, and only then: what is timed is exact, however busy the machine is."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

Answer = TypeVar("Answer")


class VirtualTime:
    """The clock of a test without I/O: ``run`` a coroutine whose sleeps advance it, ``block`` its loop."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def now_s(self) -> float:
        return self.now_ns / 1e9

    def block(self, seconds: float) -> None:
        """Let time pass without the loop, as a computation does."""
        self.now_ns += round(seconds * 1e9)

    def run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            return runner.run(coroutine)


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the time that it was to wait has passed at once."""

    def __init__(self, clock: VirtualTime) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is due: the test would wait for ever"
        if timeout > 0:
            self._clock.block(timeout + 1e-9)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualTime) -> None:
        self._virtual = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        return self._virtual.now_s()


@pytest.fixture
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    """A clock that ``time.monotonic`` and the clock of latencies read, too."""
    clock = VirtualTime()
    monkeypatch.setattr(time, "monotonic", clock.now_s)
    monkeypatch.setattr("eventmark.instruments.clock.now_ns", lambda: clock.now_ns)
    return clock
