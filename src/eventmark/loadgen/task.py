"""What travels to a worker of a load."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from eventmark.loadgen.plan import LoadPlan
from eventmark.seeding import CorpusSample
from eventmark.stores import PooledStore, StoreDefinition, find_store, with_own


class Companion(Protocol):
    """Other work of a worker's process, on the store that its load is generated on. It travels with the task."""

    def at_work(self, store: PooledStore) -> AbstractAsyncContextManager[Any]:
        """Entered before the load starts, left when it has ended; its value travels back with what was recorded."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTask:
    """What travels to a worker process: the load, the worker's number, and what else its process does meanwhile."""

    dsn: str
    store: str
    schema: str
    sample: CorpusSample
    plan: LoadPlan
    number: int
    companion: Companion | None = None

    @property
    def definition(self) -> StoreDefinition:
        """The store, with the statements of the mix that are the user's own."""
        return with_own(find_store(self.store), self.plan.mix.own)
