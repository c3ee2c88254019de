"""The core operations: what each is called with, and when its answer is right.

Each operation draws its arguments outside the measured time and checks the answer after it. Against what:
streams and places sampled from the whole log, so that large and small tenants come as often as they own
events; a few of them are hot and come back all the time, the many others are met rarely.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from eventmark.domain import (
    GlobalSequence,
    SequenceNumber,
    Snapshot,
    StreamId,
    TrackingToken,
    TransactionId,
)
from eventmark.operations.appends import PAYLOADS, AppendEvents1, AppendEvents10, AppendEvents100
from eventmark.operations.operation import Operation
from eventmark.operations.streams import pick, pick_place
from eventmark.seeding import CorpusSample, SampledStream
from eventmark.stores import snapshot_values

STREAM_BATCH_EVENTS = 1000
LOADED_EVENTS = 1000


class LoadAggregate(Operation):
    """Loads whole streams of exactly 1000 events, of large and small tenants in turn."""

    name = "load_aggregate[1000]"
    statement = "load_aggregate"
    has_cold = True

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
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
        return len(answer) == LOADED_EVENTS

    def complaint(self, arguments: SampledStream, answer: Any) -> str:
        stream = arguments.stream
        return (
            f"{LOADED_EVENTS} events were expected of aggregate {stream.aggregate_id!r} of tenant "
            f"{stream.tenant_id!r}, {len(answer)} came"
        )


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
    needs = ("all_tenants_stream",)
    tenants: Sequence[str] = ()

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        return "" if sample.events > STREAM_BATCH_EVENTS else "the corpus has no 1000 events"

    async def prepare(self) -> None:
        self._tail = await self.store.create_tail_token()
        last = self.sample.events - STREAM_BATCH_EVENTS
        self._places = [position for position in self.sample.positions if position[1] <= last] or [(0, 0)]

    def draw(self) -> Reading:
        transaction_id, position = pick_place(self._places, self.random)
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
            "tenant_id": arguments.tenant_id,
        }

    def is_right(self, arguments: Reading, answer: Any) -> bool:
        if arguments.tenant_id is not None and len(answer.events) < STREAM_BATCH_EVENTS:
            return not answer.events or answer.token.compare(arguments.token) > 0
        return len(answer.events) == STREAM_BATCH_EVENTS and answer.token.compare(arguments.token) > 0

    def complaint(self, arguments: Reading, answer: Any) -> str:
        if arguments.tenant_id is None and len(answer.events) != STREAM_BATCH_EVENTS:
            return f"{STREAM_BATCH_EVENTS} events were expected after {arguments.token}, {len(answer.events)} came"
        return f"the token after {arguments.token} is not beyond it: {answer.token}"


class StoreSnapshot(Operation):
    """Stores a snapshot at the last event of a stream."""

    name = "store_snapshot"
    statement = "store_snapshot"
    needs = ("snapshots",)

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        return "" if sample.streams else "the corpus has no streams"

    async def prepare(self) -> None:
        self._payloads = self.sample.example_payloads(PAYLOADS, self.random)

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
        return snapshot_values(arguments, self.sample.naming)


class ReadSnapshot(Operation):
    """Reads the latest snapshot of streams that have some."""

    name = "read_snapshot"
    statement = "read_snapshot"
    has_cold = True
    needs = ("snapshots",)

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        return "" if sample.snapshot_streams else "the corpus has no snapshots, seed 20,000 events or more"

    def draw(self) -> StreamId:
        return pick(self.sample.snapshot_streams, self.random)

    def call(self, arguments: StreamId) -> Awaitable[Any]:
        return self.store.read_snapshot(arguments.tenant_id, arguments.aggregate_id)

    def parameters(self, arguments: StreamId) -> dict[str, Any]:
        return {"tenant_id": arguments.tenant_id, "aggregate_id": arguments.aggregate_id}

    def is_right(self, arguments: StreamId, answer: Any) -> bool:
        return answer is not None

    def complaint(self, arguments: StreamId, answer: Any) -> str:
        return f"aggregate {arguments.aggregate_id!r} of tenant {arguments.tenant_id!r} has a snapshot, none came"


class CreateHeadToken(Operation):
    """Finds the place after all events that are committed."""

    name = "create_head_token"
    statement = "create_head_token"
    needs = ("head_token",)

    def draw(self) -> None:
        return None

    def call(self, arguments: None) -> Awaitable[Any]:
        return self.store.create_head_token()


class CreateTailToken(Operation):
    """Makes the token before all events."""

    name = "create_tail_token"
    needs = ("tokens",)

    def draw(self) -> None:
        return None

    def call(self, arguments: None) -> Awaitable[Any]:
        return self.store.create_tail_token()


class CreateTokenAt(Operation):
    """Finds the place of an instant, anywhere in the history."""

    name = "create_token_at"
    statement = "create_token_at"
    has_cold = True
    needs = ("token_at",)

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        return "" if sample.instants else "the store keeps no time of its events"

    def draw(self) -> datetime:
        return self.sample.instants[int(self.random.integers(len(self.sample.instants)))]

    def call(self, arguments: datetime) -> Awaitable[Any]:
        return self.store.create_token_at(arguments)

    def parameters(self, arguments: datetime) -> dict[str, Any]:
        return {"instant": arguments}


class CompareTokens(Operation):
    """Compares two tokens of random places. Nothing is sent anywhere."""

    name = "compare_tokens"
    needs = ("tokens",)

    async def prepare(self) -> None:
        tail = await self.store.create_tail_token()
        self._tokens = [
            replace(
                tail, transaction_id=TransactionId(position[0]), global_sequence=GlobalSequence(position[1])
            )
            for position in self.sample.positions
        ]

    def draw(self) -> Any:
        first, other = self.random.integers(0, len(self._tokens), 2)
        return self._tokens[int(first)], self._tokens[int(other)]

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
