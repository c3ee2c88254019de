"""Appends on the wire: a batch's part of the parameters is encoded ahead, the stream's part when the append is due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any
from uuid import UUID

from psycopg import postgres

from eventmark.domain import NewEvent, StreamId
from eventmark.errors import EventStoreError
from eventmark.loadgen.wire.operations import Call, WireOperation
from eventmark.loadgen.wire.statements import Prepared
from eventmark.loadgen.wire.values import Encode, array_header, element_of, encoder, with_length
from eventmark.operations.appends import Append, AppendEvents, Batches
from eventmark.stores import PER_EVENT_PARAMETERS, STREAM_PARAMETERS, StoreSessions
from eventmark.stores.conflict import stored_nothing
from eventmark.workload import Naming, uuid_text

BLOCK_EVENTS = 16
"""Events of appends that are drawn at once: a few hundredths of a millisecond."""

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

Ahead = Callable[[datetime, Sequence[int], Sequence[int], int], Iterable[bytes]]
"""A parameter of several statements: from when they were drawn, ids, places of payloads, and how many statements."""

Due = Callable[[int], bytes]
"""A parameter from the version before the statement's events."""


class WireAppend(WireOperation):
    """Appends of one batch: by one statement, or by one for each event in a transaction, as its parameters ask."""

    operation: AppendEvents

    def __init__(
        self, operation: AppendEvents, sessions: StoreSessions, statements: Mapping[str, Prepared]
    ) -> None:
        super().__init__(operation, sessions)
        self._prepared = statements["append_events"]
        self._load = statements["load_aggregate"]
        self.events = size = operation.batch_events
        self.block = BLOCK_EVENTS // size if size < BLOCK_EVENTS else 1
        self.is_transaction = size > 1 and bool(set(self._prepared.parameters) & set(PER_EVENT_PARAMETERS))
        self._count = size if self.is_transaction else 1
        columns = self._prepared.columns
        self._stored = columns[_STORED][0] if _STORED in columns else -1
        self._same: list[bytes | None] = [None] * len(self._prepared.parameters)
        self._ahead: dict[int, Ahead] = {}
        self._due: list[tuple[int, Due]] = []
        self._of_stream: dict[int, Callable[[StreamId, Naming], str]] = {}
        self._naming, self._versions = operation.sample.naming, operation.known
        example = operation.batches.draw()[0]
        for index in range(len(self._prepared.parameters)):
            self._place(index, example)

    def drawn(self) -> list[Call]:
        size, count = self.events, self._count
        instant, ids, payloads = self.operation.batches.draw_numbers(self.block * size)
        statements = self.block * count
        columns = [
            self._ahead[index](instant, ids, payloads, statements) if index in self._ahead else repeat(same, statements)
            for index, same in enumerate(self._same)
        ]  # fmt: skip
        rows = [list(row) for row in zip(*columns, strict=True)]
        if size == 1:
            return [
                Call(self, (number,), self._prepared, (row,)) for number, row in zip(ids, rows, strict=True)
            ]
        return [
            Call(
                self,
                ids[number * size : (number + 1) * size],
                self._prepared,
                rows[number * count : (number + 1) * count],
            )
            for number in range(self.block)
        ]

    def complete(self, call: Call) -> None:
        known = self.operation.take()
        version, encoded = known.version, known.encoded
        if not encoded:
            encoded = known.encoded = tuple(
                self._prepared.encoders[index](value_of(known.stream, self._naming))
                for index, value_of in self._of_stream.items()
            )
        before = version
        for row in call.rows:
            for index, value in zip(self._of_stream, encoded):  # noqa: B905 - a check would take as long as the rest
                row[index] = value
            for index, make in self._due:
                row[index] = make(before)
            before += 1
        call.arguments = known, call.arguments, version

    def judged(self, call: Call, results: Sequence[Any]) -> str:
        stored = self._stored
        for number, result in enumerate(results):
            last = result.ntuples - 1
            if last < 0 or stored < 0 or result.get_value(last, stored) is None:
                self._check(Append(*call.arguments), number, result, last)
        known, ids, version = call.arguments
        self._versions.settle(known, version + len(ids))
        return ""

    def _check(self, append: Append, number: int, result: Any, last: int) -> None:
        """Of an answer that does not give an event's number: raise what the store's own client would."""
        prepared, row, tag = self._prepared, None, ""
        if last >= 0:
            row = {name: result.get_value(last, column) for name, (column, _) in prepared.columns.items()}
        else:
            tag = result.command_status.decode()
        if stored_nothing(row, tag, is_void=prepared.is_void):
            self.sessions.append_answer(
                prepared.row(result, last, _ANSWER if self._stored >= 0 else tuple(prepared.columns)) if row else None,
                tag, append.known.stream, append.version + number, self.events // self._count,
                is_void=prepared.is_void,
            )  # fmt: skip

    def error(self, call: Call, failure: Exception) -> EventStoreError:
        append = Append(*call.arguments)
        event_ids = [UUID(int=number) for number in append.events]
        return self.sessions.append_error(failure, append.known.stream, append.version, event_ids)

    def recovery(self, call: Call, error: EventStoreError | None) -> Call | None:
        append = Append(*call.arguments)
        if self.operation.recovered(append, error):
            return None
        stream = append.known.stream
        values = {
            "tenant_id": stream.tenant_id, "aggregate_id": stream.aggregate_id, "from_sequence": append.version + 1,
        }  # fmt: skip
        return Call(self, call.arguments, self._load, (self._load.encoded(values),))

    def recovered(self, call: Call, results: Sequence[Any]) -> None:
        append, result = Append(*call.arguments), results[0]
        numbers = (
            call.prepared.row(result, column, ("sequence_number",))["sequence_number"]
            for column in range(result.ntuples)
        )
        self.operation.looked_up(append, max(numbers, default=append.version))

    def _place(self, index: int, example: NewEvent) -> None:
        """Decide how the parameter at ``index`` comes to be: once, ahead, or when the append is due."""
        prepared, name = self._prepared, self._prepared.parameters[index]
        encode, is_single = prepared.encoders[index], name in PER_EVENT_PARAMETERS
        column = name if is_single else name.removesuffix("s")
        if name in STREAM_PARAMETERS:
            self._of_stream[index] = STREAM_PARAMETERS[name]
        elif name == "event_count":
            self._same[index] = encode(self.events)
        elif name == "sequence_numbers":
            size = self.events
            self._due.append((index, lambda before: encode(range(before + 1, before + size + 1))))
        elif name == "sequence_number":
            self._due.append((index, lambda before: encode(before + 1)))
        elif name == "expected_version":
            self._due.append((index, encode))
        elif column in _COLUMNS:
            value = _COLUMNS[column](example, self._naming)
            self._same[index] = encode(value if is_single else [value] * self.events)
        elif prepared.is_plain[index] and (is_single or element_of(prepared.oids[index]) is not None):
            self._ahead[index] = _drawn(column, is_single, prepared.oids[index], self.operation.batches)
        else:
            self._ahead[index] = _written_out(column, is_single, encode, self.operation.batches)


