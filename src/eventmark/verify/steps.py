"""The steps of forced interleavings: each is what one invariant is known to break at.

Every step runs against the store in a schema of its own, before the hunt proper, and is written down in a
history that the same checker takes. What a history does not hold (what a stream's load answered, whether one
tenant is kept from another) is told as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg

from eventmark.domain import (
    EventBatch,
    NewEvent,
    SequenceNumber,
    Snapshot,
    StoredEvent,
    StreamId,
    TrackingToken,
)
from eventmark.engine.transaction import StoreTransaction
from eventmark.errors import EventStoreError
from eventmark.stores.sql_transaction import SqlStoreTransaction
from eventmark.verify.attempts import Attempt, RolledBack, described, outcome_after
from eventmark.verify.checker import Fault, check
from eventmark.verify.concurrency import raced
from eventmark.verify.consumers import first_token
from eventmark.verify.cut_off import CutOffError, failure_of, persistently
from eventmark.verify.history import (
    NO_STREAM,
    TENANTS,
    Outcome,
    key_of_event,
    new_event,
    stream_id,
    tenant_of,
)
from eventmark.verify.recording import Recording
from eventmark.verify.subject import Start, Subject

BATCH = 3  # events that a consumer asks for: many batches, many tokens
FUTURE = 7  # versions beyond a stream's last one
BLOCKED_LOOK_S = 0.01
DEADLINE_S = 30.0  # for a transaction to end, a statement to wait
POLLS_SPARE = 20


class Steps:
    def __init__(self, record: Recording, subject: Subject, observer: asyncpg.Connection[Any]) -> None:
        self._record = record
        self._subject = subject
        self._observer = observer
        self._next_stream = TENANTS
        self._beside: list[Fault] = []
        self._tokens: dict[Start, TrackingToken] = {}
        self._running: list[asyncio.Task[Outcome]] = []
        self.cut_off = ""

    async def run(self, apart: str = "") -> tuple[list[Fault], int]:
        """All steps but those that may be refused without a promise; or, ``apart``, those of one alone.

        What was found, and how many appends lost a version to one that ran at the same time. ``cut_off`` says why a
        step could not be taken to its end; empty where all were.
        """
        subject = self._subject
        refusing = {
            "late transactions": self._late,
            "future versions": self._future,
            "repeated ids": self._repeated,
        }
        for step, asked in (
            (self._overtaken, not apart),
            (self._late, True),
            (self._rolled_back, not apart),
            (self._versions, subject.contends and not apart),
            (self._future, subject.contends),
            (self._repeated, subject.has_event_ids),
            (self._tenants, subject.has_tenants and not apart),
            (self._consumed, bool(subject.starts)),
            (self._loaded, not apart),
        ):
            promise = next((name for name, refusing_step in refusing.items() if refusing_step == step), "")
            if asked and (not promise or promise == apart or (not apart and promise in subject.refuses)):
                await self._told(step)
        history = await self._record.history(self._observer)
        faults = check(history)
        if subject.has_event_ids and subject.has_tenants and not apart:
            # Last: the history knows an event by its id alone.
            await self._told(self._one_id_in_two_tenants)
        return [*faults, *self._beside], raced(history)

    async def _told(self, step: Callable[[], Awaitable[None]]) -> None:
        """Whatever a store answers with, the next step is taken."""
        try:
            await step()
        except CutOffError as error:
            self.cut_off = str(error)
        except EventStoreError as error:  # of a read: writes have their outcome
            self._beside.append(Fault("I12", "reads refused", 1, (described(error),)))
        except Exception as error:
            self._record.errors.append(described(error))
        await self._others()

    async def _overtaken(self) -> None:
        """A transaction appends, another one after it commits before it; consumers look in between."""
        start = self._subject.first_start
        tenant = 0 if start is None or start.tenant is None else start.tenant
        slow, quick = self._stream(tenant), self._stream(tenant)
        if start is not None:
            self._tokens[start] = await self._first_token(start, datetime.now(UTC))
        async with self._transaction() as transaction:
            appended_at = datetime.now(UTC)
            await transaction.append(slow, 1, version=0)
            await self._beside_it(transaction, self._append(quick, 1, version=0))
            if start is not None:
                self._tokens[start] = await self._read(start, polls=3)
                for late in self._late_starts():
                    self._tokens[late] = await self._first_token(late, appended_at)
                    await self._read(late, polls=0)

    async def _late(self) -> None:
        """A transaction has its id, another one appends to a stream, the first appends to it after that."""
        stream = self._stream(1)
        async with self._transaction() as early:
            await early.take_id()
            await self._append(stream, 1, version=0)
            await early.append(stream, 2, version=1)

    async def _rolled_back(self) -> None:
        """Two streams in one transaction that does not commit."""
        first, second = self._stream(2), self._stream(2)
        async with self._transaction(commits=False) as transaction:
            await transaction.append(first, 2, version=0)
            await transaction.append(second, 1, version=0)

    async def _versions(self) -> None:
        """Versions that are stale, and that two ask for at once."""
        stream = self._stream(3)
        await self._append(stream, 2, version=0)
        for version in (0, 1):
            await self._append(stream, 1, version=version)
        stream = self._stream(3)
        await self._append(stream, 1, version=0)
        async with self._transaction() as winner:
            await winner.append(stream, 1, version=1)
            await self._beside_it(winner, self._append(stream, 2, version=1))

    async def _future(self) -> None:
        """A version that nobody has come to yet."""
        stream = self._stream(3)
        await self._append(stream, 2, version=0)
        await self._append(stream, 1, version=2 + FUTURE)

    async def _repeated(self) -> None:
        """An event id that is stored, again: the same append, at other places, with other contents, in a batch."""
        stream, other = self._stream(4), self._stream(4)
        (key,) = self._new(1)
        await self._append(stream, [key], version=0)
        await self._append(stream, [key], version=0)
        await self._append(stream, [key], version=1)
        await self._append(stream, [key], version=1, text="other")
        await self._append(other, [key], version=0)
        await self._append(self._stream(4), [*self._new(2), key], version=0)
        await self._append(self._stream(4), self._new(1) * 2, version=0)
        (raced,) = self._new(1)
        async with self._transaction() as transaction:
            await transaction.append(self._stream(4), [raced], version=0)
            await self._beside_it(transaction, self._append(self._stream(4), [raced], version=0))

    async def _tenants(self) -> None:
        """Streams of the same aggregate id in two tenants, and what each tenant's snapshot is."""
        first = self._stream(0)
        outcomes = [await self._append(first, 2, version=0), await self._append(first + 1, 3, version=0)]
        if outcomes[0] is Outcome.OK and outcomes[1] is not Outcome.OK:
            self._beside.append(Fault("I10", "appends refused for what another tenant has stored", 1))
        if not self._subject.has_snapshots:
            return
        for stream in (first, first + 1):
            if await self._snapshot_of(stream) is not None:
                self._beside.append(Fault("I10", "snapshots of other tenants answered", 1))
            await self._record.store.store_snapshot(
                Snapshot(
                    stream=stream_id(stream, self._record.naming), sequence_number=SequenceNumber(1),
                    payload={"of": stream}, payload_type="Seen", timestamp=datetime.now(UTC),
                )
            )  # fmt: skip
        if str(first + 1) in (await self._snapshot_of(first) or ""):
            self._beside.append(Fault("I10", "snapshots of other tenants answered", 1))

    async def _consumed(self) -> None:
        """Every consumer to the end, once all transactions have ended."""
        bound = await self._observer.fetchval("select pg_current_xact_id()")
        await self._until("select pg_snapshot_xmin(pg_current_snapshot()) > $1", bound)
        starts = {start for starts in self._subject.starts for start in starts if start.segment is None}
        if any(start.tenant is not None for start in starts):
            starts |= {Start("tail", tenant) for tenant in range(2)}
        for start in sorted(starts | set(self._tokens), key=lambda start: start.name):
            if start not in self._tokens and start.place != "tail":
                continue
            if start not in self._tokens:
                self._tokens[start] = await self._first_token(start, datetime.now(UTC))
            await self._read(start, polls=self._record.next_key + POLLS_SPARE)

    async def _loaded(self) -> None:
        """Each stream loaded holds its own events, and no others."""
        stored = (await self._record.history(self._observer)).stored
        stored = stored[stored["stream"] != NO_STREAM]
        of = dict(zip(stored["key"].tolist(), stored["stream"].tolist(), strict=True))
        for stream in sorted({int(number) for number in stored["stream"]}):
            rows = stored[stored["stream"] == stream]
            due = rows["key"][rows["sequence"].argsort(kind="stable")].tolist()
            name = stream_id(stream, self._record.naming)
            events = await self._loaded_stream(name)
            seen = [key_of_event(event) for event in events]
            foreign = sum(of.get(key, stream) % TENANTS != stream % TENANTS for key in seen)
            foreign *= self._subject.has_tenants
            self._beside.append(Fault("I10", "events of another tenant in a loaded stream", foreign))
            if seen != due and not foreign:
                self._beside.append(Fault("I1", "streams that were loaded differently than stored", 1))
        self._beside = _summed(self._beside)

    async def _one_id_in_two_tenants(self) -> None:
        """A second tenant may be refused an id or may have it: neither changes what the first one has."""
        first = self._stream(0)
        (key,) = self._new(1)
        outcomes = [await self._append(stream, [key], version=0) for stream in (first, first + 1)]
        for stream, outcome in zip((first, first + 1), outcomes, strict=True):
            name = stream_id(stream, self._record.naming)
            events = await self._loaded_stream(name)
            if [key_of_event(event) for event in events] != [key] * (outcome is Outcome.OK):
                self._beside.append(Fault("I10", "events changed by another tenant's of the same id", 1))

    async def _first_token(self, start: Start, instant: datetime) -> TrackingToken:
        return await persistently(lambda: first_token(self._record.store, start, instant))

    async def _loaded_stream(self, name: StreamId) -> Sequence[StoredEvent]:
        return await persistently(
            lambda: self._record.store.load_aggregate(name.tenant_id, name.aggregate_id)
        )

    def _late_starts(self) -> Sequence[Start]:
        """Consumers that begin now, at the head and in the middle."""
        starts = [start for starts in self._subject.starts for start in starts if start.place != "tail"]
        return [replace(start, segment=None) for start in starts if not start.segment]

    async def _read(self, start: Start, *, polls: int) -> TrackingToken:
        """Go on with a consumer until nothing comes, or for so many polls."""
        made_ns = time.monotonic_ns()
        ended = False

        async def read(token: TrackingToken) -> EventBatch:
            nonlocal ended
            tenant_id = None if start.tenant is None else tenant_of(start.tenant, self._record.naming)
            batch = await persistently(
                lambda: self._record.store.stream_events(
                    TrackingToken.parse(str(token)), limit=BATCH, tenant_id=tenant_id
                )
            )
            ended = not batch.events
            return batch

        token = await self._record.consume(
            read, self._tokens[start], name=start.name, tenant=start.tenant, made_ns=made_ns, polls=0
        )
        for _ in range(polls):
            token = await self._record.consume(read, token, name=start.name, tenant=start.tenant)
            if ended and not token.gaps:
                break
        self._tokens[start] = token
        return token

    async def _append(
        self, stream: int, what: int | Sequence[int], *, version: int, text: str | None = None
    ) -> Outcome:
        """One append by itself: so many new events, or those with the keys."""
        keys = self._new(what) if isinstance(what, int) else what
        new = _events(keys, text)
        attempt = Attempt(single=len(keys) == 1, parts=_parts(stream, keys, version))
        attempt.commit_ns = attempt.invoked_ns
        failure = await failure_of(
            lambda: self._record.store.append_events(
                stream_id(stream, self._record.naming), new, expected_version=version
            )
        )
        outcome = outcome_after(failure, self._record.errors)
        self._record.note_attempt(outcome, attempt)
        if outcome is Outcome.OK and text is not None:
            self._beside.append(Fault("I3", "accepted with an id that is stored with other contents", 1))
        return outcome

    @asynccontextmanager
    async def _transaction(self, *, commits: bool = True) -> AsyncIterator[_Held]:
        """Appends that are stored when the block is left, or never. A store's refusal ends the block."""
        held, failure = _Held(self), None
        try:
            async with self._record.store.transaction() as transaction:
                held.transaction = transaction
                yield held
                held.attempt.commit_ns = time.monotonic_ns()
                if not commits:
                    raise RolledBack
        except Exception as error:
            failure = error
        self._record.note_attempt(outcome_after(failure, self._record.errors), held.attempt)

    async def _beside_it(self, transaction: _Held, append: Coroutine[Any, Any, Outcome]) -> None:
        """Begin an append; go on when it has ended, or waits for what the transaction holds."""
        task = asyncio.create_task(append)
        self._running.append(task)
        await self._done_or_blocked(task, transaction)

    async def _others(self) -> None:
        """Until every append that was begun during a transaction has ended."""
        running, self._running = self._running, []
        await asyncio.gather(*running)

    async def _done_or_blocked(self, task: asyncio.Task[Outcome], transaction: _Held) -> None:
        """Until the task has ended, or waits for what the transaction holds."""
        blocked = "select exists (select from pg_stat_activity where $1 = any(pg_blocking_pids(pid)))"
        pid = transaction.connection.get_server_pid()
        deadline_s = time.monotonic() + DEADLINE_S
        while not task.done() and time.monotonic() < deadline_s:
            if await self._observer.fetchval(blocked, pid):
                return
            await asyncio.wait({task}, timeout=BLOCKED_LOOK_S)

    async def _until(self, query: str, *arguments: object) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            if await self._observer.fetchval(query, *arguments):
                return
            await asyncio.sleep(BLOCKED_LOOK_S)

    async def _snapshot_of(self, stream: int) -> str | None:
        name = stream_id(stream, self._record.naming)
        read = self._record.store.read_snapshot
        answer = await persistently(lambda: read(name.tenant_id, name.aggregate_id))
        return None if answer is None else str(answer.payload)

    def _stream(self, tenant: int) -> int:
        """A new stream of the tenant's; the other tenants' of the same aggregate id are new as well."""
        self._next_stream += TENANTS
        return self._next_stream + tenant

    def _new(self, count: int) -> list[int]:
        first = self._record.next_key
        self._record.next_key += count
        return list(range(first, first + count))


