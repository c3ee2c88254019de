"""How the parent and its workers talk: a start that is common to all, and beats twice a second.

Over TCP and not through the executor, which takes a task and gives a result and may run it anywhere. A
worker's message never waits for the parent: it is buffered, and what nobody reads costs memory alone.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Sequence
from typing import Self, TypeAlias

import msgspec

from eventmark.errors import CannotRunError
from eventmark.instruments.clock import now_ns

LOOPBACK = "127.0.0.1"
BEAT_S = 0.5
START_AHEAD_S = 0.1
"""From telling the workers to the common start: long enough for the slowest message."""

CONNECT_TIMEOUT_S = 30.0
READY_TIMEOUT_S = 300.0
_FRAME_BYTES_MAX = 64 * 2**20
_LENGTH_BYTES = 4


class Ready(msgspec.Struct, tag=True):
    """A worker has its connections and statements, and waits for the start."""

    token: str
    worker: int


class Start(msgspec.Struct, tag=True):
    """When to start, by the wall clock that all machines share."""

    wall_ns: int


class Beat(msgspec.Struct, tag=True):
    """What a worker did since its last beat. Latencies are packed float32, milliseconds, by place in the mix."""

    worker: int
    at_s: float
    offered: list[int]
    skipped: list[int]
    succeeded: list[int]
    conflicted: list[int]
    failed: list[int]
    in_flight: int
    latencies_ms: list[bytes]
    schedule_lag_ms: float
    cpu_share: float


class Done(msgspec.Struct, tag=True):
    """How much a worker has done of what it has to."""

    worker: int
    amount: float


Message: TypeAlias = Ready | Start | Beat | Done

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Ready | Start | Beat | Done)


class WorkerLink:
    """A worker's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: tuple[str, int]) -> Self:
        """Raises ``CannotRunError``."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return cls(*await asyncio.open_connection(*address))
        except (OSError, TimeoutError) as error:
            raise CannotRunError(f"a worker cannot reach its parent at {address[0]}: {error}") from None

    async def ready(self, token: str, worker: int) -> int:
        """Say so, wait, and return the start on this machine's ``now_ns``. Raises ``CannotRunError``."""
        self.send(Ready(token, worker))
        message = await _received(self._reader)
        if not isinstance(message, Start):
            raise CannotRunError("the parent of a worker is gone")
        return now_ns() + message.wall_ns - time.time_ns()

    def send(self, message: Message) -> None:
        """To a parent that has hung up nothing is said; ``lost`` tells of it."""
        if not self._writer.is_closing():
            _send(self._writer, message)

    def tell(self, worker: int, amount: float) -> None:
        """Say how much is done."""
        self.send(Done(worker, amount))

    async def lost(self) -> None:
        """Return when the parent has hung up: nobody wants the load any more."""
        while await _received(self._reader) is not None:
            pass

    async def close(self) -> None:
        self._writer.close()


class Rendezvous:
    """The parent's end. An async context manager; leaving it hangs up, which stops workers that still run."""

    def __init__(self, workers: int, host: str = LOOPBACK) -> None:
        self.token = secrets.token_hex(16)
        self._host = host
        self._ready: dict[int, asyncio.StreamWriter] = {}
        self._all_ready = asyncio.Event()
        self._workers = workers
        self._beats: list[Beat] = []
        self._done: dict[int, float] = {}
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0)  # the sockets are closed by the loop, which may be blocked by what comes next

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def wait_until_ready(self) -> None:
        await self._all_ready.wait()

    @property
    def missing(self) -> int:
        """Workers that are not ready yet."""
        return self._workers - len(self._ready)

    def start(self) -> float:
        """Tell every worker the common start, and return it on ``time.monotonic``."""
        wall_ns = time.time_ns() + int(START_AHEAD_S * 1e9)
        for writer in self._ready.values():
            _send(writer, Start(wall_ns))
        return time.monotonic() + START_AHEAD_S

    def take(self) -> Sequence[Beat]:
        """The beats that came since the last time."""
        beats, self._beats = self._beats, []
        return beats

    @property
    def done(self) -> float:
        """How much all workers together have said to have done."""
        return sum(self._done.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            hello = await _received(reader)
            if not isinstance(hello, Ready) or not hmac.compare_digest(hello.token, self.token):
                return
            self._ready[hello.worker] = writer
            if not self.missing:
                self._all_ready.set()
            while (message := await _received(reader)) is not None:
                if isinstance(message, Beat):
                    self._beats.append(message)
                elif isinstance(message, Done):
                    self._done[message.worker] = message.amount
        finally:
            self._open.discard(writer)
            writer.close()


def _send(writer: asyncio.StreamWriter, message: Message) -> None:
    body = _encoder.encode(message)
    writer.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)


async def _received(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None at the end, or where what comes is none."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        if length > _FRAME_BYTES_MAX:
            return None
        return _decoder.decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
        return None
