"""A store seeded for tests: opened, measured, its plans examined; the schema is gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from eventmark.config import parse_count
from eventmark.domain import EventStore
from eventmark.errors import UsageError
from eventmark.jobs.examination import examine_repeatedly
from eventmark.jobs.job import Job, draw_sample, fill, prepare_store, targets_of
from eventmark.jobs.profiles import find_profile
from eventmark.operations.benchmark import BenchmarkPlan, run_benchmark
from eventmark.operations.catalogue import OPERATIONS
from eventmark.results.results import OperationResult, PlanResult
from eventmark.results.targets import Target
from eventmark.seeding import drop_corpus, no_progress
from eventmark.server import Server
from eventmark.server.loop import ask, on_loop
from eventmark.stores import claimed, find_store, open_store
from eventmark.workload import CorpusPlan

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class SeededStore:
    """``dsn`` and ``schema`` are for tests that ask the server themselves."""

    _job: Job

    @property
    def dsn(self) -> str:
        return self._job.server.dsn

    @property
    def schema(self) -> str:
        return self._job.schema

    @property
    def events(self) -> int:
        return self._job.corpus.events

    def run(self, use: Callable[[EventStore], Coroutine[Any, Any, Answer]]) -> Answer:
        """What ``use`` returns, awaited with the store; for tests that are no coroutines."""

        async def used() -> Answer:
            async with await self.open() as store:
                return await use(store)

        return on_loop(used())

    async def open(self, *, pool_max: int = 5) -> EventStore:
        """The store, connected; the caller closes it."""
        return await open_store(self._job.definition, self.dsn, schema=self.schema, pool_max=pool_max)

    def measure(
        self, *operations: str, targets: Mapping[str, Target] | None = None
    ) -> dict[str, OperationResult]:
        """Each operation in fresh processes, judged by its target; every one that the store has where none is named.

        Raises ``UsageError`` for an operation that there is not, or that the store or the corpus lacks.
        """
        if unknown := [name for name in operations if name not in OPERATIONS]:
            raise UsageError(f"unknown operation {unknown[0]!r}", remedy=f"use {', '.join(OPERATIONS)}")
        job = self._job
        plan = BenchmarkPlan(
            server=job.server, store=job.store, definition=job.definition, schema=job.schema, sample=draw_sample(job),
            profile=job.profile, targets={**job.targets, **(targets or {})}, seed=job.corpus.seed, with_floors=False,
            only=operations,
        )  # fmt: skip
        results, skipped = run_benchmark(plan)
        if missing := [name for name in operations if name not in results]:
            raise UsageError(f"{missing[0]} cannot be measured: {skipped.get(missing[0], 'unknown')}")
        return results

    def examine_plans(self) -> list[PlanResult]:
        """The plan of every statement, judged."""
        return examine_repeatedly(self._job, no_progress, runs=1)[0]


@contextmanager
def seeded_store(
    server: Server, store: str, *, events: str, profile: str, schema: str, seed: int = 1
) -> Iterator[SeededStore]:
    """Raises ``UsageError`` for a store or settings that are wrong, ``CannotRunError`` where seeding fails."""
    definition = find_store(store)
    job = Job(
        server=server, store=store, definition=definition, schema=schema,
        corpus=CorpusPlan(parse_count(events), seed=seed), profile=find_profile(profile),
        targets=targets_of(definition, None), command="pytest --eventmark", place=server.directory or Path.cwd(),
        with_floors=False,
    )  # fmt: skip
    with claimed(server.dsn, schema):
        prepare_store(job)
        ask(server.dsn, drop_corpus, schema)
        try:
            fill(job, no_progress)
            yield SeededStore(job)
        finally:
            ask(server.dsn, drop_corpus, schema)
