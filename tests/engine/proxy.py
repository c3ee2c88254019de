"""A wire between store and server that counts round trips, withholds what is said, and can be cut."""

from __future__ import annotations

import asyncio
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

_SYNC = ord("S")
_PROTOCOL_3 = 196_608


class Proxy:
    """``dsn`` leads through it. ``requests`` and ``answers`` let their direction pass while they are set."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests = asyncio.Event()
        self.answers = asyncio.Event()
        self.requests.set()
        self.answers.set()
        self.round_trips = 0
        self.held = asyncio.Event()  # something is being withheld

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
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._writers += [writer, to_server]
        self._start(self._pass_on(reader, to_server, self.requests, _Requests(self)))
        self._start(self._pass_on(from_server, writer, self.answers, None))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gate: asyncio.Event,
        requests: _Requests | None,
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if requests is not None:
                    requests.feed(data)
                if not gate.is_set():
                    self.held.set()
                await gate.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


class _Requests:
    """Finds the messages in what a client sends; each Sync is a round trip."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._rest = b""
        self._started = False

    def feed(self, data: bytes) -> None:
        self._rest += data
        while True:
            head = 1 if self._started else 0
            if len(self._rest) < head + 4:
                return
            length = head + int.from_bytes(self._rest[head : head + 4])
            if len(self._rest) < length:
                return
            message, self._rest = self._rest[:length], self._rest[length:]
            if self._started:
                self._proxy.round_trips += message[0] == _SYNC
            else:  # an untyped message: a request for encryption, or the start
                self._started = int.from_bytes(message[4:8]) >= _PROTOCOL_3 and message[4:6] == b"\0\3"
