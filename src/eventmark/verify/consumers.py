"""Consumer processes: each reads on from its token, its token written out and read in again in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import asyncpg
import numpy as np

from eventmark.domain import EventBatch, TrackingToken
from eventmark.engine import PostgresEventStore
from eventmark.engine.processor import segment_of
from eventmark.errors import CannotRunError, EventStoreError
from eventmark.stores import SqlEventStore, find_store, naming_of, open_store
from eventmark.verify.cut_off import CutOffError, persistently
from eventmark.verify.history import (
    DELIVERED,
    SEGMENTS,
    STRANGER,
    Consumption,
    is_foreign,
    key_of_event,
    tenant_of,
)
from eventmark.verify.subject import Start
from eventmark.workers import WorkerLink

BATCH = 1000
WAIT_S = 0.1
CATCH_UP_S = 120.0
MIDDLE_BEFORE = timedelta(seconds=0.5)
LATER = 0  # no transaction has this id
STUCK_MAX = 100  # batches in a row whose token is not beyond the one asked with: it reads the same for ever

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerTask:
    """The consumers of one process; travels to it. Those that do not begin at the tail begin when it is told ``LATER``;
    all end when it is told a transaction id above all writers', and they have been given everything.
    """

    dsn: str
    store: str
    schema: str
    starts: tuple[Start, ...]


class _Signals:
    """What the parent has told: to begin in the middle, and the transaction id that is above all writers'."""

    def __init__(self) -> None:
        self.later = asyncio.Event()
        self.above_all: int | None = None

    async def listen(self, link: WorkerLink) -> None:
        while self.above_all is None:
            told = await link.receive(int)
            self.above_all = None if told == LATER else told
            self.later.set()


async def run_consumers(task: ConsumerTask, link: WorkerLink) -> list[Consumption]:
    """Run in a worker process. Raises ``CannotRunError`` where the store cannot be opened."""
    try:
        store = await open_store(
            find_store(task.store), task.dsn, schema=task.schema, pool_max=len(task.starts)
        )
    except EventStoreError as error:
        raise CannotRunError(str(error)) from None
    async with store:
        signals = _Signals()
        listening = asyncio.create_task(signals.listen(link))
        await link.ready()
        seen = await asyncio.gather(*(_Consumer(store, task, start, signals).run() for start in task.starts))
        listening.cancel()
        return seen


async def first_token(
    store: PostgresEventStore | SqlEventStore, start: Start, instant: datetime
) -> TrackingToken:
    """Where a consumer begins; ``instant`` is what one in the middle asks for."""
    tenant = {} if start.tenant is None else {"tenant_id": tenant_of(start.tenant)}
    if isinstance(store, SqlEventStore):
        tenant = {}  # its tokens are places for everybody
    if start.place == "tail":
        return await store.create_tail_token()
    if start.place == "head":
        return await store.create_head_token(**tenant)
    return await store.create_token_at(instant, **tenant)


class _Consumer:
    def __init__(
        self, store: PostgresEventStore | SqlEventStore, task: ConsumerTask, start: Start, signals: _Signals
    ) -> None:
        self._store = store
        self._task = task
        self._start = start
        self._signals = signals
        self._tenant_id = None if start.tenant is None else tenant_of(start.tenant, naming_of(store))
        self._batches: list[tuple[list[int], int, int]] = []
        self._ended = False

    async def run(self) -> Consumption:
        token = await self._store.create_tail_token()
        seen = Consumption(
            self._start.name, self._start.tenant, token, time.monotonic_ns(), np.empty(0, DELIVERED),
            segment=self._start.segment,
        )  # fmt: skip
        try:
            seen.start = seen.last = await self._first_token(seen)
            seen.made_ns = time.monotonic_ns()
            await self._read_on(seen.start, seen)
        except CutOffError as error:
            seen.ended = str(error)
        except Exception as error:  # none is expected here: the history says so
            seen.errors.append(f"{type(error).__name__}: {error}"[:300])
            seen.caught_up = False
        seen.delivered = self._delivered()
        return seen

    async def _first_token(self, seen: Consumption) -> TrackingToken:
        if self._start.place != "tail":
            await self._signals.later.wait()
        instant = datetime.now(UTC) - MIDDLE_BEFORE
        return await self._persistently(lambda: first_token(self._store, self._start, instant), seen)

    async def _persistently(self, call: Callable[[], Awaitable[_Answer]], seen: Consumption) -> _Answer:
        def cut_off() -> None:
            seen.cut_off += 1

        return await persistently(call, cut_off)

    async def _read_on(self, token: TrackingToken, seen: Consumption) -> None:
        deadline_s, stuck = None, 0
        while True:
            ended = self._ended = self._ended or await self._persistently(self._all_ended, seen)
            batch = await self._persistently(partial(self._next_batch, token, wait=not ended), seen)
            step = batch.token.compare(token)
            seen.tokens_back += step < 0
            stuck = stuck + 1 if batch.events and step <= 0 else 0
            token = seen.last = batch.token
            if batch.events:
                self._handle(batch, seen)
            elif ended and not token.gaps:
                return  # nothing was there after the last transaction had ended
            if self._signals.above_all is not None:
                deadline_s = deadline_s or time.monotonic() + CATCH_UP_S
            if stuck >= STUCK_MAX or (deadline_s and time.monotonic() > deadline_s):
                seen.caught_up = False
                return

    async def _next_batch(self, token: TrackingToken, *, wait: bool) -> EventBatch:
        return await self._store.stream_events(
            TrackingToken.parse(str(token)), limit=BATCH, tenant_id=self._tenant_id,
            wait_s=WAIT_S if wait else 0.0,
        )  # fmt: skip

    def _handle(self, batch: EventBatch, seen: Consumption) -> None:
        at_ns = time.monotonic_ns()
        segment = self._start.segment
        keys = [
            key
            for event in batch.events
            if (key := key_of_event(event)) == STRANGER
            or segment is None
            or segment_of(event, SEGMENTS) == segment
        ]
        if self._tenant_id is not None:
            seen.foreign += sum(is_foreign(event, self._tenant_id) for event in batch.events)
        self._batches.append((keys, at_ns, time.monotonic_ns()))

    async def _all_ended(self) -> bool:
        """Whether every transaction of the writers has ended. Asked only once they are said to be done."""
        if self._signals.above_all is None:
            return False
        connection = await asyncpg.connect(self._task.dsn)
        try:
            ended: bool = await connection.fetchval(
                "select pg_snapshot_xmin(pg_current_snapshot()) > $1::xid8", self._signals.above_all
            )
            return ended
        finally:
            await connection.close()

    def _delivered(self) -> np.ndarray:
        counts = [len(keys) for keys, _, _ in self._batches]
        rows = np.empty(sum(counts), DELIVERED)
        rows["key"] = np.fromiter((key for keys, _, _ in self._batches for key in keys), np.int64, len(rows))
        rows["at_ns"] = np.repeat(_column(self._batches, 1), counts)
        rows["handled_ns"] = np.repeat(_column(self._batches, 2), counts)
        return rows


def _column(batches: Sequence[tuple[list[int], int, int]], index: int) -> np.ndarray:
    return np.array([batch[index] for batch in batches], np.int64)
