"""Appends of one batch to streams that no other append of the process is working on."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

import numpy as np

from eventmark.domain import NewEvent
from eventmark.errors import EventStoreError, OutcomeUnknownError, VersionConflictError
from eventmark.operations.operation import Operation
from eventmark.operations.streams import KnownStream, StreamVersions
from eventmark.seeding import CorpusSample
from eventmark.stores import append_values
from eventmark.workload import example_payloads, uuid_7_number

PAYLOADS = 500
EVENT_TYPE = "OrderLineAdded"
METADATA = '{"user": "user-0001", "traceId": "5f0c", "causationId": null, "correlationId": "5f0c"}'


class Append(NamedTuple):
    """An append drawn: the stream, what to append, and the version it is believed to be at."""

    known: KnownStream
    events: Sequence[Any]
    version: int

    @property
    def next_version(self) -> int:
        return self.version + len(self.events)


class Batches:
    """Batches of new events without end, of ``PAYLOADS`` payloads. Ids are version 7, as the corpus has them."""

    def __init__(self, size: int, random: np.random.Generator, payloads: Sequence[str] = ()) -> None:
        self.size = size
        # One number at a time it is many times as quick as numpy's: a draw must not keep the loop from others.
        self._quick = Random(int(random.integers(2**63)))
        self.payloads = payloads or example_payloads(PAYLOADS, random)

    def draw(self) -> list[NewEvent]:
        """The next batch."""
        now, ids, places = self.draw_numbers(self.size)
        return [
            NewEvent(
                event_id=UUID(int=event_id),
                event_type=EVENT_TYPE,
                payload=self.payloads[index],
                metadata=METADATA,
                timestamp=now,
                payload_type=EVENT_TYPE,
            )
            for event_id, index in zip(ids, places, strict=True)
        ]

    def draw_numbers(self, count: int) -> tuple[datetime, list[int], list[int]]:
        """``count`` events before they are made objects: their time, their ids, and their places in ``payloads``."""
        now = datetime.now(UTC)
        first, drawn = uuid_7_number(int(now.timestamp() * 1000), 0), uuid_7_number(0, -1 % 2**80)
        draw_bits, draw = self._quick.getrandbits, self._quick.random
        ids = [first | draw_bits(80) & drawn for _ in range(count)]
        return now, ids, [int(draw() * PAYLOADS) for _ in range(count)]


class AppendEvents(Operation):
    """Appends to streams of this process' own; one in ten is new.

    ``versions`` are made by ``prepare``; operations that append at the same time are given the same before.
    """

    statement = "append_events"
    batch_events: ClassVar[int]
    versions: StreamVersions | None = None

    async def prepare(self) -> None:
        self.known = self.versions or StreamVersions(self.sample.streams, naming=self.sample.naming)
        self.batches = Batches(
            self.batch_events, self.random, self.sample.example_payloads(PAYLOADS, self.random)
        )
        self._quick = Random(int(self.random.integers(2**63)))

    def take(self) -> KnownStream:
        """The stream of the next append."""
        return self.known.take(self._quick)

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        return "" if sample.streams else "the corpus has no streams to append to"

    def draw(self) -> Append:
        known = self.take()
        return Append(known, self.batches.draw(), known.version)

    def call(self, arguments: Append) -> Awaitable[Any]:
        return self.store.append_events(
            arguments.known.stream, arguments.events, expected_version=arguments.version
        )

    def parameters(self, arguments: Append) -> dict[str, Any]:
        self.stored(arguments)
        return append_values(arguments.known.stream, arguments.events, arguments.version, self.sample.naming)

    def stored(self, arguments: Append) -> None:
        """The store has taken all of it."""
        self.known.settle(arguments.known, arguments.next_version)

    def is_right(self, arguments: Append, answer: Any) -> bool:
        self.stored(arguments)
        return bool(answer.last_sequence_number == arguments.next_version)

    def release(self, arguments: Append) -> None:
        self.known.free(arguments.known)

    async def recover(self, arguments: Append, error: EventStoreError | None) -> None:
        if self.recovered(arguments, error):
            return
        stream = arguments.known.stream
        with suppress(EventStoreError):
            after = await self.store.load_aggregate(
                stream.tenant_id, stream.aggregate_id, from_sequence=arguments.version + 1
            )
            self.looked_up(
                arguments, max((int(event.sequence_number) for event in after), default=arguments.version)
            )

    def recovered(self, arguments: Append, error: EventStoreError | None) -> bool:
        """What is known without another look: after a conflict the stream's version, where the answer tells it.

        False where it has to be looked up. After an unknown outcome nobody knows it: the append may still be stored.
        """
        known = arguments.known
        if isinstance(error, VersionConflictError):
            if error.actual_version < 0:
                return False
            self.known.settle(known, error.actual_version)
        elif error is not None and not isinstance(error, OutcomeUnknownError):
            self.known.free(known)
        return True

    def looked_up(self, arguments: Append, version: int) -> None:
        """The version that the stream was found at, which is further than it was believed to be."""
        self.known.settle(arguments.known, version)


class AppendEvents1(AppendEvents):
    """Appends one event to a stream."""

    name = "append_events[1]"
    batch_events = 1


class AppendEvents10(AppendEvents):
    """Appends 10 events to a stream at once."""

    name = "append_events[10]"
    batch_events = 10


class AppendEvents100(AppendEvents):
    """Appends 100 events to a stream at once."""

    name = "append_events[100]"
    batch_events = 100
