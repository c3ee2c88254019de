"""Appends on the wire: a batch's part of the parameters is encoded ahead, the stream's part when the append is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import postgres

from eventmark.domain import NewEvent, StreamId
from eventmark.errors import EventStoreError
from eventmark.loadgen.wire.operations import Exchange, WireOperation
from eventmark.loadgen.wire.statements import Prepared
from eventmark.loadgen.wire.values import Encode, array_header, element_of, encoder, with_length
from eventmark.operations.appends import Append, AppendEvents, Batches
from eventmark.stores import PER_EVENT_PARAMETERS, STREAM_PARAMETERS, StoreSessions
from eventmark.stores.conflict import stored_nothing
from eventmark.workload import Naming

_STORED = "last_global_sequence"
_ANSWER = (_STORED, "actual_version", "transaction_id")
_UUID = postgres.types["uuid"].oid
_COLUMNS: Mapping[str, Callable[[NewEvent, Naming], Any]] = {
    "event_type": lambda event, naming: naming.event_type(event.event_type),
    "metadata": lambda event, _: event.metadata,
    "payload_type": lambda event, _: event.payload_type,
    "payload_revision": lambda event, _: event.payload_revision,
}
"""What is the same in all events that are drawn."""

Events = Sequence[tuple[int, int]]
"""Of each event its id, and the place of its payload."""

Ahead = Callable[[datetime, Events, int], bytes]
"""A parameter from a batch; for a statement of single events, from its event at a place."""

Due = Callable[[StreamId, int], bytes]
"""A parameter from the stream, and the version before the statement's events."""

Drawn = tuple[Events, Sequence[list[bytes | None]]]


class WireAppend(WireOperation):
    """Appends of one batch: by one statement, or by one for each event in a transaction, as its parameters ask."""

    operation: AppendEvents

    def __init__(
        self, operation: AppendEvents, sessions: StoreSessions, statements: Mapping[str, Prepared]
    ) -> None:
        super().__init__(operation, sessions)
        self._prepared = statements["append_events"]
        self._load = statements["load_aggregate"]
        self._size = operation.batch_events
        self.is_transaction = self._size > 1 and bool(
            set(self._prepared.parameters) & set(PER_EVENT_PARAMETERS)
        )
        self._count = self._size if self.is_transaction else 1
        columns = self._prepared.columns
        self._looked_at = _ANSWER if _STORED in columns else tuple(columns)
        self._verdict = [(name, columns[name][0]) for name in ([_STORED] if _STORED in columns else columns)]
        self._template: list[bytes | None] = [None] * len(self._prepared.parameters)
        self._ahead: list[tuple[int, Ahead]] = []
        self._due: list[tuple[int, Due]] = []
        self._naming = operation.sample.naming
        example = operation.batches.draw()[0]
        for place in range(len(self._prepared.parameters)):
            self._place(place, example)

    def ahead(self) -> Drawn:
        instant, events = self.operation.batches.draw_numbers()
        rows = []
        for number in range(self._count):
            row = self._template.copy()
            for place, make in self._ahead:
                row[place] = make(instant, events, number)
            rows.append(row)
        return events, rows

    def exchange(self, drawn: Drawn) -> Exchange:
        events, rows = drawn
        known = self.operation.take()
        stream, version = known.stream, known.version
        for before, row in enumerate(rows, version):
            for place, make in self._due:
                row[place] = make(stream, before)
        append = Append(known, events, version)
        if self.is_transaction:
            return Exchange(append, self._prepared, rows=rows, events=self._size)
        return Exchange(append, self._prepared, rows[0], events=self._size)

    def judged(self, exchange: Exchange, results: Sequence[Any]) -> str:
        assert len(results) == self._count
        append: Append = exchange.arguments
        is_void = self._prepared.is_void
        for number, result in enumerate(results):
            last = result.ntuples - 1
            row = (
                {name: result.get_value(last, place) for name, place in self._verdict} if last >= 0 else None
            )
            tag = "" if row is not None else result.command_status.decode()
            if stored_nothing(row, tag, is_void=is_void):
                self._refused(append, number, result, tag)
        self.operation.stored(append)
        return ""

    def _refused(self, append: Append, number: int, result: Any, tag: str) -> None:
        """Raise what the store's own client would."""
        last = result.ntuples - 1
        self.sessions.append_answer(
            self._prepared.row(result, last, self._looked_at) if last >= 0 else None,
            tag, append.known.stream, append.version + number, self._size // self._count,
            is_void=self._prepared.is_void,
        )  # fmt: skip

    def error(self, exchange: Exchange, failure: Exception) -> EventStoreError:
        append: Append = exchange.arguments
        event_ids = [UUID(int=number) for number, _ in append.events]
        return self.sessions.append_error(failure, append.known.stream, append.version, event_ids)

    def recovery(self, exchange: Exchange, error: EventStoreError | None) -> Exchange | None:
        append: Append = exchange.arguments
        if self.operation.recovered(append, error):
            return None
        stream = append.known.stream
        values = {
            "tenant_id": stream.tenant_id, "aggregate_id": stream.aggregate_id, "from_sequence": append.version + 1,
        }  # fmt: skip
        return Exchange(append, self._load, self._load.encoded(values))

    def recovered(self, exchange: Exchange, results: Sequence[Any]) -> None:
        append, result = exchange.arguments, results[0]
        numbers = (
            exchange.prepared.row(result, place, ("sequence_number",))["sequence_number"]
            for place in range(result.ntuples)
        )
        self.operation.looked_up(append, max(numbers, default=append.version))

    def _place(self, place: int, example: NewEvent) -> None:
        """Decide how the parameter at ``place`` comes to be: once, ahead, or when the append is due."""
        prepared, name = self._prepared, self._prepared.parameters[place]
        encode, is_single = prepared.encoders[place], name in PER_EVENT_PARAMETERS
        column = name if is_single else name.removesuffix("s")
        if name in STREAM_PARAMETERS:
            self._due.append((place, _of_stream(STREAM_PARAMETERS[name], self._naming, encode)))
        elif name == "event_count":
            self._template[place] = encode(self._size)
        elif name == "sequence_numbers":
            self._due.append((place, _numbers(encode, self._size)))
        elif name in ("expected_version", "sequence_number"):
            self._due.append((place, _number(encode, int(name == "sequence_number"))))
        elif column in _COLUMNS:
            value = _COLUMNS[column](example, self._naming)
            self._template[place] = encode(value if is_single else [value] * self._size)
        elif prepared.is_plain[place] and (is_single or element_of(prepared.oids[place]) is not None):
            self._ahead.append(
                (place, _drawn(column, is_single, prepared.oids[place], self.operation.batches))
            )
        else:
            self._ahead.append((place, _written_out(column, is_single, encode, self.operation.batches)))


