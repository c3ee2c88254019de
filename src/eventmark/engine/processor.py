"""A tracking event processor: reads the log from its token, hands batches to a handler, stores how far it came.

A processor's work is split into segments by stream; whoever has claimed a segment works on it, for as long as
its lease is prolonged. Each claim raises the segment's fence: what an owner saves that somebody else has
succeeded meanwhile is refused. Delivery:

- **transactional** (default): the handler works on the connection of the transaction that stores the token.
  Its effects in that database happen once per event, whatever is killed when.
- otherwise the token is stored after the handler has returned: at least once. What was handled and not
  saved is delivered again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from uuid import uuid4

import asyncpg

from eventmark.domain import EventBatch, StoredEvent, TrackingToken
from eventmark.engine.parameters import checked_count, checked_seconds
from eventmark.engine.read_ahead import ReadAhead
from eventmark.engine.reads import BATCH_EVENTS_MAX
from eventmark.engine.stalls import Stall, find_stall
from eventmark.engine.store import PostgresEventStore
from eventmark.engine.transaction import StoreTransaction
from eventmark.engine.translation import DRIVER_ERRORS, reason_of
from eventmark.errors import ClaimLostError, EventStoreError, StoreUnavailableError, UsageError

BATCH_EVENTS = 1000
LEASE_S = 10.0
SEGMENTS_MAX = 10_000
WAIT_S_MAX = 10.0

Handler = Callable[[Sequence[StoredEvent], "asyncpg.Connection | None"], Awaitable[None]]
"""``await handler(events, connection)``: connection is the transaction's, None where there is none."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A segment that is ours until its lease ends, and the token it is at."""

    segment: int
    segments: int
    fence: int
    token: TrackingToken


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a processor is behind: numbers to the head of the log, the age of the next event in seconds,
    and what keeps the head from moving, if anything does."""

    numbers: int
    seconds: float
    stall: Stall | None


def segment_of(event: StoredEvent, segments: int) -> int:
    """Which of ``segments`` an event's stream belongs to. Half of a segment's streams stay when it is split."""
    return segment_of_stream(event.tenant_id, event.aggregate_id, segments)


def segment_of_stream(tenant_id: str, aggregate_id: str, segments: int) -> int:
    """Which of ``segments`` a stream belongs to, the same for ever."""
    return zlib.crc32(aggregate_id.encode(), _tenant_crc(tenant_id)) % segments


@lru_cache(maxsize=10_000)
def _tenant_crc(tenant_id: str) -> int:
    return zlib.crc32(f"{tenant_id}\0".encode())


def _own_events(events: Sequence[StoredEvent], claim: Claim) -> Sequence[StoredEvent]:
    """Those of the claimed segment's streams."""
    if claim.segments == 1:
        return events
    return [event for event in events if segment_of(event, claim.segments) == claim.segment]


