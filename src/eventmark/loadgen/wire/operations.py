"""Operations as calls on the wire: what is sent, and what an answer means by the rules of the store's client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from eventmark.domain import EventBatch
from eventmark.engine.translation import translated_read_error, translated_write_error
from eventmark.errors import EventStoreError
from eventmark.loadgen.wire.connection import WireConnection
from eventmark.loadgen.wire.statements import Prepared
from eventmark.operations.catalogue import StreamEvents
from eventmark.operations.operation import Operation
from eventmark.stores import StoreSessions

_PLACE = ("transaction_id", "global_sequence_id")


class Call:
    """One call: what is to be sent, drawn before it is due, and how it went.

    ``rows`` are the parameters of one statement, or of each of several in one transaction. ``arguments`` are the
    operation's; one that asks no server has ``NOTHING`` prepared. ``step`` counts the statements of a call that
    takes several one after the other. ``answer_lag_ns`` is how long its answers lay here before they were read, below 0
    where that is not known. ``kind`` is the operation's place in the mix, below 0 for a call of the
    worker's own, which is not written down.
    """

    __slots__ = (
        "answer_lag_ns", "arguments", "connection", "due_ns", "ended_ns", "error", "is_right", "kind", "operation",
        "prepared", "rows", "started_ns", "step", "user", "waited_ns",
    )  # fmt: skip

    kind: int
    due_ns: int
    user: int
    ended_ns: int

    def __init__(
        self, operation: WireOperation, arguments: Any, prepared: Prepared, rows: Sequence[list[bytes | None]]
    ) -> None:
        self.operation, self.arguments, self.prepared, self.rows = operation, arguments, prepared, rows
        self.started_ns = self.waited_ns = self.answer_lag_ns = self.step = 0
        self.connection: WireConnection | None = None
        self.is_right: bool | None = None  # what became of a transaction that is being ended
        self.error: EventStoreError | None = None


class WireOperation(ABC):
    """One operation of a mix. Its calls are drawn ahead, completed when they are due, judged by their answers.

    ``block`` is how many are drawn at once, a divisor of ``AHEAD``; ``events`` how many a call appends.
    """

    is_transaction = False
    block = 8
    events = 0

    def __init__(self, operation: Operation, sessions: StoreSessions) -> None:
        self.operation = operation
        self.sessions = sessions

    @abstractmethod
    def drawn(self) -> list[Call]:
        """The next ``block`` of calls, with all that can be known before they are due, encoded."""

    def complete(self, call: Call) -> None:  # noqa: B027 - most calls are complete when they are drawn
        """The call is due."""

    @abstractmethod
    def judged(self, call: Call, results: Sequence[Any]) -> str | None:
        """What is wrong about the answer, "" where it is right; None where the call now asks for something else.

        Raises what the store's own client would.
        """

    def complaint(self, arguments: Any, answer: Any) -> str:
        """What the operation itself finds wrong about an answer."""
        if self.operation.is_right(arguments, answer):
            return ""
        return self.operation.complaint(arguments, answer)

    @abstractmethod
    def error(self, call: Call, failure: Exception) -> EventStoreError:
        """What the store's own client makes of a failure."""

    def recovery(self, call: Call, error: EventStoreError | None) -> Call | None:
        """After a call that did not succeed: what has to be asked to know the store again, if anything."""
        return None

    def recovered(self, call: Call, results: Sequence[Any]) -> None:  # noqa: B027
        """The answer to ``recovery``."""


class Read(WireOperation):
    """An operation of one statement, its arguments drawn and judged by the operation itself."""

    def __init__(
        self, operation: Operation, sessions: StoreSessions, statements: Mapping[str, Prepared]
    ) -> None:
        super().__init__(operation, sessions)
        self._statements = statements

    def drawn(self) -> list[Call]:
        return [self._call(self.operation.draw()) for _ in range(self.block)]

    def _call(self, arguments: Any) -> Call:
        prepared = self._statements[self._statement(arguments)]
        return Call(self, arguments, prepared, (prepared.encoded(self.operation.parameters(arguments)),))

    def judged(self, call: Call, results: Sequence[Any]) -> str | None:
        return self.complaint(call.arguments, self._answer(call, results[0]))

    def error(self, call: Call, failure: Exception) -> EventStoreError:
        return translated_read_error(failure)

    def _statement(self, arguments: Any) -> str:
        return self.operation.statement

    def _answer(self, call: Call, result: Any) -> Any:
        """As far as the operation looks at it: how many rows."""
        return range(result.ntuples)


class ReadOne(Read):
    """Of at most one row."""

    def _answer(self, call: Call, result: Any) -> Any:
        return range(1) if result.ntuples else None


class ReadBatch(Read):
    """A batch of the log, and the token after it."""

    operation: StreamEvents

    def _statement(self, arguments: Any) -> str:
        return "stream_events" if arguments.tenant_id is None else "stream_tenant_events"

    def _answer(self, call: Call, result: Any) -> Any:
        count, token = result.ntuples, call.arguments.token
        if count:
            token = self.sessions.token_of(call.prepared.row(result, count - 1, _PLACE))
        return EventBatch(range(count), token)  # type: ignore[arg-type]  # only counted


class TokenAt(Read):
    """The token of an instant: the head, asked for next, where nothing follows it; then the engine looks again."""

    def judged(self, call: Call, results: Sequence[Any]) -> str | None:
        if call.step == 0 and not results[0].ntuples and "create_head_token" in self._statements:
            call.prepared, call.rows = self._statements["create_head_token"], ([],)
        elif call.step == 1 and self.sessions.definition.engine:
            again = self._call(call.arguments)
            call.prepared, call.rows = again.prepared, again.rows
        else:
            return self.complaint(call.arguments, range(1))
        call.step += 1
        return None


class WriteSnapshot(Read):
    """A snapshot stored, or refused."""

    def judged(self, call: Call, results: Sequence[Any]) -> str:
        self.sessions.check_snapshot(call.arguments, results[0].ntuples)
        return self.complaint(call.arguments, None)

    def error(self, call: Call, failure: Exception) -> EventStoreError:
        if not self.sessions.definition.engine:
            return translated_read_error(failure)
        return translated_write_error(failure, call.arguments.stream.tenant_id, ())
