"""How busy the machine's cores are, with whatever runs on them."""

from __future__ import annotations

import time

import psutil

from eventmark.server import machine


class MachineLoad:
    """Cores that were not idle, time that a hypervisor took among them; None in a container, which sees its host's."""

    def __init__(self) -> None:
        self._idle_s: float | None = None
        self._at_s = 0.0

    @property
    def is_visible(self) -> bool:
        return psutil.cpu_count() == machine.cpu_count()

    def cores_since_last(self) -> float | None:
        """Cores in use on average since the last call; None at the first, and where they are not to be seen."""
        if not self.is_visible:
            return None
        now_s, idle_s = time.monotonic(), _idle_s()
        before_s, before_idle_s = self._at_s, self._idle_s
        self._at_s, self._idle_s = now_s, idle_s
        if before_idle_s is None or now_s <= before_s:
            return None
        return max(machine.cpu_count() - (idle_s - before_idle_s) / (now_s - before_s), 0.0)


def _idle_s() -> float:
    """What no process used; a disk that is waited for leaves a core idle."""
    times = psutil.cpu_times()
    return float(times.idle) + float(getattr(times, "iowait", 0.0))
