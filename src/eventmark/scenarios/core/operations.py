"""The core operations: what each is called with, and when its answer is right.

Each operation draws its arguments outside the measured time and checks the answer after it. Against what:
streams and places sampled from the whole log, so that large and small tenants come as often as they own
events; a few of them are hot and come back all the time, the many others are met rarely.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import numpy as np

from eventmark.domain import (
    Capabilities,
    EventStore,
    GlobalSequence,
    NewEvent,
    SequenceNumber,
    Snapshot,
    StreamId,
    TransactionId,
)
from eventmark.seeding import CorpusSample, SampledStream
from eventmark.stores import append_values, snapshot_values
from eventmark.workload import example_payloads, new_event_id

HOT_SHARE = 0.5
HOT_STREAMS = 10
NEW_STREAM_SHARE = 0.1
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

    def _pick(self, items: list[Any]) -> Any:
        """One of a few hot ones half of the time, any other else."""
        if self.random.random() < HOT_SHARE:
            return items[int(self.random.integers(min(HOT_STREAMS, len(items))))]
        return items[int(self.random.integers(len(items)))]


class AppendEvents(Operation):
    """Appends to streams of this process' own; one in ten is new."""

    statement = "append_events"
    batch_events: ClassVar[int]

    async def prepare(self) -> None:
        self._versions = {place: one.version for place, one in enumerate(self.sample.streams)}
        self._streams = [one.stream for one in self.sample.streams]
        self._payloads = example_payloads(PAYLOADS, self.random)
        self._tenants = sorted({stream.tenant_id for stream in self._streams})

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        return "" if sample.streams else "the corpus has no streams to append to"

    def draw(self) -> tuple[int, StreamId, list[NewEvent], int]:
        place = self._pick(range(len(self._streams)))  # type: ignore[arg-type]
        if self.random.random() < NEW_STREAM_SHARE:
            place = len(self._streams)
            tenant = self._tenants[int(self.random.integers(len(self._tenants)))]
            self._streams.append(
                StreamId(tenant_id=tenant, aggregate_type="Order", aggregate_id=str(self._uuid()))
            )
            self._versions[place] = 0
        return place, self._streams[place], self._events(), self._versions[place]

    def call(self, arguments: tuple[int, StreamId, list[NewEvent], int]) -> Awaitable[Any]:
        _, stream, events, version = arguments
        return self.store.append_events(stream, events, expected_version=version)

    def parameters(self, arguments: tuple[int, StreamId, list[NewEvent], int]) -> dict[str, Any]:
        place, stream, events, version = arguments
        self._versions[place] = version + len(events)
        return append_values(stream, events, version)

    def is_right(self, arguments: tuple[int, StreamId, list[NewEvent], int], answer: Any) -> bool:
        place, _, events, version = arguments
        self._versions[place] = version + len(events)
        return bool(answer.last_sequence_number == version + len(events))

    def _events(self) -> list[NewEvent]:
        now = datetime.now(UTC)
        return [
            NewEvent(
                event_id=self._uuid(),
                event_type="OrderLineAdded",
                payload=self._payloads[int(self.random.integers(PAYLOADS))],
                metadata=_METADATA,
                timestamp=now,
                payload_type="OrderLineAdded",
            )
            for _ in range(self.batch_events)
        ]

    def _uuid(self) -> UUID:
        return new_event_id(self.random)


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
        picked: SampledStream = self._pick(self.sample.long_streams)
        return picked

    def call(self, arguments: SampledStream) -> Awaitable[Any]:
        return self.store.load_aggregate(arguments.stream.tenant_id, arguments.stream.aggregate_id)

    def parameters(self, arguments: SampledStream) -> dict[str, Any]:
        stream = arguments.stream
        return {"tenant_id": stream.tenant_id, "aggregate_id": stream.aggregate_id, "from_sequence": 1}

    def is_right(self, arguments: SampledStream, answer: Any) -> bool:
        return len(answer) == 1000


class StreamEvents(Operation):
    """Reads batches of 1000 events of all tenants, from places near the head and anywhere in the log."""

    name = "stream_events[1000]"
    statement = "stream_events"
    has_cold = True

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        if not capabilities.tokens:
            return "the store has no stream_events.sql"
        return "" if sample.events > STREAM_BATCH_EVENTS else "the corpus has no 1000 events"

    async def prepare(self) -> None:
        self._tail = await self.store.create_tail_token()
        last = self.sample.events - STREAM_BATCH_EVENTS
        self._places = [place for place in self.sample.positions if place[1] <= last] or [(0, 0)]

    def draw(self) -> Any:
        near_head = self.random.random() < NEAR_HEAD_SHARE
        first = int(len(self._places) * 0.98) if near_head else 0
        transaction_id, position = self._places[int(self.random.integers(first, len(self._places)))]
        return replace(
            self._tail,
            transaction_id=TransactionId(transaction_id),
            global_sequence=GlobalSequence(position),
        )

    def call(self, arguments: Any) -> Awaitable[Any]:
        return self.store.stream_events(arguments, limit=STREAM_BATCH_EVENTS)

    def parameters(self, arguments: Any) -> dict[str, Any]:
        return {
            "transaction_id": arguments.transaction_id,
            "global_sequence": arguments.global_sequence,
            "batch_size": STREAM_BATCH_EVENTS,
        }

    def is_right(self, arguments: Any, answer: Any) -> bool:
        return len(answer.events) == STREAM_BATCH_EVENTS and answer.token.compare(arguments) > 0


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
        picked: SampledStream = self._pick(self.sample.streams)
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
        picked: StreamId = self._pick(self.sample.snapshot_streams)
        return picked

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
