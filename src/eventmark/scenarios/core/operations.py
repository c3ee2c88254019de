"""The core operations: what each is called with, and when its answer is right.

Each operation draws its arguments outside the measured time and checks the answer after it. Against what:
streams and places sampled from the whole log, so that large and small tenants come as often as they own
events; a few of them are hot and come back all the time, the many others are met rarely.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar

import numpy as np

from eventmark.domain import (
    Capabilities,
    EventStore,
    GlobalSequence,
    NewEvent,
    SequenceNumber,
    Snapshot,
    StreamId,
    TrackingToken,
    TransactionId,
)
from eventmark.errors import EventStoreError, OutcomeUnknownError, VersionConflictError
from eventmark.scenarios.core.streams import KnownStream, StreamVersions, pick
from eventmark.seeding import CorpusSample, SampledStream
from eventmark.stores import append_values, snapshot_values
from eventmark.workload import example_payloads, uuid_7

NEAR_HEAD_SHARE = 0.3
PAYLOADS = 500
STREAM_BATCH_EVENTS = 1000
_METADATA = '{"user": "user-0001", "traceId": "5f0c", "causationId": null, "correlationId": "5f0c"}'


class Operation(ABC):
    """One operation on one store, in one process. ``name`` is its name in results, targets and reports."""

    name: ClassVar[str]
    statement: ClassVar[str] = ""  # the SQL file it runs, "" where it needs none
    has_cold: ClassVar[bool] = False

    def __init__(self, store: EventStore, sample: CorpusSample, random: np.random.Generator) -> None:
        self.store = store
        self.sample = sample
        self.random = random

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        """Why the operation cannot be measured on this store and corpus; empty when it can."""
        return ""

    async def prepare(self) -> None:  # noqa: B027 - most operations need none
        """Once, before the first draw."""

    @abstractmethod
    def draw(self) -> Any:
        """The arguments of the next call."""

    @abstractmethod
    def call(self, arguments: Any) -> Awaitable[Any]:
        """What is measured."""

    def parameters(self, arguments: Any) -> dict[str, Any]:
        """The same call as parameters of the statement, by name, for other tools to run it."""
        return {}

    def is_right(self, arguments: Any, answer: Any) -> bool:
        """Whether the answer is what the operation is for; a wrong one counts as failed."""
        return True

    def release(self, arguments: Any) -> None:  # noqa: B027 - most draws hold nothing
        """The call that was drawn is not made."""

    async def recover(self, arguments: Any, error: EventStoreError | None) -> None:  # noqa: B027
        """After a call that did not succeed, outside of what is measured: what is known of the store again.

        ``error`` is None where the answer was wrong or never came.
        """


@dataclass(frozen=True, slots=True)
class Append:
    """An append drawn: the stream, what to append, and the version it is believed to be at."""

    known: KnownStream
    events: list[NewEvent]
    version: int

    @property
    def next_version(self) -> int:
        return self.version + len(self.events)


class AppendEvents(Operation):
    """Appends to streams of this process' own; one in ten is new.

    ``versions`` are made by ``prepare``; operations that append beside each other are given the same before.
    """

    statement = "append_events"
    batch_events: ClassVar[int]
    versions: StreamVersions | None = None

    async def prepare(self) -> None:
        self._versions = self.versions or StreamVersions(self.sample.streams)
        # One number at a time it is many times as quick as numpy's: a draw must not keep the loop from others.
        self._quick = Random(int(self.random.integers(2**63)))
        self._payloads = example_payloads(PAYLOADS, self.random)

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        return "" if sample.streams else "the corpus has no streams to append to"

    def draw(self) -> Append:
        known = self._versions.take(self.random)
        return Append(known, self._events(), known.version)

    def call(self, arguments: Append) -> Awaitable[Any]:
        return self.store.append_events(
            arguments.known.stream, arguments.events, expected_version=arguments.version
        )

    def parameters(self, arguments: Append) -> dict[str, Any]:
        self._versions.settle(arguments.known, arguments.next_version)
        return append_values(arguments.known.stream, arguments.events, arguments.version)

    def is_right(self, arguments: Append, answer: Any) -> bool:
        self._versions.settle(arguments.known, arguments.next_version)
        return bool(answer.last_sequence_number == arguments.next_version)

    def release(self, arguments: Append) -> None:
        self._versions.free(arguments.known)

    async def recover(self, arguments: Append, error: EventStoreError | None) -> None:
        """After a conflict the stream's version is known again: from the answer, else it is looked up.

        After an unknown outcome it is not: the append may still be stored later.
        """
        known = arguments.known
        if isinstance(error, VersionConflictError):
            with suppress(EventStoreError):
                actual = error.actual_version
                self._versions.settle(known, actual if actual >= 0 else await self._looked_up(arguments))
        elif error is not None and not isinstance(error, OutcomeUnknownError):
            self._versions.free(known)

    async def _looked_up(self, arguments: Append) -> int:
        """The version of a stream that is further than it was believed to be."""
        stream = arguments.known.stream
        after = await self.store.load_aggregate(
            stream.tenant_id, stream.aggregate_id, from_sequence=arguments.version + 1
        )
        return arguments.version + len(after)

    def _events(self) -> list[NewEvent]:
        """Ids are version 7, as the corpus has them."""
        now = datetime.now(UTC)
        milliseconds = int(now.timestamp() * 1000)
        payloads, draw_bits, draw_number = self._payloads, self._quick.getrandbits, self._quick.randrange
        return [
            NewEvent(
                event_id=uuid_7(milliseconds, draw_bits(80)),
                event_type="OrderLineAdded",
                payload=payloads[draw_number(PAYLOADS)],
                metadata=_METADATA,
                timestamp=now,
                payload_type="OrderLineAdded",
            )
            for _ in range(self.batch_events)
        ]


class AppendEvents1(AppendEvents):
    name = "append_events[1]"
    batch_events = 1


class AppendEvents10(AppendEvents):
    name = "append_events[10]"
    batch_events = 10


class AppendEvents100(AppendEvents):
    name = "append_events[100]"
    batch_events = 100


class LoadAggregate(Operation):
    """Loads whole streams of exactly 1000 events, of large and small tenants in turn."""

    name = "load_aggregate[1000]"
    statement = "load_aggregate"
    has_cold = True

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        return (
            ""
            if sample.long_streams
            else "the corpus has no stream of 1000 events, seed 20,000 events or more"
        )

    def draw(self) -> SampledStream:
        return pick(self.sample.long_streams, self.random)

    def call(self, arguments: SampledStream) -> Awaitable[Any]:
        return self.store.load_aggregate(arguments.stream.tenant_id, arguments.stream.aggregate_id)

    def parameters(self, arguments: SampledStream) -> dict[str, Any]:
        stream = arguments.stream
        return {"tenant_id": stream.tenant_id, "aggregate_id": stream.aggregate_id, "from_sequence": 1}

    def is_right(self, arguments: SampledStream, answer: Any) -> bool:
        return len(answer) == 1000


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch to be read: after which token, of which tenant or of all."""

    token: TrackingToken
    tenant_id: str | None