class EventProcessor:
    """Works on one segment at a time. Run as many as there are segments, in any number of processes.

    ``segments`` and ``start`` count when the processor's name is new. Every segment reads the whole log and
    leaves out what is not its own. ``saved`` is called with each batch of events once its token is stored.
    """

    def __init__(
        self,
        store: PostgresEventStore,
        name: str,
        handler: Handler,
        *,
        segments: int = 1,
        start: TrackingToken | None = None,
        tenant_id: str | None = None,
        batch_events: int = BATCH_EVENTS,
        lease_s: float = LEASE_S,
        transactional: bool = True,
        saved: Callable[[Sequence[StoredEvent]], object] | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise UsageError("a processor needs a name")
        checked_count(segments, "segments", highest=SEGMENTS_MAX)
        checked_seconds(lease_s, "lease_s")
        checked_count(batch_events, "batch_events", highest=BATCH_EVENTS_MAX)
        self._store = store
        self._name = name
        self._handler = handler
        self._segments = segments
        self._start = start
        self._tenant_id = tenant_id
        self._batch_events = batch_events
        self._lease_s = lease_s
        self._transactional = transactional
        self._tell_saved = saved
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._wait_s = min(lease_s / 3, WAIT_S_MAX)  # an idle one's token is looked at that often
        self._stopping = asyncio.Event()
        self._ahead: ReadAhead | None = None
        self.claim: Claim | None = None
        self.events_handled = 0

    def stop(self) -> None:
        """Let ``run`` return after the batch it is at."""
        self._stopping.set()
        if self._ahead is not None:
            self._ahead.end()

    async def run(self) -> None:
        """Claim a segment and work on it until ``stop``.

        An error of the handler or of the store is raised here, with the token where it was; the segment is
        given back. ``ClaimLostError`` when somebody else has claimed it, because the lease ended. ``UsageError``
        where the store's pool has no connection left to prolong the lease on while batches are handled.
        """
        if not self._transactional:
            await self._run()
            return
        self._store.pool.reserve()
        try:
            await self._run()
        finally:
            self._store.pool.unreserve()

    async def _run(self) -> None:
        await self._create()
        while not self._stopping.is_set():
            self.claim = await self._claim()
            if self.claim is not None:
                break
            await self._pause(self._lease_s / 3)
        if self.claim is None:
            return
        work = asyncio.create_task(self._work(self.claim))
        heart = asyncio.create_task(self._keep_lease(self.claim))
        try:
            await asyncio.wait({work, heart}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (heart, work):
                task.cancel()
            await asyncio.gather(heart, work, return_exceptions=True)
            with suppress(EventStoreError):
                await self._store.run_statement(
                    "release_segment", self._name, self.claim.segment, self.claim.fence
                )
        for task in (work, heart):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def lag(self) -> Lag:
        """How far behind the segment that this one has claimed is; of an unclaimed one, the start."""
        token = self.claim.token if self.claim is not None else await self._first_token()
        head = await self._store.create_head_token(tenant_id=self._tenant_id)
        batch = await self._store.stream_events(token, limit=1, tenant_id=self._tenant_id)
        age_s = (datetime.now(UTC) - batch.events[0].timestamp).total_seconds() if batch.events else 0.0
        stall = await self._store.with_connection(find_stall)
        return Lag(max(head.global_sequence - token.global_sequence, 0), max(age_s, 0.0), stall)

    @staticmethod
    async def split(store: PostgresEventStore, name: str) -> int:
        """Give a processor twice as many segments; how many it has then. All must be free.

        Raises ``ClaimLostError`` while one is claimed, or where there is no such processor.
        """
        rows = await store.run_statement("split_processor", name)
        if not rows:
            raise _not_free(name, "split")
        return int(rows[0]["segments"])

    @staticmethod
    async def reset(
        store: PostgresEventStore,
        name: str,
        to: TrackingToken | datetime | Literal["tail", "head"],
        *,
        tenant_id: str | None = None,
    ) -> int:
        """Put a processor at another place: a token, an instant (as ``create_token_at`` finds it), "tail" or "head".

        All of its segments must be free, and all are put there; how many they are. What lies behind the place is
        not handled (again), what lies after it is. ``tenant_id`` is needed where the processor reads one tenant's
        events. Raises ``ClaimLostError`` while a segment is claimed, or where there is no such processor, and
        ``TokenRefusedError`` for a token that this store could not read from.
        """
        if isinstance(to, TrackingToken):
            await store.stream_events(to, limit=1, tenant_id=tenant_id)
            token = to
        elif isinstance(to, datetime):
            token = await store.create_token_at(to, tenant_id=tenant_id)
        elif to == "head":
            token = await store.create_head_token(tenant_id=tenant_id)
        elif to == "tail":
            token = await store.create_tail_token()
        else:
            raise UsageError(f'a processor is reset to a token, an instant, "tail" or "head", got {to!r}')
        rows = await store.run_statement("reset_processor", name, str(token))
        if not rows:
            raise _not_free(name, "reset")
        return len(rows)

    async def _first_token(self) -> TrackingToken:
        return self._start or await self._store.create_tail_token()

    async def _create(self) -> None:
        token = str(await self._first_token())
        await self._store.run_statement("create_processor", self._name, self._segments, token)

    async def _claim(self) -> Claim | None:
        lease = timedelta(seconds=self._lease_s)
        rows = await self._store.run_statement("claim_segment", self._name, self._owner, lease)
        if not rows:
            return None
        segment, segments, token, fence = rows[0]
        return Claim(segment, segments, fence, TrackingToken.parse(token))

    async def _keep_lease(self, claim: Claim) -> None:
        """Prolong the lease while a batch takes its time. A process that stands still does not."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            if not await self._store.run_statement(
                "prolong_lease", self._name, claim.segment, claim.fence, timedelta(seconds=self._lease_s)
            ):
                raise self._lost(claim)

    async def _work(self, claim: Claim) -> None:
        """Handle batches while the next ones are read."""
        saved_s = time.monotonic()
        token = claim.token
        self._ahead = ahead = ReadAhead(self._read, token)
        try:
            while not self._stopping.is_set() and (batch := await ahead.next()) is not None:
                events = _own_events(batch.events, claim)
                if events:
                    await self._handle(claim, events, batch.token)
                elif batch.token != token and time.monotonic() - saved_s > self._lease_s / 3:
                    await self._save(claim, batch.token)
                else:
                    continue
                token, saved_s = batch.token, time.monotonic()
                self.claim = Claim(claim.segment, claim.segments, claim.fence, token)
        finally:
            self._ahead = None
            await ahead.close()

    async def _read(self, token: TrackingToken) -> EventBatch:
        return await self._store.stream_events(
            token, limit=self._batch_events, tenant_id=self._tenant_id, wait_s=self._wait_s
        )

    async def _handle(self, claim: Claim, events: Sequence[StoredEvent], token: TrackingToken) -> None:
        if self._transactional:
            async with self._store.transaction() as transaction:
                await self._handler(events, transaction.connection)
                await self._save_within(transaction, claim, token)
        else:
            await self._handler(events, None)
            await self._save(claim, token)
        self.events_handled += len(events)
        if self._tell_saved is not None:
            self._tell_saved(events)

    async def _save(self, claim: Claim, token: TrackingToken) -> None:
        if not await self._store.run_statement("save_token", *self._saved(claim, token)):
            raise self._lost(claim)

    async def _save_within(self, transaction: StoreTransaction, claim: Claim, token: TrackingToken) -> None:
        try:
            rows = await transaction.fetch("save_token", *self._saved(claim, token))
        except DRIVER_ERRORS as error:
            raise StoreUnavailableError(
                f"the token was not saved and the batch is rolled back: {reason_of(error)}"
            ) from error
        if not rows:
            raise self._lost(claim)

    def _saved(self, claim: Claim, token: TrackingToken) -> tuple[object, ...]:
        return self._name, claim.segment, claim.fence, str(token), timedelta(seconds=self._lease_s)

    def _lost(self, claim: Claim) -> ClaimLostError:
        return ClaimLostError(
            f"segment {claim.segment} of processor {self._name!r} was claimed by another when its lease ended",
            remedy="what was handled since is not saved; run again to wait for the segment",
        )

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def _not_free(name: str, done: str) -> ClaimLostError:
    return ClaimLostError(
        f"processor {name!r} cannot be {done}: it does not exist, or one of its segments is claimed",
        remedy="stop those who run it first",
    )
