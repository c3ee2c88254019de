"""The link between a worker at its task and the parent: messages both ways while it works.

Over TCP and not through the executor, which takes a task and gives a result and may run it anywhere. A
worker's message never waits for the parent: it is buffered, and what nobody reads costs memory alone.
"""

from __future__ import annotations

import asyncio
import platform
import time
from typing import Any, Self, TypeAlias, TypeVar

import msgspec

from eventmark.errors import CannotRunError
from eventmark.instruments.clock import now_ns

CONNECT_TIMEOUT_S = 30.0
_FRAME_BYTES_MAX = 64 * 2**20
_LENGTH_BYTES = 4

M = TypeVar("M")


class Hello(msgspec.Struct, tag=True):
    """A worker's first message: who it is."""

    token: str
    worker: int
    machine: str


class Ready(msgspec.Struct, tag=True):
    """A worker waits for the start."""


class Start(msgspec.Struct, tag=True):
    """When to start, by the worker's own wall clock."""

    wall_ns: int


class Ping(msgspec.Struct, tag=True):
    """The parent asks what time it is; ``sent_ns`` is on its own ``now_ns``."""

    sent_ns: int


class Pong(msgspec.Struct, tag=True):
    """What a worker's clocks show: the wall's, and ``now_ns``."""

    sent_ns: int  # of the question
    wall_ns: int
    now_ns: int


class Note(msgspec.Struct, tag=True):
    """What the work itself says to its parent, or the parent to it."""

    body: msgspec.Raw


Message: TypeAlias = Hello | Ready | Start | Ping | Pong | Note

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class WorkerLink:
    """A worker's end. Messages are whatever msgspec can write and read back as the type asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._start: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._notes: asyncio.Queue[msgspec.Raw] = asyncio.Queue()
        self.lost = asyncio.create_task(self._listen(reader))
        """Ends when the parent has hung up: nobody wants the work any more."""

    @classmethod
    async def open(cls, address: tuple[str, int], token: str, worker: int) -> Self:
        """Raises ``CannotRunError``."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                link = cls(*await asyncio.open_connection(*address))
        except (OSError, TimeoutError) as error:
            raise CannotRunError(f"a worker cannot reach its parent at {address[0]}: {error}") from None
        send(link._writer, Hello(token, worker, platform.node()))
        return link

    async def ready(self) -> int:
        """Wait for the start that all workers have in common, on this machine's ``now_ns``."""
        send(self._writer, Ready())
        return await self._start

    def send(self, message: Any) -> None:
        """Report to the parent; to one that has hung up nothing is sent."""
        send(self._writer, note(message))

    async def receive(self, kind: type[M]) -> M:
        """The next thing that the parent tells this worker."""
        return msgspec.msgpack.decode(await self._notes.get(), type=kind)

    async def close(self) -> None:
        self.lost.cancel()
        self._writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while (message := await received(reader)) is not None:
            if isinstance(message, Start):
                self._start.set_result(now_ns() + message.wall_ns - time.time_ns())
            elif isinstance(message, Ping):
                send(self._writer, Pong(message.sent_ns, time.time_ns(), now_ns()))
            elif isinstance(message, Note):
                self._notes.put_nowait(message.body)


def note(message: Any) -> Note:
    return Note(msgspec.Raw(_encoder.encode(message)))


def send(writer: asyncio.StreamWriter, message: Message) -> None:
    if not writer.is_closing():
        body = _encoder.encode(message)
        writer.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)


async def received(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None at the end, or where what comes is none."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        if length > _FRAME_BYTES_MAX:
            return None
        return _decoder.decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
        return None