class StreamEvents(Operation):
    """Reads batches of 1000 events from places near the head and anywhere in the log.

    Of all tenants, or each of one of ``tenants``: these may have fewer than 1000 events after the place.
    """

    name = "stream_events[1000]"
    statement = "stream_events"
    has_cold = True
    tenants: Sequence[str] = ()

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        if not capabilities.tokens:
            return "the store has no stream_events.sql"
        return "" if sample.events > STREAM_BATCH_EVENTS else "the corpus has no 1000 events"

    async def prepare(self) -> None:
        self._tail = await self.store.create_tail_token()
        last = self.sample.events - STREAM_BATCH_EVENTS
        self._places = [place for place in self.sample.positions if place[1] <= last] or [(0, 0)]

    def draw(self) -> Reading:
        near_head = self.random.random() < NEAR_HEAD_SHARE
        first = int(len(self._places) * 0.98) if near_head else 0
        transaction_id, position = self._places[int(self.random.integers(first, len(self._places)))]
        token = replace(
            self._tail,
            transaction_id=TransactionId(transaction_id),
            global_sequence=GlobalSequence(position),
        )
        tenant = self.tenants[int(self.random.integers(len(self.tenants)))] if self.tenants else None
        return Reading(token, tenant)

    def call(self, arguments: Reading) -> Awaitable[Any]:
        return self.store.stream_events(
            arguments.token, limit=STREAM_BATCH_EVENTS, tenant_id=arguments.tenant_id
        )

    def parameters(self, arguments: Reading) -> dict[str, Any]:
        return {
            "transaction_id": arguments.token.transaction_id,
            "global_sequence": arguments.token.global_sequence,
            "batch_size": STREAM_BATCH_EVENTS,
        }

    def is_right(self, arguments: Reading, answer: Any) -> bool:
        if arguments.tenant_id is not None and len(answer.events) < STREAM_BATCH_EVENTS:
            return not answer.events or answer.token.compare(arguments.token) > 0
        return len(answer.events) == STREAM_BATCH_EVENTS and answer.token.compare(arguments.token) > 0


