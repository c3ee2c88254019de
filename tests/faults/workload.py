"""Writers and a consumer that go on whatever happens to the server, and write down what they were told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import asyncpg

from eventmark.domain import NewEvent, TrackingToken
from eventmark.engine import PostgresEventStore
from eventmark.errors import EventStoreError, OutcomeUnknownError
from eventmark.verify import Outcome
from eventmark.verify.history import stream_id
from eventmark.verify.recording import Recording
from tests.engine.builders import SCHEMA, until

PAUSE_S = 0.01  # after a refusal
BATCH = 3


class Workload:
    """What was appended and delivered; ``faults`` holds it against what is stored."""

    def __init__(self, store: PostgresEventStore, *, writers: int = 3) -> None:
        self.record = Recording(store, SCHEMA)
        self.token: TrackingToken | None = None
        self.outcomes: Counter[Outcome] = Counter()
        self._streams = count(8)
        self._writers = writers
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def go_on_with(self, store: PostgresEventStore) -> None:
        """Another server has taken over."""
        self.record.store = store

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Writers and consumer at work; they end when the block does."""
        self._stopping = False
        self._tasks = [asyncio.create_task(self._write()) for _ in range(self._writers)]
        self._tasks.append(asyncio.create_task(self._consume()))
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.gather(*self._tasks)

    async def progress(self, acknowledged: int = 30) -> None:
        """Until so many more appends have been acknowledged."""
        wanted = self.outcomes[Outcome.OK] + acknowledged
        await until(lambda: self._reached(wanted))

    async def trouble(self, refused: int = 1) -> None:
        """Until so many more appends have been refused, or their outcome is unknown."""
        wanted = self.troubled + refused
        await until(lambda: self._troubled_by(wanted))

    @property
    def troubled(self) -> int:
        return self.outcomes[Outcome.FAILED] + self.outcomes[Outcome.UNKNOWN]

    async def faults(self, dsn: str) -> set[str]:
        """What the checker finds, once the consumer has been given everything."""
        connection = await asyncpg.connect(dsn)
        try:
            bound = await connection.fetchval("select pg_current_xact_id()")
            ended = "select pg_snapshot_xmin(pg_current_snapshot()) > $1"
            await until(lambda: connection.fetchval(ended, bound))
            stored = await connection.fetchval(f"select count(*) from {SCHEMA}.domain_events")
            await until(lambda: self._delivered(stored))
            found = await self.record.faults(connection)
            return {f"{fault.invariant} {fault.what}" for fault in found}
        finally:
            await connection.close()

    async def _delivered(self, stored: int) -> bool:
        """Reads on, to the end. What is lost for good never comes: the checker says so, after some rounds."""
        for _ in range(3):
            await self._read_on()
        return len(self.record.consumptions[0].delivered) >= stored

    async def _reached(self, wanted: int) -> bool:
        return self.outcomes[Outcome.OK] >= wanted

    async def _troubled_by(self, wanted: int) -> bool:
        return self.troubled >= wanted

    async def _write(self) -> None:
        """One stream as long as its version is known, then the next."""
        stream, version = next(self._streams), 0
        while not self._stopping:
            first, new = self.record.new(BATCH)
            outcome = await self._append(stream, new, version)
            self.record.note(outcome, stream, first, version + 1, BATCH)
            self.outcomes[outcome] += 1
            if outcome is Outcome.OK:
                version += BATCH
            else:
                await asyncio.sleep(PAUSE_S)
            if outcome is Outcome.UNKNOWN:
                stream, version = next(self._streams), 0

    async def _append(self, stream: int, new: list[NewEvent], version: int) -> Outcome:
        try:
            await self.record.store.append_events(stream_id(stream), new, expected_version=version)
        except OutcomeUnknownError:
            return Outcome.UNKNOWN
        except EventStoreError:
            return Outcome.FAILED
        return Outcome.OK

    async def _consume(self) -> None:
        while not self._stopping:
            try:
                await self._read_on()
            except EventStoreError:
                await asyncio.sleep(PAUSE_S)

    async def _read_on(self) -> None:
        store = self.record.store
        token = self.token or await store.create_tail_token()
        # Written out and read in again, as by a consumer that was restarted.
        token = TrackingToken.parse(str(token))
        self.token = await self.record.consume(
            lambda place: store.stream_events(place, limit=100, wait_s=0.02), token, name="consumer"
        )
