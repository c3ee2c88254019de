"""The operations on a store whose data was there already and is in use: others append to it while it is read."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from eventmark.domain import Capabilities
from eventmark.operations.appends import Append, AppendEvents, AppendEvents1, AppendEvents10, AppendEvents100
from eventmark.operations.catalogue import (
    LOADED_EVENTS,
    OPERATIONS,
    STREAM_BATCH_EVENTS,
    LoadAggregate,
    StoreSnapshot,
    StreamEvents,
)
from eventmark.operations.operation import Operation
from eventmark.operations.streams import pick
from eventmark.seeding import CorpusSample, SampledStream

LONGEST_STREAMS = 20


class LoadLast(LoadAggregate):
    """Loads the last 1000 events of streams that have as many or more."""

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        if sample.long_streams:
            return ""
        longest = max((stream.version for stream in sample.streams), default=0)
        drawn = f"{len(sample.streams):,} streams that were drawn"
        return f"of {drawn}, the longest has {longest:,} events: see {LoadLongest.name}"

    def call(self, arguments: SampledStream) -> Awaitable[Any]:
        return self.store.load_aggregate(
            arguments.stream.tenant_id,
            arguments.stream.aggregate_id,
            from_sequence=arguments.version - LOADED_EVENTS + 1,
        )

    def is_right(self, arguments: SampledStream, answer: Any) -> bool:
        return len(answer) >= LOADED_EVENTS  # others may have appended


class LoadLongest(LoadAggregate):
    """Loads the longest streams there are, where none has 1000 events."""

    name = "load_aggregate[longest]"

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        if sample.long_streams:
            return f"there are streams of {LOADED_EVENTS} events: see {LoadLast.name}"
        return "" if sample.streams else "no stream was drawn"

    async def prepare(self) -> None:
        self._longest = sorted(self.sample.streams, key=lambda stream: -stream.version)[:LONGEST_STREAMS]

    def draw(self) -> SampledStream:
        return pick(self._longest, self.random)

    def is_right(self, arguments: SampledStream, answer: Any) -> bool:
        return len(answer) >= arguments.version

    def complaint(self, arguments: SampledStream, answer: Any) -> str:
        stream = arguments.stream
        return (
            f"{arguments.version} events were expected of aggregate {stream.aggregate_id!r} of tenant "
            f"{stream.tenant_id!r}, {len(answer)} came"
        )


class StreamExisting(StreamEvents):
    """Reads batches of 1000 events from the places that were drawn, which lie behind the log's end."""

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        return "" if sample.positions else f"no place was found with {STREAM_BATCH_EVENTS} events after it"

    async def prepare(self) -> None:
        self._tail = await self.store.create_tail_token()
        self._places = self.sample.positions


class RolledBack(AppendEvents):
    """Appends in a transaction that is rolled back; what is measured is the append alone, without its commit."""

    async def begin(self, arguments: Append) -> None:
        self._transaction = self.store.transaction()
        await self._transaction.__aenter__()
        # Of this transaction alone: the session stays read-only.
        await self._transaction.connection.execute("set transaction read write")

    def call(self, arguments: Append) -> Awaitable[Any]:
        return self._transaction.append_events(
            arguments.known.stream, arguments.events, expected_version=arguments.version
        )

    async def end(self, arguments: Append) -> None:
        await self._transaction.__aexit__(_Undone, _Undone(), None)

    def is_right(self, arguments: Append, answer: Any) -> bool:
        self.known.settle(arguments.known, arguments.version)
        return bool(answer.last_sequence_number == arguments.next_version)


class _Undone(Exception):
    """Rolls a transaction back."""


class RolledBack1(RolledBack, AppendEvents1):
    """One event."""


class RolledBack10(RolledBack, AppendEvents10):
    """Ten events."""


class RolledBack100(RolledBack, AppendEvents100):
    """A hundred events."""


class NotWritten(StoreSnapshot):
    """Nothing is stored in a store whose data is in use."""

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        return "nothing is written with --existing"


class NotAppended(AppendEvents1):
    """Nothing is appended unless that is allowed."""

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        return "nothing is written with --existing; --allow-appends measures appends that are rolled back"


READING: dict[str, type[Operation]] = {
    **OPERATIONS,
    **{operation.name: NotAppended for operation in (AppendEvents1, AppendEvents10, AppendEvents100)},
    LoadLast.name: LoadLast,
    LoadLongest.name: LoadLongest,
    StreamExisting.name: StreamExisting,
    NotWritten.name: NotWritten,
}
"""Operations by name on data that was there already, nothing written."""

APPENDING: dict[str, type[Operation]] = {
    **READING,
    **{operation.name: operation for operation in (RolledBack1, RolledBack10, RolledBack100)},
}
"""The same, with appends that are rolled back."""

CATALOGUES: dict[str, dict[str, type[Operation]]] = {
    "seeded": OPERATIONS,
    "reading": READING,
    "appending": APPENDING,
}
"""By a name that travels to worker processes: of a corpus, and of data that was there already."""
