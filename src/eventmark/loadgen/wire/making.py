"""Which calls each operation of the catalogue makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventmark.errors import EventStoreError
from eventmark.loadgen.wire.appends import WireAppend
from eventmark.loadgen.wire.operations import (
    Call,
    Read,
    ReadBatch,
    ReadOne,
    TokenAt,
    WireOperation,
    WriteSnapshot,
)
from eventmark.loadgen.wire.statements import NOTHING, Prepared
from eventmark.operations.appends import AppendEvents
from eventmark.operations.operation import Operation
from eventmark.stores import StoreSessions

_ASKED_AS_WELL: Mapping[str, str] = {
    "append_events": "load_aggregate",  # after a conflict that does not tell the stream's version
    "stream_events": "stream_tenant_events",
    "create_token_at": "create_head_token",
}

_READS: Mapping[str, type[Read]] = {
    "load_aggregate": Read,
    "stream_events": ReadBatch,
    "store_snapshot": WriteSnapshot,
    "read_snapshot": ReadOne,
    "create_head_token": Read,
    "create_token_at": TokenAt,
}


def statements_of(operations: Sequence[Operation]) -> list[str]:
    """The names of all statements that the operations may run."""
    own = [operation.statement for operation in operations if operation.statement]
    return [*own, *(_ASKED_AS_WELL[name] for name in own if name in _ASKED_AS_WELL)]


class Local(WireOperation):
    """An operation that asks no server."""

    def drawn(self) -> list[Call]:
        return [Call(self, self.operation.draw(), NOTHING, ()) for _ in range(self.block)]

    def judged(self, call: Call, results: Sequence[Any]) -> str:
        answer = self.operation.call(call.arguments).__await__()
        try:
            next(answer)
        except StopIteration as done:
            return self.complaint(call.arguments, done.value)
        raise AssertionError("an operation without a statement has waited for something")

    def error(self, call: Call, failure: Exception) -> EventStoreError:
        raise failure


def wire_operation(
    operation: Operation, sessions: StoreSessions, statements: Mapping[str, Prepared]
) -> WireOperation:
    """The operation as it goes over the wire; it must be prepared, and the store must have its statement.

    A statement of the user's own is read as any other.
    """
    if isinstance(operation, AppendEvents):
        return WireAppend(operation, sessions, statements)
    if not operation.statement:
        return Local(operation, sessions)
    return _READS.get(operation.statement, Read)(operation, sessions, statements)
