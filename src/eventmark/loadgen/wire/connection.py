"""One connection of libpq's that never blocks: opened, its statements prepared, asked and heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, Format, PollingStatus

from eventmark.engine.pool import Opening
from eventmark.engine.sessions import is_standby_warning, unreplicated_error
from eventmark.loadgen.wire.arrivals import SegmentArrivals, segment_arrivals
from eventmark.loadgen.wire.failures import GOOD, failure_of, lost
from eventmark.loadgen.wire.poller import Poller
from eventmark.server.search_path import with_options

CONNECT_TIMEOUT_S = 30

Parameters = Sequence[bytes | None]


OPENING, PREPARING, IDLE, BUSY, CLOSED = range(5)
"""What a connection is doing."""

# By names of their own: reading an enum's member takes as long as a call.
BINARY, TUPLES, SYNC = Format.BINARY, int(ExecStatus.TUPLES_OK), int(ExecStatus.PIPELINE_SYNC)


def conninfo_of(opening: Opening) -> bytes:
    """libpq's words for a session as the store's own client opens it."""
    options = " ".join(f"-c {name}={_escaped(value)}" for name, value in opening.settings.items())
    return make_conninfo(
        with_options(opening.dsn, options),
        application_name=opening.application_name,
        client_encoding="UTF8",
        connect_timeout=CONNECT_TIMEOUT_S,
    ).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


class WireConnection:
    """A connection, and what is under way on it for ``call``.

    ``advance`` is to be called when its descriptor is ready. When it says that this has ended, ``failure`` is what
    the server or the connection had against it, and ``results`` what came. ``arrived_ns`` is when the last of it
    reached this machine, on ``now_ns``; 0 where nobody wrote that down.
    """

    __slots__ = (
        "_arrivals", "_in_transaction", "_pg", "_pipelined", "_poller", "_statements", "_unreplicated", "_wants_write",
        "arrived_ns", "call", "failure", "fd", "results", "state",
    )  # fmt: skip

    def __init__(self, conninfo: bytes, statements: Mapping[bytes, bytes], poller: Poller) -> None:
        self._statements = statements
        self._poller = poller
        self._pipelined = self._in_transaction = self._unreplicated = self._wants_write = False
        self._arrivals: SegmentArrivals | None = None
        self.state = OPENING
        self.arrived_ns = 0
        self.call: Any = None
        self.results: list[Any] = []
        self.failure: Exception | None = None
        self.fd = -1
        self._pg: Any = pq.PGconn.connect_start(conninfo)
        if self._pg.status != ConnStatus.BAD:
            self._watch(read=False, write=True)

    @property
    def is_sound(self) -> bool:
        """Whether it can be asked again."""
        return self.state is IDLE and self._pg.status == ConnStatus.OK

    @property
    def answers(self) -> list[Any]:
        """Of the statement that was asked for: without that of the transaction's beginning."""
        return self.results[1:] if self._in_transaction else self.results

    def send(self, statement: bytes, formats: Sequence[Format], parameters: Parameters) -> None:
        """Ask for one statement: one message, one answer."""
        self.state, self.results, self.failure, self.arrived_ns, pg = BUSY, [], None, 0, self._pg
        pg.send_query_prepared(statement, parameters, formats, BINARY)
        if pg.flush():
            self._flush()

    def send_transaction(
        self, statement: bytes, formats: Sequence[Format], rows: Sequence[Parameters]
    ) -> None:
        """Ask for one statement with each of ``rows``, all at once, in a transaction that stays open."""
        self._begin()
        self._in_transaction = True
        self._pg.enter_pipeline_mode()
        self._pg.send_query_params(b"begin", None)
        for parameters in rows:
            self._pg.send_query_prepared(statement, parameters, formats, BINARY)
        self._sync()

    def end_transaction(self, *, commit: bool) -> None:
        """The second and last part of a transaction, once its answers were looked at."""
        self._begin()
        self._in_transaction = False
        self._pg.send_query_params(b"commit" if commit else b"rollback", None)
        self._sync()

    def advance(self) -> bool:
        """Go on with what is under way; whether it has ended. An idle connection ends where the server hangs up."""
        try:
            if self.state is not BUSY or self._wants_write:
                if self.state is CLOSED:  # since it was found ready
                    return False
                if self.state is OPENING:
                    return self._open()
                self._flush()
            pg = self._pg
            if self._arrivals is not None and (arrived_ns := self._arrivals.last_ns()):
                self.arrived_ns = arrived_ns
            pg.consume_input()
            if self.state is IDLE:
                return bool(pg.status == ConnStatus.BAD)
            if pg.is_busy() or not self._take():
                return False
        except psycopg.Error as error:
            self.failure = self.failure or lost(str(error))
            self.state = CLOSED
            return True
        if self._unreplicated:
            self._unreplicated = False
            self.failure = self.failure or unreplicated_error()
        self.state = IDLE
        return True

    def cancelling(self) -> Cancelling:
        """Has the server told to end what is under way."""
        return Cancelling(self._pg, self._poller)

    def close(self) -> None:
        self.state = CLOSED
        if self._arrivals is not None:
            self._arrivals.close()
            self._arrivals = None
        if self.fd >= 0:
            self._poller.forget(self.fd)
            self.fd = -1
        self._pg.finish()

    def _begin(self) -> None:
        self.state = BUSY
        self.results = []
        self.failure = None
        self.arrived_ns = 0

    def _open(self) -> bool:
        """Whether it could not be opened. Once it is, its statements are prepared."""
        status = self._pg.connect_poll() if self._pg.status != ConnStatus.BAD else PollingStatus.FAILED
        if status == PollingStatus.FAILED:
            self.failure = lost(self._pg.get_error_message())
            self.state = CLOSED
            return True
        if status == PollingStatus.OK:
            self._watch(read=True, write=False)
            self._arrivals = segment_arrivals(self.fd)
            self._pg.nonblocking = 1
            self._pg.notice_handler = self._hear
            self._prepare()
        else:
            self._watch(read=status == PollingStatus.READING, write=status == PollingStatus.WRITING)
        return False

    def _prepare(self) -> None:
        self._begin()
        self.state = PREPARING
        self._pg.enter_pipeline_mode()
        for name, sql in self._statements.items():
            self._pg.send_prepare(name, sql)
        self._sync()

    def _sync(self) -> None:
        self._pipelined = True
        self._pg.pipeline_sync()
        self._flush()

    def _take(self) -> bool:
        """Take what has come; whether that is all of it."""
        pg = self._pg
        while not pg.is_busy():
            result = pg.get_result()
            if result is None:
                if not self._pipelined:
                    return True
                continue
            status = result.status
            if status == TUPLES or status in GOOD:
                self.results.append(result)
            elif status == SYNC:
                self._pipelined = False
                if not self._in_transaction:
                    pg.exit_pipeline_mode()
                return True
            elif self.failure is None and status != ExecStatus.PIPELINE_ABORTED:
                self.failure = failure_of(result)
        return False

    def _flush(self) -> None:
        wants_write = bool(self._pg.flush())
        if wants_write != self._wants_write:
            self._wants_write = wants_write
            self._watch(read=True, write=wants_write)

    def _watch(self, *, read: bool, write: bool) -> None:
        fd = self._pg.socket  # another one for each address that is tried
        if fd != self.fd and self.fd >= 0:
            self._poller.forget(self.fd)
        self.fd = fd
        self._poller.watch(fd, self, read=read, write=write)

    def _hear(self, notice: Any) -> None:
        severity, function = (
            (notice.error_field(field) or b"").decode(errors="replace")
            for field in (DiagnosticField.SEVERITY_NONLOCALIZED, DiagnosticField.SOURCE_FUNCTION)
        )
        self._unreplicated = self._unreplicated or is_standby_warning(severity, function)


class Cancelling:
    """A request to the server to end what a connection asked for, over a connection of its own. Nobody waits for it."""

    def __init__(self, pg: Any, poller: Poller) -> None:
        self._poller = poller
        self.is_over = False  # it was delivered, or cannot be
        self._request = pg.cancel_conn()
        self._request.start()
        self.fd = self._request.socket
        self._watch(PollingStatus.WRITING)

    def advance(self) -> bool:
        """Go on; False, as there is nothing that would have to be looked at then."""
        try:
            status = self._request.poll()
            if status in (PollingStatus.READING, PollingStatus.WRITING):
                self._watch(status)
                return False
        except psycopg.Error:
            pass
        self.close()
        return False

    def close(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._poller.forget(self.fd)
            self._request.finish()

    def _watch(self, status: PollingStatus) -> None:
        self._poller.watch(
            self.fd, self, read=status == PollingStatus.READING, write=status == PollingStatus.WRITING
        )
