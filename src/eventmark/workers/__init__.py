"""Worker processes: one harness for all work that is done outside the parent's process.

Work is a function of Eventmark's, ``async`` or not, and a task that can be pickled. ``hand_over`` and ``call`` give it
to an executor, which is ``worker_processes`` unless another is passed. ``Crew`` gives it to several workers at once,
with a link to each: they start together, report while they work, and are told things.
"""

from eventmark.workers.crew import Clock, Crew, doubt_ns
from eventmark.workers.handing import call, hand_over, loop_factory
from eventmark.workers.link import WorkerLink
from eventmark.workers.processes import WorkerProcesses, own_peak_rss_mib, worker_processes

__all__ = [
    "Clock",
    "Crew",
    "WorkerLink",
    "WorkerProcesses",
    "call",
    "doubt_ns",
    "hand_over",
    "loop_factory",
    "own_peak_rss_mib",
    "worker_processes",
]
