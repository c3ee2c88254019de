"""A wire between store and server that counts round trips, withholds or delays what is said, and can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

_SYNC = ord("S")
_PROTOCOL_3 = 3
_FIRST_ANSWERS = b"RE"  # authentication or an error; anything else answers a request for encryption


class Proxy:
    """``dsn`` leads through it. ``requests`` and ``answers`` let their direction pass while they are set."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._to_clients: list[asyncio.StreamWriter] = []
        self._to_server: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.hides_ends = False  # where the server hangs up, the client is not told
        self._left: dict[str, int] = {}
        self.requests = asyncio.Event()
        self.answers = asyncio.Event()
        self.requests.set()
        self.answers.set()
        self.delay_s = 0.0
        self.round_trips = 0
        self.held = asyncio.Event()  # something is being withheld
        self.was_cut = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        account = self._parts.netloc.rpartition("@")[0]
        self.dsn = urlunsplit(self._parts._replace(netloc=f"{account}@127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut all connections, at once and without a word."""
        self.was_cut.set()
        _abort(self._to_clients)
        _abort(self._to_server)

    def cut_after(self, *, requests: int | None = None, answers: int | None = None) -> None:
        """Cut all connections once so many more messages of a direction have passed."""
        self.was_cut.clear()
        self._left = {
            name: count for name, count in (("requests", requests), ("answers", answers)) if count is not None
        }

    def leave_half_open(self) -> None:
        """The server's ends are gone, and the clients are not told."""
        self.hides_ends = True
        _abort(self._to_server)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._to_clients.append(writer)
        self._to_server.append(to_server)
        self._start(self._pass_on(reader, to_server, "requests", _Messages(from_client=True)))
        self._start(self._pass_on(from_server, writer, "answers", _Messages(from_client=False)))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str, messages: _Messages
    ) -> None:
        gate: asyncio.Event = getattr(self, direction)
        try:
            while data := await reader.read(65_536):
                for message in messages.feed(data):
                    self.round_trips += messages.from_client and message[0] == _SYNC
                    await self._send(message, writer, direction, gate)
        except ConnectionError:
            pass
        finally:
            if direction == "requests" or not self.hides_ends:
                writer.close()

    async def _send(
        self, message: bytes, writer: asyncio.StreamWriter, direction: str, gate: asyncio.Event
    ) -> None:
        if not gate.is_set():
            self.held.set()
        await gate.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        left = self._left.get(direction)
        if left != 0:
            writer.write(message)
            await writer.drain()
        if left is not None:
            self._left[direction] = max(left - 1, 0)
            if left <= 1:
                self._left = {}
                self.cut()


def _abort(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.transport.abort()
    writers.clear()


class _Messages:
    """Finds the messages in what one side sends."""

    def __init__(self, *, from_client: bool) -> None:
        self.from_client = from_client
        self._rest = b""
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while length := self._next_length():
            message, self._rest = self._rest[:length], self._rest[length:]
            yield message

    def _next_length(self) -> int:
        """Of the next message, 0 where it is not whole yet."""
        head = 1
        if not self._started:
            if self.from_client:  # untyped: a request for encryption, or the start
                head = 0
                self._started = self._rest[4:6] == _PROTOCOL_3.to_bytes(2)
            elif self._rest:
                self._started = self._rest[0] in _FIRST_ANSWERS
                if not self._started:
                    return 1
        if len(self._rest) < head + 4:
            return 0
        length = head + int.from_bytes(self._rest[head : head + 4])
        return length if len(self._rest) >= length else 0