def _of_stream(value_of: Callable[[StreamId, Naming], str], naming: Naming, encode: Encode) -> Due:
    return lambda stream, before: encode(value_of(stream, naming))


def _number(encode: Encode, above: int) -> Due:
    return lambda stream, before: encode(before + above)


def _numbers(encode: Encode, size: int) -> Due:
    return lambda stream, before: encode(range(before + 1, before + size + 1))


def _drawn(column: str, is_single: bool, oid: int, batches: Batches) -> Ahead:
    """How the ids, payloads or times of a batch, or of one of its events, are written: from parts encoded before."""
    element = oid if is_single else element_of(oid)
    assert element is not None
    encode, header = encoder(element)[0], array_header(element, batches.size)
    if column == "timestamp":
        if is_single:
            return lambda instant, events, number: encode(instant)
        return lambda instant, events, number: header + with_length(encode(instant)) * len(events)
    one = (_ids if column == "event_id" else _payloads)(element, batches, is_single)
    if is_single:
        return lambda instant, events, number: one(events[number])
    if batches.size == 1:
        return lambda instant, events, number: header + one(events[0])
    return lambda instant, events, number: header + b"".join([one(event) for event in events])


One = Callable[[tuple[int, int]], bytes]


def _ids(oid: int, batches: Batches, is_single: bool) -> One:
    before = b"" if is_single else with_length(bytes(16))[:4]
    if oid == _UUID:
        return lambda event: before + event[0].to_bytes(16, "big")
    encode = encoder(oid)[0]
    as_text: One = lambda event: encode(str(UUID(int=event[0])))  # noqa: E731
    return as_text if is_single else lambda event: with_length(as_text(event))


def _payloads(oid: int, batches: Batches, is_single: bool) -> One:
    encode = encoder(oid)[0]
    framed = [encode(one) if is_single else with_length(encode(one)) for one in batches.payloads]
    return lambda event: framed[event[1]]


def _written_out(column: str, is_single: bool, encode: Encode, batches: Batches) -> Ahead:
    """The same of a parameter of another type: its values are made, then written as the store's client does."""
    value_of: Callable[[datetime, tuple[int, int]], Any] = {
        "event_id": lambda instant, event: UUID(int=event[0]),
        "payload": lambda instant, event: batches.payloads[event[1]],
        "timestamp": lambda instant, event: instant,
    }[column]
    if is_single:
        return lambda instant, events, number: encode(value_of(instant, events[number]))
    return lambda instant, events, number: encode([value_of(instant, event) for event in events])
