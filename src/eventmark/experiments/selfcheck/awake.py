"""Cores kept awake: an idle core sleeps, and the longer it slept the later it wakes.

A call to a server that takes its time ends on a core that has gone to sleep meanwhile, and is longer by the waking:
20 µs and more on virtual machines. That is so in service as well, and is rightly measured; but whoever plants a delay
to see whether it is measured right plants the waking with it. So the cores are given something to do that yields to
everything else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Ends with whoever holds the other end of its standard input, however that ends.
_SPIN = """
import os, sys, threading
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
print(flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    pass
"""


@contextmanager
def awake_cores() -> Iterator[bool]:
    """Whether the cores are kept awake meanwhile: a system without a class of its own for idle work cannot."""
    if not hasattr(os, "SCHED_IDLE"):
        yield False
        return
    spinning: list[subprocess.Popen[bytes]] = []
    try:
        for _ in os.sched_getaffinity(0):
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", _SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            spinning.append(process)
        yield all(process.stdout is not None and process.stdout.readline() for process in spinning)
    finally:
        for process in spinning:
            process.kill()
            process.communicate()
