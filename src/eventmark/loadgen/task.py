"""What travels to a worker of a load."""

from __future__ import annotations

from dataclasses import dataclass

from eventmark.loadgen.plan import LoadPlan
from eventmark.seeding import CorpusSample


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTask:
    """What travels to a worker process: the load, and the worker's number."""

    dsn: str
    store: str
    schema: str
    sample: CorpusSample
    plan: LoadPlan
    number: int