def _drawn(column: str, is_single: bool, oid: int, batches: Batches) -> Ahead:
    """How the ids, payloads or times of statements' events are written: from parts encoded before."""
    element = oid if is_single else element_of(oid)
    assert element is not None
    encode, size = encoder(element)[0], 1 if is_single else batches.size
    header = b"" if is_single else array_header(element, size)
    framed: Encode = bytes if is_single else with_length
    if column == "timestamp":
        return lambda instant, ids, payloads, count: repeat(header + framed(encode(instant)) * size, count)
    if column == "payload":
        ready = [(header if size == 1 else b"") + framed(encode(payload)) for payload in batches.payloads]
        if size == 1:
            return lambda instant, ids, payloads, count: [ready[payload] for payload in payloads]
        return lambda instant, ids, payloads, count: _joined(
            header, [ready[payload] for payload in payloads], size
        )
    if element == _UUID and size == 1:
        before = header + framed(bytes(16))[:-16]
        return lambda instant, ids, payloads, count: [before + number.to_bytes(16, "big") for number in ids]
    write = _id_as_bytes if element == _UUID else lambda number: encode(uuid_text(number))
    if size == 1:
        before = header + framed(write(0))[: -len(write(0))]
        return lambda instant, ids, payloads, count: [before + write(number) for number in ids]
    return lambda instant, ids, payloads, count: _joined(
        header, [framed(write(number)) for number in ids], size
    )


def _joined(header: bytes, parts: Sequence[bytes], size: int) -> list[bytes]:
    return [header + b"".join(parts[first : first + size]) for first in range(0, len(parts), size)]


def _id_as_bytes(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _written_out(column: str, is_single: bool, encode: Encode, batches: Batches) -> Ahead:
    """The same of a parameter of another type: its values are made, then written as the store's client does."""

    def ahead(instant: datetime, ids: Sequence[int], payloads: Sequence[int], count: int) -> Iterable[bytes]:
        values: Sequence[Any] = [instant] * len(ids)
        if column == "event_id":
            values = [UUID(int=number) for number in ids]
        elif column == "payload":
            values = [batches.payloads[payload] for payload in payloads]
        if is_single:
            return map(encode, values)
        size = batches.size
        return [encode(values[first : first + size]) for first in range(0, len(values), size)]

    return ahead
