"""Appends of one batch to streams that no other append of the process is working on."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar

import numpy as np

from eventmark.domain import NewEvent
from eventmark.errors import EventStoreError, OutcomeUnknownError, VersionConflictError
from eventmark.operations.operation import Operation
from eventmark.operations.streams import KnownStream, StreamVersions
from eventmark.seeding import CorpusSample
from eventmark.stores import append_values
from eventmark.workload import example_payloads, uuid_7

PAYLOADS = 500
_METADATA = '{"user": "user-0001", "traceId": "5f0c", "causationId": null, "correlationId": "5f0c"}'


@dataclass(frozen=True, slots=True)
class Append:
    """An append drawn: the stream, what to append, and the version it is believed to be at."""

    known: KnownStream
    events: list[NewEvent]
    version: int

    @property
    def next_version(self) -> int:
        return self.version + len(self.events)


class Batches:
    """Batches of new events without end. Ids are version 7, as the corpus has them."""

    def __init__(self, size: int, random: np.random.Generator) -> None:
        self._size = size
        # One number at a time it is many times as quick as numpy's: a draw must not keep the loop from others.
        self._quick = Random(int(random.integers(2**63)))
        self._payloads = example_payloads(PAYLOADS, random)

    def draw(self) -> list[NewEvent]:
        """The next batch."""
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
            for _ in range(self._size)
        ]


class AppendEvents(Operation):
    """Appends to streams of this process' own; one in ten is new.

    ``versions`` are made by ``prepare``; operations that append beside each other are given the same before.
    """

    statement = "append_events"
    batch_events: ClassVar[int]
    versions: StreamVersions | None = None

    async def prepare(self) -> None:
        self._versions = self.versions or StreamVersions(self.sample.streams, naming=self.sample.naming)
        self._batches = Batches(self.batch_events, self.random)

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        return "" if sample.streams else "the corpus has no streams to append to"

    def draw(self) -> Append:
        known = self._versions.take(self.random)
        return Append(known, self._batches.draw(), known.version)

    def call(self, arguments: Append) -> Awaitable[Any]:
        return self.store.append_events(
            arguments.known.stream, arguments.events, expected_version=arguments.version
        )

    def parameters(self, arguments: Append) -> dict[str, Any]:
        self._versions.settle(arguments.known, arguments.next_version)
        return append_values(arguments.known.stream, arguments.events, arguments.version, self.sample.naming)

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
        return max((int(event.sequence_number) for event in after), default=arguments.version)


class AppendEvents1(AppendEvents):
    name = "append_events[1]"
    batch_events = 1


class AppendEvents10(AppendEvents):
    name = "append_events[10]"
    batch_events = 10


class AppendEvents100(AppendEvents):
    name = "append_events[100]"
    batch_events = 100