@dataclass
class _Held:
    """A transaction that is open, and what was done in it."""

    steps: Steps
    attempt: Attempt = field(default_factory=lambda: Attempt(single=False))
    transaction: StoreTransaction | SqlStoreTransaction | None = None

    @property
    def connection(self) -> asyncpg.Connection[Any]:
        assert self.transaction is not None
        return self.transaction.connection

    async def take_id(self) -> None:
        await self.connection.execute("select pg_current_xact_id()")

    async def append(self, stream: int, what: int | Sequence[int], *, version: int) -> None:
        keys = self.steps._new(what) if isinstance(what, int) else what
        self.attempt.parts += _parts(stream, keys, version)
        assert self.transaction is not None
        await self.transaction.append_events(
            stream_id(stream, self.steps._record.naming), _events(keys), expected_version=version
        )


def _parts(stream: int, keys: Sequence[int], version: int) -> list[tuple[int, int, int, int]]:
    return [(stream, key, version + offset, 1) for offset, key in enumerate(keys, 1)]


def _events(keys: Sequence[int], text: str | None = None) -> list[NewEvent]:
    """With what the writers of a hunt put in, or with another text."""
    if text is None:
        return [new_event(key) for key in keys]
    return [replace(new_event(key), payload={"key": key, "text": text}) for key in keys]


def _summed(faults: Sequence[Fault]) -> list[Fault]:
    """One for each kind, the counts added up."""
    counts: dict[tuple[str, str], Fault] = {}
    for fault in faults:
        before = counts.get((fault.invariant, fault.what), replace(fault, count=0))
        counts[fault.invariant, fault.what] = replace(before, count=before.count + fault.count)
    return [fault for fault in counts.values() if fault.count]
