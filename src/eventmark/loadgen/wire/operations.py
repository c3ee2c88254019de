"""Operations as exchanges on the wire: what is sent, and what an answer means by the rules of the store's client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eventmark.domain import EventBatch
from eventmark.engine.translation import translated_read_error, translated_write_error
from eventmark.errors import EventStoreError
from eventmark.loadgen.wire.statements import Prepared
from eventmark.operations.catalogue import StreamEvents
from eventmark.operations.operation import Operation
from eventmark.stores import StoreSessions

_PLACE = ("transaction_id", "global_sequence_id")


@dataclass(slots=True)
class Exchange:
    """One statement to be run with one set of parameters, or with each of ``rows`` in one transaction.

    ``arguments`` are the operation's; one that asks no server has ``NOTHING`` prepared. ``step`` counts the exchanges
    of a call that takes more than one.
    """

    arguments: Any
    prepared: Prepared
    parameters: Sequence[bytes | None] = ()
    rows: Sequence[Sequence[bytes | None]] | None = None
    events: int = 0  # that it appends
    step: int = 0


class WireOperation(ABC):
    """One operation of a mix. Drawn ahead of its time, made an exchange when it is due, judged by its answer."""

    is_transaction = False

    def __init__(self, operation: Operation, sessions: StoreSessions) -> None:
        self.operation = operation
        self.sessions = sessions

    @abstractmethod
    def ahead(self) -> Any:
        """All of the next call that can be known before it is due, encoded."""

    @abstractmethod
    def exchange(self, drawn: Any) -> Exchange:
        """The call that was drawn, as it is to be sent now."""

    @abstractmethod
    def judged(self, exchange: Exchange, results: Sequence[Any]) -> str | Exchange:
        """What is wrong about the answer, "" where it is right; or what has to be asked next.

        Raises what the store's own client would.
        """

    def complaint(self, arguments: Any, answer: Any) -> str:
        """What the operation itself finds wrong about an answer."""
        if self.operation.is_right(arguments, answer):
            return ""
        return self.operation.complaint(arguments, answer)

    @abstractmethod
    def error(self, exchange: Exchange, failure: Exception) -> EventStoreError:
        """What the store's own client makes of a failure."""

    def recovery(self, exchange: Exchange, error: EventStoreError | None) -> Exchange | None:
        """After a call that did not succeed: what has to be asked to know the store again, if anything."""
        return None

    def recovered(self, exchange: Exchange, results: Sequence[Any]) -> None:  # noqa: B027
        """The answer to ``recovery``."""


class Read(WireOperation):
    """An operation of one statement, its arguments drawn and judged by the operation itself."""

    def __init__(
        self, operation: Operation, sessions: StoreSessions, statements: Mapping[str, Prepared]
    ) -> None:
        super().__init__(operation, sessions)
        self._statements = statements

    def ahead(self) -> Exchange:
        arguments = self.operation.draw()
        prepared = self._statements[self._statement(arguments)]
        return Exchange(arguments, prepared, prepared.encoded(self.operation.parameters(arguments)))

    def exchange(self, drawn: Exchange) -> Exchange:
        return drawn

    def judged(self, exchange: Exchange, results: Sequence[Any]) -> str | Exchange:
        return self.complaint(exchange.arguments, self._answer(exchange, results[0]))

    def error(self, exchange: Exchange, failure: Exception) -> EventStoreError:
        return translated_read_error(failure)

    def _statement(self, arguments: Any) -> str:
        return self.operation.statement

    def _answer(self, exchange: Exchange, result: Any) -> Any:
        """As far as the operation looks at it: how many rows."""
        return range(result.ntuples)


class ReadOne(Read):
    """Of at most one row."""

    def _answer(self, exchange: Exchange, result: Any) -> Any:
        return range(1) if result.ntuples else None


class ReadBatch(Read):
    """A batch of the log, and the token after it."""

    operation: StreamEvents

    def _statement(self, arguments: Any) -> str:
        return "stream_events" if arguments.tenant_id is None else "stream_tenant_events"

    def _answer(self, exchange: Exchange, result: Any) -> Any:
        count, token = result.ntuples, exchange.arguments.token
        if count:
            token = self.sessions.token_of(exchange.prepared.row(result, count - 1, _PLACE))
        return EventBatch(range(count), token)  # type: ignore[arg-type]  # only counted


class TokenAt(Read):
    """The token of an instant: the head, asked for next, where nothing follows it; then the engine looks again."""

    def judged(self, exchange: Exchange, results: Sequence[Any]) -> str | Exchange:
        if exchange.step == 0 and not results[0].ntuples and "create_head_token" in self._statements:
            return Exchange(exchange.arguments, self._statements["create_head_token"], step=1)
        if exchange.step == 1 and self.sessions.definition.engine:
            return replace(self.exchange_of(exchange.arguments), step=2)
        return self.complaint(exchange.arguments, range(1))

    def exchange_of(self, arguments: Any) -> Exchange:
        prepared = self._statements[self.operation.statement]
        return Exchange(arguments, prepared, prepared.encoded(self.operation.parameters(arguments)))


class WriteSnapshot(Read):
    """A snapshot stored, or refused."""

    def judged(self, exchange: Exchange, results: Sequence[Any]) -> str:
        self.sessions.check_snapshot(exchange.arguments, results[0].ntuples)
        return self.complaint(exchange.arguments, None)

    def error(self, exchange: Exchange, failure: Exception) -> EventStoreError:
        if not self.sessions.definition.engine:
            return translated_read_error(failure)
        return translated_write_error(failure, exchange.arguments.stream.tenant_id, ())
