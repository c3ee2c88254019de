"""A worker's connections: opened, handed out, and opened anew where one is lost or given up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import psycopg

from eventmark.instruments.clock import now_ns
from eventmark.loadgen.wire.connection import Cancelling, WireConnection
from eventmark.loadgen.wire.poller import Poller

CANCEL_TIMEOUT_S = 1.0
REOPEN_AFTER_S = 0.1
"""A server that refused a connection is asked again after so long."""


class Connections:
    """``size`` connections. ``free`` are those that nobody uses, the last one used at its end."""

    def __init__(self, conninfo: bytes, statements: Mapping[bytes, bytes], size: int, poller: Poller) -> None:
        self._conninfo, self._statements, self._poller = conninfo, statements, poller
        self._opened: set[WireConnection] = set()
        self._cancelling: list[Cancelling] = []
        self._to_open: list[int] = []  # when, ``now_ns``
        self.size = size
        self.free: list[WireConnection] = []
        for _ in range(size):
            self._open()

    def give_up(self, connection: WireConnection) -> None:
        """Have the server end what the connection asked for, and open another one in its place."""
        self._cancelling = [request for request in self._cancelling if not request.is_over]
        with suppress(psycopg.Error):
            self._cancelling.append(connection.cancelling())
        self._close(connection)
        self._open()

    def reopen(self, connection: WireConnection) -> None:
        """After it was lost, or could not be opened."""
        self._close(connection)
        self._to_open.append(now_ns() + int(REOPEN_AFTER_S * 1e9))

    def tend(self, now: int) -> None:
        """Open those whose time has come."""
        due = sum(at_ns <= now for at_ns in self._to_open)
        self._to_open = [at_ns for at_ns in self._to_open if at_ns > now]
        for _ in range(due):
            self._open()

    def close(self) -> None:
        """Once the server has been told what to end."""
        until_ns = now_ns() + int(CANCEL_TIMEOUT_S * 1e9)
        while not all(request.is_over for request in self._cancelling) and now_ns() < until_ns:
            for fd, _ in self._poller.wait(until_ns):
                if (owner := self._poller.owners.get(fd)) is not None:
                    owner.advance()
        for cancelling in self._cancelling:
            cancelling.close()
        for connection in self._opened:
            connection.close()

    def _open(self) -> None:
        opened = WireConnection(self._conninfo, self._statements, self._poller)
        if opened.fd >= 0:
            self._opened.add(opened)
        else:  # refused at once
            self.reopen(opened)

    def _close(self, connection: WireConnection) -> None:
        self._opened.discard(connection)
        if connection in self.free:
            self.free.remove(connection)
        connection.close()