class StoreSnapshot(Operation):
    """Stores a snapshot at the last event of a stream."""

    name = "store_snapshot"
    statement = "store_snapshot"

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        if not capabilities.snapshots:
            return "the store keeps no snapshots"
        return "" if sample.streams else "the corpus has no streams"

    async def prepare(self) -> None:
        self._payloads = example_payloads(PAYLOADS, self.random)

    def draw(self) -> Snapshot:
        picked = pick(self.sample.streams, self.random)
        return Snapshot(
            stream=picked.stream,
            sequence_number=SequenceNumber(picked.version),
            payload=self._payloads[int(self.random.integers(PAYLOADS))],
            payload_type=f"{picked.stream.aggregate_type}State",
            timestamp=datetime.now(UTC),
        )

    def call(self, arguments: Snapshot) -> Awaitable[Any]:
        return self.store.store_snapshot(arguments)

    def parameters(self, arguments: Snapshot) -> dict[str, Any]:
        return snapshot_values(arguments)


class ReadSnapshot(Operation):
    """Reads the latest snapshot of streams that have some."""

    name = "read_snapshot"
    statement = "read_snapshot"
    has_cold = True

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        if not capabilities.snapshots:
            return "the store keeps no snapshots"
        return "" if sample.snapshot_streams else "the corpus has no snapshots, seed 20,000 events or more"

    def draw(self) -> StreamId:
        return pick(self.sample.snapshot_streams, self.random)

    def call(self, arguments: StreamId) -> Awaitable[Any]:
        return self.store.read_snapshot(arguments.tenant_id, arguments.aggregate_id)

    def parameters(self, arguments: StreamId) -> dict[str, Any]:
        return {"tenant_id": arguments.tenant_id, "aggregate_id": arguments.aggregate_id}

    def is_right(self, arguments: StreamId, answer: Any) -> bool:
        return answer is not None


class CreateHeadToken(Operation):
    name = "create_head_token"
    statement = "create_head_token"

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        return "" if capabilities.tokens else "the store has no tokens"

    def draw(self) -> None:
        return None

    def call(self, arguments: None) -> Awaitable[Any]:
        return self.store.create_head_token()


class CreateTailToken(CreateHeadToken):
    name = "create_tail_token"
    statement = ""

    def call(self, arguments: None) -> Awaitable[Any]:
        return self.store.create_tail_token()


class CreateTokenAt(Operation):
    """Finds the place of an instant, anywhere in the history."""

    name = "create_token_at"
    statement = "create_token_at"
    has_cold = True

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        return "" if capabilities.token_at else "the store has no create_token_at.sql"

    def draw(self) -> datetime:
        return self.sample.instants[int(self.random.integers(len(self.sample.instants)))]

    def call(self, arguments: datetime) -> Awaitable[Any]:
        return self.store.create_token_at(arguments)

    def parameters(self, arguments: datetime) -> dict[str, Any]:
        return {"instant": arguments}


class CompareTokens(Operation):
    """Compares two tokens of random places. Nothing is sent anywhere."""

    name = "compare_tokens"

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        return "" if capabilities.tokens else "the store has no tokens"

    async def prepare(self) -> None:
        tail = await self.store.create_tail_token()
        self._tokens = [
            replace(tail, transaction_id=TransactionId(place[0]), global_sequence=GlobalSequence(place[1]))
            for place in self.sample.positions
        ]

    def draw(self) -> Any:
        one, other = self.random.integers(0, len(self._tokens), 2)
        return self._tokens[int(one)], self._tokens[int(other)]

    async def call(self, arguments: Any) -> int:
        result: int = arguments[0].compare(arguments[1])
        return result


OPERATIONS: dict[str, type[Operation]] = {
    operation.name: operation
    for operation in (
        AppendEvents1,
        AppendEvents10,
        AppendEvents100,
        LoadAggregate,
        StreamEvents,
        StoreSnapshot,
        ReadSnapshot,
        CreateHeadToken,
        CreateTailToken,
        CreateTokenAt,
        CompareTokens,
    )
}
