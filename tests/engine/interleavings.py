"""Writers and consumers whose steps are run in a given order against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from uuid import UUID

import asyncpg

from eventmark.domain import StreamId, TrackingToken
from eventmark.engine import PostgresEventStore
from eventmark.engine.transaction import StoreTransaction
from eventmark.errors import EventStoreError
from tests.engine.builders import new_events, until

POLL = "poll"
LOOK_S = 0.005  # how long a step may take before it is asked whether it waits for a lock


@dataclass(frozen=True)
class Plan:
    """What a writer does: ``steps`` of begin, take_id, append, commit and rollback, on one stream."""

    stream: StreamId
    steps: tuple[str, ...]


def interleavings(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every order in which parties with so many steps each can take them, as the number of the party."""
    if not any(counts):
        yield ()
        return
    for party, count in enumerate(counts):
        if count:
            rest = [left - (other == party) for other, left in enumerate(counts)]
            for order in interleavings(rest):
                yield (party, *order)


def all_ends(writers: int) -> Iterator[tuple[str, ...]]:
    """Every way in which the writers can end, but for all of them rolling back."""
    yield from (ends for ends in product(("commit", "rollback"), repeat=writers) if "commit" in ends)


@dataclass
class Writer:
    """Takes its steps one by one. A step that has to wait for a lock leaves the others to go on."""

    store: PostgresEventStore
    plan: Plan
    due: list[str] = field(default_factory=list)
    committed: list[UUID] = field(default_factory=list)
    version: int = 0
    failed: bool = False

    def __post_init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._appended: list[UUID] = []
        self.transaction: StoreTransaction | None = None

    async def go_on(self, observer: asyncpg.Connection) -> None:
        """Take the steps that are due, until none is left or one waits for a lock."""
        while True:
            if self._task is None:
                if not self.due:
                    return
                self._task = asyncio.create_task(self._take(self.due.pop(0)))
            await asyncio.wait({self._task}, timeout=LOOK_S)
            if self._task.done():
                self._task.result()
                self._task = None
            elif await self._waits_for_lock(observer):
                return

    async def _waits_for_lock(self, observer: asyncpg.Connection) -> bool:
        if self.transaction is None:  # its connection is still being opened
            return False
        waiting: bool = await observer.fetchval(
            "select wait_event_type = 'Lock' from pg_stat_activity where pid = $1",
            self.transaction.connection.get_server_pid(),
        )
        return waiting

    async def _take(self, step: str) -> None:
        if step == "begin":
            self.transaction = await self.store.transaction().__aenter__()
        elif step == "take_id":
            assert self.transaction is not None
            await self.transaction.connection.execute("select pg_current_xact_id()")
        elif step == "append":
            await self._append()
        else:
            await self._end(commit=step == "commit")

    async def _append(self) -> None:
        if self.failed:
            return
        assert self.transaction is not None
        events = new_events(2)
        try:
            await self.transaction.append_events(self.plan.stream, events, expected_version=self.version)
        except EventStoreError:
            self.failed = True
        else:
            self.version += len(events)
            self._appended += [event.event_id for event in events]

    async def _end(self, *, commit: bool) -> None:
        assert self.transaction is not None
        if commit and not self.failed:
            await self.transaction.__aexit__(None, None, None)
            self.committed += self._appended
        else:
            reason = RuntimeError("rolled back")
            await self.transaction.__aexit__(RuntimeError, reason, None)


@dataclass
class Consumer:
    """Reads on from its token at each poll, its token written out and read in again in between."""

    store: PostgresEventStore
    token: TrackingToken
    tenant_id: str | None
    limit: int = 100
    delivered: list[UUID] = field(default_factory=list)
    places: list[tuple[str, str, int]] = field(default_factory=list)

    async def poll(self) -> int:
        batch = await self.store.stream_events(
            TrackingToken.parse(str(self.token)), limit=self.limit, tenant_id=self.tenant_id
        )
        self.token = batch.token
        self.delivered += [event.event_id for event in batch.events]
        self.places += [
            (event.tenant_id, event.aggregate_id, event.sequence_number) for event in batch.events
        ]
        return len(batch.events)

    async def drain(self, observer: asyncpg.Connection) -> None:
        """Until nothing comes any more, when all that were running have ended."""
        bound = await observer.fetchval("select pg_current_xact_id()")
        ended = "select pg_snapshot_xmin(pg_current_snapshot()) > $1"
        await until(lambda: observer.fetchval(ended, bound))  # autovacuum runs as well
        quiet = 0
        while quiet < 3:
            quiet = 0 if await self.poll() else quiet + 1


async def run(
    writers: Sequence[Writer],
    consumers: Sequence[Consumer],
    order: Sequence[int],
    observer: asyncpg.Connection,
) -> None:
    """Take the steps in ``order``: numbers below the number of writers are theirs, the next is a poll of all."""
    steps = [list(writer.plan.steps) for writer in writers]
    for party in order:
        if party < len(writers):
            writers[party].due.append(steps[party].pop(0))
        else:
            for consumer in consumers:
                await consumer.poll()
        for writer in writers:
            await writer.go_on(observer)
    while any(writer.due or writer._task for writer in writers):
        for writer in writers:
            await writer.go_on(observer)
    for consumer in consumers:
        await consumer.drain(observer)


def faults(writers: Sequence[Writer], consumers: Sequence[Consumer], *, total_order: bool) -> list[str]:
    """What is wrong with what was delivered; nothing, if all is right."""
    found = []
    for consumer in consumers:
        due = [
            event
            for writer in writers
            for event in writer.committed
            if consumer.tenant_id in (None, writer.plan.stream.tenant_id)
        ]
        if lost := set(due) - set(consumer.delivered):
            found.append(f"{len(lost)} lost")
        if len(consumer.delivered) != len(set(consumer.delivered)):
            found.append("delivered twice")
        if set(consumer.delivered) - set(due):
            found.append("delivered what was not committed")
        last: dict[tuple[str, str], int] = {}
        for tenant, aggregate, sequence in consumer.places:
            if sequence != last.get((tenant, aggregate), 0) + 1 and not lost:
                found.append("out of order within a stream")
            last[tenant, aggregate] = sequence
    orders = {tuple(consumer.delivered) for consumer in consumers if consumer.tenant_id is None}
    if total_order and len(orders) > 1:
        found.append("consumers saw different orders")
    return found
