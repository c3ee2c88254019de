"""Writer processes: appends of every kind, told apart by what each was answered."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from eventmark.domain import NewEvent
from eventmark.engine import PostgresEventStore
from eventmark.errors import CannotRunError, EventStoreError, VersionConflictError
from eventmark.stores import SqlEventStore, find_store, naming_of, open_store
from eventmark.verify.attempts import Attempt, RolledBack, described, outcome_after
from eventmark.verify.history import ATTEMPT, PART, TENANTS, Outcome, WriterLog, new_event, stream_id
from eventmark.workers import WorkerLink

STREAMS = 200
"""Streams that belong to one task of a writer alone."""

CONTENDED = 8
"""Streams that all writers append to."""

TASKS = 4
KEYS_PER_WRITER = 1 << 40
_WRITER_STREAMS = 1 << 20

SLOW_S = (0.02, 0.1)  # a transaction that holds its events back
SLOW_PAUSE_S = 0.5
IDLE_S = (0.5, 1.0)  # one that has its id early and appends late
IDLE_PAUSE_S = 1.0
CONTENDED_SHARE = 0.5  # of both, how many append to a stream that all writers append to

FAILURES_IN_A_ROW = 100
"""As many at least, and for ``gives_up_s``, before a writer gives up."""

VERSION_MAX = 1 << 62  # more than any stream of a hunt comes to


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterTask:
    """What a writer process does; travels to it. It ends after
    ``events`` are committed, or after ``seconds``, or when for ``gives_up_s`` nothing that it tried was committed.

    With ``rate_per_s`` it appends single events at that rate and nothing else but slow transactions.
    ``held_s``: one transaction more, that appends first and commits so much later. ``contends``: some
    streams are appended to by all writers. ``idles``: some transactions have their id long before they append.
    """

    dsn: str
    store: str
    schema: str
    number: int
    seed: int
    events: int
    seconds: float
    gives_up_s: float
    rate_per_s: float = 0.0
    held_s: float = 0.0
    contends: bool = True
    idles: bool = True


async def run_writer(task: WriterTask, link: WorkerLink) -> WriterLog:
    """Run in a worker process, from the common start on. Raises ``CannotRunError`` where the store cannot be opened."""
    try:
        store = await open_store(find_store(task.store), task.dsn, schema=task.schema, pool_max=TASKS + 3)
    except EventStoreError as error:
        raise CannotRunError(str(error)) from None
    async with store:
        await link.ready()
        return await _Writer(store, task).run()


@dataclass(slots=True)
class _Log:
    """Rows as they come; arrays in the end."""

    attempts: list[tuple[int, bool, int, int, int]] = field(default_factory=list)
    parts: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    refused: str = ""


class _Writer:
    def __init__(self, store: PostgresEventStore | SqlEventStore, task: WriterTask) -> None:
        self._store = store
        self._naming = naming_of(store)
        self._task = task
        self._random = random.Random(task.seed * 1_000 + task.number)
        self._versions: dict[int, int] = {}
        self._next_key = task.number * KEYS_PER_WRITER + 1
        self._committed = 0
        self._log = _Log()
        self._ends_s = time.monotonic() + task.seconds
        self._failures = 0  # in a row
        self._committed_at_s = time.monotonic()

    async def run(self) -> WriterLog:
        began_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._slow())]
            if self._task.idles and not self._task.rate_per_s:
                beside.append(group.create_task(self._idle()))
            if self._task.held_s:
                group.create_task(self._held(self._task.held_s))
            work = self._paced if self._task.rate_per_s else self._busy
            tasks = [group.create_task(work(number)) for number in range(TASKS)]
            await asyncio.wait(tasks)
            seconds, usage = time.monotonic() - began_s, resource.getrusage(resource.RUSAGE_SELF)
            for task in beside:
                task.cancel()
        return WriterLog(
            attempts=np.array(self._log.attempts, ATTEMPT),
            parts=np.array(self._log.parts, PART),
            errors=self._log.errors,
            refused=self._log.refused,
            seconds=seconds,
            cpu_s=usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime,
        )

    def _over(self) -> bool:
        now_s = time.monotonic()
        gives_up = (
            now_s - self._committed_at_s >= self._task.gives_up_s and self._failures >= FAILURES_IN_A_ROW
        )
        return gives_up or self._committed >= self._task.events or now_s >= self._ends_s

    async def _busy(self, number: int) -> None:
        kinds: list[tuple[Callable[[int], Awaitable[None]], int]] = [
            (self._append_one, 40), (self._append_many, 30), (self._append_to_several, 10), (self._roll_back, 8),
            (self._contend, 12 if self._task.contends else 0),
        ]  # fmt: skip
        actions, weights = zip(*kinds, strict=True)
        while not self._over():
            action = self._random.choices(actions, weights)[0]
            await action(self._own_stream(number))

    async def _paced(self, number: int) -> None:
        """Single appends, each due at its time; one that is late does not make the next ones later."""
        due_s = time.monotonic() + self._random.random() * TASKS / self._task.rate_per_s
        while not self._over():
            await asyncio.sleep(max(due_s - time.monotonic(), 0))
            await self._append_one(self._own_stream(number))
            due_s += TASKS / self._task.rate_per_s

    async def _append_one(self, stream: int) -> None:
        await self._append(stream, 1)

    async def _append_many(self, stream: int) -> None:
        await self._append(stream, self._random.choice((2, 5, 10, 50, 100)))

    async def _contend(self, _: int) -> None:
        stream = self._random.randrange(CONTENDED)
        stale = self._random.random() < 0.2
        await self._append(stream, self._random.randint(1, 3), version=0 if stale else None)

    async def _append(self, stream: int, count: int, *, version: int | None = None) -> None:
        """One append by itself; after a conflict the next one to the stream knows its version."""
        attempt = Attempt(single=count == 1)
        expected = self._versions.get(stream, 0) if version is None else version
        events = self._events(attempt, stream, count, expected)
        attempt.commit_ns = time.monotonic_ns()

        async def append() -> None:
            await self._store.append_events(
                stream_id(stream, self._naming), events, expected_version=expected
            )

        if await self._try(attempt, append):
            self._versions[stream] = expected + count

    async def _append_to_several(self, stream: int) -> None:
        await self._in_transaction(stream, commits=True)

    async def _roll_back(self, stream: int) -> None:
        await self._in_transaction(stream, commits=False)

    async def _in_transaction(self, stream: int, *, commits: bool, after_s: float = 0.0) -> None:
        """Several appends in one transaction. ``after_s``: before it ends."""
        # Of one tenant: two that lock several tenants in opposite order would deadlock.
        await self._transact((stream, stream + TENANTS, stream), commits=commits, after_s=after_s)

    async def _transact(
        self, streams: Sequence[int], *, commits: bool, before_s: float = 0.0, after_s: float = 0.0
    ) -> None:
        """An append to each stream in one transaction. ``before_s``: with its id taken; what others have
        appended meanwhile is looked up."""
        attempt = Attempt(single=False)
        versions: dict[int, int] = {}

        async def transact() -> None:
            async with self._store.transaction() as transaction:
                if before_s:
                    await transaction.connection.execute("select pg_current_xact_id()")
                    await asyncio.sleep(before_s)
                for other in streams:
                    if other < CONTENDED:
                        self._versions[other] = await self._version_after(other)
                    version = versions.get(other, self._versions.get(other, 0))
                    count = self._random.randint(1, 4)
                    events = self._events(attempt, other, count, version)
                    await transaction.append_events(
                        stream_id(other, self._naming), events, expected_version=version
                    )
                    versions[other] = version + count
                await asyncio.sleep(after_s)
                if not commits:
                    raise RolledBack
                attempt.commit_ns = time.monotonic_ns()

        if await self._try(attempt, transact):
            self._versions |= versions

    async def _slow(self) -> None:
        """Events held back: in streams of its own, and in ones whose next version others then wait for."""
        while True:
            await asyncio.sleep(self._random.random() * 2 * SLOW_PAUSE_S)
            streams = self._own_or_contended(TASKS)
            commits, after_s = self._random.random() < 0.7, self._random.uniform(*SLOW_S)
            await self._transact(streams, commits=commits, after_s=after_s)

    async def _idle(self) -> None:
        """Ids taken early, appends that come late: to streams of its own, and to ones that others append to."""
        while True:
            await asyncio.sleep(self._random.random() * 2 * IDLE_PAUSE_S)
            streams = self._own_or_contended(TASKS + 1)
            commits, before_s = self._random.random() < 0.7, self._random.uniform(*IDLE_S)
            await self._transact(streams, commits=commits, before_s=before_s)

    def _own_or_contended(self, task: int) -> Sequence[int]:
        """Streams for one transaction: two of a task's own, or one that all writers append to."""
        if self._task.contends and self._random.random() < CONTENDED_SHARE:
            return (self._random.randrange(CONTENDED),)
        own = self._own_stream(task)
        return own, own + TENANTS, own

    async def _held(self, seconds: float) -> None:
        await self._in_transaction(self._own_stream(TASKS + 2), commits=True, after_s=seconds)

    async def _try(self, attempt: Attempt, action: Callable[[], Awaitable[None]]) -> bool:
        """Run it and write down how it ended. A cancelled one rolls back."""
        outcome, failure = Outcome.FAILED, None
        try:
            await action()
        except Exception as error:
            failure = error
        except asyncio.CancelledError:  # this writer's end; the server may have got the commit
            self._note(Outcome.UNKNOWN if attempt.commit_ns else Outcome.FAILED, attempt)
            raise
        outcome = outcome_after(failure, self._log.errors)
        self._note(outcome, attempt)
        if isinstance(failure, VersionConflictError):
            for stream, *_ in attempt.parts[-1:]:
                self._versions[stream] = await self._version_after(stream, failure.actual_version)
        if outcome is not Outcome.OK:
            if failure is not None and not isinstance(failure, RolledBack):
                self._failures += 1
                self._log.refused = described(failure)
            return False
        self._failures, self._committed_at_s = 0, time.monotonic()
        self._committed += sum(count for *_, count in attempt.parts)
        return True

    def _note(self, outcome: Outcome, attempt: Attempt) -> None:
        number = len(self._log.attempts)
        self._log.attempts.append(
            (outcome, attempt.single, attempt.invoked_ns, attempt.commit_ns, time.monotonic_ns())
        )
        self._log.parts += [(number, *part) for part in attempt.parts]

    async def _version_after(self, stream: int, told: object = None) -> int:
        """A stream's version after a conflict; one that the store did not tell is looked up."""
        if isinstance(told, int) and 0 <= told < VERSION_MAX:
            return told
        known, name = self._versions.get(stream, 0), stream_id(stream, self._naming)
        try:
            events = await self._store.load_aggregate(
                name.tenant_id, name.aggregate_id, from_sequence=known + 1
            )
            versions = [int(event.sequence_number) for event in events]
        except (EventStoreError, TypeError, ValueError):  # the checker says what is wrong with what is stored
            return known
        return max((version for version in versions if version < VERSION_MAX), default=known)

    def _events(self, attempt: Attempt, stream: int, count: int, version: int) -> list[NewEvent]:
        first = self._next_key
        self._next_key += count
        attempt.parts.append((stream, first, version + 1, count))
        return [new_event(key) for key in range(first, first + count)]

    def _own_stream(self, task: int) -> int:
        """One of the streams that only this task of this process appends to; two neighbours go with it."""
        number = (task * STREAMS + self._random.randrange(STREAMS)) * 2 * TENANTS
        return (self._task.number + 1) * _WRITER_STREAMS + number + self._random.randrange(TENANTS)
